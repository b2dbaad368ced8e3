import Crypto
import FoundationEssentials
import Postgres
import ShardRouter

/// A key of the cluster, with which receipts are made and checked.
struct ReceiptKey: Sendable {
    /// Bytes of a key: as many as SHA-256 has.
    static let byteCount = 32
    /// The first bytes of everything that is signed: a receipt is good for nothing else.
    private static let purpose = Array("chat.receipt.v1\n".utf8)

    /// The state after the key and the purpose, which every receipt begins with.
    private let start: HMAC<SHA256>
    private let fingerprint: SHA256.Digest

    /// - Parameter hexadecimal: 64 digits; nil for anything else.
    init?(hexadecimal: String) {
        let digits = hexadecimal.utf8.map { Hexadecimal.value(of: $0) }
        guard digits.count == Self.byteCount * 2, !digits.contains(nil) else { return nil }
        let values = digits.compactMap(\.self)
        let bytes = stride(from: 0, to: values.count, by: 2).map {
            values[$0] << 4 | values[$0 + 1]
        }
        self.init(bytes)
    }

    private init(_ bytes: [UInt8]) {
        var code = HMAC<SHA256>(key: SymmetricKey(data: bytes))
        code.update(data: Self.purpose)
        start = code
        fingerprint = SHA256.hash(data: bytes)
    }

    /// 64 hexadecimal digits of a key that nobody has.
    static func drawn() -> String {
        let bytes = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
        return String(
            decoding: bytes.flatMap { [Hexadecimal.digit($0 >> 4), Hexadecimal.digit($0 & 15)] },
            as: UTF8.self)
    }

    /// The code over room, id, author, time of sending and text. About a microsecond for a short
    /// text. An event stands in the place of a text that nobody can write: no text has a NUL.
    ///
    /// Each text is preceded by its length in bytes (32 bits, big-endian); the id is its 16 bytes;
    /// the time is whole milliseconds since 1970 (64 bits, big-endian), as frames show it.
    func code(for message: Message) -> HMAC<SHA256>.MAC {
        var content: [UInt8] = []
        content.reserveCapacity(
            36 + message.room.text.utf8.count + message.author.utf8.count
                + message.text.utf8.count)
        content.append(text: message.room.text)
        withUnsafeBytes(of: message.id.uuid) { content.append(contentsOf: $0) }
        content.append(text: message.author)
        content.append(number: UInt64(bitPattern: message.sentAt.wholeMilliseconds))
        content.append(text: message.event.map { "\u{0}event\u{0}" + $0 } ?? message.text)
        var code = start
        code.update(data: content)
        return code.finalize()
    }
}

extension ReceiptKey: Equatable {
    static func == (one: ReceiptKey, other: ReceiptKey) -> Bool {
        one.fingerprint == other.fingerprint
    }
}

extension [UInt8] {
    fileprivate mutating func append(text: String) {
        append(number: UInt32(clamping: text.utf8.count))
        append(contentsOf: text.utf8)
    }

    fileprivate mutating func append(number: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
    }
}

import Crypto
import ShardRouter
import Synchronization

/// Makes receipts, and checks them: any reader can give a lost message back, and nobody can forge
/// one.
///
/// Empty until keys are known; then no receipts are made and none is good.
final class ReceiptKeyring: Sendable {
    /// The key in use, and the one before or after it while they are exchanged.
    static let keysAtMost = 2
    /// Characters of a receipt: 32 bytes in base64 for URLs, without padding.
    static let receiptBytes = 43

    private let keys: Mutex<[ReceiptKey]>

    init(_ keys: [ReceiptKey] = []) {
        precondition(keys.count <= Self.keysAtMost, "two keys are enough for an exchange")
        self.keys = Mutex(keys)
    }

    /// Whether receipts are made and checked.
    var isReady: Bool { keys.withLock { !$0.isEmpty } }

    /// From now on the first key signs, and all of them are good.
    ///
    /// - Returns: whether these are others than before.
    @discardableResult
    func replace(_ new: [ReceiptKey]) -> Bool {
        precondition(new.count <= Self.keysAtMost, "two keys are enough for an exchange")
        return keys.withLock { keys in
            defer { keys = new }
            return keys != new
        }
    }

    /// The receipt of `message`; nil without a key.
    func receipt(for message: Message) -> String? {
        guard let key = keys.withLock({ $0.first }) else { return nil }
        return Self.text(of: key.code(for: message))
    }

    /// Whether `receipt` was made for exactly this message by a server of the cluster.
    func isGenuine(_ receipt: String, for message: Message) -> Bool {
        guard let given = Self.bytes(of: receipt) else { return false }
        return keys.withLock({ $0 }).contains { key in
            // Compares in constant time.
            key.code(for: message) == given
        }
    }

    // MARK: Text

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    private static func text(of code: HMAC<SHA256>.MAC) -> String {
        code.withUnsafeBytes { bytes in
            String(unsafeUninitializedCapacity: receiptBytes) { text in
                var (collected, bits, count) = (UInt32(0), UInt32(0), 0)
                for byte in bytes {
                    collected = collected << 8 | UInt32(byte)
                    bits += 8
                    while bits >= 6 {
                        bits -= 6
                        text[count] = alphabet[Int(collected >> bits & 63)]
                        count += 1
                    }
                }
                text[count] = alphabet[Int(collected << (6 - bits) & 63)]
                return count + 1
            }
        }
    }

    private static func bytes(of receipt: String) -> [UInt8]? {
        guard receipt.utf8.count == receiptBytes else { return nil }
        var bytes: [UInt8] = []
        var (collected, bits) = (UInt32(0), UInt32(0))
        for character in receipt.utf8 {
            guard let value = value(of: character) else { return nil }
            collected = collected << 6 | UInt32(value)
            bits += 6
            guard bits >= 8 else { continue }
            bits -= 8
            bytes.append(UInt8(truncatingIfNeeded: collected >> bits))
        }
        // One receipt has one form.
        return collected & (1 << bits - 1) == 0 ? bytes : nil
    }

    private static func value(of character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }
}

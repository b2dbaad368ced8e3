import NIOCore
import NIOWebSocket

/// Cuts what a client sends into frames, and gives up at the first header that RFC 6455 forbids:
/// nothing is kept for a frame that cannot become one.
///
/// Stricter than NIO's own decoder: each length has one form, and its top bit is 0 (5.2).
struct WebSocketFrameReader {
    /// Why the bytes cannot be read on; whatever follows has no meaning.
    struct Failure: Error, Equatable {
        var code: CloseCode
        var reason: String

        static let badLength = Failure(
            code: .brokenFrame, reason: "a frame's length must take the fewest bytes")
        static let brokenControl = Failure(
            code: .brokenFrame, reason: "a control frame must be whole and at most 125 bytes")
        static let tooBig = Failure(code: .tooBig, reason: "a frame is too large")
    }

    private struct Header {
        var firstByte: UInt8
        var maskKey: WebSocketMaskingKey?
        var payloadBytes: Int
    }

    private let payloadBytesAtMost: Int
    /// Read, and waiting for its payload.
    private var header: Header?

    init(payloadBytesAtMost: Int) {
        self.payloadBytesAtMost = payloadBytesAtMost
    }

    /// Takes the next frame out of `buffer`; nil when it is not whole yet.
    mutating func next(in buffer: inout ByteBuffer) throws(Failure) -> WebSocketFrame? {
        if header == nil { header = try readHeader(of: &buffer) }
        guard let header, let payload = buffer.readSlice(length: header.payloadBytes) else {
            return nil
        }
        self.header = nil
        return WebSocketFrame(
            fin: header.firstByte & 0x80 != 0, rsv1: header.firstByte & 0x40 != 0,
            rsv2: header.firstByte & 0x20 != 0, rsv3: header.firstByte & 0x10 != 0,
            opcode: WebSocketOpcode(encodedWebSocketOpcode: header.firstByte & 0x0F) ?? .binary,
            maskKey: header.maskKey, data: payload)
    }

    /// Nothing is taken from `buffer` before the header is whole.
    private func readHeader(of buffer: inout ByteBuffer) throws(Failure) -> Header? {
        var rest = buffer
        guard let firstByte = rest.readInteger(as: UInt8.self),
            let secondByte = rest.readInteger(as: UInt8.self)
        else { return nil }
        let short = UInt64(secondByte & 0x7F)
        if firstByte & 0x08 != 0, firstByte & 0x80 == 0 || short > 125 {
            throw .brokenControl
        }
        guard let payloadBytes = try readLength(short, &rest) else { return nil }
        var maskKey: WebSocketMaskingKey?
        if secondByte & 0x80 != 0 {
            guard let bytes = rest.readInteger(as: UInt32.self) else { return nil }
            maskKey = withUnsafeBytes(of: bytes.bigEndian) { WebSocketMaskingKey($0) }
        }
        buffer = rest
        return Header(firstByte: firstByte, maskKey: maskKey, payloadBytes: payloadBytes)
    }

    /// - Parameter short: the seven bits that are the length, or say how long it is.
    private func readLength(
        _ short: UInt64, _ buffer: inout ByteBuffer
    ) throws(Failure) -> Int? {
        var length = short
        switch short {
        case 126:
            guard let word = buffer.readInteger(as: UInt16.self) else { return nil }
            guard word > 125 else { throw .badLength }
            length = UInt64(word)
        case 127:
            guard let word = buffer.readInteger(as: UInt64.self) else { return nil }
            guard word > 0xFFFF, word >> 63 == 0 else { throw .badLength }
            length = word
        default:
            break
        }
        guard length <= UInt64(payloadBytesAtMost) else { throw .tooBig }
        return Int(length)
    }
}

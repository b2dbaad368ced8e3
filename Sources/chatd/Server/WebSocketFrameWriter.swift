import NIOCore
import NIOWebSocket

/// Puts headers of RFC 6455 in front of payloads, as a server writes them: whole and unmasked.
enum WebSocketFrameWriter {
    /// Bytes of the header of a frame with so many bytes of payload.
    static func headerBytes(payloadBytes: Int) -> Int {
        switch payloadBytes {
        case ...125: 2
        case ...0xFFFF: 4
        default: 10
        }
    }

    static func writeHeader(
        _ opcode: WebSocketOpcode, payloadBytes: Int, to buffer: inout ByteBuffer
    ) {
        buffer.writeInteger(0x80 | UInt8(webSocketOpcode: opcode))
        switch payloadBytes {
        case ...125:
            buffer.writeInteger(UInt8(payloadBytes))
        case ...0xFFFF:
            buffer.writeInteger(UInt8(126))
            buffer.writeInteger(UInt16(payloadBytes))
        default:
            buffer.writeInteger(UInt8(127))
            buffer.writeInteger(UInt64(payloadBytes))
        }
    }

    /// The payload of a close frame. The reason is cut to the 123 bytes that fit, between
    /// characters.
    static func closePayload(code: UInt16?, reason: String) -> ByteBuffer {
        guard let code else { return ByteBuffer() }
        var payload = ByteBufferAllocator().buffer(capacity: 2 + reason.utf8.count)
        payload.writeInteger(code)
        var rest = 123
        for character in reason {
            rest -= character.utf8.count
            guard rest >= 0 else { break }
            payload.writeString(String(character))
        }
        return payload
    }
}

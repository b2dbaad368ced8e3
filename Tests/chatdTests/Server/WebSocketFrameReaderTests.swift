import NIOCore
import NIOWebSocket
import Testing

@testable import chatd

/// What is cut out of bytes, and what is refused at its header.
@Suite struct WebSocketFrameReaderTests {
    @Test(arguments: [0, 1, 125, 126, 127, 65_535, 65_536])
    func `a frame of each size is cut out whole`(bytes: Int) throws {
        var reader = WebSocketFrameReader(payloadBytesAtMost: 65_536)
        let payload = (0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var buffer = ByteBuffer(bytes: RawFrame.masked(.text, payload))

        let frame = try #require(try reader.next(in: &buffer))

        #expect(frame.fin && frame.opcode == .text && frame.maskKey != nil)
        #expect(Array(frame.unmaskedData.readableBytesView) == payload)
        #expect(buffer.readableBytes == 0)
        #expect(try reader.next(in: &buffer) == nil)
    }

    @Test func `bytes that come one by one give the same frames`() throws {
        var reader = WebSocketFrameReader(payloadBytesAtMost: 65_536)
        let payload = [UInt8](repeating: 97, count: 300)
        let bytes = RawFrame.masked(.text, payload) + RawFrame.masked(.ping, [1, 2])
        var frames: [WebSocketFrame] = []
        var buffer = ByteBuffer()

        for byte in bytes {
            buffer.writeInteger(byte)
            if let frame = try reader.next(in: &buffer) { frames.append(frame) }
        }

        #expect(frames.map(\.opcode) == [.text, .ping])
        #expect(frames.map { Array($0.unmaskedData.readableBytesView) } == [payload, [1, 2]])
    }

    @Test(
        arguments: [
            ([0x81, 0xFE, 0, 125], .badLength),
            ([0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], .badLength),
            ([0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], .badLength),
            ([0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1], .tooBig),
            ([0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], .tooBig),
            ([0x89, 0xFE], .brokenControl), ([0x88, 0xFF], .brokenControl),
            ([0x09, 0x80], .brokenControl), ([0x0F, 0x80], .brokenControl),
        ] as [([UInt8], WebSocketFrameReader.Failure)])
    func `a header that is forbidden is refused before what follows it`(
        header: [UInt8], failure: WebSocketFrameReader.Failure
    ) {
        var reader = WebSocketFrameReader(payloadBytesAtMost: 65_536)
        var buffer = ByteBuffer(bytes: header)

        #expect(throws: failure) { try reader.next(in: &buffer) }
    }
}

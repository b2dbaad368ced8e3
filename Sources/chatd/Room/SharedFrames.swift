import NIOCore
import NIOWebSocket

/// Frames that many sockets are sent one after the other: put into the form of the wire once, in
/// one buffer that all of them share. Used on one event loop.
final class SharedFrames {
    /// Bytes in one shared buffer, so that a socket that is too slow notices before much more waits
    /// in it than is allowed. One more frame may follow.
    static let bytesAtMost = 64 * 1024

    /// Each of them complete JSON.
    let texts: [ByteBuffer]
    private var encoded: ByteBuffer?
    private var rewritten: SharedFrames?

    init(_ texts: [ByteBuffer]) {
        self.texts = texts
    }

    /// What a socket writes. A server's frames are not masked, so the bytes are the same for all.
    var wire: ByteBuffer {
        if let encoded { return encoded }
        let wire = Self.encode(texts)
        encoded = wire
        return wire
    }

    /// What sockets write for which each text is changed first.
    ///
    /// - Parameter change: the same for all who ask; called once for each text.
    func changed(by change: (ByteBuffer) -> ByteBuffer) -> SharedFrames {
        if let rewritten { return rewritten }
        let frames = SharedFrames(texts.map(change))
        rewritten = frames
        return frames
    }

    private static func encode(_ texts: [ByteBuffer]) -> ByteBuffer {
        let bytes = texts.reduce(0) {
            $0 + $1.readableBytes
                + WebSocketFrameWriter.headerBytes(payloadBytes: $1.readableBytes)
        }
        var wire = ByteBufferAllocator().buffer(capacity: bytes)
        for text in texts {
            WebSocketFrameWriter.writeHeader(.text, payloadBytes: text.readableBytes, to: &wire)
            wire.writeImmutableBuffer(text)
        }
        return wire
    }
}

@available(*, unavailable)
extension SharedFrames: Sendable {}

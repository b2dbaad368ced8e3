import NIOCore
import NIOWebSocket

/// The rules of RFC 6455 for what a client sends. Pure: a frame goes in, what to do comes out.
///
/// open → closed
///
/// Frames come as the decoder cut them; fragments are put together here.
struct WebSocketStateMachine {
    enum Action: Equatable {
        /// One whole text message, valid UTF-8.
        case deliver(ByteBuffer)
        /// A ping to answer with the same payload.
        case pong(ByteBuffer)
        /// A pong arrived; its payload says for which ping.
        case measure(ByteBuffer)
        /// The client closes. Its code is to be repeated; nil when it gave none.
        case finish(repeating: UInt16?)
        /// The client broke a rule, or speaks what this server does not.
        case fail(CloseCode, String)
        case nothing
    }

    private enum Phase {
        case open, closed
    }

    private let messageBytes: Int
    private let fragmentsAtMost: Int
    private var phase = Phase.open
    private var fragments: ByteBuffer?
    private var fragmentCount = 0
    /// The code of the client's close frame; nil as long as there was none. A close without a code
    /// (a browser's plain `close()`) counts as 1000.
    private(set) var peerCode: UInt16?

    /// - Parameters:
    ///   - messageBytes: the largest message, fragments together.
    ///   - fragments: the most frames that a message may come in.
    init(messageBytes: Int, fragments: Int) {
        self.messageBytes = messageBytes
        fragmentsAtMost = fragments
    }

    /// A frame arrived.
    ///
    /// After ``Action/fail(_:_:)`` and ``Action/finish(repeating:)`` nothing is delivered any more;
    /// a close frame that comes after a failure still finishes.
    mutating func received(_ frame: WebSocketFrame) -> Action {
        switch phase {
        case .open:
            return open(frame)
        case .closed:
            guard frame.opcode == .connectionClose, peerCode == nil else { return .nothing }
            return close(frame.unmaskedData)
        }
    }

    /// The decoder gave up, or the server closed: whatever follows is not for the session.
    mutating func failed() {
        phase = .closed
        fragments = nil
    }

    private mutating func open(_ frame: WebSocketFrame) -> Action {
        guard !frame.rsv1, !frame.rsv2, !frame.rsv3 else {
            return fail(.brokenFrame, "a reserved bit is set")
        }
        guard frame.maskKey != nil else {
            return fail(.brokenFrame, "a client's frames must be masked")
        }
        switch frame.opcode {
        case .text:
            return begin(frame)
        case .binary:
            return fail(.binary, "only text is understood")
        case .continuation:
            return proceed(frame)
        case .ping:
            return isControl(frame) ? .pong(frame.unmaskedData) : brokenControl()
        case .pong:
            return isControl(frame) ? .measure(frame.unmaskedData) : brokenControl()
        case .connectionClose:
            return isControl(frame) ? close(frame.unmaskedData) : brokenControl()
        default:
            return fail(.brokenFrame, "an unknown kind of frame")
        }
    }

    // MARK: Messages

    private mutating func begin(_ frame: WebSocketFrame) -> Action {
        guard fragments == nil else {
            return fail(.brokenFrame, "a message began before the last one was whole")
        }
        guard frame.length <= messageBytes else { return tooBig() }
        guard frame.fin else {
            fragments = frame.unmaskedData
            fragmentCount = 1
            return .nothing
        }
        return deliver(frame.unmaskedData)
    }

    private mutating func proceed(_ frame: WebSocketFrame) -> Action {
        guard var message = fragments else {
            return fail(.brokenFrame, "a fragment without a beginning")
        }
        // Not held twice while it grows.
        fragments = nil
        guard message.readableBytes + frame.length <= messageBytes else { return tooBig() }
        fragmentCount += 1
        guard fragmentCount <= fragmentsAtMost else {
            return fail(.tooBig, "more than \(fragmentsAtMost) fragments")
        }
        message.writeImmutableBuffer(frame.unmaskedData)
        guard frame.fin else {
            fragments = message
            return .nothing
        }
        return deliver(message)
    }

    private mutating func deliver(_ message: ByteBuffer) -> Action {
        message.isUTF8 ? .deliver(message) : fail(.badText, "not UTF-8")
    }

    private mutating func tooBig() -> Action {
        fail(.tooBig, "larger than \(messageBytes) bytes")
    }

    // MARK: Control frames

    private func isControl(_ frame: WebSocketFrame) -> Bool {
        frame.fin && frame.length <= 125
    }

    private mutating func brokenControl() -> Action {
        fail(.brokenFrame, "a control frame must be whole and at most 125 bytes")
    }

    private mutating func close(_ body: ByteBuffer) -> Action {
        var reason = body
        guard reason.readableBytes > 0 else {
            peerCode = CloseCode.done.rawValue
            failed()
            return .finish(repeating: nil)
        }
        guard let code = reason.readInteger(as: UInt16.self), Self.isSendable(code) else {
            return closeFailed(.brokenFrame, "not a code that may be sent")
        }
        guard reason.isUTF8 else { return closeFailed(.badText, "the reason is not UTF-8") }
        peerCode = code
        failed()
        return .finish(repeating: code)
    }

    private mutating func closeFailed(_ code: CloseCode, _ reason: String) -> Action {
        // After a failure the client is answered no second time, whatever its close looks like.
        guard phase == .open else {
            peerCode = code.rawValue
            return .finish(repeating: nil)
        }
        return fail(code, reason)
    }

    /// Which codes RFC 6455 and its registry let an endpoint send.
    private static func isSendable(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }

    private mutating func fail(_ code: CloseCode, _ reason: String) -> Action {
        failed()
        return .fail(code, reason)
    }
}

extension ByteBuffer {
    /// Whether the readable bytes are well-formed UTF-8.
    var isUTF8: Bool {
        do {
            _ = try UTF8Span(validating: readableBytesUInt8Span)
            return true
        } catch {
            return false
        }
    }
}

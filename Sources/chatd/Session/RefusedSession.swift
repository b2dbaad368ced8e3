import NIOCore

/// The session of somebody who may not come in: it only closes the socket, because a page cannot
/// read the answer to an upgrade that failed.
final class RefusedSession: SocketSession {
    private let code: CloseCode
    private let reason: String

    /// - Parameter reason: for people; at most 123 bytes.
    init(_ code: CloseCode, reason: String) {
        self.code = code
        self.reason = reason
    }

    func opened(_ socket: any SessionSocket) {
        socket.close(code: code.rawValue, reason: reason)
    }

    func received(_ text: ByteBuffer) {}

    func closed(code: UInt16?) {}
}

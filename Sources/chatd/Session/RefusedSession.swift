import NIOCore

/// The session of somebody who may not come in: it only closes the socket, because a page cannot
/// read the answer to an upgrade that failed.
final class RefusedSession: SocketSession {
    private let code: CloseCode
    private let reason: String
    private let bye: ByteBuffer

    /// - Parameters:
    ///   - reason: for people; at most 123 bytes.
    ///   - bye: the frame that says the same.
    init(_ code: CloseCode, reason: String, bye: ByteBuffer) {
        self.code = code
        self.reason = reason
        self.bye = bye
    }

    func opened(_ socket: any SessionSocket) {
        socket.send(bye)
        socket.close(code: code.rawValue, reason: reason)
    }

    func received(_ text: ByteBuffer) {}

    func closed(code: UInt16?) {}
}

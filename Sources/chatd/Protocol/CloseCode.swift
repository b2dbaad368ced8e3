/// Why a connection ended, as the WebSocket close frame says it.
enum CloseCode: UInt16, Sendable, CaseIterable {
    /// The client was done.
    case done = 1000
    /// The server stops. Come back.
    case stopped = 1001
    /// The client broke the WebSocket protocol.
    case brokenFrame = 1002
    /// A binary frame; chat speaks text.
    case binary = 1003
    /// A text frame that is not UTF-8.
    case badText = 1007
    /// A frame above the limit.
    case tooBig = 1009
    /// The server drains. Come back after the time that its `bye` names, to another one.
    case draining = 4001
    /// More bytes were waiting than the socket may keep. Come back.
    case tooSlow = 4002
    /// No heartbeat for 30 s. Come back.
    case silent = 4003
    /// It is not known who the client is, or not any more.
    case unauthorized = 4401
    /// No right to read the room, or sent out by an operator. Do not come back.
    case forbidden = 4403
    /// Too many errors or messages. Come back after a while.
    case tooMany = 4429

    /// Whether a peer that closes with `code` means to leave, rather than to come back at once.
    static func isDeparture(_ code: UInt16?) -> Bool {
        code == CloseCode.done.rawValue || code == CloseCode.stopped.rawValue
    }
}

public import FoundationEssentials

/// What a server did not do, and why.
public struct ChatFault: Error, Sendable, Equatable, Decodable {
    /// For programs: `idConflict`, `rateLimited` … as `docs/protocol.md` lists them.
    public var code: String
    /// For people.
    public var message: String?
    /// The message that it is about, when it is about one.
    public var id: UUID?
    /// How long to wait before the same is tried again, in milliseconds.
    public var retryAfter: Int64?
    /// Whether the very same frame may succeed later.
    public var temporary: Bool?

    /// Whether it is about the message itself, so that sending it again would not help.
    var isFinal: Bool {
        guard temporary != true else { return false }
        return ["idConflict", "tooLong", "badMessage", "badFrame", "forbidden"].contains(code)
    }
}

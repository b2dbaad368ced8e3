/// Why a frame or a request was not done; the word that clients act on.
enum ErrorCode: String, Sendable, CaseIterable {
    /// Not a JSON object of a known form.
    case badFrame
    /// A message with a missing or wrong field.
    case badMessage
    /// Not the name of a room.
    case badRoom
    /// A text, or a list, longer than allowed.
    case tooLong
    /// A `type` that this server does not know.
    case unknownType
    /// No right to do this here, or no reason: an answer that nobody asked for, or a forged receipt.
    case forbidden
    /// The id already holds another message.
    case idConflict
    /// The client sends too much. Nothing was done.
    case rateLimited
    /// The server has too much to do. Nothing was done.
    case overloaded
    /// The room's shard is out of reach.
    case unavailable
}

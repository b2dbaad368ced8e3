import FoundationEssentials

/// Input that does not fit: which field and why, in words that are safe to show to its sender.
///
/// The words come from this program alone and never repeat the input.
struct FrameError: Error, Equatable {
    var code: ErrorCode
    /// The field at fault, such as `sentAt` or `msgSeen[3]`; nil when it is the whole frame.
    var field: String?
    var reason: String
    /// The message that the error is about, when its id could be read.
    var id: UUID?

    init(_ code: ErrorCode, field: String? = nil, _ reason: String, id: UUID? = nil) {
        self.code = code
        self.field = field
        self.reason = reason
        self.id = id
    }

    /// For people: `sentAt: not a time of RFC 3339`.
    var message: String {
        guard let field else { return reason }
        return "\(field): \(reason)"
    }
}

/// Why an operation did not happen, in words for people.
public struct OperationError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// Something in the world failed; trying again may help.
        case failed
        /// The operation would do harm, or makes no sense: nothing was changed.
        case refused
    }

    public var kind: Kind
    public var description: String
    /// What to do.
    public var next: String

    public static func failed(_ what: String, next: String = "shardctl status") -> OperationError {
        OperationError(kind: .failed, description: what, next: next)
    }

    public static func refused(_ why: String, next: String) -> OperationError {
        OperationError(kind: .refused, description: why, next: next)
    }
}

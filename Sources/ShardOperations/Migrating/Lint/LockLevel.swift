/// PostgreSQL's locks on a table, from the weakest to the strongest.
public enum LockLevel: Int, Sendable, Comparable, CustomStringConvertible {
    case accessShare = 1
    case rowShare
    case rowExclusive
    case shareUpdateExclusive
    case share
    case shareRowExclusive
    case exclusive
    case accessExclusive

    /// As PostgreSQL's manual writes it.
    public var description: String {
        switch self {
        case .accessShare: "ACCESS SHARE"
        case .rowShare: "ROW SHARE"
        case .rowExclusive: "ROW EXCLUSIVE"
        case .shareUpdateExclusive: "SHARE UPDATE EXCLUSIVE"
        case .share: "SHARE"
        case .shareRowExclusive: "SHARE ROW EXCLUSIVE"
        case .exclusive: "EXCLUSIVE"
        case .accessExclusive: "ACCESS EXCLUSIVE"
        }
    }

    /// Whose statements wait while it is held, for people.
    public var blocks: String {
        switch self {
        case .accessShare, .rowShare, .rowExclusive, .shareUpdateExclusive: "nobody"
        case .share, .shareRowExclusive, .exclusive: "writers"
        case .accessExclusive: "readers and writers"
        }
    }

    public var blocksWriters: Bool { self >= .share }

    /// As `pg_locks` writes it, such as `AccessExclusiveLock`.
    init?(mode: String) {
        let words = mode.hasSuffix("Lock") ? String(mode.dropLast(4)) : mode
        let all = (1...8).compactMap(LockLevel.init(rawValue:))
        guard
            let level = all.first(where: {
                $0.description.filter { $0 != " " }.lowercased() == words.lowercased()
            })
        else { return nil }
        self = level
    }

    public static func < (left: LockLevel, right: LockLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// What one database of the fleet has, and in what it is not as its files say.
public struct DatabaseDrift: Sendable, Equatable {
    /// The shard's name, or `catalog`.
    public var name: String
    public var kind: SchemaKind
    /// The versions that it has, by its own history.
    public var versions: [Int] = []
    /// Versions of the files that are still to come. They are no drift.
    public var pending: [Int] = []
    public var history: [HistoryDrift] = []
    public var differences: [SchemaDifference] = []
    /// Why it could not be compared: it is away, or has what no file explains.
    public var problem: String?

    public init(name: String, kind: SchemaKind) {
        self.name = name
        self.kind = kind
    }

    public var isAsWanted: Bool { history.isEmpty && differences.isEmpty && problem == nil }
}

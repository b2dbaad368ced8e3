/// One thing of a database's schema that drift can touch.
///
/// Two objects are the same thing when kind and name agree; they look the same when the definitions
/// agree too. Numbers of objects, names of owners, positions of sequences, comments, and the order of
/// columns are no part of it: moves copy columns by name, and no file can reorder them.
public struct SchemaObject: Sendable, Codable, Hashable {
    /// In the order in which they can be created.
    public enum Kind: String, Sendable, Codable, CaseIterable {
        case schema, `extension`, type, sequence, function, table, column
        case defaultValue = "default"
        case generated
        case identity
        case notNull = "not null"
        case sequenceOwner = "sequence owner"
        case view, constraint, index
        case replicaIdentity = "replica identity"
        /// That the table's rows move with their room.
        case registration
        case options
        case rowSecurity = "row security"
        case policy, trigger, rule, statistics
        case eventTrigger = "event trigger"
        /// Only what does not belong to the owner of the history.
        case owner
        case grant
    }

    public var kind: Kind
    /// Qualified and quoted like in SQL: `public.messages.body`, `messages_pkey on public.messages`.
    public var name: String
    /// What has to be equal, in words close to SQL.
    public var definition: String
    /// The description of what it is a part of and goes with: a column's table, a table's schema.
    public var parent: String?
    /// The statements that make it, remove it, and make an existing one of the same name like it
    /// where there is a gentler way than both.
    var creation: [String] = []
    var removal: [String] = []
    var alteration: [String] = []
}

extension SchemaObject: CustomStringConvertible {
    /// Such as `column public.messages.body`.
    public var description: String { "\(kind.rawValue) \(name)" }
}

extension SchemaObject {
    /// What the fingerprint is made of, by the server or here.
    var line: String { "\(kind.rawValue)\u{1f}\(name)\u{1f}\(definition)" }
}

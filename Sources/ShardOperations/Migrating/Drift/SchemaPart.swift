/// One kind of object as a query: SQL expressions over a `from` clause.
///
/// The fingerprint asks for the first three of them, so that the server computes no text that nobody
/// reads; the details ask for all.
struct SchemaPart: Sendable {
    var kind: SchemaObject.Kind
    /// Follows `select …`; may group.
    var from: String
    var name: String
    var definition: String
    /// The description of the parent, or null.
    var parent = "null"
    /// Arrays of text.
    var creation = "null"
    var removal = "null"
    var alteration = "null"

    func query(withDetails: Bool) -> String {
        let kind = "'\(self.kind.rawValue)'"
        let details =
            withDetails
            ? ", \(parent)::text, \(creation)::text[], \(removal)::text[], \(alteration)::text[]"
            : ""
        return "select \(kind), \(name), \(definition)\(details) from \(from)"
    }
}

import Crypto
import Foundation
public import Postgres

/// What a database looks like, without what differs between equal ones.
///
/// Left out are PostgreSQL's own schemas, temporary objects, members of extensions, publications,
/// subscriptions and slots (moves make some), comments, casts, operators, collations, foreign servers,
/// text search, default privileges, and settings of the database or of roles. Two major versions of
/// PostgreSQL may word the same definition differently.
public struct SchemaSnapshot: Sendable, Codable, Equatable {
    /// In an order in which they can be created.
    public let objects: [SchemaObject]
    /// The role that owns the history, quoted as in SQL. Names of owners are not compared.
    public let owner: String
    /// SHA-256 in hexadecimal over kind, name and definition of all objects.
    public let fingerprint: String

    public init(objects: [SchemaObject], owner: String) {
        let places = Dictionary(
            uniqueKeysWithValues: SchemaObject.Kind.allCases.enumerated().map { ($1, $0) })
        func place(_ object: SchemaObject) -> (Int, String) {
            // A foreign key needs the keys of other tables; partitions and heirs need their parents.
            let isLate =
                object.definition.hasPrefix("FOREIGN KEY")
                || object.kind == .table
                    && (object.definition.contains(" partition of ")
                        || object.definition.contains(" inherits ("))
            return ((places[object.kind] ?? 0) * 2 + (isLate ? 1 : 0), object.name)
        }
        self.objects = objects.sorted { place($0) < place($1) }
        self.owner = owner
        let lines = objects.map { Array($0.line.utf8) }
            .sorted { $0.lexicographicallyPrecedes($1) }
        fingerprint = SHA256.hash(data: Data(lines.joined(separator: [0x1e]))).hexadecimal
    }

    /// Reads all of it: about 30 ms. ``fingerprint(_:deadline:)`` is cheaper.
    public static func read(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> SchemaSnapshot {
        let answers = try await connection.pipeline(
            [SchemaQuery.preparation, SchemaQuery.owner, SchemaQuery.objects], deadline: deadline)
        var objects: [SchemaObject] = []
        for row in answers[2] {
            let word: String = try row.get(0)
            guard let kind = SchemaObject.Kind(rawValue: word) else {
                preconditionFailure("the query knows the kinds, but not \(word)")
            }
            objects.append(
                SchemaObject(
                    kind: kind, name: try row.get(1), definition: try row.get(2),
                    parent: try row.get(3), creation: try row.get(4, as: [String]?.self) ?? [],
                    removal: try row.get(5, as: [String]?.self) ?? [],
                    alteration: try row.get(6, as: [String]?.self) ?? []))
        }
        return SchemaSnapshot(objects: objects, owner: try answers[1][0].get(0))
    }

    /// The fingerprint alone, computed by the server: about 15 ms of a processor on a new connection.
    public static func fingerprint(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> String {
        try await connection.pipeline(
            [SchemaQuery.preparation, SchemaQuery.fingerprint], deadline: deadline)[1][0].get(0)
    }
}

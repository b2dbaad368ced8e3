import Foundation
import Postgres

/// `catalog.schema_references`: snapshots by their key, and the fingerprints that databases had when
/// they were last looked at. Everything in it can be made again.
struct SchemaCache {
    let catalog: PostgresConnection
    let deadline: ContinuousClock.Instant

    /// What a database's schema looked like in a state of its catalogues.
    struct Sight: Equatable {
        var state: String
        var fingerprint: String
    }

    /// All fingerprints, by key, and all sights, by what the target is called there.
    struct Contents {
        var fingerprints: [String: String] = [:]
        var sights: [String: Sight] = [:]
    }

    private static let sightPrefix = "seen \(SchemaQuery.format) "

    /// One row for each key, and of a snapshot no more than its fingerprint.
    static let contents = Statement(
        "select key, left(snapshot, 129) from catalog.schema_references", isPrepared: false)

    static func contents(_ rows: Rows) throws(PostgresError) -> Contents {
        var contents = Contents()
        for row in rows {
            let (key, text): (String, String) = (try row.get(0), try row.get(1))
            if key.hasPrefix(sightPrefix) {
                let words = text.split(separator: " ").map(String.init)
                guard words.count == 2 else { continue }
                contents.sights[String(key.dropFirst(sightPrefix.count))] = Sight(
                    state: words[0], fingerprint: words[1])
            } else {
                contents.fingerprints[key] = String(text.prefix(64))
            }
        }
        return contents
    }

    /// nil when there is none, or when the catalog's schema is too old to have a cache.
    func snapshot(_ key: String) async throws -> SchemaSnapshot? {
        do throws(PostgresError) {
            let rows = try await catalog.query(
                "select substr(snapshot, 66) from catalog.schema_references where key = $1", [key],
                deadline: deadline)
            guard let row = rows.first else { return nil }
            let text: String = try row.get(0)
            return decoded(text)
        } catch {
            if error.sqlState == "42P01" { return nil }
            throw error
        }
    }

    /// What cannot be read any more is made anew.
    private func decoded(_ text: String) -> SchemaSnapshot? {
        do {
            return try JSONDecoder().decode(SchemaSnapshot.self, from: Data(text.utf8))
        } catch {
            return nil
        }
    }

    /// The fingerprint stands before the rest, where it can be read alone.
    func store(_ snapshot: SchemaSnapshot, _ key: String) async throws {
        let json = String(decoding: try JSONEncoder().encode(snapshot), as: UTF8.self)
        try await store([key], [snapshot.fingerprint + "\n" + json])
    }

    func store(_ sights: [String: Sight]) async throws {
        guard !sights.isEmpty else { return }
        let all = Array(sights)
        try await store(
            all.map { Self.sightPrefix + $0.key },
            all.map { "\($0.value.state) \($0.value.fingerprint)" })
    }

    private func store(_ keys: [String], _ texts: [String]) async throws {
        do throws(PostgresError) {
            _ = try await catalog.pipeline(
                [
                    Statement(
                        """
                        insert into catalog.schema_references (key, snapshot)
                        select * from unnest($1::text[], $2::text[])
                        on conflict (key) do update
                            set snapshot = excluded.snapshot, made_at = now()
                        """, [keys, texts]),
                    Statement(
                        "delete from catalog.schema_references "
                            + "where made_at < now() - interval '90 days'"),
                ], deadline: deadline)
        } catch {
            // A catalog without the table, a role that may only read, or a standby: no cache then.
            guard ["42P01", "42501", "25006"].contains(error.sqlState) else { throw error }
        }
    }
}

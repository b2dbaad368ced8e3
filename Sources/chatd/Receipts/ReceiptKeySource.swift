import FoundationEssentials
import Postgres

/// Where a cluster's servers have their keys from: a file that the operator gives to all of them,
/// or a table of the catalog, where the first server puts a key that it has drawn.
enum ReceiptKeySource: Sendable {
    case file(String)
    case catalog(ConnectionSettings)

    /// Why there are no keys, in words for people.
    struct Trouble: Error, CustomStringConvertible {
        var description: String
    }

    /// The keys as they are now, never none: the first signs, all are good.
    ///
    /// - Parameter deadline: for the catalog; a file is read at once.
    func keys(deadline: ContinuousClock.Instant) async throws(Trouble) -> [ReceiptKey] {
        switch self {
        case .file(let path): try Self.read(path)
        case .catalog(let settings): try await Self.ask(settings, deadline: deadline)
        }
    }

    // MARK: File

    /// As long as no file of two keys is; guards against a path to something else.
    private static let fileBytesAtMost = 64 * 1024

    private static func read(_ path: String) throws(Trouble) -> [ReceiptKey] {
        let content: Data
        do {
            content = try Data(contentsOf: URL(filePath: path))
        } catch let error as CocoaError where error.code == .fileReadNoSuchFile {
            // A key in the place of its file must not reach the log.
            let isKey = path.count == 64 && path.allSatisfy(\.isHexDigit)
            throw Trouble(
                description: isKey
                    ? "this is a key; name a file that holds it" : "there is no file \(path)")
        } catch {
            throw Trouble(description: "\(path) cannot be read")
        }
        guard content.count <= fileBytesAtMost else {
            throw Trouble(description: "\(path) is longer than any file of keys")
        }
        return try parse(String(decoding: content, as: UTF8.self), path: path)
    }

    /// One key a line, 64 hexadecimal digits each; empty lines and such with `#` are left out.
    static func parse(_ text: String, path: String) throws(Trouble) -> [ReceiptKey] {
        var keys: [ReceiptKey] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false)
            .enumerated()
        {
            let content = String(line.filter { !$0.isWhitespace })
            if content.isEmpty || content.first == "#" { continue }
            guard let key = ReceiptKey(hexadecimal: content) else {
                throw Trouble(
                    description: "line \(index + 1) of \(path) is no key: write 64 hexadecimal "
                        + "digits, as 'openssl rand -hex 32' prints them")
            }
            keys.append(key)
        }
        guard !keys.isEmpty, keys.count <= ReceiptKeyring.keysAtMost else {
            throw Trouble(
                description: "\(path) has \(keys.count) keys, but must have one, or two while they "
                    + "are exchanged")
        }
        return keys
    }

    // MARK: Catalog

    private static func ask(
        _ settings: ConnectionSettings, deadline: ContinuousClock.Instant
    ) async throws(Trouble) -> [ReceiptKey] {
        let keys: [ReceiptKey]
        do throws(PostgresError) {
            let connection = try await PostgresConnection.connect(
                settings.findingPrimary, deadline: deadline)
            defer { connection.close() }
            var stored = try await read(connection, deadline)
            if stored.first?.place != 1 {
                // Drawn here, so that the database needs no extension. Another server may be
                // faster: its key stands.
                _ = try await connection.query(
                    """
                    insert into catalog.receipt_keys (place, key) values (1, decode($1, 'hex'))
                    on conflict do nothing
                    """, [ReceiptKey.drawn()], deadline: deadline)
                stored = try await read(connection, deadline)
            }
            keys = stored.compactMap { ReceiptKey(hexadecimal: $0.key) }
        } catch {
            guard error.sqlState != "42P01" else {
                throw Trouble(
                    description: "the catalog has no table for them; run 'shardctl migrate up'")
            }
            throw Trouble(description: "\(error)")
        }
        guard !keys.isEmpty else { throw Trouble(description: "the catalog gives no key") }
        return keys
    }

    private static func read(
        _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [(place: Int16, key: String)] {
        let rows = try await connection.query(
            "select place, encode(key, 'hex') from catalog.receipt_keys order by place",
            deadline: deadline)
        var keys: [(place: Int16, key: String)] = []
        for row in rows { keys.append((try row.get(0), try row.get(1))) }
        return keys
    }
}

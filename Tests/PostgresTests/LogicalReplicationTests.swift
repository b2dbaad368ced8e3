import Foundation
import Postgres
import TestKit
import Testing

@Suite struct LogicalReplicationTests {
    @Test func `changes of a real server are read as they were made`() async throws {
        let server = try PostgresServer.start()
        let settings = try ConnectionSettings(server.connectionString())
        let connection = try await PostgresConnection.connect(
            settings, deadline: .now + .seconds(20))
        defer { connection.close() }
        try await connection.script(
            """
            create table t (a text, b int, c text, primary key (a, b));
            create publication p for table t
            """, deadline: .now + .seconds(20))
        var replicating = settings
        replicating["replication"] = "database"
        let replication = try await PostgresConnection.connect(
            replicating, deadline: .now + .seconds(20))
        _ = try await replication.command(
            "CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')",
            deadline: .now + .seconds(20))
        try await connection.script(
            """
            begin;
            insert into t values ('x', 1, 'é'), ('y', 2, null);
            update t set c = 'z' where a = 'x';
            update t set b = 3 where a = 'y';
            delete from t where a = 'x';
            commit
            """, deadline: .now + .seconds(20))

        let seen = Seen()
        do {
            try await replication.replicate(
                "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names 'p')"
            ) { bytes in
                guard case .change(let change) = try ReplicationMessage(bytes) else { return nil }
                if await seen.add(change) { throw Enough() }
                return nil
            }
        } catch is Enough {}

        #expect(
            await seen.texts == [
                "insert x 1 é", "insert y 2 NULL", "update x 1 z", "update (y 2 NULL) y 3 NULL",
                "delete x 1 NULL",
            ])
        #expect(!replication.isUsable, "a connection that replicates serves nothing else")
    }

    @Test(arguments: 0..<40)
    func `a message that is cut short is refused`(length: Int) {
        let whole: [UInt8] =
            [UInt8(ascii: "w")] + [UInt8](repeating: 0, count: 24) + [
                UInt8(ascii: "I"), 0, 0, 0, 1,
            ]
            + [UInt8(ascii: "N"), 0, 1, UInt8(ascii: "t"), 0, 0, 0, 2, 65, 66]

        guard length < whole.count else { return }
        #expect(throws: PostgresError.self) { try ReplicationMessage(Array(whole[..<length])) }
    }

    private struct Enough: Error {}

    private actor Seen {
        var texts: [String] = []

        /// - Returns: whether the transaction is over.
        func add(_ change: LogicalChange) -> Bool {
            switch change {
            case .insert(_, let new): texts.append("insert \(text(new))")
            case .update(_, let old?, let new): texts.append("update (\(text(old))) \(text(new))")
            case .update(_, nil, let new): texts.append("update \(text(new))")
            case .delete(_, let old): texts.append("delete \(text(old))")
            case .commit: return true
            case .begin, .relation, .other: break
            }
            return false
        }

        private func text(_ row: [LogicalChange.Value]) -> String {
            row.map { value in
                switch value {
                case .null: "NULL"
                case .unchanged: "?"
                case .text(let text): text
                }
            }.joined(separator: " ")
        }
    }
}

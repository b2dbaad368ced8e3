import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

@Suite struct ServerChecksTests {
    private func findings(
        _ server: PostgresServer, user: String = "postgres", needsMoves: Bool
    ) async throws -> [ServerChecks.Finding] {
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(
                "host=127.0.0.1 port=\(server.port) user=\(user) dbname=postgres"),
            deadline: .now + .seconds(20))
        defer { connection.close() }
        return try await ServerChecks(seed: 7, needsMoves: needsMoves)
            .findings(connection, deadline: .now + .seconds(20))
    }

    @Test func `a server that is set up for moves has nothing but a note`() async throws {
        let findings = try await findings(try PostgresServer.start(), needsMoves: true)

        #expect(findings.map(\.severity) == [.note])
        #expect(findings[0].what.contains("SQL cannot ask for the free space"))
    }

    @Test(arguments: [false, true])
    func `what stands in the way of moves blocks only where they are needed`(needsMoves: Bool)
        async throws
    {
        let server = try PostgresServer.start(settings: [
            "wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "4",
            "max_logical_replication_workers": "0", "max_worker_processes": "2",
            "wal_retrieve_retry_interval": "5s", "max_slot_wal_keep_size": "-1",
        ])
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString()), deadline: .now + .seconds(20))
        defer { connection.close() }
        try await connection.script("create role op login", deadline: .now + .seconds(20))

        let found = try await findings(server, user: "op", needsMoves: needsMoves)

        let severities = Dictionary(uniqueKeysWithValues: found.map { ($0.subject, $0.severity) })
        let blocking: ServerChecks.Finding.Severity = needsMoves ? .blocking : .warning
        #expect(
            severities == [
                "wal_level": blocking, "max_replication_slots": blocking,
                "max_wal_senders": .warning, "max_logical_replication_workers": blocking,
                "max_worker_processes": blocking, "superuser": blocking,
                "wal_retrieve_retry_interval": .warning, "max_slot_wal_keep_size": .warning,
                "disk": .note,
            ])
        #expect(found.allSatisfy { !$0.fix.isEmpty })
    }

    @Test func `another collation than the fleet's is a warning`() async throws {
        let server = try PostgresServer.start()
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString()), deadline: .now + .seconds(20))
        defer { connection.close() }

        let found = try await ServerChecks(
            seed: 7, needsMoves: true, fleetCollations: ["i de-DE"]
        ).findings(connection, deadline: .now + .seconds(20))

        #expect(found.first?.subject == "collation")
        #expect(found.first?.severity == .warning)
    }
}

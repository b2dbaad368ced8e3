import BenchKit
import Foundation
import Postgres

/// What callers notice of a migration while somebody on every shard sits in a transaction in which
/// he has read the table.
struct ImpactPhase {
    let stage: MigrateStage

    /// One way of migrating, in one round.
    struct Outcome: Sendable {
        var before: QueryLedger.Latencies
        var during: QueryLedger.Latencies
        var seconds: Double
        /// How often something was begun over all shards, the last time included.
        var attempts: Int
        var errors: [String]
    }

    private struct Arm {
        var name: String
        var command: String
        /// How often its log says that something is tried again.
        var word: String
        var isOurs = false
        /// How much earlier than the others' the reader of the first shard begins, and ends, as a
        /// part of its time. Ours begins with that shard alone: while it waits there, the others'
        /// readers stand in nobody's way.
        var head = 0.0
    }

    private static let files = [
        MigrationText(
            name: "1001_edited",
            sql: "alter table public.messages add column edited_at timestamptz;"
        ),
        MigrationText(
            name: "1002_edited_later",
            sql: """
                alter table public.messages add constraint messages_edited_later
                    check (edited_at >= sent_at) not valid;
                """),
        MigrationText(
            name: "1003_by_author",
            sql: """
                -- shardctl: transaction=off
                create index concurrently messages_by_author on public.messages (room_id, author);
                """),
    ]

    private static let undo = """
        drop index if exists public.messages_by_author;
        alter table public.messages drop constraint if exists messages_edited_later,
            drop column if exists edited_at
        """

    private static let (rooms, messages) = (1_000, 20)

    func run(_ report: inout Report) async throws {
        let fleet = try await stage.fleet(
            "impact", shards: stage.extent.impactShards, files: Self.files)
        for shard in fleet.databases.shards {
            try await runScript(
                """
                insert into public.rooms (room_id, head)
                select 'room-' || r, \(Self.messages) from generate_series(1, \(Self.rooms)) r;
                insert into public.messages
                    (room_id, seq, id, author, sent_at, received_at, body)
                select 'room-' || r, s, gen_random_uuid(), 'somebody', now(), now(),
                    repeat('x', 100)
                from generate_series(1, \(Self.rooms)) r, generate_series(1, \(Self.messages)) s;
                """, at: shard.connectionString)
            try await runScript("vacuum analyze public.messages", at: shard.connectionString)
        }
        let arms = arms(fleet)
        var outcomes: [String: [Outcome]] = [:]
        for round in 0..<stage.extent.impactRounds {
            for place in arms.indices {
                let arm = arms[(place + round) % arms.count]
                try await fleet.reset(Self.undo)
                outcomes[arm.name, default: []].append(try await take(arm, fleet))
            }
        }
        for arm in arms {
            ImpactFigures(name: arm.name, outcomes: outcomes[arm.name] ?? [])
                .tell(isOurs: arm.isOurs, &report)
        }
    }

    private func arms(_ fleet: MigratedFleet) -> [Arm] {
        let log = "\(fleet.home)/log"
        let psql = "\(stage.psql) -X -q -v ON_ERROR_STOP=1"
        let commands = Self.files.map { file in
            let single = file.sql.contains("transaction=off") ? "" : "-1"
            return "\(psql) \(single) -f \"\(fleet.shardFiles)/\(file.name).up.sql\" \"$0\""
        }
        let plain = ShellLoop(lines: fleet.places, body: commands.joined(separator: "; "))
        let again = commands.map {
            "until \($0) > /dev/null 2>&1; do echo again >> \"\(log)\"; sleep 1; done"
        }
        let patient = ShellLoop(
            lines: fleet.places,
            body: "export PGOPTIONS=\"-c lock_timeout=2s\"; " + again.joined(separator: "; "))
        let up = fleet.migrate("up > '\(log)'")
        return [
            Arm(name: "shardctl migrate up", command: up, word: "tries again", isOurs: true),
            Arm(
                name: "shardctl, canary soon free", command: up, word: "tries again",
                isOurs: true, head: 5.0 / 6),
            Arm(name: "psql", command: plain.atOnce(8), word: "again"),
            Arm(name: "psql, lock_timeout=2s, again", command: patient.atOnce(8), word: "again"),
        ]
    }

    private func take(_ arm: Arm, _ fleet: MigratedFleet) async throws -> Outcome {
        let log = "\(fleet.home)/log"
        try Data().write(to: URL(filePath: log))
        let places = fleet.databases.shards.map(\.connectionString)
        let queries = try QueryProcess(
            QuerySettings(
                places: places, connectionsPerPlace: 4, perSecond: 1_000, rooms: Self.rooms,
                messages: Self.messages, output: "\(fleet.home)/answers"))
        // Plans are made and pages are read.
        try await Task.sleep(for: .seconds(2))
        let quiet = monotonic()
        let time = Duration.seconds(stage.extent.readerSeconds)
        let begin = ContinuousClock.now + time
        let (start, seconds) = try await withReaders(places, from: begin, for: time, arm.head) {
            (monotonic(), try await timed(arm.command))
        }
        let end = monotonic()
        try await Task.sleep(for: .milliseconds(500))
        let ledger = try queries.finish()
        let text = try String(contentsOfFile: log, encoding: .utf8)
        try await check(fleet)
        return Outcome(
            before: ledger.latencies(quiet...(start - 1)), during: ledger.latencies(start...end),
            seconds: seconds,
            attempts: Self.files.count * places.count
                + text.split(separator: "\n").count { $0.contains(arm.word) },
            errors: ledger.errors)
    }

    /// Runs `body` from `begin` on, while somebody on every shard has read the table and does not end
    /// his transaction for a while.
    private func withReaders(
        _ places: [String], from begin: ContinuousClock.Instant, for time: Duration,
        _ head: Double, _ body: () async throws -> (Int64, Double)
    ) async throws -> (Int64, Double) {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, place) in places.enumerated() {
                let start = number == 0 ? begin - time * head : begin
                group.addTask {
                    try await withDatabase(place) { reader in
                        // Before `body`, not beside it.
                        try await Task.sleep(until: start - .milliseconds(200))
                        try await reader.script(
                            "begin; select count(*) from public.messages where room_id = 'room-1'",
                            deadline: .now + .seconds(20))
                        try await Task.sleep(until: start + time)
                        try await reader.script("commit", deadline: .now + .seconds(20))
                    }
                }
            }
            try await Task.sleep(until: begin)
            let outcome = try await body()
            try await group.waitForAll()
            return outcome
        }
    }

    /// Everything is there and valid, whoever did it.
    private func check(_ fleet: MigratedFleet) async throws {
        for shard in fleet.databases.shards {
            let isDone: Bool = try await withDatabase(shard.connectionString) {
                try await $0.query(
                    """
                    select exists (select from pg_index where indisvalid
                            and indexrelid = to_regclass('public.messages_by_author'))
                        and exists (select from pg_constraint
                            where conname = 'messages_edited_later')
                    """, deadline: .now + .seconds(20))[0].get(0)
            }
            guard isDone else {
                throw BenchError(description: "\(shard.database) was not migrated")
            }
        }
    }
}

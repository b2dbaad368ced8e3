import FoundationEssentials
import Logging
import Postgres
import ShardRouter
import Synchronization
import TestKit
import Testing

@testable import ShardOperations

/// Traps that moves of rows fall into elsewhere, one by one, on real servers.
@Suite(.timeLimit(.minutes(3))) struct MoveTrapTests {
    // MARK: Verification

    /// What somebody does to the copy before the switch.
    enum Damage: String, CaseIterable, Sendable {
        case byte = "set body = overlay(body placing '#' from 1 for 1)"
        case time = "set sent_at = sent_at + interval '1 microsecond'"
        case missing, extra

        func sql(_ room: String) -> String {
            switch self {
            case .byte, .time:
                "update messages \(rawValue) where room_id = '\(room)' and seq = 7"
            case .missing: "delete from messages where room_id = '\(room)' and seq = 7"
            case .extra:
                "insert into messages select room_id, 1000, gen_random_uuid(), author, sent_at, "
                    + "received_at, body from messages where room_id = '\(room)' and seq = 7"
            }
        }
    }

    @Test(arguments: Damage.allCases)
    func `a single differing row stops the move and nothing has changed its owner`(
        damage: Damage
    ) async throws {
        let stage = try await MoveStage.start()

        let error = await #expect(throws: OperationError.self) {
            _ = try await stage.move(at: .subscribed) {
                try await stage.script(
                    shard: 2, "set session_replication_role = replica; \(damage.sql(stage.room))")
            }
        }

        #expect(error?.kind == .failed)
        #expect(error?.description.contains("of public.messages") == true)
        #expect(try await stage.write(1) == 1, "the room is still written at its old owner")
        try await stage.expectStopped()
    }

    @Test func `a byte that differs in a row of the last moment is found behind the fence`()
        async throws
    {
        let stage = try await MoveStage.start()
        let mover = stage.mover(at: .arrived) {
            try await stage.script(
                shard: 2,
                """
                set session_replication_role = replica;
                update messages set body = 'x' where room_id = '\(stage.room)' and seq = 101
                """)
        }
        var watch = mover.watch
        let isWritten = Flag()
        watch.reached = { point, move in
            if point == .compared, isWritten.raise() { try await stage.write(1) }
            try await mover.watch.reached(point, move)
        }

        let error = await #expect(throws: OperationError.self) {
            _ = try await Mover(cluster: stage.operations, limits: stage.limits, watch: watch).move(
                stage.slots, from: stage.source, to: stage.target, reason: "test")
        }

        #expect(error?.description.contains("differs") == true)
        #expect(try await stage.write(1) == 1, "the fence is lifted")
        try await stage.expectStopped()
    }

    // MARK: Tables

    /// What an application may register beside messages.
    enum Table: String, CaseIterable, Sendable {
        case keyed = "primary key (room_id, message, emoji)"
        case keyless = "unique (room_id, message, emoji)"

        var sql: String {
            """
            create table public.reactions (
                room_id text not null, message int, emoji text, note text, \(rawValue));
            """
                + (self == .keyless
                    ? "alter table public.reactions replica identity full;" : "")
                + "select shard.register_table('public.reactions');"
        }
    }

    @Test(arguments: Table.allCases)
    func `rows of any table are added, changed and removed while they move`(
        table: Table
    ) async throws {
        let stage = try await MoveStage.start(messages: 20)
        for shard in 1...2 { try await stage.script(shard: shard, table.sql) }
        try await stage.script(
            shard: 1,
            """
            insert into reactions select '\(stage.room)', n, 'a', repeat(md5(n::text), 500)
            from generate_series(1, 60) n
            """)
        let step = Mutex(0)
        var watch = MoveWatch()
        watch.reached = { point, _ in
            guard [.slotMade, .chunkCopied, .copied, .subscribed, .compared].contains(point) else {
                return
            }
            let number = step.withLock { step in
                step += 1
                return step
            }
            try await stage.script(shard: 1, changes(number, stage.room))
        }

        _ = try await Mover(cluster: stage.operations, limits: stage.limits, watch: watch).move(
            stage.slots, from: stage.source, to: stage.target, reason: "test")

        let texts = try await stage.texts(shard: 2, "reactions")
        #expect(texts == (try await stage.texts(shard: 1, "reactions")), "the old copy is equal")
        #expect(texts.count == 60 + step.withLock { $0 } * 9)
        #expect(try await stage.texts(shard: 2) == (try await stage.texts(shard: 1)))
        try await stage.cluster.expectNothingLeft()
    }

    /// Ten new rows; one goes; one changes beside a large value, one changes its key.
    private func changes(_ number: Int, _ room: String) -> String {
        """
        insert into reactions select '\(room)', n, 'step \(number)', 'new'
        from generate_series(1, 10) n;
        delete from reactions where message = \(number) and emoji = 'a';
        update reactions set emoji = 'b' where message = \(number + 20) and emoji = 'a';
        update reactions set note = 'changed' where message = \(number + 40);
        update messages set author = 'eve' where room_id = '\(room)' and seq = \(number);
        """
    }

    @Test(arguments: [MovePoint.subscribed, .compared])
    func `a table that is emptied by truncate stops the move`(point: MovePoint) async throws {
        let stage = try await MoveStage.start(messages: 20)
        for shard in 1...2 { try await stage.script(shard: shard, Table.keyed.sql) }
        try await stage.script(
            shard: 1, "insert into reactions values ('\(stage.room)', 1, 'a', 'note')")

        let error = await #expect(throws: OperationError.self) {
            _ = try await stage.move(at: point) {
                try await stage.script(shard: 1, "truncate reactions")
            }
        }

        #expect(error?.description.contains("reactions") == true)
        try await stage.expectStopped()
    }

    @Test func `a key that the target has already ends the move within its bound of log`()
        async throws
    {
        var stage = try await MoveStage.start()
        stage.limits.heldLogBytes = 2_000_000
        let notes = Mutex<[String]>([])
        let conflict = stage.mover(at: .subscribed) { [stage] in
            try await stage.script(
                shard: 2,
                """
                set session_replication_role = replica;
                insert into messages select room_id, 101, gen_random_uuid(), author, sent_at,
                    received_at, body from messages where room_id = '\(stage.room)' and seq = 1
                """)
            try await stage.write(1)
        }
        var watch = conflict.watch
        watch.event = { event in notes.withLock { $0 += event.note.map { [$0] } ?? [] } }
        async let written = { [stage] in
            // As soon as the operator is told what is wrong.
            while !notes.withLock({ $0.contains { $0.contains("times to apply a change") } }) {
                try await Task.sleep(for: .milliseconds(5))
            }
            return try await stage.write(300, bytes: 10_000)
        }()

        let error = await #expect(throws: OperationError.self) {
            _ = try await Mover(cluster: stage.operations, limits: stage.limits, watch: watch).move(
                stage.slots, from: stage.source, to: stage.target, reason: "test")
        }

        #expect(error?.description.contains("held back") == true)
        #expect(try await written == 300)
        try await stage.expectStopped()
    }

    // MARK: Pre-flight

    @Test func `every blocker is named at once, and no move is opened`() async throws {
        let stage = try await MoveStage.start(settings: ["max_slot_wal_keep_size": "-1"])
        for shard in 1...2 { try await stage.script(shard: shard, Table.keyed.sql) }
        try await stage.script(shard: 2, "delete from shard.tables where table_name ~ 'reactions'")
        try await stage.script(shard: 1, "alter table messages replica identity nothing")
        let writer = try await stage.cluster.operatorConnection(shard: 1)
        defer { writer.close() }
        try await writer.script(
            "begin; insert into rooms values ('elsewhere', 0)", deadline: .now + .seconds(5))
        let pid: Int = try await writer.query(
            "select pg_backend_pid()", deadline: .now + .seconds(5))[0].get(0)
        try await Task.sleep(for: .seconds(6))  // A transaction is long after five seconds.

        let error = await #expect(throws: OperationError.self) {
            _ = try await stage.move(at: .opened) {}
        }

        let text = error?.description ?? ""
        #expect(error?.kind == .refused)
        #expect(text.contains("max_slot_wal_keep_size is unlimited"))
        #expect(text.contains("public.reactions is missing or not registered"))
        #expect(text.contains("public.messages has no replica identity"))
        #expect(text.contains("process \(pid) "))
        #expect(text.contains("has had a transaction open for "))
        #expect(try await MoveJournal(cluster: stage.operations).latest(1).isEmpty)
        try await stage.expectStopped()
    }

    // MARK: The source's log

    @Test func `a lost replication slot aborts the move, and a new one takes its place`()
        async throws
    {
        let stage = try await MoveStage.start(settings: [
            "max_slot_wal_keep_size": "1MB", "min_wal_size": "2MB", "max_wal_size": "2MB",
        ])

        let move = try await stage.move(at: .copied) {
            try await stage.script(
                shard: 1,
                """
                create table junk as
                select repeat(md5(n::text), 30) from generate_series(1, 20000) n;
                """)
            try await stage.script(shard: 1, "checkpoint")
        }

        #expect(move.state == .done)
        let all = try await MoveJournal(cluster: stage.operations).latest(5)
        #expect(all.map(\.state) == [.aborted, .done])
        #expect(all[0].note?.contains("replication slot is lost") == true)
        #expect(try await stage.owner() == (2, 2))
        #expect(try await stage.texts(shard: 2).count == 100)
        try await stage.cluster.expectNothingLeft()
    }

    // MARK: The fence

    private static let prepare =
        "begin; lock table rooms in row exclusive mode; prepare transaction 'p'"

    @Test func `a writer that does not end is waited for before the fence`() async throws {
        let stage = try await MoveStage.start(settings: ["max_prepared_transactions": "5"])
        let (isTold, isFenced) = (Flag(), Flag())
        var watch = MoveWatch()
        watch.event = { event in
            if event.note?.contains("a prepared one") == true { _ = isTold.raise() }
        }
        watch.reached = { point, _ in
            if point == .compared { try await stage.script(shard: 1, Self.prepare) }
            if point == .fenced {
                #expect(!isTold.raise(), "the operator was told before")
                _ = isFenced.raise()
            }
        }
        async let ended: Void = { [stage] in
            while !isTold.isRaised { try await Task.sleep(for: .milliseconds(5)) }
            #expect(try await stage.write(1) == 1, "nobody else waits")
            #expect(!isFenced.isRaised)
            try await stage.script(shard: 1, "commit prepared 'p'")
        }()

        let move = try await Mover(
            cluster: stage.operations, limits: stage.limits, watch: watch
        ).move(stage.slots, from: stage.source, to: stage.target, reason: "test")

        try await ended
        #expect(move.state == .done && move.lifts == 0)
        try await stage.cluster.expectNothingLeft()
    }

    @Test func `a writer that comes with the fence lifts it, and others go on`() async throws {
        let stage = try await MoveStage.start(settings: ["max_prepared_transactions": "5"])
        let isPrepared = Flag()
        var watch = MoveWatch()
        watch.reached = { point, _ in
            if point == .fenced, isPrepared.raise() {
                try await stage.script(shard: 1, Self.prepare)
            }
            guard point == .lifted else { return }
            #expect(try await stage.write(1) == 1, "behind the lifted fence")
            try await stage.script(shard: 1, "commit prepared 'p'")
        }

        let move = try await Mover(
            cluster: stage.operations, limits: stage.limits, watch: watch
        ).move(stage.slots, from: stage.source, to: stage.target, reason: "test")

        #expect(move.state == .done && move.lifts == 1)
        #expect(move.note?.contains("a prepared one") == true)
        #expect(try await stage.texts(shard: 2).count >= 101)
        try await stage.cluster.expectNothingLeft()
    }

    // MARK: Afterwards

    @Test func `a purge that slept removes nothing when the slots have come back`() async throws {
        let stage = try await MoveStage.start()
        var limits = stage.limits
        limits.rowsPerPurge = 10
        let mover = Mover(cluster: stage.operations, limits: stage.limits)
        let first = try await mover.move(
            stage.slots, from: stage.source, to: stage.target, reason: "test")
        let before = try await stage.texts(shard: 2)
        let connection = try await stage.cluster.operatorConnection(shard: 1)
        defer { connection.close() }
        let isAsleep = Flag()
        let purge = MoveWipe(
            move: first, limits: limits, expected: "moved",
            afterBatch: {
                guard isAsleep.raise() else { return }
                let back = try await mover.reverse(first.id)
                #expect(back.state == .done)
            })

        await #expect(throws: MoveError.self) { try await purge.run(connection) }
        await #expect(throws: MoveError.self) { try await purge.run(connection) }

        #expect(try await stage.owner() == (1, 1))
        #expect(try await stage.texts(shard: 1) == before)
        try await stage.cluster.expectNothingLeft()
    }

    @Test func `a router that knows nothing of four moves stores and reads what is right`()
        async throws
    {
        let stage = try await MoveStage.start()
        let proxy = try FaultProxy(to: stage.cluster.catalog.port).start()
        let stale = try await ShardRouter.start(
            RouterConfiguration(
                catalog: try ConnectionSettings(
                    "host=127.0.0.1 port=\(proxy.port) user=chatd dbname=postgres")),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await stale.run() }
            proxy.set(.refusal)
            proxy.cutAll()
            let mover = Mover(cluster: stage.operations, limits: stage.limits)
            var (from, to) = (stage.source, stage.target)
            for number in 1...5 {
                _ = try await mover.move(stage.slots, from: from, to: to, reason: "test")
                (from, to) = (to, from)
                // Once before it learns anything, then with a map that is older every time.
                guard number != 2 else { continue }
                let receipt = try await stale.store(
                    Message(
                        id: UUID(), room: RoomID(stage.room), author: "bo", sentAt: .now,
                        receivedAt: .now, text: "\(number)"), patience: .seconds(20))
                #expect(receipt.shard == from.id)
                let seqs = try await stage.cluster.rows(
                    shard: receipt.shard.number,
                    "select seq from messages where room_id = '\(stage.room)' order by seq"
                ).map { try $0.get(0, as: Int64.self) }
                #expect(seqs == Array(1...receipt.seq))
            }
            group.cancelAll()
        }
        try await stage.cluster.expectNothingLeft()
    }
}

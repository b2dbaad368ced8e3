import FoundationEssentials
import Glibc
import Postgres
import TestKit
import Testing

@Suite(.serialized) struct PostgresConnectionTests {
    static let server = Result { try PostgresServer.start() }

    private func connect(_ change: String = "") async throws -> PostgresConnection {
        let text = try Self.server.get().connectionString() + " " + change
        return try await .connect(try ConnectionSettings(text), deadline: soon)
    }

    private var soon: ContinuousClock.Instant { .now + .seconds(20) }

    @Test func `closing a connection that the server has ended touches no other socket`()
        async throws
    {
        let (ended, other) = (try await connect(), try await connect())
        defer { other.close() }
        let pid: Int = try await ended.query("select pg_backend_pid()", deadline: soon)[0].get(0)
        _ = try await other.query(
            "select pg_terminate_backend($1::int8::int4, 5000)", [pid], deadline: soon)
        await #expect(throws: PostgresError.self) {
            _ = try await ended.query("select 1", deadline: soon)
        }
        // Sockets of somebody else, which get the lowest numbers that are free.
        var pairs: [[Int32]] = []
        for _ in 0..<16 {
            var pair: [Int32] = [-1, -1]
            try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
            pairs.append(pair)
        }
        defer { for descriptor in pairs.joined() { Glibc.close(descriptor) } }

        ended.close()

        for pair in pairs {
            var byte: UInt8 = 7
            #expect(send(pair[0], &byte, 1, Int32(MSG_NOSIGNAL)) == 1)
            #expect(send(pair[1], &byte, 1, Int32(MSG_NOSIGNAL)) == 1)
        }
    }

    @Test func `every type comes back as it was sent`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        let id = UUID()
        let time = Timestamp(microsecondsSince1970: 1_763_891_702_113_456)

        let row = try await connection.query(
            "select $1 as b, $2 as i2, $3 as i4, $4 as i8, $5 as d, $6 as t, $7 as u, $8 as ts, "
                + "$9 as by, $10 as none",
            [
                true, Int16.min, Int32.max, Int64.min, -0.5, "Grüße 🎉", id, time,
                Bytes([0, 255]), String?.none,
            ], deadline: soon)[0]

        #expect(try row.get("b", as: Bool.self))
        #expect(try row.get("i2", as: Int16.self) == .min)
        #expect(try row.get("i4", as: Int32.self) == .max)
        #expect(try row.get("i8", as: Int64.self) == .min)
        #expect(try row.get("d", as: Double.self) == -0.5)
        #expect(try row.get("t", as: String.self) == "Grüße 🎉")
        #expect(try row.get("u", as: UUID.self) == id)
        #expect(try row.get("ts", as: Timestamp.self) == time)
        #expect(try row.get("by", as: Bytes.self) == Bytes([0, 255]))
        #expect(try row.get("none", as: String?.self) == nil)
    }

    @Test func `arrays come back as they were sent`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        let ids = [UUID(), UUID()]

        let row = try await connection.query(
            "select $1 as texts, $2 as ids, $3 as numbers, $4 as none, array[1, null, 3] as holes",
            [["a", "", "ü"], ids, [Int64.max, 0], [Timestamp]()] as [any PostgresEncodable],
            deadline: soon)[0]

        #expect(try row.get("texts", as: [String].self) == ["a", "", "ü"])
        #expect(try row.get("ids", as: [UUID].self) == ids)
        #expect(try row.get("numbers", as: [Int64].self) == [.max, 0])
        #expect(try row.get("none", as: [Timestamp].self) == [])
        #expect(try row.get("holes", as: [Int32?].self) == [1, nil, 3])
    }

    @Test func `a wrong type, a NULL and a missing column are told apart`() async throws {
        let connection = try await connect()
        defer { connection.close() }

        let row = try await connection.query(
            "select 'x'::text as text, null::int4 as none", deadline: soon)[0]

        #expect(throws: PostgresError.self) { try row.get("text", as: Int64.self) }
        #expect(throws: PostgresError.self) { try row.get("none", as: Int32.self) }
        #expect(throws: PostgresError.decoding(column: "zz", reason: "there is no such column")) {
            try row.get("zz", as: Int32.self)
        }
    }

    @Test func `a failing pipeline does nothing and names its statement`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        try await connection.script("create temp table t (n int4 primary key)", deadline: soon)

        let insert = "insert into t values ($1)"
        let failure = await #expect(throws: PostgresError.self) {
            try await connection.pipeline(
                [
                    Statement(insert, [Int32(1)]), Statement(insert, [Int32(1)]),
                    Statement(insert, [Int32(2)]),
                ], deadline: self.soon)
        }

        guard case .server(let error)? = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(error.sqlState == "23505")
        #expect(error.statementIndex == 1)
        #expect(error.constraint == "t_pkey")
        #expect(failure?.repeatability == .never)
        let count = try await connection.query("select count(*) from t", deadline: soon)[0]
        #expect(try count.get(0, as: Int.self) == 0)
    }

    @Test func `a plan that its table outgrew is made anew`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        try await connection.script("create temp table grows (a int4)", deadline: soon)
        _ = try await connection.query("select * from grows", deadline: soon)
        try await connection.script("alter table grows add b int4", deadline: soon)

        await #expect(throws: PostgresError.self) {
            try await connection.query("select * from grows", deadline: self.soon)
        }

        let rows = try await connection.query("select * from grows", deadline: soon)
        #expect(rows.columns == ["a", "b"])
    }

    @Test func `one text with other types is another plan`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        let sql = "select $1 as v"

        let small = try await connection.query(sql, [Int32(7)], deadline: soon)[0]
        let large = try await connection.query(sql, [Int64.max], deadline: soon)[0]

        #expect(try small.get("v", as: Int32.self) == 7)
        #expect(try large.get("v", as: Int64.self) == .max)
    }

    @Test func `a lost plan is made anew`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        _ = try await connection.query("select 5", deadline: soon)
        try await connection.script("deallocate all", deadline: soon)

        let failure = await #expect(throws: PostgresError.self) {
            try await connection.query("select 5", deadline: self.soon)
        }

        #expect(failure?.repeatability == .safe)
        for _ in 0..<3 {
            #expect(try await connection.query("select 5", deadline: soon).count == 1)
        }
    }

    @Test func `a COPY where none was meant ends the connection`() async throws {
        for sql in ["copy pg_class to stdout", "copy pg_class from stdin"] {
            let connection = try await connect()
            await #expect(throws: PostgresError.self) {
                try await connection.script(sql, deadline: self.soon)
            }
            #expect(!connection.isUsable)
        }
        let connection = try await connect()
        await #expect(throws: PostgresError.self) {
            try await connection.copyOut("copy pg_class from stdin", deadline: self.soon) { _ in }
        }
        #expect(!connection.isUsable)
    }

    @Test func `a server that hangs is cut after the grace time`() async throws {
        let server = try PostgresServer.start()
        let connection = try await PostgresConnection.connect(
            try ConnectionSettings(server.connectionString()), deadline: soon)
        let pid = try await connection.query("select pg_backend_pid()", deadline: soon)[0]
        let backend = try pid.get(0, as: Int32.self)
        try #require(kill(backend, SIGSTOP) == 0)
        server.pause()
        defer {
            kill(backend, SIGCONT)
            server.resume()
        }

        let failure = await #expect(throws: PostgresError.self) {
            try await connection.query("select 1", deadline: .now + .milliseconds(50))
        }

        #expect(failure?.repeatability == .unknownOutcome)
        #expect(!connection.isUsable)
    }

    @Test(arguments: ["postgresql://u:S3cr%zzet@h/d", "postgresql://u:S3cret@[::1/d"])
    func `a bad connection string is refused without its password`(text: String) {
        let failure = #expect(throws: PostgresError.self) { try ConnectionSettings(text) }

        #expect(!String(describing: failure).contains("S3cr"))
    }

    @Test func `more statements than plans are kept all work`() async throws {
        let connection = try await connect()
        defer { connection.close() }

        for number in 0..<450 {
            let row = try await connection.query("select \(number)", deadline: soon)[0]
            #expect(try row.get(0, as: Int32.self) == Int32(number))
        }

        let plans = try await connection.query(
            "select count(*) from pg_prepared_statements", deadline: soon)[0]
        #expect(try plans.get(0, as: Int.self) <= 202)
    }

    @Test func `a deadline cancels the statement and keeps the connection`() async throws {
        let connection = try await connect()
        defer { connection.close() }

        await #expect(throws: PostgresError.deadlineExceeded) {
            try await connection.query(
                "select pg_sleep(60)", deadline: .now + .milliseconds(50))
        }

        #expect(connection.isUsable)
        #expect(try await connection.query("select 1", deadline: soon).count == 1)
    }

    @Test func `a late cancel does not hit the next statement`() async throws {
        let connection = try await connect()
        defer { connection.close() }

        for _ in 0..<200 {
            do throws(PostgresError) {
                _ = try await connection.query(
                    "select pg_sleep(0.002)", deadline: .now + .milliseconds(2))
            } catch {
                // It was cancelled, or came to its end while it was: then nothing is promised.
                let isKnown = error == .deadlineExceeded
                #expect(isKnown || error.repeatability == .unknownOutcome, "\(error)")
            }
            #expect(try await connection.query("select 1", deadline: soon).count == 1)
        }
    }

    @Test func `a cancelled task cancels its statement`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        let deadline = soon

        let failure = await withTaskGroup(of: PostgresError?.self) { group in
            group.addTask {
                do throws(PostgresError) {
                    _ = try await connection.query("select pg_sleep(60)", deadline: deadline)
                    return nil
                } catch {
                    return error
                }
            }
            group.cancelAll()
            return await group.next() ?? nil
        }

        #expect(failure == .cancelled)
        #expect(try await connection.query("select 1", deadline: soon).count == 1)
    }

    @Test func `sleeping statements do not block other tasks`() async throws {
        let connections = try await withThrowingTaskGroup(of: PostgresConnection.self) { group in
            for _ in 0..<24 { group.addTask { try await self.connect() } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let deadline = soon

        try await withThrowingTaskGroup(of: Bool.self) { group in
            for connection in connections {
                group.addTask {
                    _ = try await connection.query("select pg_sleep(0.5)", deadline: deadline)
                    return false
                }
            }
            group.addTask {
                for _ in 0..<1_000 { await Task.yield() }
                return true
            }
            let first = try await group.next()
            #expect(first == true, "the ordinary task ends first")
            try await group.waitForAll()
        }
        connections.forEach { $0.close() }
    }

    @Test func `a copy out and a copy in carry the rows`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        try await connection.script("create temp table target (n int8, t text)", deadline: soon)
        let chunks = Collected()

        try await connection.copyOut(
            "copy (select n, repeat('x', 100) from generate_series(1, 20000) n) to stdout",
            deadline: soon
        ) { await chunks.add($0) }
        let bytes = await chunks.bytes
        let count = try await connection.copyIn("copy target from stdin", deadline: soon) {
            writer in
            for start in stride(from: 0, to: bytes.count, by: 64_000) {
                try await writer.write(Array(bytes[start..<min(start + 64_000, bytes.count)]))
            }
        }

        #expect(count == 20_000)
        let sum = try await connection.query(
            "select sum(n)::int8, sum(length(t))::int8 from target", deadline: soon)[0]
        #expect(try sum.get(0, as: Int64.self) == 200_010_000)
        #expect(try sum.get(1, as: Int64.self) == 2_000_000)
    }

    @Test func `a copy whose body throws stores nothing and keeps the connection`() async throws {
        struct Enough: Error {}
        let connection = try await connect()
        defer { connection.close() }
        try await connection.script("create temp table half (n int8)", deadline: soon)

        await #expect(throws: Enough.self) {
            _ = try await connection.copyIn("copy half from stdin", deadline: self.soon) { writer in
                try await writer.write(Array("1\n2\n".utf8))
                throw Enough()
            }
        }
        await #expect(throws: Enough.self) {
            try await connection.copyOut(
                "copy (select n from generate_series(1, 1000000) n) to stdout", deadline: self.soon
            ) { _ in throw Enough() }
        }

        let count = try await connection.query("select count(*) from half", deadline: soon)[0]
        #expect(try count.get(0, as: Int.self) == 0)
    }

    @Test func `a listener hears a notification`() async throws {
        let listener = try await connect()
        let speaker = try await connect()
        defer {
            listener.close()
            speaker.close()
        }
        try await listener.script("listen topology", deadline: soon)
        #expect(try await listener.notifications(until: .now + .milliseconds(20)) == [])

        try await speaker.script("notify topology, 'seven'", deadline: soon)

        let heard = try await listener.notifications(until: soon)
        #expect(heard == [Notification(channel: "topology", payload: "seven")])
    }

    @Test func `a NUL in a text is refused before it is sent`() async throws {
        let connection = try await connect()
        defer { connection.close() }

        await #expect(throws: PostgresError.self) {
            try await connection.query("select $1", ["a\0b"], deadline: self.soon)
        }

        #expect(connection.isUsable)
    }

    @Test func `ten megabytes go through`() async throws {
        let connection = try await connect()
        defer { connection.close() }
        let text = String(repeating: "x", count: 10_000_000)

        let row = try await connection.query("select $1 as t", [text], deadline: soon)[0]

        #expect(try row.get("t", as: String.self) == text)
    }

    @Test func `the second host is used when the first is dead`() async throws {
        let server = try Self.server.get()
        let dead = try freePort()
        let settings = try ConnectionSettings(
            "host=127.0.0.1,127.0.0.1 port=\(dead),\(server.port) user=postgres dbname=postgres")

        let connection = try await PostgresConnection.connect(settings, deadline: soon)
        defer { connection.close() }

        #expect(try await connection.query("select 1", deadline: soon).count == 1)
    }

    @Test func `a refused connection names the host and the port`() async throws {
        let dead = try freePort()
        let settings = try ConnectionSettings("host=127.0.0.1 port=\(dead) user=x password=secret")

        let failure = await #expect(throws: PostgresError.self) {
            try await PostgresConnection.connect(settings, deadline: self.soon)
        }

        let text = String(describing: failure)
        #expect(text.contains("127.0.0.1"))
        #expect(text.contains("\(dead)"))
        #expect(!text.contains("secret"))
        #expect(failure?.repeatability == .safe)
    }

    @Test func `a server that dies leaves an unknown outcome`() async throws {
        let server = try PostgresServer.start()
        let settings = try ConnectionSettings(server.connectionString())
        let connection = try await PostgresConnection.connect(settings, deadline: soon)
        let deadline = soon

        let failure = await withTaskGroup(of: PostgresError?.self) { group in
            group.addTask {
                do throws(PostgresError) {
                    _ = try await connection.query("select pg_sleep(60)", deadline: deadline)
                    return nil
                } catch {
                    return error
                }
            }
            await untilRunning("pg_sleep(60)", settings, deadline: deadline)
            server.kill()
            return await group.next() ?? nil
        }

        #expect(failure?.repeatability == .unknownOutcome)
        #expect(!connection.isUsable)
    }

    @Test func `a closed connection ends at the server, whoever still holds it`() async throws {
        let watcher = try await connect()
        defer { watcher.close() }
        let connection = try await connect()
        let pid = try await connection.query("select pg_backend_pid()", deadline: soon)[0]
            .get(0, as: Int32.self)
        let deadline = soon

        connection.close()

        let sql = "select 1 from pg_stat_activity where pid = $1"
        while try await !watcher.query(sql, [pid], deadline: deadline).isEmpty {
            await Task.yield()
        }
        #expect(!connection.isUsable)
    }

    @Test func `opening and closing leaks no file descriptor`() async throws {
        try await connect().close()
        let before = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count

        for _ in 0..<100 {
            let connection = try await connect()
            _ = try await connection.query("select 1", deadline: soon)
            connection.close()
        }

        let after = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
        #expect(after <= before + 10)
    }

    private func untilRunning(
        _ text: String, _ settings: ConnectionSettings, deadline: ContinuousClock.Instant
    ) async {
        do {
            let watcher = try await PostgresConnection.connect(settings, deadline: deadline)
            defer { watcher.close() }
            let sql = """
                select 1 from pg_stat_activity
                where query like '%\(text)%' and pid <> pg_backend_pid() and state = 'active'
                """
            while try await watcher.query(sql, deadline: deadline).isEmpty { await Task.yield() }
        } catch {
            Issue.record("\(error)")
        }
    }
}

private actor Collected {
    private(set) var bytes: [UInt8] = []

    func add(_ chunk: [UInt8]) {
        bytes += chunk
    }
}

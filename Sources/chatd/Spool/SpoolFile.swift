import FoundationEssentials
import GRDB
import Postgres
import ShardRouter

/// A message in the spool.
struct SpooledMessage: Sendable, Equatable {
    /// In the order in which they came to their file.
    var number: Int64
    /// Which file it is in: after a damaged one the numbers begin again.
    var generation: Int
    var message: Message
}

/// The file of a spool: SQLite with a write-ahead log, and every commit on the disk before it is
/// answered (`synchronous = FULL`). Its functions wait for the disk; see ``SpoolDisk``.
struct SpoolFile {
    /// Raised when the tables change.
    static let version = 1
    /// How long another process may hold the file: somebody who looks into it.
    private static let busySeconds = 5.0

    /// What became of a message that was to be added.
    enum Addition: Sendable, Equatable {
        case added
        /// The same message waits already.
        case known
        /// Another message of the room has this id.
        case conflict
    }

    /// What waits in one room.
    struct RoomLoad: Sendable, Equatable {
        var room: RoomID
        var rows: Int
        var bytes: Int
    }

    /// Everything in the file.
    struct Load: Sendable, Equatable {
        var rooms: [RoomLoad]
        /// Of what is kept for a human.
        var refusedRows: Int
        var refusedBytes: Int
    }

    let folder: String
    /// The first file of a process is 1, the one after a damaged one 2 …
    let generation: Int
    private let database: DatabaseQueue

    /// Opens the file in `folder`; ``prepare(for:)`` must follow.
    init(folder: String, generation: Int) throws(SpoolError) {
        self.folder = folder
        self.generation = generation
        var configuration = Configuration()
        configuration.journalMode = .wal
        configuration.busyMode = .timeout(Self.busySeconds)
        configuration.label = "chatd.spool"
        do {
            database = try DatabaseQueue(
                path: SpoolFolder.file(in: folder), configuration: configuration)
        } catch {
            throw SpoolError(error, folder: folder)
        }
    }

    /// Checks the file, and makes its tables when there are none.
    ///
    /// - Parameter cluster: which cluster the messages belong to; nil when it is not known yet.
    /// - Throws: ``SpoolError/foreign(folder:)`` when messages of another one wait in it.
    func prepare(for cluster: UUID?) throws(SpoolError) {
        try attempt {
            // After GRDB has chosen the log, which sets a weaker `synchronous`.
            try database.writeWithoutTransaction { database in
                try database.execute(sql: "pragma synchronous = full")
                // The log is copied back every 4 MB: read at a start in no time.
                try database.execute(sql: "pragma wal_autocheckpoint = 1000")
            }
            try database.write { database in
                let check = try String.fetchOne(database, sql: "pragma quick_check(1)") ?? ""
                guard check == "ok" else {
                    throw SpoolError.damaged(folder: folder, reason: check)
                }
                try makeTables(database)
                if let cluster { try bind(database, to: cluster) }
            }
        }
    }

    /// Copies the log back into the file and empties it.
    func emptyLog() throws(SpoolError) {
        try attempt {
            try database.writeWithoutTransaction {
                try $0.execute(sql: "pragma wal_checkpoint(truncate)")
            }
        }
    }

    /// How much a commit waits for: 2 is FULL.
    var synchronous: Int {
        get throws(SpoolError) {
            try attempt {
                try database.read { try Int.fetchOne($0, sql: "pragma synchronous") ?? -1 }
            }
        }
    }

    private func makeTables(_ database: Database) throws {
        let found = try Int.fetchOne(database, sql: "pragma user_version") ?? 0
        guard found <= Self.version else {
            throw SpoolError.newer(folder: folder, version: found)
        }
        guard found == 0 else { return }
        try database.execute(
            sql: """
                create table cluster (id blob not null);
                create table waiting (
                    number integer primary key autoincrement, room text not null,
                    id blob not null, author text not null, sent_at integer not null,
                    received_at integer not null, body text not null, bytes integer not null,
                    unique (room, id));
                create index waiting_by_room on waiting (room, number);
                create table refused (
                    number integer primary key, room text not null, id blob not null,
                    author text not null, sent_at integer not null,
                    received_at integer not null, body text not null, bytes integer not null,
                    reason text not null, refused_at integer not null);
                pragma user_version = \(Self.version);
                """)
    }

    /// Remembers which cluster the messages belong to. An empty file changes its cluster.
    ///
    /// - Throws: ``SpoolError/foreign(folder:)`` when messages of another one wait in it.
    func bind(to cluster: UUID) throws(SpoolError) {
        try attempt { try database.write { try bind($0, to: cluster) } }
    }

    private func bind(_ database: Database, to cluster: UUID) throws {
        let known = try Data.fetchOne(database, sql: "select id from cluster")
        guard known != cluster.data else { return }
        let isEmpty =
            try Bool.fetchOne(
                database,
                sql: """
                    select not exists (select 1 from waiting)
                        and not exists (select 1 from refused)
                    """) ?? false
        guard known == nil || isEmpty else { throw SpoolError.foreign(folder: folder) }
        try database.execute(sql: "delete from cluster")
        try database.execute(sql: "insert into cluster values (?)", arguments: [cluster.data])
    }

    /// Closes the file; nothing can be read or written afterwards.
    func close() throws(SpoolError) {
        try attempt { try database.close() }
    }

    private func attempt<Value>(_ body: () throws -> Value) throws(SpoolError) -> Value {
        do {
            return try body()
        } catch let error as SpoolError {
            throw error
        } catch {
            throw SpoolError(error, folder: folder)
        }
    }
}

// MARK: - Messages

extension SpoolFile {
    /// Adds messages in order; they are on the disk when this returns.
    func add(_ messages: [Message]) throws(SpoolError) -> [Addition] {
        try attempt {
            try database.write { database in
                let insert = try database.cachedStatement(
                    sql: """
                        insert into waiting (room, id, author, sent_at, received_at, body, bytes)
                        values (?, ?, ?, ?, ?, ?, ?) on conflict (room, id) do nothing
                        """)
                return try messages.map { message in
                    try insert.execute(arguments: [
                        message.room.text, message.id.data, message.author,
                        message.sentAt.microsecondsSince1970,
                        message.receivedAt.microsecondsSince1970, message.text,
                        message.spoolBytes,
                    ])
                    if database.changesCount == 1 { return .added }
                    return try isKnown(message, database) ? .known : .conflict
                }
            }
        }
    }

    /// Whether the message that has the id is the same, byte for byte, as shards compare.
    private func isKnown(_ message: Message, _ database: Database) throws -> Bool {
        try Bool.fetchOne(
            database,
            sql: "select author = ? and body = ? from waiting where room = ? and id = ?",
            arguments: [message.author, message.text, message.room.text, message.id.data])
            ?? false
    }

    /// The oldest messages of `room`, in order.
    func oldest(of room: RoomID, limit: Int) throws(SpoolError) -> [SpooledMessage] {
        try attempt {
            try database.read { database in
                try GRDB.Row.fetchAll(
                    database,
                    sql: "select * from waiting where room = ? order by number limit ?",
                    arguments: [room.text, limit]
                ).map {
                    SpooledMessage(
                        number: try $0.decode(forColumn: "number"), generation: generation,
                        message: try Self.message($0, folder: folder))
                }
            }
        }
    }

    /// Takes messages out that a shard has stored.
    func remove(_ numbers: [Int64]) throws(SpoolError) {
        try attempt {
            try database.write { database in
                let delete = try database.cachedStatement(
                    sql: "delete from waiting where number = ?")
                for number in numbers { try delete.execute(arguments: [number]) }
            }
        }
    }

    /// Puts a message aside that its shard will never take; a human decides about it.
    func refuse(_ number: Int64, reason: String, at time: Timestamp) throws(SpoolError) {
        try attempt {
            try database.write { database in
                try database.execute(
                    sql: """
                        insert into refused
                        select number, room, id, author, sent_at, received_at, body, bytes, ?, ?
                        from waiting where number = ?
                        """, arguments: [reason, time.microsecondsSince1970, number])
                try database.execute(
                    sql: "delete from waiting where number = ?", arguments: [number])
            }
        }
    }

    /// What waits, room by room, and what was refused.
    func load() throws(SpoolError) -> Load {
        try attempt {
            try database.read { database in
                let rooms = try GRDB.Row.fetchAll(
                    database,
                    sql: """
                        select room, count(*) as rows, sum(bytes) as bytes from waiting
                        group by room order by min(number)
                        """)
                let refused = try GRDB.Row.fetchOne(
                    database,
                    sql: "select count(*) as rows, coalesce(sum(bytes), 0) as bytes from refused")
                return Load(
                    rooms: rooms.map {
                        RoomLoad(room: RoomID($0["room"]), rows: $0["rows"], bytes: $0["bytes"])
                    }, refusedRows: refused?["rows"] ?? 0, refusedBytes: refused?["bytes"] ?? 0)
            }
        }
    }

    static func message(_ row: GRDB.Row, folder: String) throws -> Message {
        // A damaged row may hold anything: reading it by subscript would end the process.
        do {
            guard let id = UUID(try row.decode(Data.self, forColumn: "id")) else {
                throw SpoolError.damaged(folder: folder, reason: "an id has not 16 bytes")
            }
            return Message(
                id: id, room: RoomID(try row.decode(forColumn: "room")),
                author: try row.decode(forColumn: "author"),
                sentAt: Timestamp(microsecondsSince1970: try row.decode(forColumn: "sent_at")),
                receivedAt: Timestamp(
                    microsecondsSince1970: try row.decode(forColumn: "received_at")),
                text: try row.decode(forColumn: "body"))
        } catch let error as RowDecodingError {
            throw SpoolError.damaged(folder: folder, reason: "\(error)")
        }
    }
}

extension Message {
    /// What the message counts in the spool's bound.
    var spoolBytes: Int {
        text.utf8.count + author.utf8.count + room.text.utf8.count + SpoolLimits.rowOverhead
    }
}

extension UUID {
    var data: Data { withUnsafeBytes(of: uuid) { Data($0) } }

    init?(_ data: Data) {
        guard data.count == 16 else { return nil }
        let bytes = Array(data)
        self = bytes.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
    }
}

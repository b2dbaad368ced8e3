public import Postgres
import ShardRouter

/// What a server must offer, and should offer, to be a shard and to take part in moves.
public struct ServerChecks: Sendable {
    /// What is asked of a server.
    public struct Limits: Sendable {
        /// Below this many free slots, senders or workers not even one move can run: a copy and its
        /// verification take one each.
        public var blockingFree = 2
        /// Moves beside each other, on both sides, want this many.
        public var recommendedFree = 8
        /// Apply workers start once in this time; PostgreSQL's 5 s make small moves take 5 s.
        public var walRetrieveRetry = Duration.seconds(1)
    }

    /// One thing that is not as it should be.
    public struct Finding: Sendable, Equatable {
        public enum Severity: String, Sendable {
            /// Nothing is wrong; the operator should know it.
            case note
            case warning
            /// What is wanted of the server cannot work.
            case blocking
        }

        public var severity: Severity
        /// The setting or the property, such as `wal_level`.
        public var subject: String
        public var what: String
        /// SQL or a command.
        public var fix: String
    }

    /// The seed of the cluster's ring.
    public var seed: Int64
    /// Whether rooms will have to move from or to this server: else what only moves need is a
    /// warning.
    public var needsMoves: Bool
    /// Collations of the shards that are there already.
    public var fleetCollations: Set<String>
    public var limits = Limits()

    public init(seed: Int64, needsMoves: Bool, fleetCollations: Set<String> = []) {
        self.seed = seed
        self.needsMoves = needsMoves
        self.fleetCollations = fleetCollations
    }

    /// Asks the server; changes nothing.
    public func findings(
        _ connection: PostgresConnection, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> [Finding] {
        findings(try await ServerFacts.read(connection, seed: seed, deadline: deadline))
    }

    func findings(_ facts: ServerFacts) -> [Finding] {
        guard facts.version >= 150_000 else {
            return [
                Finding(
                    severity: .blocking, subject: "server_version",
                    what: "PostgreSQL \(facts.version / 10_000) is too old; 15 is needed",
                    fix: "use a server of version 15 or newer")
            ]
        }
        return database(facts) + moves(facts) + [diskNote(facts)]
    }

    private func database(_ facts: ServerFacts) -> [Finding] {
        var findings: [Finding] = []
        func add(
            _ severity: Finding.Severity, _ subject: String, _ what: String, _ fix: String
        ) {
            findings.append(Finding(severity: severity, subject: subject, what: what, fix: fix))
        }
        if facts.isStandby {
            add(
                .blocking, "pg_is_in_recovery", "it is a standby, which takes no writes",
                "name the primary, or both servers with a comma between them")
        }
        if facts.encoding != "UTF8" {
            add(
                .blocking, "server_encoding", "its encoding is \(facts.encoding), not UTF8",
                "create database … encoding 'UTF8' template template0")
        }
        let hash = RingHash(seed: seed)
        if facts.hashes != ServerFacts.samples.map({ hash.hash(RoomID($0)) }) {
            add(
                .blocking, "hashtextextended", "it hashes room names differently",
                "use a server whose hash functions are PostgreSQL's own")
        }
        if let made = facts.changedCollationVersion {
            add(
                .warning, "collation version",
                "its indexes were made with collation version \(made), and the system has another",
                "reindex database; alter database … refresh collation version")
        }
        if !fleetCollations.isEmpty, !fleetCollations.contains(facts.collation) {
            add(
                .warning, "collation",
                "its provider and collation are '\(facts.collation)', the others' "
                    + "'\(fleetCollations.sorted().joined(separator: "', '"))': texts sort "
                    + "differently there (room ids do not, they sort by bytes)",
                "create database … with the collation of the others, template template0")
        }
        return findings
    }

    private func moves(_ facts: ServerFacts) -> [Finding] {
        let blocking: Finding.Severity = needsMoves ? .blocking : .warning
        var findings: [Finding] = []
        if facts.walLevel != "logical" {
            findings.append(
                Finding(
                    severity: blocking, subject: "wal_level",
                    what: "wal_level is \(facts.walLevel): rooms cannot move from here before it "
                        + "is 'logical'",
                    fix: "alter system set wal_level = 'logical'; and a restart of that server"))
        }
        for capacity in facts.capacities where capacity.free < limits.recommendedFree {
            findings.append(
                Finding(
                    severity: capacity.free < limits.blockingFree ? blocking : .warning,
                    subject: capacity.name,
                    what:
                        "\(capacity.name) is \(capacity.limit), which leaves \(capacity.free) for "
                        + "moves; \(limits.recommendedFree) let several run beside each other",
                    fix: "alter system set \(capacity.name) = "
                        + "\(capacity.usedByOthers + 2 * limits.recommendedFree); "
                        + "and a restart of that server"))
        }
        if !facts.isSuperuser {
            findings.append(
                Finding(
                    severity: blocking, subject: "superuser",
                    what: "the operator's role is no superuser there, which subscriptions need on "
                        + "PostgreSQL 15",
                    fix: "alter role … superuser, or connect as another role"))
        }
        return findings + pace(facts)
    }

    private func pace(_ facts: ServerFacts) -> [Finding] {
        var findings: [Finding] = []
        let retry = Duration.milliseconds(facts.walRetrieveRetryMilliseconds)
        if retry > limits.walRetrieveRetry {
            findings.append(
                Finding(
                    severity: .warning, subject: "wal_retrieve_retry_interval",
                    what: "wal_retrieve_retry_interval is "
                        + "\(facts.walRetrieveRetryMilliseconds) ms: every move waits so long for "
                        + "its first change",
                    fix: "alter system set wal_retrieve_retry_interval = '100ms'; "
                        + "select pg_reload_conf()"))
        }
        if facts.slotKeepMegabytes < 0 {
            findings.append(
                Finding(
                    severity: .warning, subject: "max_slot_wal_keep_size",
                    what: "max_slot_wal_keep_size is not limited: a move that somebody abandons "
                        + "keeps the log until the disk is full",
                    fix: "alter system set max_slot_wal_keep_size = '16GB'; "
                        + "select pg_reload_conf() (half of what the disk has free is a good size)")
            )
        }
        return findings
    }

    private func diskNote(_ facts: ServerFacts) -> Finding {
        Finding(
            severity: .note, subject: "disk",
            what:
                "the database holds \(facts.databaseBytes / 1_048_576) MiB; SQL cannot ask for the "
                + "free space of a disk, so it was not checked",
            fix: "df -h on that server: its share of the cluster's bytes has to fit, and half as "
                + "much again")
    }
}

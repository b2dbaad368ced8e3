import Postgres
import ShardRouter

/// The sessions of one move at its two shards. They bear the move's name, so that an abort can end
/// them; each knows no time-outs but the callers' own.
struct MoveLinks: Sendable {
    let cluster: Cluster
    let move: Move

    static let patience = Duration.seconds(30)

    func source(replication: Bool = false) async throws -> PostgresConnection {
        try await connect(move.source, replication: replication)
    }

    func target() async throws -> PostgresConnection {
        try await connect(move.target, replication: false)
    }

    /// How the target's server reaches the source's. A password is not written into the target's
    /// catalogue: its server finds it in its own passfile.
    func subscriptionSource() throws -> String {
        var settings = try cluster.settings(endpoint: move.source.endpoint).findingPrimary
        settings["application_name"] = nil
        settings["connect_timeout"] = settings["connect_timeout"] ?? "3"
        return settings.withoutSecrets
    }

    private func connect(
        _ shard: Shard, replication: Bool
    ) async throws -> PostgresConnection {
        var settings = try cluster.settings(endpoint: shard.endpoint).findingPrimary
        settings["application_name"] = move.name
        let limits = [
            "statement_timeout=0", "lock_timeout=0", "idle_in_transaction_session_timeout=0",
            // Values that are compared as text must read alike everywhere.
            "timezone=UTC", "datestyle=ISO,YMD", "intervalstyle=postgres",
            "extra_float_digits=1", "bytea_output=hex", "lc_monetary=C",
        ]
        if replication { settings["replication"] = "database" }
        settings["options"] =
            ((settings["options"].map { [$0] } ?? []) + limits.map { "-c \($0)" })
            .joined(separator: " ")
        do throws(PostgresError) {
            let connection = try await PostgresConnection.connect(
                settings, deadline: .now + .seconds(5))
            if replication { return connection }
            // An endpoint that leads elsewhere must not be written to.
            let identity = try await connection.query(
                "select cluster_id = $1 and shard_id = $2 from shard.identity",
                [move.clusterID, shard.id.number], deadline: .now + Self.patience)
            if try identity.first?.get(0, as: Bool.self) == true { return connection }
            connection.close()
        } catch {
            throw MoveError.unreachable(shard: shard.name, reason: "\(error)")
        }
        throw MoveError.unreachable(
            shard: shard.name, reason: "another database answers at its endpoint")
    }
}

/// Why a step of a move did not happen.
enum MoveError: Error, CustomStringConvertible {
    /// The shard does not answer. It may later.
    case unreachable(shard: String, reason: String)
    /// The slots were not in the state for the step: look again and decide anew.
    case changed(step: String)
    /// The fence was lifted, or never made: the target or the source was not ready in time.
    case notReady(why: String)
    /// The commit at the target may have happened.
    case unknownOutcome(reason: String)
    /// The move holds back more of the source's log than it may.
    case logFull(heldBytes: Int64)
    /// A table was emptied or rewritten while it moved: everything is to be compared again.
    case rewritten(String)
    /// Both sides hold different rows. The move must not go on.
    case differs(String)

    var description: String {
        switch self {
        case .logFull(let held): "it holds back \(held >> 20) MiB of the source's log"
        case .rewritten(let table): "\(table) was truncated or rewritten"
        case .unknownOutcome(let reason): "the commit at the target may have happened: \(reason)"
        case .unreachable(let shard, let reason): "shard \(shard) is away: \(reason)"
        case .changed(let step): "the slots have changed (\(step))"
        case .notReady(let why): why
        case .differs(let what): what
        }
    }
}

extension PostgresConnection {
    /// Calls one of the functions that are the steps of a move.
    nonisolated func step(
        _ call: String, _ parameters: [any PostgresEncodable], deadline: ContinuousClock.Instant
    ) async throws {
        do throws(PostgresError) {
            _ = try await query("select shard.\(call)", parameters, deadline: deadline)
        } catch {
            if case .server(let server) = error, server.sqlState == "SM001" {
                throw MoveError.changed(step: server.message)
            }
            throw error
        }
    }

    /// Runs `body` in a transaction, and rolls it back when it throws.
    nonisolated func transaction<Value>(
        _ begin: String = "begin", deadline: ContinuousClock.Instant,
        _ body: () async throws -> Value
    ) async throws -> Value {
        _ = try await query(Statement(begin, isPrepared: false), deadline: deadline)
        do {
            let value = try await body()
            _ = try await query("commit", deadline: deadline)
            return value
        } catch {
            // The connection that cannot roll back has lost its transaction anyway.
            if isUsable {
                do {
                    _ = try await query("rollback", deadline: .now + .seconds(10))
                } catch { close() }
            }
            throw error
        }
    }
}

import Postgres
import ShardRouter

/// The sessions of one move at its two shards. They bear the move's name, so that an abort can end
/// them; each knows no time-outs but the callers' own.
struct MoveLinks: Sendable {
    let cluster: Cluster
    let move: Move

    static let patience = Duration.seconds(30)

    func source(replication: Bool = false) async throws -> PostgresConnection {
        try await connect(move.source.endpoint, move.source.name, replication: replication)
    }

    func target() async throws -> PostgresConnection {
        try await connect(move.target.endpoint, move.target.name, replication: false)
    }

    /// How the target's server reaches the source's. A password is not written into the target's
    /// catalogue: its server finds it in its own passfile.
    func subscriptionSource() throws -> String {
        var settings = try cluster.settings(endpoint: move.source.endpoint).findingPrimary
        settings["application_name"] = nil
        settings["connect_timeout"] = settings["connect_timeout"] ?? "10"
        return settings.withoutSecrets
    }

    private func connect(
        _ endpoint: String, _ name: String, replication: Bool
    ) async throws -> PostgresConnection {
        var settings = try cluster.settings(endpoint: endpoint).findingPrimary
        settings["application_name"] = move.name
        let limits = [
            "statement_timeout=0", "lock_timeout=0", "idle_in_transaction_session_timeout=0",
        ]
        if replication {
            settings["replication"] = "database"
        } else {
            settings["options"] =
                ((settings["options"].map { [$0] } ?? []) + limits.map { "-c \($0)" })
                .joined(separator: " ")
        }
        do throws(PostgresError) {
            return try await .connect(settings, deadline: .now + .seconds(5))
        } catch {
            throw MoveError.unreachable(shard: name, reason: "\(error)")
        }
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
    /// Both sides hold different rows. The move must not go on.
    case differs(String)

    var description: String {
        switch self {
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

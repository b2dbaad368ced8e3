import BenchKit
import ShardOperations
import ShardRouter
import Synchronization

/// When a move was in which phase, by the events of its runner.
final class MoveLog: Sendable {
    struct Contents: Sendable {
        /// Phases in the order in which they were entered.
        var entered: [(phase: MovePhase, at: ContinuousClock.Instant)] = []
        var rows: Int64 = 0
        var copying = Duration.zero
        var notes: [String] = []
        /// From the pre-flight to the end.
        var whole = Duration.zero
    }

    private let contents = Mutex(Contents())

    var value: Contents { contents.withLock(\.self) }

    func note(_ event: MoveEvent) {
        contents.withLock { contents in
            if contents.entered.last?.phase != event.phase {
                contents.entered.append((event.phase, .now))
            }
            contents.rows = max(contents.rows, event.rows)
            contents.copying = max(contents.copying, event.copying)
            if let note = event.note, contents.notes.last != note { contents.notes.append(note) }
        }
    }
}

extension MoveLog.Contents {
    /// When `phase` began for the first time.
    func begin(_ phase: MovePhase) -> ContinuousClock.Instant? {
        entered.first { $0.phase == phase }?.at
    }

    /// All the time that was spent in `phase`.
    func time(in phase: MovePhase) -> Duration {
        zip(entered, entered.dropFirst()).reduce(.zero) {
            $1.0.phase == phase ? $0 + ($1.1.at - $1.0.at) : $0
        }
    }
}

/// One move, with what its runner told.
func moved(
    _ slots: [Int], from source: Int, to target: Int, in cluster: Cluster,
    limits: MoveLimits = MoveLimits()
) async throws -> (move: Move, log: MoveLog.Contents) {
    let log = MoveLog()
    let topology = try await cluster.topology()
    guard let source = topology.shard(ShardID(source)), let target = topology.shard(ShardID(target))
    else { throw BenchError(description: "the shards of a move are not there") }
    let start = ContinuousClock.now
    let move = try await Mover(cluster: cluster, limits: limits) { log.note($0) }
        .move(slots, from: source, to: target, reason: "benchmark")
    var contents = log.value
    contents.whole = .now - start
    return (move, contents)
}

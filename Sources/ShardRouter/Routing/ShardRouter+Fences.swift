import Logging
import Postgres
import Synchronization

/// Somebody waits at a slot's fence.
struct FenceWait {
    var shard: ShardID
    var since: ContinuousClock.Instant
    /// Somebody has seen the fence at this moment.
    var latest: ContinuousClock.Instant
}

/// A runner that dies behind its fence would keep writers out until an operator comes. Whoever waits
/// there lifts it, as docs/moving-data.md allows to anybody: first the target learns that the attempt
/// is over, then the source opens again.
extension ShardRouter {
    /// Waits that nobody has renewed for so long are over.
    private static let renewal = Duration.seconds(1)

    func noteFence(of slot: Slot, at shard: ShardID, _ answer: SlotAnswer) {
        guard answer.state == "fenced" else { return }
        let now = ContinuousClock.now
        waiting.withLock { waiting in
            if var wait = waiting[slot], wait.shard == shard, now - wait.latest < Self.renewal {
                wait.latest = now
                waiting[slot] = wait
            } else {
                waiting[slot] = FenceWait(shard: shard, since: now, latest: now)
            }
        }
    }

    /// Lifts fences that have lasted too long by the source's own clock.
    func liftStaleFences() async {
        let now = ContinuousClock.now
        let stale = waiting.withLock { waiting in
            waiting = waiting.filter { now - $0.value.latest < Self.renewal }
            return waiting.first { now - $0.value.since > limits.staleFence }
        }
        guard let (slot, wait) = stale else { return }
        waiting.withLock { _ = $0.removeValue(forKey: slot) }
        do {
            guard let lifted = try await lift(slot, at: wait.shard) else { return }
            logger.warning(
                "lifted a fence that its move has left behind",
                metadata: [
                    "shard.id": "\(wait.shard)", "move.id": "\(lifted.move)",
                    "slots": "\(lifted.slots)",
                ])
        } catch {
            logger.warning(
                "cannot lift a fence that its move has left behind",
                metadata: ["shard.id": "\(wait.shard)", "error": "\(error)"])
        }
    }

    /// - Returns: the move, and how many slots are open again; nil when the fence is not stale, or
    ///   the target cannot be told.
    private func lift(_ slot: Slot, at source: ShardID) async throws -> (move: Int64, slots: Int)? {
        let deadline = ContinuousClock.now + limits.batch
        let seconds = limits.staleFence / .seconds(1)
        let found = try await pools.withConnection(to: source, deadline: deadline) { connection in
            try await connection.query(
                "select move_id, attempt, target from shard.stale_fence($1::int8::int4, $2)",
                [slot.number, seconds], deadline: deadline)
        }
        guard let fence = found.first else { return nil }
        let (move, attempt): (Int64, Int32) = (try fence.get(0), try fence.get(1))
        guard let target: Int = try fence.get(2) else { return nil }
        let raised: Int32? = try await pools.withConnection(
            to: ShardID(target), deadline: deadline
        ) { connection in
            try await connection.query(
                "select shard.raise_stale($1, $2)", [move, attempt], deadline: deadline)[0].get(0)
        }
        guard let raised else { return nil }
        let slots: Int = try await pools.withConnection(to: source, deadline: deadline) {
            try await $0.query(
                "select shard.lift_stale($1, $2, $3)", [move, raised, seconds], deadline: deadline
            )[0].get(0)
        }
        return (move, slots)
    }
}

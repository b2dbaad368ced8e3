import Postgres
import Tracing

/// What the owner of a room is asked.
struct OwnerQuestion<Value: Sendable>: Sendable {
    /// The name of its span.
    var name: StaticString
    /// Whether statements of others than the router run, which may leave something in the session.
    var isForeign: Bool
    /// Asks one shard.
    var ask:
        @Sendable (PostgresConnection, ContinuousClock.Instant) async throws -> OwnerAnswer<Value>
}

extension ShardRouter {
    /// Asks the owner of `room`, and tells metrics and traces about it.
    func ask<Value: Sendable>(
        _ question: OwnerQuestion<Value>, ownerOf room: RoomID, patience: Duration
    ) async throws -> Value {
        let start = ContinuousClock.now
        let span = tracing.start(question.name, room: room)
        defer { span?.end() }
        do {
            let value = try await followOwner(of: room, deadline: start + patience, question)
            measure(.ok, room, start, span)
            return value
        } catch {
            measure(.failed, room, start, span)
            span?.recordError(error)
            throw error
        }
    }

    private func measure(
        _ outcome: ReadLabel, _ room: RoomID, _ start: ContinuousClock.Instant, _ span: (any Span)?
    ) {
        guard let shard = route(room).shard else { return }
        span?.attributes["shard.id"] = shard.number
        guard let metrics = metrics[shard] else { return }
        metrics.read.record(since: start)
        metrics.answered(outcome)
    }

    /// Finds the owner of `room` and asks it; follows it when it has moved, waits when it is on
    /// its way, and repeats what did not happen because of the connection.
    private func followOwner<Value: Sendable>(
        of room: RoomID, deadline: ContinuousClock.Instant, _ question: OwnerQuestion<Value>
    ) async throws -> Value {
        var pause = limits.firstPause
        while true {
            switch try await attempt(room, deadline: deadline, question) {
            case .done(let value):
                return value
            case .movedOn:
                continue
            case .again(let shard, let reason, let isOnItsWay):
                if isOnItsWay { pause = limits.fencePause }
                guard ContinuousClock.now + pause < deadline else {
                    throw TransactionError.unavailable(shard: shard, reason: reason)
                }
                try await Task.sleep(for: pause * Double.random(in: 0.5...1))
                pause = min(pause * 2, limits.longestPause)
            }
        }
    }

    /// Asks the shard that is thought to be the owner, once.
    private func attempt<Value: Sendable>(
        _ room: RoomID, deadline: ContinuousClock.Instant, _ question: OwnerQuestion<Value>
    ) async throws -> Attempt<Value> {
        let (slot, owner) = route(room)
        guard let owner else {
            return .again(ShardID(0), "no shard is known to own slot \(slot)", false)
        }
        do {
            let answer = try await pools.withConnection(
                to: owner, deadline: deadline, reset: question.isForeign
            ) { try await question.ask($0, deadline) }
            switch answer {
            case .done(let value):
                return .done(value)
            case .elsewhere(let answer):
                learn(answer, of: slot)
                if keeper.table.owner(of: slot) != owner { return .movedOn }
                noteFence(of: slot, at: owner, answer)
                fences.continuation.yield()
                return .again(owner, "slot \(slot) is \(answer.state) there", true)
            }
        } catch let failure as BodyFailed {
            guard let lost = failure.error as? CommitLost else { throw failure.error }
            throw TransactionError.unknownOutcome(shard: owner, reason: lost.reason)
        } catch let error as PostgresError where error.repeatability == .never {
            throw error
        } catch {
            return .again(owner, "\(error)", false)
        }
    }
}

/// How one question to one shard ended.
private enum Attempt<Value: Sendable> {
    case done(Value)
    /// The owner is known better now: ask there at once.
    case movedOn
    /// Nothing happened; `isOnItsWay`: the slot is fenced, or moving.
    case again(_ shard: ShardID, _ reason: String, _ isOnItsWay: Bool)
}

/// What a shard answers to a question about a room.
enum OwnerAnswer<Value: Sendable>: Sendable {
    case done(Value)
    case elsewhere(SlotAnswer)
}

/// Marks what the caller's own code threw, so that it is not repeated.
struct BodyFailed: Error {
    var error: any Error
}

struct CommitLost: Error {
    var reason: String
}

extension SlotAnswer {
    /// From the columns state, moved_to and epoch of the first row.
    init(_ rows: Rows) throws(PostgresError) {
        guard let row = rows.first else {
            throw .decoding(column: "state", reason: "the shard has no row for the slot")
        }
        let movedTo: Int? = try row.get("moved_to")
        self.init(
            state: try row.get("state"), movedTo: movedTo.map { ShardID($0) },
            epoch: Epoch(try row.get("epoch")))
    }
}

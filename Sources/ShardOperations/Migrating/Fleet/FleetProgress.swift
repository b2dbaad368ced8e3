/// In which order the shards of a fleet are migrated, and when that stops. No I/O.
///
/// canary → check → rest. After a failure of the canary or of the check nothing else begins; later,
/// nothing else begins when more than `maxFailures` shards have failed. What runs already ends.
struct FleetProgress: Sendable, Equatable {
    enum ShardState: Sendable, Equatable {
        case pending, running, done
        case failed(String)
    }

    enum Action: Sendable, Equatable {
        case migrate(String)
        case check(String)
    }

    private enum Phase: Equatable {
        case canary(String)
        case checking(String)
        case rest
        case stopped
    }

    /// In the order in which they begin.
    private(set) var shards: [(name: String, state: ShardState)]
    /// Why the check of the canary failed.
    private(set) var problem: String?
    private var phase: Phase
    private let parallel: Int
    private let maxFailures: Int

    /// - Parameters:
    ///   - pending: the shards that lack something, in their order.
    ///   - canary: goes first, alone, and is checked even when it lacks nothing; nil is the first
    ///     one.
    init(pending: [String], canary: String? = nil, parallel: Int = 1, maxFailures: Int = 0) {
        precondition(parallel > 0, "somebody has to begin")
        precondition(maxFailures >= 0, "failures are counted from 0")
        self.parallel = parallel
        self.maxFailures = maxFailures
        let first = canary ?? pending.first
        shards = (pending.filter { $0 == first } + pending.filter { $0 != first })
            .map { ($0, .pending) }
        if let first {
            phase = pending.contains(first) ? .canary(first) : .checking(first)
        } else {
            phase = .stopped
        }
    }

    var failures: Int {
        shards.count { if case .failed = $0.state { true } else { false } }
    }

    /// Nothing runs, and nothing more begins.
    var isOver: Bool {
        guard !shards.contains(where: { $0.state == .running }) else { return false }
        switch phase {
        case .canary, .checking: return false
        case .stopped: return true
        case .rest: return !shards.contains { $0.state == .pending }
        }
    }

    /// What begins now.
    mutating func next() -> [Action] {
        switch phase {
        case .canary(let canary):
            guard state(of: canary) == .pending else { return [] }
            set(canary, .running)
            return [.migrate(canary)]
        case .checking(let canary):
            return problem == nil ? [.check(canary)] : []
        case .stopped:
            return []
        case .rest:
            var actions: [Action] = []
            let running = shards.count { $0.state == .running }
            for index in shards.indices where shards[index].state == .pending {
                guard running + actions.count < parallel else { break }
                shards[index].state = .running
                actions.append(.migrate(shards[index].name))
            }
            return actions
        }
    }

    /// - Parameter problem: why it failed; nil when it is done.
    mutating func ended(_ shard: String, problem: String?) {
        precondition(state(of: shard) == .running, "\(shard) was begun")
        set(shard, problem.map { .failed($0) } ?? .done)
        switch phase {
        case .canary(let canary):
            phase = problem == nil ? .checking(canary) : .stopped
        case .rest where failures > maxFailures:
            phase = .stopped
        case .rest, .stopped, .checking:
            break
        }
    }

    /// The check of the canary has passed, or failed for `problem`.
    mutating func checked(problem: String?) {
        guard case .checking = phase else { preconditionFailure("checked while \(phase)") }
        self.problem = problem
        phase = problem == nil ? .rest : .stopped
    }

    private func state(of shard: String) -> ShardState? {
        shards.first { $0.name == shard }?.state
    }

    private mutating func set(_ shard: String, _ state: ShardState) {
        for index in shards.indices where shards[index].name == shard {
            shards[index].state = state
        }
    }

    static func == (one: FleetProgress, other: FleetProgress) -> Bool {
        one.shards.elementsEqual(other.shards, by: ==) && one.phase == other.phase
            && one.problem == other.problem
    }
}

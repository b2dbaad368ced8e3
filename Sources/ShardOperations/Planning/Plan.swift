public import ShardRouter

/// Slots that go from one shard to another together. By name: a plan may add shards.
public struct PlannedMove: Sendable, Equatable {
    public var source: String
    public var target: String
    /// Ascending.
    public var slots: [Int]
    /// As counted when the plan was made; 0 where a shard did not answer.
    public var rows: Int64
    public var bytes: Int64

    public init(source: String, target: String, slots: [Int], rows: Int64, bytes: Int64) {
        self.source = source
        self.target = target
        self.slots = slots
        self.rows = rows
        self.bytes = bytes
    }
}

extension [PlannedMove] {
    /// How long moves take one after the other: an estimate, from 100,000 rows copied in a second
    /// and half a second for each move.
    public var estimate: Duration {
        reduce(.zero) { $0 + .seconds(Double($1.rows) / 100_000) + .milliseconds(500) }
    }
}

/// What is done to shards before the moves of a plan.
public struct PlanChanges: Sendable, Equatable, Codable {
    public struct NewShard: Sendable, Equatable, Codable {
        public var name: String
        public var endpoint: String
        public var weight: Int

        public init(name: String, endpoint: String, weight: Int = 1) {
            self.name = name
            self.endpoint = endpoint
            self.weight = weight
        }
    }

    public var add: [NewShard]
    public var drain: [String]
    /// New weights of shards that are there already.
    public var weights: [String: Int]

    public init(add: [NewShard] = [], drain: [String] = [], weights: [String: Int] = [:]) {
        self.add = add
        self.drain = drain
        self.weights = weights
    }

    public var isEmpty: Bool { add.isEmpty && drain.isEmpty && weights.isEmpty }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        add = try container.decodeIfPresent([NewShard].self, forKey: .add) ?? []
        drain = try container.decodeIfPresent([String].self, forKey: .drain) ?? []
        weights = try container.decodeIfPresent([String: Int].self, forKey: .weights) ?? [:]
    }
}

/// A saved plan: it is carried out as it is, or not at all.
public struct Plan: Sendable, Equatable {
    public enum State: String, Sendable {
        case saved, started, done
    }

    /// One move of the plan.
    public struct Step: Sendable, Equatable {
        /// From 1, in the order of the plan.
        public var place: Int
        /// The move that was opened for it.
        public var moveID: Int64?
        public var move: PlannedMove
    }

    public var id: Int64
    /// The topology that it was made for.
    public var epoch: Epoch
    /// nil when people chose the slots.
    public var balance: Balance?
    public var reason: String
    public var changes: PlanChanges
    public var state: State
    /// The plan that this one takes back.
    public var reverses: Int64?
    public var steps: [Step]

    public var moves: [PlannedMove] { steps.map(\.move) }
}

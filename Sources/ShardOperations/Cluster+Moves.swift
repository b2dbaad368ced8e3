public import Postgres
public import ShardRouter

extension Cluster {
    /// The journal of moves in a few numbers.
    public struct MoveSummary: Sendable, Equatable {
        /// One shard's part.
        public struct Part: Sendable, Equatable {
            /// When a move from or to the shard was last found equal on both sides.
            public var lastVerified: Timestamp?
            /// Copies that moves left behind there, waiting to be purged.
            public var oldCopies = 0

            public init() {}
        }

        public var openMoves = 0
        public var oldCopies = 0
        public var parts: [ShardID: Part] = [:]
    }

    /// What the journal says; nothing while the catalog's schema is older than moves.
    public func moveSummary() async throws -> MoveSummary {
        let deadline = ContinuousClock.now + Self.patience
        return try await withCatalog { catalog in
            guard try await Self.hasJournal(catalog, deadline: deadline) else {
                return MoveSummary()
            }
            var summary = MoveSummary()
            summary.openMoves = try await catalog.query(
                "select count(*) from catalog.moves where state = 'open'", deadline: deadline)[0]
                .get(0)
            let rows = try await catalog.query(
                """
                select s.id, max(m.verified_at),
                    count(*) filter (
                        where m.state = 'done' and m.purged_at is null and m.source_id = s.id)
                from catalog.shards s join catalog.moves m on s.id in (m.source_id, m.target_id)
                group by s.id
                """, deadline: deadline)
            for row in rows {
                var part = MoveSummary.Part()
                part.lastVerified = try row.get(1)
                part.oldCopies = try row.get(2)
                summary.oldCopies += part.oldCopies
                summary.parts[ShardID(try row.get(0))] = part
            }
            return summary
        }
    }
}

import Foundation
public import Postgres
public import ShardRouter

/// Plans in the catalog.
public enum PlanStore {
    /// Saves a plan; it gets its id here.
    public static func save(
        _ moves: [PlannedMove], epoch: Epoch, balance: Balance?, reason: String,
        changes: PlanChanges = PlanChanges(), reverses: Int64? = nil,
        in catalog: PostgresConnection
    ) async throws -> Plan {
        let deadline = ContinuousClock.now + Cluster.patience
        let steps = zip(1..., moves).map { Plan.Step(place: $0, move: $1) }
        let places = steps.flatMap { step in step.move.slots.map { _ in Int32(step.place) } }
        // One statement, so that there is no plan without its moves.
        let rows = try await catalog.query(
            """
            with plan as (
                insert into catalog.plans (epoch, balance_by, reason, changes, reverses)
                values ($1, $2, $3, $4::text::jsonb, $5) returning id
            ), moves as (
                insert into catalog.plan_moves (plan_id, place, source, target, slots, rows, bytes)
                select plan.id, m.place, m.source, m.target, s.slots, m.rows, m.bytes
                from plan, unnest($6::int4[], $7::text[], $8::text[], $9::int8[], $10::int8[])
                    as m (place, source, target, rows, bytes)
                join (select u.place, array_agg(u.slot order by u.slot) as slots
                    from unnest($11::int4[], $12::int4[]) as u (place, slot) group by 1) s
                    using (place)
            )
            select id from plan
            """,
            [
                epoch.number, balance?.rawValue ?? "choice", reason,
                String(decoding: try JSONEncoder().encode(changes), as: UTF8.self), reverses,
                steps.map { Int32($0.place) }, moves.map(\.source), moves.map(\.target),
                moves.map(\.rows), moves.map(\.bytes), places,
                moves.flatMap { move in move.slots.map { Int32($0) } },
            ], deadline: deadline)
        return Plan(
            id: try rows[0].get(0), epoch: epoch, balance: balance, reason: reason,
            changes: changes, state: .saved, reverses: reverses, steps: steps)
    }

    /// - Throws: a refusal when there is no such plan.
    public static func load(
        _ id: Int64, from catalog: PostgresConnection
    ) async throws -> Plan {
        let answers = try await catalog.pipeline(
            [
                Statement(
                    """
                    select epoch, balance_by, reason, changes::text, state, reverses
                    from catalog.plans where id = $1
                    """, [id]),
                Statement(
                    """
                    select place, move_id, source, target, slots, rows, bytes
                    from catalog.plan_moves where plan_id = $1 order by place
                    """, [id]),
            ], deadline: .now + Cluster.patience)
        guard let row = answers[0].first else {
            throw OperationError.refused("there is no plan \(id)", next: "shardctl plan list")
        }
        let state: String = try row.get(4)
        guard let state = Plan.State(rawValue: state) else {
            throw OperationError.failed("plan \(id) is in the unknown state '\(state)'")
        }
        let changes: String = try row.get(3)
        return Plan(
            id: id, epoch: Epoch(try row.get(0)), balance: Balance(rawValue: try row.get(1)),
            reason: try row.get(2),
            changes: try JSONDecoder().decode(PlanChanges.self, from: Data(changes.utf8)),
            state: state, reverses: try row.get(5),
            steps: try answers[1].map { row throws(PostgresError) in
                Plan.Step(
                    place: try row.get(0), moveID: try row.get(1),
                    move: PlannedMove(
                        source: try row.get(2), target: try row.get(3),
                        slots: try row.get(4, as: [Int32].self).map { Int($0) },
                        rows: try row.get(5), bytes: try row.get(6)))
            })
    }

    /// A plan in a list.
    public struct Summary: Sendable, Equatable {
        public var id: Int64
        public var madeAt: Timestamp
        public var balance: Balance?
        public var reason: String
        public var state: String
        public var moves: Int
        public var slots: Int
        public var rows: Int64
        public var bytes: Int64
    }

    /// The newest plans, newest first.
    public static func list(
        from catalog: PostgresConnection, most: Int = 100
    ) async throws -> [Summary] {
        let rows = try await catalog.query(
            """
            select p.id, p.made_at, p.balance_by, p.reason, p.state, count(m.place),
                coalesce(sum(cardinality(m.slots)), 0)::int8, coalesce(sum(m.rows), 0)::int8,
                coalesce(sum(m.bytes), 0)::int8
            from catalog.plans p left join catalog.plan_moves m on m.plan_id = p.id
            group by p.id order by p.id desc limit $1
            """, [most], deadline: .now + Cluster.patience)
        return try rows.map { row throws(PostgresError) in
            Summary(
                id: try row.get(0), madeAt: try row.get(1),
                balance: Balance(rawValue: try row.get(2)), reason: try row.get(3),
                state: try row.get(4), moves: try row.get(5), slots: try row.get(6),
                rows: try row.get(7), bytes: try row.get(8))
        }
    }
}

import ShardOperations
import ShardRouter

/// Longer tables are cut off: what matters is above.
private let mostLines = 20

/// What a plan that was just made looks like.
func planReport(_ outcome: PlanMaking.Outcome, _ wishes: PlanWishes) -> Report {
    let moves = outcome.plan?.moves ?? []
    var lines: [String] = []
    if let plan = outcome.plan {
        lines.append("plan \(plan.id): \(plan.reason)")
    } else {
        lines.append("balanced: nothing is to be moved, so no plan is saved")
    }
    lines += shareTable(outcome.shares, by: wishes.balance)
    if !moves.isEmpty { lines += moveTable(moves) + [total(moves)] }
    lines += outcome.warnings.map { "warning: \($0)" }
    let next =
        if let plan = outcome.plan {
            "shardctl rebalance \(plan.id)"
        } else if let shard = wishes.changes.drain.first {
            "shardctl shard drain \(shard)"
        } else if let (shard, weight) = wishes.changes.weights.min(by: { $0.key < $1.key }) {
            "shardctl shard set \(shard) --weight \(weight)"
        } else {
            "shardctl status"
        }
    return Report(
        lines: lines,
        json: [
            "plan": outcome.plan.map { .number(Int($0.id)) } ?? .null,
            "moves": .list((outcome.plan?.steps ?? []).map { .object(fields(of: $0)) }),
            "shares": .list(outcome.shares.map { .object(fields(of: $0)) }),
            "seconds": .number(seconds(moves)),
            "warnings": .list(outcome.warnings.map { .text($0) }),
        ], next: next)
}

/// What a saved plan looks like.
func planReport(_ plan: Plan) -> Report {
    let opened = plan.steps.count { $0.moveID != nil }
    let changes = plan.changes
    var lines = [
        "plan \(plan.id), \(plan.state.rawValue): \(plan.reason)",
        "made for epoch \(plan.epoch); \(opened) of \(plan.steps.count) moves are done",
    ]
    if let reversed = plan.reverses { lines.append("takes back plan \(reversed)") }
    lines += changes.add.map { "adds \($0.name), weight \($0.weight): \($0.endpoint)" }
    lines += moveTable(plan.moves) + [total(plan.moves)]
    return Report(
        lines: lines,
        json: [
            "plan": .number(Int(plan.id)), "epoch": .number(Int(plan.epoch.number)),
            "by": .text(plan.balance?.rawValue ?? "choice"), "reason": .text(plan.reason),
            "state": .text(plan.state.rawValue),
            "reverses": plan.reverses.map { .number(Int($0)) } ?? .null,
            "changes": .object([
                "add": .list(
                    changes.add.map {
                        .object([
                            "name": .text($0.name), "endpoint": .text($0.endpoint),
                            "weight": .number($0.weight),
                        ])
                    }),
                "drain": .list(changes.drain.map { .text($0) }),
                "weights": .object(changes.weights.mapValues { .number($0) }),
            ]),
            "moves": .list(plan.steps.map { .object(fields(of: $0)) }),
            "seconds": .number(seconds(plan.moves)),
        ],
        next: plan.state == .done ? "shardctl status" : "shardctl rebalance \(plan.id)")
}

private func shareTable(_ shares: [ShardShare], by balance: Balance) -> [String] {
    let totals = shares.reduce(into: (before: 0.0, after: 0.0)) {
        $0.before += $1.before.amount(by: balance)
        $0.after += $1.after.amount(by: balance)
    }
    func part(_ portion: Portion, _ total: Double) -> String {
        total > 0 ? percent(portion.amount(by: balance) / total) : "-"
    }
    let rows = shares.map { share in
        [
            share.name, "\(share.weight)", "\(share.before.slots) → \(share.after.slots)",
            "\(part(share.before, totals.before)) → \(part(share.after, totals.after))",
            "\(grouped(share.before.rows)) → \(grouped(share.after.rows))",
            "\(bytesText(share.before.bytes)) → \(bytesText(share.after.bytes))",
        ]
    }
    let header = [
        "SHARD", "WEIGHT", "SLOTS", "PART OF THE \(balance.rawValue.uppercased())", "ROWS",
        "BYTES",
    ]
    return shortened(header, rows, "shards")
}

/// The moves; of many moves the sum for each pair of shards.
private func moveTable(_ moves: [PlannedMove]) -> [String] {
    func row(_ move: PlannedMove, _ first: String) -> [String] {
        [
            first, move.source, move.target, "\(move.slots.count)", grouped(move.rows),
            bytesText(move.bytes),
        ]
    }
    let columns = ["FROM", "TO", "SLOTS", "ROWS", "BYTES"]
    guard moves.count > mostLines else {
        return table([["MOVE"] + columns] + zip(1..., moves).map { row($1, "\($0)") })
    }
    var sums: [PlannedMove] = []
    var counts: [Int] = []
    var places: [[String]: Int] = [:]
    for move in moves {
        let place = places[[move.source, move.target], default: sums.count]
        places[[move.source, move.target]] = place
        if place == sums.count {
            sums.append(move)
            counts.append(1)
        } else {
            sums[place].slots += move.slots
            sums[place].rows += move.rows
            sums[place].bytes += move.bytes
            counts[place] += 1
        }
    }
    let rows = zip(sums, counts).map { row($0, "\($1)") }
    return shortened(["MOVES"] + columns, rows, "pairs of shards")
}

private func shortened(_ header: [String], _ rows: [[String]], _ what: String) -> [String] {
    let left = rows.count - mostLines
    return table([header] + rows.prefix(mostLines))
        + (left > 0 ? ["… and \(left) more \(what), with --json"] : [])
}

private func total(_ moves: [PlannedMove]) -> String {
    let (slots, rows, bytes) = moves.reduce(into: (0, Int64(0), Int64(0))) {
        $0.0 += $1.slots.count
        $0.1 += $1.rows
        $0.2 += $1.bytes
    }
    return "in all \(moves.count) moves, \(slots) slots, \(grouped(rows)) rows, "
        + "\(bytesText(bytes)); about \(timeText(seconds(moves))) one after the other (an estimate)"
}

private func seconds(_ moves: [PlannedMove]) -> Int {
    let estimate = moves.estimate.components
    return Int(estimate.seconds) + (estimate.attoseconds > 0 ? 1 : 0)
}

private func timeText(_ seconds: Int) -> String {
    if seconds < 120 { return "\(seconds) s" }
    return seconds < 7_200 ? "\(seconds / 60) min" : "\(seconds / 3_600) h"
}

private func fields(of step: Plan.Step) -> [String: JSONValue] {
    [
        "place": .number(step.place), "source": .text(step.move.source),
        "target": .text(step.move.target), "slots": .number(step.move.slots.count),
        "rows": .number(Int(step.move.rows)), "bytes": .number(Int(step.move.bytes)),
        "move": step.moveID.map { .number(Int($0)) } ?? .null,
    ]
}

private func fields(of share: ShardShare) -> [String: JSONValue] {
    func portion(_ portion: Portion) -> JSONValue {
        .object([
            "slots": .number(portion.slots), "rows": .number(Int(portion.rows)),
            "bytes": .number(Int(portion.bytes)), "rate": .decimal(portion.rate),
        ])
    }
    return [
        "name": .text(share.name), "weight": .number(share.weight),
        "before": portion(share.before), "after": portion(share.after),
    ]
}

/// `0.256` is `25.6 %`.
func percent(_ part: Double) -> String {
    let tenths = Int((part * 1_000).rounded())
    return "\(tenths / 10).\(tenths % 10) %"
}

/// With two digits behind the point.
func decimal(_ number: Double) -> String {
    let hundredths = Int((number * 100).rounded())
    return "\(hundredths / 100)." + "\(100 + hundredths % 100)".dropFirst()
}

/// `1234567` is `1,234,567`.
func grouped(_ number: Int64) -> String {
    let digits = Array("\(number)")
    return digits.indices.map { place in
        (place > 0 && (digits.count - place) % 3 == 0 ? "," : "") + String(digits[place])
    }.joined()
}

/// `1610612736` is `1.5 GiB`.
func bytesText(_ bytes: Int64) -> String {
    guard bytes >= 1_024 else { return "\(bytes) B" }
    var value = Double(bytes)
    var units = ["KiB", "MiB", "GiB", "TiB", "PiB"][...]
    value /= 1_024
    while value >= 1_024, units.count > 1 {
        value /= 1_024
        units.removeFirst()
    }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10) \(units[units.startIndex])"
}

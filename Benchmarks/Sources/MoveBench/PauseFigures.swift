import BenchKit
import ShardRouter

/// The longest times that callers waited, beside as many equally long windows before the moves.
struct PauseFigures {
    let outcome: PausePhase.Outcome

    /// On either side of a switch, and half of a window before a move, in nanoseconds.
    private static let reach: Int64 = 500_000_000

    func tell(_ report: inout Report) {
        let moves = outcome.moves
        let probes = answers(.probe)
        let reads = answers(.read)
        var (switches, around, before, whole): ([Double], [Double], [Double], [Double]) =
            ([], [], [], [])
        var (readAround, readBefore): ([Double], [Double]) = ([], [])
        for move in moves {
            let mine = probes.filter {
                Int($0.room) == move.place && $0.at >= move.start - 3 * Self.reach
                    && $0.at <= move.end + Self.reach
            }
            let quiet = move.start - 2 * Self.reach...move.start
            before.append(Self.longestGap(mine, in: quiet))
            whole.append(Self.longestGap(mine, in: move.start...move.end))
            guard let first = mine.firstIndex(where: { $0.shard == move.target }), first > 0 else {
                continue
            }
            switches.append(Double(mine[first].at - mine[first - 1].at) / 1e6)
            let window = mine[first].at - Self.reach...mine[first].at + Self.reach
            around.append(Self.longestGap(mine, in: window))
            readAround.append(Self.longestGap(reads, in: window))
            readBefore.append(Self.longestGap(reads, in: quiet))
        }
        report.series["pause: last write of the old owner to first of the new one, ms"] = switches
        report.series["pause: longest gap in the second around the switch, ms"] = around
        report.series["pause: longest gap in the second before the move, ms"] = before
        report.series["pause: longest gap in the whole move, ms"] = whole
        report.series["pause: from fence to release, ms"] = moves.compactMap(\.pauseMilliseconds)
        report.series["pause: reads, around the switch, ms"] = readAround
        report.series["pause: reads, before the move, ms"] = readBefore
        guard switches.count == moves.count else {
            print("pause: \(moves.count - switches.count) switches were not seen by a probe")
            return
        }
        gaps(around, switches, before, &report)
        journal(whole, &report)
        report.add(
            Figure(
                name: "pause: reads, longest gap, max", ours: readAround.max() ?? 0,
                rival: readBefore.max(), unit: "ms",
                note: "rival: the same before the moves; p50 \(short(median(readAround))) and "
                    + "\(short(median(readBefore)))"))
        others(&report)
    }

    private func gaps(
        _ around: [Double], _ switches: [Double], _ before: [Double], _ report: inout Report
    ) {
        let (ours, floor) = (around.sorted(), before.sorted())
        let parts: [(String, Double, Figure.Target?)] = [
            ("p50", 0.5, nil), ("p99", 0.99, .atMost(20)), ("max", 1, .atMost(100)),
        ]
        for (name, share, target) in parts {
            report.add(
                Figure(
                    name: "pause: write pause of a switch, \(name)",
                    ours: percentile(share, of: ours), rival: percentile(share, of: floor),
                    unit: "ms", target: target,
                    note: name == "p50"
                        ? "rival: the probe's longest gap in a second before the move" : ""))
        }
        report.add(
            Figure(
                name: "pause: last write there to first write here, max",
                ours: switches.max() ?? 0, unit: "ms",
                note: "p50 \(short(median(switches)))"))
    }

    private func journal(_ whole: [Double], _ report: inout Report) {
        let pauses = outcome.moves.compactMap(\.pauseMilliseconds).sorted()
        report.add(
            Figure(
                name: "pause: fence to release by the journal, max", ours: pauses.last ?? 0,
                unit: "ms", note: "p50 \(short(percentile(0.5, of: pauses)))"))
        report.add(
            Figure(
                name: "pause: lifted fences",
                ours: Double(outcome.moves.map(\.lifts).reduce(0, +)), unit: "",
                note: "in \(outcome.moves.count) moves; longest gap of a whole move "
                    + "\(short(whole.max() ?? 0)) ms"))
    }

    /// The rooms that stay where they are.
    private func others(_ report: inout Report) {
        let hash = outcome.topology.ringHash
        let stays = outcome.settings.rooms.map {
            !outcome.slots.contains(hash.slot(of: RoomID($0)).number)
        }
        let mine = answers(.load).filter { stays[Int($0.room)] }
        func times(_ ranges: [ClosedRange<Int64>]) -> [Double] {
            mine.filter { one in ranges.contains { $0.contains(one.due) } }
                .map { Double($0.at - $0.due) / 1e6 }.sorted()
        }
        let (quiet, busy) = (times([outcome.quiet]), times(outcome.moves.map(\.copying)))
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (ours, rival) = (percentile(share, of: busy), percentile(share, of: quiet))
            report.add(
                Figure(
                    name: "pause: writes of other rooms during a copy, \(name)",
                    ratio: rival > 0 ? ours / rival : nil, ours: ours, rival: rival,
                    unit: "ms", target: name == "p99" ? .atMost(2) : nil,
                    note: "rival: before the moves; \(busy.count) and \(quiet.count) messages"))
        }
    }

    /// In the order of their times.
    private func answers(_ kind: Acknowledgement.Kind) -> [Acknowledgement] {
        outcome.ledger.filter { $0.kind == kind.rawValue }.sorted { $0.at < $1.at }
    }

    /// In milliseconds, between two answers of which the second one lies in the window.
    private static func longestGap(
        _ sorted: [Acknowledgement], in window: ClosedRange<Int64>
    ) -> Double {
        var longest: Int64 = 0
        for (one, next) in zip(sorted, sorted.dropFirst()) where window.contains(next.at) {
            longest = max(longest, next.at - one.at)
        }
        return Double(longest) / 1e6
    }
}

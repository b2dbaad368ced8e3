import BenchKit
import CBench
import Glibc
import Postgres
@_spi(Benchmarks) import ShardRouter

/// Finding the shard of a room while the topology changes all the time.
struct RoutePhase {
    let stage: Stage

    /// What one measurement saw.
    private struct Sample: Sendable {
        var nanoseconds: Double
        var cpuNanoseconds: Double
        var allocations: Double
    }

    func run(_ report: inout Report) async throws {
        let quiet = try await withRouter(stage.two) { router in
            try await samples(router)
        }
        let (busy, swaps) = try await withRouter(stage.two) { router in
            try await withThrowingTaskGroup(of: Int.self) { group in
                group.addTask { try await swap(router) }
                let samples = try await samples(router)
                group.cancelAll()
                return (samples, try await group.reduce(0, +))
            }
        }
        let perSecond = Double(swaps) / (sampleSeconds * Double(stage.plan.rounds))
        report.add(
            Figure(
                name: "1 route, topology swapped on another thread",
                ours: median(busy.map(\.cpuNanoseconds)), unit: "ns (CPU)", target: .atMost(25),
                note: "\(short(median(busy.map(\.nanoseconds)))) ns by the clock, "
                    + "\(short(perSecond)) swaps/s; without: "
                    + "\(short(median(quiet.map(\.cpuNanoseconds)))) ns"))
        report.add(
            Figure(
                name: "1 allocations of one route", ours: busy.map(\.allocations).max() ?? 0,
                unit: "", target: .atMost(0)))
    }

    private var sampleSeconds: Double { stage.plan.seconds / 2 }

    private func samples(_ router: ShardRouter) async throws -> [Sample] {
        let rooms = (0..<1_024).map { RoomID(Plan.roomName($0)) }
        return try await withThrowingTaskGroup(of: Sample.self) { group in
            var samples: [Sample] = []
            for _ in 0..<stage.plan.rounds {
                group.addTask { sample(router, rooms) }
                if let sample = try await group.next() { samples.append(sample) }
            }
            return samples
        }
    }

    /// Does not wait, so it stays on one thread.
    private func sample(_ router: ShardRouter, _ rooms: [RoomID]) -> Sample {
        let end = ContinuousClock.now + .seconds(sampleSeconds)
        let allocations = cbench_allocations()
        let (clock, cpu) = (nanoseconds(CLOCK_MONOTONIC), nanoseconds(CLOCK_THREAD_CPUTIME_ID))
        var (count, sum) = (0, 0)
        while ContinuousClock.now < end {
            for _ in 0..<16 {
                for room in rooms { sum &+= router.route(room).slot.number }
            }
            count += 16 * rooms.count
        }
        precondition(sum > 0, "rooms are spread over the ring")
        let each = { (value: Double) in value / Double(count) }
        return Sample(
            nanoseconds: each(nanoseconds(CLOCK_MONOTONIC) - clock),
            cpuNanoseconds: each(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu),
            allocations: each(Double(cbench_allocations() - allocations)))
    }

    /// Lets every slot change its owner, each millisecond; returns how often it did.
    private func swap(_ router: ShardRouter) async throws -> Int {
        let first = router.topology
        var epoch = first.epoch.number
        var count = 0
        while !Task.isCancelled {
            epoch += 1
            let owners = first.owners.map {
                ShardID(epoch.isMultiple(of: 2) ? 3 - $0.number : $0.number)
            }
            await router.learn(
                try Topology(
                    clusterID: first.clusterID, seed: first.seed, epoch: Epoch(epoch),
                    shards: first.shards, owners: owners,
                    slotEpochs: Array(repeating: Epoch(epoch), count: owners.count)))
            count += 1
            do {
                try await Task.sleep(for: .microseconds(500))
            } catch {
                break
            }
        }
        return count
    }

    private func nanoseconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
    }
}

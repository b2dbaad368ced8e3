import FoundationEssentials
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

/// Moves between real servers, while callers write.
@Suite struct MoveTests {
    @Test func `slots move while callers write, and nothing is lost or doubled`() async throws {
        let cluster = try await TestCluster.start(shards: 2, seed: 1)
        defer { withExtendedLifetime(cluster) {} }
        let operations = try cluster.operations()
        let topology = try await operations.topology()

        try await Traffic.run(on: cluster) { traffic in
            try await traffic.progress(1)
            let move = try await Mover(cluster: operations, limits: MoveLimits()).move(
                topology.slots(of: 1), from: topology.shards[0], to: topology.shards[1],
                reason: "test")
            #expect(move.state == .done)
            print(
                "pause", move.pauseMilliseconds ?? -1, "lifts", move.lifts, "rows", move.rows ?? -1)
            try await traffic.progress(2)
        }

        try await cluster.expectNothingLeft()
        #expect(try await operations.topology().slotCounts[ShardID(1)] == 0)
    }
}

import Foundation
import Postgres
import ShardRouter
import TestKit
import Testing

@testable import ShardOperations

/// Disturbs moves at every step while callers write. After each move: it is closed, nothing is left
/// of it, each slot has one owner, and the callers' ledger agrees with the shards.
@Suite(.timeLimit(.minutes(30))) struct MoveFaultTests {
    /// `MOVE_FAULTS_ONLY="at fenced"` runs a part of it.
    @Test func `a move survives every fault at every point`() async throws {
        try await disturb { matrix in
            let only = ProcessInfo.processInfo.environment["MOVE_FAULTS_ONLY"] ?? ""
            for cell in MoveCell.all where only.isEmpty || cell.testDescription.contains(only) {
                let wrong = try await matrix.run(cell)
                #expect(wrong.isEmpty, "\(cell.testDescription)")
            }
        }
    }

    /// `MOVE_FAULTS_SEED=7 MOVE_FAULTS_CELLS=500 swift test --filter MoveFaultTests`
    @Test(.enabled(if: ProcessInfo.processInfo.environment["MOVE_FAULTS_SEED"] != nil))
    func `a move survives faults at random`() async throws {
        let environment = ProcessInfo.processInfo.environment
        let seed = UInt64(environment["MOVE_FAULTS_SEED"] ?? "") ?? UInt64.random(in: 1...999_999)
        let count = Int(environment["MOVE_FAULTS_CELLS"] ?? "") ?? 100
        var random = SeededGenerator(seed: seed)
        print("MOVE_FAULTS_SEED=\(seed) MOVE_FAULTS_CELLS=\(count)")
        let cells = (0..<count).map { _ in
            (
                first: MoveCell.all.randomElement(using: &random),
                others: (0..<Int.random(in: 0...2, using: &random)).compactMap { _ in
                    MoveCell.all.filter { !$0.point.isOfAbort }.randomElement(using: &random)
                },
                delay: Duration.milliseconds(Int.random(in: 0...30, using: &random))
            )
        }
        try await disturb { matrix in
            for (number, cell) in cells.enumerated() {
                guard let first = cell.first else { continue }
                let wrong = try await matrix.run(first, and: cell.others, delay: cell.delay)
                #expect(
                    wrong.isEmpty,
                    "cell \(number) of seed \(seed): \(first.testDescription), then \(cell.others)")
            }
        }
    }

    /// Callers write to eight rooms, four of them in the slots that move.
    private func disturb(_ body: (MoveMatrix) async throws -> Void) async throws {
        let servers = try (0..<2).map { _ in
            try PostgresServer.start(settings: ["wal_retrieve_retry_interval": "20ms"])
        }
        let cluster = try await TestCluster.start(on: servers, seed: 1, isProxied: true)
        try await Traffic.run(on: cluster, rest: .milliseconds(100)) { traffic in
            try await traffic.progress(1, by: 100)
            let topology = traffic.router.topology
            let ofRooms = Set(
                traffic.acknowledged.keys.map { traffic.router.route($0).slot.number }
            )
            .filter { topology.owners[$0] == ShardID(1) }
            let slots = Set(topology.slots(of: 1).prefix(12)).union(ofRooms).sorted()
            let watcher = OwnershipWatcher(cluster, slots: slots)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await watcher.run() }
                try await body(try MoveMatrix(cluster, traffic, slots: slots))
                group.cancelAll()
            }
            #expect(watcher.violations.isEmpty, "in \(watcher.samples) looks")
        }
    }
}

import FoundationEssentials
import TestKit
import Testing

@testable import ChatClient

/// Clients of a server that loses, delays and reorders; see ``FakeRoom``. A failure names its seed.
@Suite struct SimulationTests {
    static let seeds = (0..<10).map { _ in UInt64.random(in: 0 ... .max) }

    @Test(arguments: Array(1...14) + seeds)
    func `everybody ends with the same list, and nothing is lost or doubled`(seed: UInt64) {
        var room = FakeRoom(seed: seed, clients: 4, chaos: .seconds(60), losesMessages: false)

        room.play(recovery: .seconds(90))

        Self.check(room, seed)
        for client in room.clients {
            // A reader of the events has what the client has.
            #expect(client.shown == client.state.view.messages, "seed \(seed)")
        }
    }

    @Test(arguments: Array(1...8) + [2_032_620_859_185_322_861] + seeds.prefix(6))
    func `what the shard loses comes back from whoever has seen it`(seed: UInt64) {
        var room = FakeRoom(seed: seed, clients: 4, chaos: .seconds(60), losesMessages: true)

        room.play(recovery: .seconds(120))

        Self.check(room, seed)
        #expect(room.losses > 0, "seed \(seed)")
    }

    /// Where a client's list is not the end of the room's: place, what it has, what it should have.
    private static func difference(
        _ messages: [ChatMessage], _ log: [ChatMessage]
    ) -> [String] {
        let log = log.dropFirst(Int(messages.first?.seq ?? 1) - 1)
        return (0..<max(messages.count, log.count)).compactMap { index in
            let here = index < messages.count ? messages[index] : nil
            let there = index < log.count ? log[log.startIndex + index] : nil
            guard here?.id != there?.id || here?.seq != there?.seq else { return nil }
            return "\(index): \(here?.seq ?? 0) \(here?.id.lowercased.suffix(4) ?? "none"), "
                + "\(there?.seq ?? 0) \(there?.id.lowercased.suffix(4) ?? "none")"
        }
    }

    private static func check(_ room: FakeRoom, _ seed: UInt64) {
        let ids = room.log.map(\.id)
        #expect(ids.count > 40, "seed \(seed)")
        #expect(Set(ids).count == ids.count, "seed \(seed)")
        for client in room.clients {
            let view = client.state.view
            #expect(view.connection == .live, "seed \(seed)")
            #expect(view.pending.isEmpty, "seed \(seed)")
            #expect(Set(client.stored).count == client.stored.count, "seed \(seed)")
            #expect(Set(client.stored).isSubset(of: ids), "seed \(seed)")
            let difference = difference(view.messages, room.log)
            #expect(difference.isEmpty, "seed \(seed): \(difference)")
        }
    }
}

import ShardOperations
import ShardRouter
import TestKit
import Testing

@Suite struct SlotPinsTests {
    @Test func `a pin is made, changed, listed and taken away, and moves nothing`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let pins = SlotPins(cluster: try databases.cluster())
        let before = try await databases.cluster().topology()

        let first = try await pins.pin(Slot(5), to: "one", reason: "stays")
        let second = try await pins.pin(Slot(5), to: "two", reason: "goes")
        _ = try await pins.pin(Slot(3), to: "one", reason: "stays")

        #expect(first.isThere)
        #expect(!second.isThere)
        #expect(second.owner == "one")
        #expect(try await pins.list().map(\.slot) == [Slot(3), Slot(5)])
        #expect(try await pins.list().map(\.reason) == ["stays", "goes"])
        _ = try await pins.unpin(Slot(5))
        #expect(try await pins.list().map(\.slot) == [Slot(3)])
        await #expect(throws: OperationError.self) { try await pins.unpin(Slot(5)) }
        #expect(try await databases.cluster().topology() == before)
    }

    @Test func `slots are pinned to active shards alone`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let cluster = try databases.cluster()
        _ = try await ShardChanges(cluster: cluster).drain("two", isUndoing: false)

        for name in ["two", "six"] {
            let failure = await #expect(throws: OperationError.self) {
                try await SlotPins(cluster: cluster).pin(Slot(5), to: name, reason: "test")
            }
            #expect(failure?.kind == .refused)
        }
    }

    @Test func `a new shard in an empty cluster leaves pinned slots where they are`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        try await databases.add("one")
        let last = Slot(Slot.count - 1)
        _ = try await SlotPins(cluster: try databases.cluster())
            .pin(last, to: "one", reason: "stays")

        try await databases.add("two")

        let topology = try await databases.cluster().topology()
        #expect(topology.owner(of: last) == topology.shard(named: "one")?.id)
        #expect(topology.slotCounts.values.sorted() == [8_191, 8_193])
    }

    @Test func `the commands have their keys and their way on`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.fleet(on: server, ["one", "two"])
        let shardctl = databases.shardctl
        let keys: Set<String> = ["slot", "shard", "owner", "reason", "pinnedAt"]

        let pin = try await shardctl.run("slot", "pin", "--room", "lobby", "--to", "one")
        #expect(pin.code == 0)
        #expect(Set(pin.json.keys) == keys)
        #expect(pin.json["slot"] as? Int == RingHash(seed: 7).slot(of: RoomID("lobby")).number)
        let elsewhere = try await shardctl.runPlainly(["slot", "pin", "5", "--to", "two"])
        #expect(elsewhere.text.hasSuffix("next: shardctl plan\n"))
        let list = try await shardctl.run("slot", "pins")
        #expect((list.json["pins"] as? [[String: Any]])?.count == 2)
        #expect(try await shardctl.run("slot", "unpin", "5").code == 0)
        #expect(try await shardctl.run("slot", "unpin", "5").code == 2)
        #expect(try await shardctl.run("slot", "unpin", "16384").code == 64)
        #expect(try await shardctl.run("shard", "drain", "one").code == 0)
        #expect(try await shardctl.run("shard", "drain", "one", "--undo").code == 0)
        #expect(try await shardctl.run("shard", "set", "one", "--weight", "4").code == 0)
        #expect(try await shardctl.run("shard", "set", "one").code == 64)
        #expect(try await shardctl.run("shard", "remove", "one", "--yes").code == 2)
    }
}

import FoundationEssentials
import Postgres
import ShardRouter
import Testing

@testable import chatd

/// What every ``MessageStore`` promises. Each form of it is put through the same checks.
struct MessageStoreContract {
    let store: any MessageStore
    /// Makes a room that no check has used.
    let newRoom: () -> RoomID
    let patience: Duration = .seconds(10)

    func check() async throws {
        try await numbersMessagesWithoutHoles()
        try await answersARepeatedMessageWithItsFirstReceipt()
        try await refusesAnotherMessageWithTheSameID()
        try await keepsRoomsApart()
        try await pagesBackwards()
        try await pagesForwards()
        try await readsAnEmptyRoom()
        try await tellsWhichIDsItHas()
        try await restoresUnderTheNextNumber()
        try await checkModeration()
    }

    private func numbersMessagesWithoutHoles() async throws {
        let room = newRoom()
        for number in 1...5 {
            let receipt = try await stored(message(number, room))
            #expect(receipt.seq == Int64(number))
            #expect(!receipt.isDuplicate)
        }
    }

    private func answersARepeatedMessageWithItsFirstReceipt() async throws {
        let room = newRoom()
        let first = try await stored(message(1, room))
        _ = try await stored(message(2, room))
        var again = message(1, room)
        again.sentAt = again.sentAt.advanced(by: .seconds(60))
        again.receivedAt = again.receivedAt.advanced(by: .seconds(60))

        let second = try await stored(again)

        #expect(second.isDuplicate)
        #expect(second.seq == first.seq)
        #expect(second.sentAt == first.sentAt)
        #expect(second.receivedAt == first.receivedAt)
        let page = try await history(of: room)
        #expect(page.messages.count == 2)
    }

    private func refusesAnotherMessageWithTheSameID() async throws {
        let room = newRoom()
        _ = try await stored(message(1, room))
        for other in [message(1, room, text: "other"), message(1, room, author: "bo")] {
            await #expect(throws: WriteError.conflict(id: other.id)) {
                try await store.store(other, patience: patience)
            }
        }
    }

    private func keepsRoomsApart() async throws {
        let rooms = [newRoom(), newRoom()]
        for room in rooms {
            let receipt = try await stored(message(1, room))
            #expect(receipt.seq == 1)
            #expect(!receipt.isDuplicate)
        }
    }

    private func pagesBackwards() async throws {
        let room = try await filled(10)
        let newest = try await history(of: room, limit: 3)
        #expect(newest.messages.map(\.seq) == [8, 9, 10])
        #expect(!newest.isComplete)
        #expect(newest.head == 10)
        #expect(newest.messages.last?.message == message(10, room))

        let older = try await history(of: room, before: 8, limit: 5)
        #expect(older.messages.map(\.seq) == [3, 4, 5, 6, 7])
        #expect(!older.isComplete)

        let oldest = try await history(of: room, before: 3, limit: 2)
        #expect(oldest.messages.map(\.seq) == [1, 2])
        #expect(oldest.isComplete)
        #expect(oldest.head == 10)
        #expect(try await history(of: room, before: 1).messages.isEmpty)
    }

    private func pagesForwards() async throws {
        let room = try await filled(10)
        let first = try await history(of: room, after: 0, limit: 4)
        #expect(first.messages.map(\.seq) == [1, 2, 3, 4])
        #expect(!first.isComplete)

        let last = try await history(of: room, after: 6, limit: 4)
        #expect(last.messages.map(\.seq) == [7, 8, 9, 10])
        #expect(last.isComplete)

        let nothing = try await history(of: room, after: .max)
        #expect(nothing.messages.isEmpty)
        #expect(nothing.isComplete)
        #expect(nothing.head == 10)

        let both = try await history(of: room, before: 4, after: 8)
        #expect(both.messages.map(\.seq) == [1, 2, 3])
    }

    private func readsAnEmptyRoom() async throws {
        let page = try await history(of: newRoom())

        #expect(page == HistoryPage(messages: [], isComplete: true, head: 0))
    }

    private func tellsWhichIDsItHas() async throws {
        let (room, other) = (try await filled(3), newRoom())
        let ids: [UUID] = [.numbered(9), .numbered(2), .numbered(3)]

        #expect(
            try await store.known(ids, in: room, patience: patience)
                == [.numbered(2), .numbered(3)])
        #expect(try await store.known(ids, in: other, patience: patience).isEmpty)
    }

    private func restoresUnderTheNextNumber() async throws {
        let room = try await filled(2)

        let restored = try await store.restore(message(3, room), seq: 2, patience: patience)
        #expect(restored.seq == 3)
        #expect(!restored.isDuplicate)
        let again = try await store.restore(message(3, room), seq: 7, patience: patience)
        #expect(again.seq == 3)
        #expect(again.isDuplicate)
        await #expect(throws: WriteError.conflict(id: .numbered(3))) {
            try await store.restore(
                message(3, room, author: "bo"), seq: 3, patience: patience)
        }
        let new = newRoom()
        #expect(try await store.restore(message(1, new), seq: 5, patience: patience).seq == 1)
        #expect(try await stored(message(2, new)).seq == 2)
        #expect(try await history(of: room).messages.map(\.seq) == [1, 2, 3])
    }

    // MARK: Helpers

    private func filled(_ count: Int) async throws -> RoomID {
        let room = newRoom()
        for number in 1...count {
            _ = try await stored(message(number, room))
        }
        return room
    }

    /// The receipt of a message that its shard has stored.
    private func stored(_ message: Message) async throws -> Receipt {
        switch try await store.store(message, patience: patience) {
        case .stored(let receipt): return receipt
        case .queued: throw NotStored()
        }
    }

    private struct NotStored: Error {}

    private func message(
        _ number: Int, _ room: RoomID, author: String = "ada", text: String = "é😀"
    ) -> Message {
        .numbered(number, room: room, author: author, text: text)
    }

    private func history(
        of room: RoomID, before: Int64? = nil, after: Int64? = nil, limit: Int = 100
    ) async throws -> HistoryPage {
        try await store.history(
            of: room, before: before, after: after, limit: limit, patience: patience)
    }
}

@Suite struct MemoryMessageStoreTests {
    @Test func `the store in memory keeps the promises of the shards`() async throws {
        let store = MemoryMessageStore()

        try await MessageStoreContract(
            store: store, newRoom: { RoomID("contract-\(UUID().uuidString)") }
        ).check()
    }
}

import FoundationEssentials
import Postgres
import ShardRouter
import Testing

@testable import chatd

/// What every ``MessageStore`` promises about events of moderators.
extension MessageStoreContract {
    func checkModeration() async throws {
        try await keepsEventsInTheOrderOfTheRoom()
        try await deletesTheText()
        try await refusesToDeleteWhatIsNotThere()
        try await tellsTheSanctions()
        try await deletesWhatComesBackLater()
        try await restoresEvents()
    }

    private func event(
        _ number: Int, _ room: RoomID, _ act: Moderation, author: String = "mod",
        after delay: Duration = .zero
    ) -> Message {
        var message = Message.numbered(number, room: room, author: author, text: "")
        // Mutes have to hold by the shard's own clock.
        message.receivedAt = Timestamp.now.advanced(by: delay)
        message.event = ModerationEvent(act, at: message.receivedAt).json
        return message
    }

    private func kept(_ event: Message) async throws -> KeptMessage {
        guard case .done(let kept) = try await store.moderate(event, patience: patience) else {
            throw NotKept()
        }
        return kept
    }

    private struct NotKept: Error {}

    private func page(_ room: RoomID) async throws -> [StoredMessage] {
        try await store.history(
            of: room, before: nil, after: nil, limit: 100, patience: patience
        ).messages
    }

    private func put(_ numbers: ClosedRange<Int>, _ room: RoomID) async throws {
        for number in numbers {
            _ = try await store.store(.numbered(number, room: room), patience: patience)
        }
    }

    private func keepsEventsInTheOrderOfTheRoom() async throws {
        let room = newRoom()
        let first = event(1, room, .mute("bo", seconds: 60))
        #expect(try await kept(first).seq == 1, "a room may begin with one")
        try await put(2...2, room)
        #expect(try await kept(event(3, room, .kick("bo", seconds: nil))).seq == 3)

        let again = try await kept(
            event(1, room, .mute("bo", seconds: 60), after: .seconds(9)))
        #expect(again.seq == 1)
        #expect(again.isDuplicate)
        #expect(again.stored.message.event == first.event, "the end stays")
        for other in [
            event(1, room, .mute("bo", seconds: 61)), event(1, room, .unmute("bo")),
            event(1, room, .mute("bo", seconds: 60), author: "eve"),
            event(2, room, .unmute("bo"), author: "ada"),
        ] {
            await #expect(throws: WriteError.conflict(id: other.id)) {
                try await store.moderate(other, patience: patience)
            }
        }
        await #expect(throws: WriteError.conflict(id: .numbered(1))) {
            try await store.store(
                .numbered(1, room: room, author: "mod", text: "x"), patience: patience)
        }
        #expect(try await page(room).map(\.message.event?.isEmpty) == [false, nil, false])
    }

    private func deletesTheText() async throws {
        let room = newRoom()
        try await put(1...2, room)
        let deletion = event(3, room, .delete(.numbered(1)))
        #expect(try await kept(deletion).seq == 3)

        let messages = try await page(room)
        #expect(messages.map(\.message.text) == ["", "text 2", ""])
        #expect(messages.map(\.deletedBy) == [3, nil, nil])
        #expect(messages.map(\.seq) == [1, 2, 3])
        #expect(messages[2].message.event == deletion.event)

        guard
            case .stored(let receipt) = try await store.store(
                .numbered(1, room: room), patience: patience)
        else { throw NotKept() }
        #expect(receipt.isDuplicate)
        #expect(receipt.seq == 1)
        await #expect(throws: WriteError.conflict(id: .numbered(1))) {
            try await store.store(.numbered(1, room: room, author: "eve"), patience: patience)
        }
        let restored = try await store.restore(
            .numbered(1, room: room), seq: 1, patience: patience)
        #expect(restored.isDuplicate)
        #expect(restored.stored.message.text == "")
        #expect(restored.stored.deletedBy == 3)
        #expect(try await page(room)[0].message.text == "")

        #expect(try await kept(event(4, room, .delete(.numbered(1)))).seq == 4)
        #expect(try await page(room)[0].deletedBy == 4, "the last one counts")
    }

    private func refusesToDeleteWhatIsNotThere() async throws {
        let room = newRoom()
        try await put(1...1, room)
        _ = try await kept(event(2, room, .unmute("bo")))

        for number in [2, 9] {
            #expect(
                try await store.moderate(
                    event(5, room, .delete(.numbered(number))), patience: patience)
                    == .unknownMessage)
        }
        #expect(try await kept(event(5, room, .delete(.numbered(1)))).seq == 3)
    }

    private func tellsTheSanctions() async throws {
        let room = newRoom()
        _ = try await kept(event(1, room, .mute("bo", seconds: 60)))
        _ = try await kept(event(2, room, .mute("cy", seconds: nil)))
        _ = try await kept(event(3, room, .kick("cy", seconds: 60)))
        _ = try await kept(event(4, room, .kick("dan", seconds: nil)))
        var sanctions = try await store.sanctions(of: room, patience: patience)
        let now = Timestamp.now
        #expect(sanctions.mute(of: "bo", at: now)?.until != nil)
        #expect(sanctions.mute(of: "cy", at: now) == Sanctions.Sanction(until: nil, seq: 2))
        #expect(sanctions.bar(of: "cy", at: now)?.seq == 3)
        #expect(sanctions.bar(of: "dan", at: now) == nil)

        _ = try await kept(event(5, room, .unmute("cy")))
        _ = try await kept(event(6, room, .unbar("cy")))
        sanctions = try await store.sanctions(of: room, patience: patience)
        let later = Timestamp.now.advanced(by: .seconds(1))
        #expect(sanctions.mute(of: "cy", at: later) == nil)
        #expect(sanctions.bar(of: "cy", at: later) == nil)
        #expect(sanctions.mute(of: "bo", at: later) != nil)
        #expect(try await store.sanctions(of: newRoom(), patience: patience) == Sanctions())
    }

    private func deletesWhatComesBackLater() async throws {
        let room = newRoom()
        let deletion = event(2, room, .delete(.numbered(1)))
        #expect(try await store.restore(deletion, seq: 2, patience: patience).seq == 1)

        let original = try await store.restore(
            .numbered(1, room: room), seq: 1, patience: patience)

        #expect(original.seq == 2)
        #expect(original.stored.deletedBy == 1)
        #expect(original.stored.message.text == "")
        #expect(try await page(room).map(\.message.text) == ["", ""])
        let known = try await store.known([.numbered(1)], in: room, patience: patience)
        #expect(known == [.numbered(1)])
    }

    private func restoresEvents() async throws {
        let room = newRoom()
        try await put(1...1, room)
        let mute = event(2, room, .mute("bo", seconds: 60))

        let restored = try await store.restore(mute, seq: 2, patience: patience)

        #expect(restored.seq == 2)
        #expect(restored.stored.message.event == mute.event)
        #expect(
            try await store.sanctions(of: room, patience: patience).mute(of: "bo", at: .now) != nil)
        #expect(try await store.restore(mute, seq: 2, patience: patience).isDuplicate)
        let original = try await kept(mute)
        #expect(original.isDuplicate, "its moderator sends it again")
        let deletion = event(3, room, .delete(.numbered(1)))
        _ = try await store.restore(deletion, seq: 3, patience: patience)
        #expect(try await page(room)[0].deletedBy == 3)
    }
}

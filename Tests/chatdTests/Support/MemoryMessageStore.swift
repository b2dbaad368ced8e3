import FoundationEssentials
import Postgres
import ShardRouter
import Synchronization

@testable import chatd

/// A store in memory that keeps the promises of the shards, fails when told to, and can be made to
/// wait.
final class MemoryMessageStore: MessageStore {
    fileprivate struct Contents {
        var rooms: [RoomID: [StoredMessage]] = [:]
        /// The highest `seq` ever given, where it is above that of the last message.
        var heads: [RoomID: Int64] = [:]
        /// Which event has deleted which message, the messages that are not here included.
        var deletions: [RoomID: [UUID: Int64]] = [:]
        var sanctions: [RoomID: Sanctions] = [:]
        var lookUps: [[UUID]] = []
        /// With which patience sanctions were read.
        var sanctionReads: [Duration] = []
        var writeError: WriteError?
        var readError: ReadError?
        var isQueueing = false
        var isHeld = false
        var held: [CheckedContinuation<Void, Never>] = []
        var reads: [Read] = []
        /// In the order in which writes began.
        var begun: [UUID] = []
    }

    /// A page that was asked for.
    struct Read: Equatable {
        var before: Int64?
        var after: Int64?
        var limit: Int
    }

    private let contents = Mutex(Contents())

    func store(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> WriteOutcome {
        contents.withLock { $0.begun.append(message.id) }
        await passGate()
        let result = contents.withLock { contents -> Result<WriteOutcome, WriteError> in
            if let error = contents.writeError { return .failure(error) }
            if contents.isQueueing { return .success(.queued) }
            return MemoryMessageStore.append(
                message, to: &contents.rooms[message.room, default: []]
            ).map { .stored($0) }
        }
        return try result.get()
    }

    func history(
        of room: RoomID, before: Int64?, after: Int64?, limit: Int, patience: Duration
    ) async throws(ReadError) -> HistoryPage {
        contents.withLock {
            $0.reads.append(Read(before: before, after: after, limit: limit))
        }
        await passGate()
        let result = contents.withLock { contents -> Result<HistoryPage, ReadError> in
            if let error = contents.readError { return .failure(error) }
            let all = contents.rooms[room] ?? []
            let page: [StoredMessage]
            let isComplete: Bool
            if let after, before == nil {
                let matching = all.filter { $0.seq > after }
                page = Array(matching.prefix(limit))
                isComplete = matching.count <= limit
            } else {
                let matching = all.filter { before == nil || $0.seq < before ?? 0 }
                page = Array(matching.suffix(limit))
                isComplete = matching.count <= limit
            }
            return .success(
                HistoryPage(messages: page, isComplete: isComplete, head: all.last?.seq ?? 0))
        }
        return try result.get()
    }

    func known(
        _ ids: [UUID], in room: RoomID, patience: Duration
    ) async throws(ReadError) -> Set<UUID> {
        contents.withLock { $0.lookUps.append(ids) }
        await passGate()
        let result = contents.withLock { contents -> Result<Set<UUID>, ReadError> in
            if let error = contents.readError { return .failure(error) }
            let stored = Set((contents.rooms[room] ?? []).map(\.message.id))
            return .success(stored.intersection(ids))
        }
        return try result.get()
    }

    func restore(
        _ message: Message, seq: Int64?, patience: Duration
    ) async throws(WriteError) -> KeptMessage {
        await passGate()
        let result = contents.withLock { contents -> Result<KeptMessage, WriteError> in
            if let error = contents.writeError { return .failure(error) }
            let room = message.room
            if let known = contents.rooms[room]?.first(where: { $0.message.id == message.id }) {
                guard known.isRepeated(by: message) else {
                    return .failure(.conflict(id: message.id))
                }
                return .success(KeptMessage(stored: known, isDuplicate: true))
            }
            let stored = contents.rooms[room] ?? []
            let head = max(stored.last?.seq ?? 0, contents.heads[room] ?? 0)
            let isHole = seq.map { seq in
                seq >= 1 && seq <= head && !stored.contains { $0.seq == seq }
            }
            var new = StoredMessage(
                message: message, seq: (isHole == true ? seq : nil) ?? head + 1,
                deletedBy: contents.deletions[room]?[message.id])
            if new.deletedBy != nil { new.message.text = "" }
            contents.insert(new)
            return .success(KeptMessage(stored: new, isDuplicate: false))
        }
        return try result.get()
    }

    func moderate(
        _ message: Message, patience: Duration
    ) async throws(WriteError) -> ModerationOutcome {
        await passGate()
        let result = contents.withLock { contents -> Result<ModerationOutcome, WriteError> in
            if let error = contents.writeError { return .failure(error) }
            let stored = contents.rooms[message.room] ?? []
            if let known = stored.first(where: { $0.message.id == message.id }) {
                guard known.message.author == message.author,
                    known.message.moderation?.act == message.moderation?.act
                else { return .failure(.conflict(id: message.id)) }
                return .success(.done(KeptMessage(stored: known, isDuplicate: true)))
            }
            if case .delete(let id) = message.moderation?.act,
                !stored.contains(where: { $0.message.id == id && $0.message.event == nil })
            {
                return .success(.unknownMessage)
            }
            let head = max(stored.last?.seq ?? 0, contents.heads[message.room] ?? 0)
            let new = StoredMessage(message: message, seq: head + 1)
            contents.insert(new)
            return .success(.done(KeptMessage(stored: new, isDuplicate: false)))
        }
        return try result.get()
    }

    func sanctions(
        of room: RoomID, patience: Duration
    ) async throws(ReadError) -> Sanctions {
        contents.withLock { $0.sanctionReads.append(patience) }
        await passGate()
        let result = contents.withLock { contents -> Result<Sanctions, ReadError> in
            if let error = contents.readError { return .failure(error) }
            return .success(contents.sanctions[room] ?? Sanctions())
        }
        return try result.get()
    }

    func health(patience: Duration) async -> StoreHealth {
        StoreHealth(parts: [StoreHealth.Part(name: "memory", isReachable: true, reason: "")])
    }

    private static func append(
        _ message: Message, to room: inout [StoredMessage], head: Int64 = 0
    ) -> Result<Receipt, WriteError> {
        let shard = ShardID(1)
        if let known = room.first(where: { $0.message.id == message.id }) {
            guard known.isRepeated(by: message) else {
                return .failure(.conflict(id: message.id))
            }
            return .success(
                Receipt(
                    seq: known.seq, isDuplicate: true, sentAt: known.message.sentAt,
                    receivedAt: known.message.receivedAt, shard: shard))
        }
        let seq = max(room.last?.seq ?? 0, head) + 1
        room.append(StoredMessage(message: message, seq: seq))
        return .success(
            Receipt(
                seq: seq, isDuplicate: false, sentAt: message.sentAt,
                receivedAt: message.receivedAt, shard: shard))
    }

    private func passGate() async {
        await withCheckedContinuation { continuation in
            let passes = contents.withLock { contents in
                guard contents.isHeld else { return true }
                contents.held.append(continuation)
                return false
            }
            if passes { continuation.resume() }
        }
    }
}

extension StoredMessage {
    /// Whether `message` is the one that was stored, as far as it can be told.
    fileprivate func isRepeated(by message: Message) -> Bool {
        self.message.author == message.author && self.message.event == message.event
            && (deletedBy != nil || self.message.text == message.text)
    }
}

extension MemoryMessageStore.Contents {
    /// Puts a message at its place, and an event into effect.
    fileprivate mutating func insert(_ new: StoredMessage) {
        let room = new.message.room
        let index = rooms[room]?.firstIndex { $0.seq > new.seq } ?? rooms[room]?.count ?? 0
        rooms[room, default: []].insert(new, at: index)
        guard let event = new.message.moderation else { return }
        sanctions[room, default: Sanctions()].obey(event, seq: new.seq)
        guard case .delete(let id) = event.act else { return }
        deletions[room, default: [:]][id] = new.seq
        guard let index = rooms[room]?.firstIndex(where: { $0.message.id == id }) else { return }
        rooms[room]?[index].message.text = ""
        rooms[room]?[index].deletedBy = new.seq
    }
}

// MARK: - For tests

extension MemoryMessageStore {
    /// With which patience sanctions were read.
    var sanctionReads: [Duration] { contents.withLock { $0.sanctionReads } }

    func fail(writes: WriteError?) { contents.withLock { $0.writeError = writes } }
    func fail(reads: ReadError?) { contents.withLock { $0.readError = reads } }

    /// From now on messages are queued, as when their shard is away.
    func queue(_ isQueueing: Bool) { contents.withLock { $0.isQueueing = isQueueing } }

    /// From now on everything waits.
    func hold() { contents.withLock { $0.isHeld = true } }

    /// Lets everything pass again.
    func release() {
        let held = contents.withLock { contents in
            defer { contents.held = [] }
            contents.isHeld = false
            return contents.held
        }
        held.forEach { $0.resume() }
    }

    /// Ids that were looked up, question by question.
    var lookUps: [[UUID]] { contents.withLock { $0.lookUps } }

    /// Loses messages, as a failover to a standby that lacked the last commits does.
    ///
    /// - Parameter isWoundBack: whether the room's counter goes back with them.
    func lose(_ seqs: ClosedRange<Int64>, of room: RoomID, isWoundBack: Bool = true) {
        contents.withLock { contents in
            if !isWoundBack { contents.heads[room] = contents.rooms[room]?.last?.seq }
            contents.rooms[room]?.removeAll { seqs.contains($0.seq) }
        }
    }

    var heldCount: Int { contents.withLock { $0.held.count } }
    var reads: [Read] { contents.withLock { $0.reads } }
    var begun: [UUID] { contents.withLock { $0.begun } }

    func messages(of room: RoomID) -> [StoredMessage] {
        contents.withLock { $0.rooms[room] ?? [] }
    }

    /// Stores without anybody hearing of it.
    @discardableResult
    func put(_ message: Message) -> StoredMessage {
        contents.withLock { contents in
            _ = MemoryMessageStore.append(
                message, to: &contents.rooms[message.room, default: []])
            return contents.rooms[message.room]!.last!
        }
    }
}

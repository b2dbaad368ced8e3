import FoundationEssentials

/// The messages of a room in their order.
///
/// A stretch without holes up to `upTo`; beside it what arrived beyond a hole (`early`) and what
/// has no `seq`, any more or yet (`unsequenced`). Messages go in, what there is to show comes out.
struct Timeline: Sendable {
    /// In the order of `seq`, without holes as far as the server knows.
    private(set) var messages: [ChatMessage] = []
    /// Everything up to here is here, or older than the first message here.
    private(set) var upTo: Int64 = 0
    /// Whether the newest page was read, so that `upTo` means something.
    private(set) var isLoaded = false
    /// Whether nothing is older than the first message here.
    private(set) var isWhole = false
    private var seqs: [UUID: Int64] = [:]
    private var early: [Int64: ChatMessage] = [:]
    /// With the `seq` that they had, if they had one. None is deleted: without its text and its
    /// receipt nobody can give it back.
    private var lost: [UUID: ChatMessage] = [:]
    private var deleted: [UUID] = []
    private let limits: ClientLimits

    init(limits: ClientLimits) { self.limits = limits }

    var low: Int64? { messages.first?.seq }
    /// Whether a message is missing below one that is here.
    var hasGap: Bool { isLoaded && !early.isEmpty }
    var newestEarly: Int64 { early.keys.max() ?? 0 }
    /// Messages without a `seq`, by their arrival at the server.
    var unsequenced: [ChatMessage] {
        lost.values.sorted { one, other in
            (one.receivedAt ?? "", one.seq ?? 0) < (other.receivedAt ?? "", other.seq ?? 0)
        }
    }

    /// The id of the message here that has this `seq`.
    func id(at seq: Int64) -> UUID? {
        early[seq]?.id ?? index(of: seq).map { messages[$0].id }
    }

    /// The number of the message here that has this id, below the first hole.
    func seq(of id: UUID) -> Int64? { seqs[id] }

    /// The message as the server sent it.
    subscript(_ id: UUID) -> ChatMessage? {
        if let message = lost[id] { return message }
        if let seq = seqs[id], let index = index(of: seq) { return messages[index] }
        return early.values.first { $0.id == id }
    }

    /// What a heartbeat says.
    var beat: String {
        guard isLoaded else { return ClientFrame.emptyBeat }
        let isFew = early.count + lost.count <= limits.reportedIDs
        if limits.foundingBeats || (!early.isEmpty && isFew) { return report(above: upTo) }
        return ClientFrame.beat(upTo: upTo, unsequenced: lost.keys)
    }

    /// Names everything that is here above `above`, oldest first.
    func report(above: Int64) -> String {
        let above = min(above, upTo)
        let start = firstIndex { $0 > above }
        let told = Array(messages[start...]) + early.values + unsequenced
        let ids = told.sorted { ($0.seq ?? .max) < ($1.seq ?? .max) }.map(\.id)
        return ClientFrame.beat(seen: Array(ids.prefix(limits.reportedIDs)), upTo: above)
    }

    // MARK: What arrives

    /// - Returns: what became showable in order, oldest first.
    mutating func add(_ message: ChatMessage) -> [ChatMessage] {
        guard let seq = message.seq else {
            guard seqs[message.id] == nil, lost[message.id] == nil else { return [] }
            withdraw(asKnown(message))
            return []
        }
        lost[message.id] = nil
        if isLoaded && seq <= upTo {
            correct(message)
            return []
        }
        if early.count < limits.earlyMessages { early[seq] = message }
        return isLoaded ? drain() : []
    }

    /// A message that had no `seq` has got one.
    mutating func sequence(_ id: UUID, _ seq: Int64) -> [ChatMessage] {
        guard var message = lost[id] else { return [] }
        message.seq = seq
        return add(message)
    }

    /// The server has lost the message at `first` and all above, for it gives the number to another.
    /// They stay, without a `seq`, until the server has them again; deleted ones are forgotten.
    mutating func lose(from first: Int64) {
        let start = firstIndex { $0 >= first }
        let above = early.values.filter { ($0.seq ?? 0) >= first }
        for message in Array(messages[start...]) + above { withdraw(message) }
        for message in messages[start...] { seqs[message.id] = nil }
        messages.removeSubrange(start...)
        early = early.filter { $0.key < first }
        upTo = min(upTo, first - 1)
    }

    // MARK: Pages

    /// Starts anew with the newest page of the room.
    mutating func reset(_ page: [ChatMessage], isWhole: Bool) {
        messages = []
        seqs = [:]
        upTo = 0
        isLoaded = true
        self.isWhole = isWhole
        for message in page { push(message) }
        _ = drain()
    }

    /// Takes the page that follows `upTo`: the server has nothing between its messages.
    ///
    /// - Parameter settled: what was early up to here when a whole page was asked for. What the
    ///   page lacks of it, the server has lost.
    mutating func append(_ page: [ChatMessage], settled: Int64) -> [ChatMessage] {
        var added: [ChatMessage] = []
        for message in page { added += push(message) }
        for seq in early.keys where seq <= settled {
            guard let message = early.removeValue(forKey: seq), seqs[message.id] == nil
            else { continue }
            withdraw(message)
        }
        return added + drain()
    }

    /// Takes the page before `low`, and returns what to show before all others.
    mutating func prepend(_ page: [ChatMessage], isWhole: Bool) -> [ChatMessage] {
        let low = self.low ?? .max
        let older = page.filter { ($0.seq ?? .max) < low }.map { asKnown($0) }
        for message in older { seqs[message.id] = message.seq }
        messages.insert(contentsOf: older, at: 0)
        self.isWhole = isWhole || older.isEmpty
        return older
    }

    /// Lets go of the oldest messages once there are many too many.
    mutating func trim() {
        guard messages.count > limits.messages + limits.messages / 4 else { return }
        let count = messages.count - limits.messages
        for message in messages.prefix(count) { seqs[message.id] = nil }
        messages.removeFirst(count)
        isWhole = false
    }

    // MARK: Helpers

    /// - Returns: the message, when it is new here.
    @discardableResult
    private mutating func push(_ message: ChatMessage) -> [ChatMessage] {
        guard let seq = message.seq, seq > upTo else { return [] }
        early[seq] = nil
        lost[message.id] = nil
        upTo = seq
        guard seqs[message.id] == nil else { return [] }
        seqs[message.id] = seq
        let message = asKnown(message)
        messages.append(message)
        if let id = message.deletedID { delete(id) }
        return [message]
    }

    private mutating func drain() -> [ChatMessage] {
        var added: [ChatMessage] = []
        while let message = early[upTo + 1] { added += push(message) }
        if early.keys.contains(where: { $0 <= upTo }) { early = early.filter { $0.key > upTo } }
        return added
    }

    /// The message has no `seq`, any more or yet.
    private mutating func withdraw(_ message: ChatMessage) {
        guard !message.isDeleted, lost.count < limits.unsequenced else { return }
        lost[message.id] = message
    }

    private mutating func delete(_ id: UUID) {
        if let seq = seqs[id], let index = index(of: seq) { messages[index].delete() }
        if let seq = early.first(where: { $0.value.id == id })?.key { early[seq]?.delete() }
        lost[id] = nil
        if deleted.count == limits.deletedIDs { deleted.removeFirst() }
        deleted.append(id)
    }

    /// A known message comes again, deleted meanwhile.
    private mutating func correct(_ message: ChatMessage) {
        guard message.isDeleted, let seq = message.seq, let index = index(of: seq) else { return }
        if messages[index].id == message.id { messages[index].delete() }
    }

    private func asKnown(_ message: ChatMessage) -> ChatMessage {
        guard deleted.contains(message.id) else { return message }
        var message = message
        message.delete()
        return message
    }

    private func index(of seq: Int64) -> Int? {
        let index = firstIndex { $0 >= seq }
        return index < messages.count && messages[index].seq == seq ? index : nil
    }

    /// The first message whose `seq` is as asked; the condition holds for all after it, too.
    private func firstIndex(where holds: (Int64) -> Bool) -> Int {
        var (low, high) = (0, messages.count)
        while low < high {
            let middle = (low + high) / 2
            if holds(messages[middle].seq ?? .max) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

public import FoundationEssentials

/// A message of one's own that no shard is known to have stored.
public struct OutboxEntry: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        case sending
        /// On a server's disk.
        case queued
        case failed(ChatFault)
    }

    public let id: UUID
    public let text: String
    /// The client's clock when it was written, as RFC 3339.
    public let sentAt: String
    public internal(set) var state = State.sending
    /// When a queued one is sent again.
    var againAt: Instant?

    public init(id: UUID, text: String, sentAt: String) {
        self.id = id
        self.text = text
        self.sentAt = sentAt
    }
}

/// Keeps an outbox over the end of the process. Its calls come from one client, one after the other.
public protocol OutboxStorage: Sendable {
    /// What is not stored yet, in the order of writing.
    func load() throws -> [OutboxEntry]
    /// Called before a message is sent for the first time. When it throws, nothing is sent.
    func keep(_ entry: OutboxEntry) throws
    /// The message is stored, or refused. When it throws, the message is sent once more some day,
    /// with the same id, which does no harm.
    func forget(_ id: UUID) throws
}

/// What was written and is not stored, in the order of writing.
struct Outbox: Sendable {
    private(set) var entries: [OutboxEntry] = []

    init(_ entries: [OutboxEntry]) { self.entries = entries }

    func contains(_ id: UUID) -> Bool { index(of: id) != nil }

    mutating func add(_ entry: OutboxEntry) { entries.append(entry) }

    /// - Returns: whether it was there.
    @discardableResult
    mutating func remove(_ id: UUID) -> Bool {
        guard let index = index(of: id) else { return false }
        entries.remove(at: index)
        return true
    }

    mutating func fail(_ id: UUID, _ fault: ChatFault) {
        guard let index = index(of: id) else { return }
        entries[index].state = .failed(fault)
        entries[index].againAt = nil
    }

    mutating func queue(_ id: UUID, until againAt: Instant) {
        guard let index = index(of: id) else { return }
        entries[index].state = .queued
        entries[index].againAt = againAt
    }

    /// After a reconnect everything that is not stored is sent again; before, what waits too long.
    mutating func restart(queuedBefore now: Instant? = nil) {
        for index in entries.indices where entries[index].state == .queued {
            if let now, let againAt = entries[index].againAt, againAt > now { continue }
            entries[index].state = .sending
            entries[index].againAt = nil
        }
    }

    var queuedAgainAt: Instant? { entries.lazy.compactMap(\.againAt).min() }

    /// The message to send next that is not on its way.
    func next(except inFlight: some Collection<UUID>) -> OutboxEntry? {
        entries.first { $0.state == .sending && !inFlight.contains($0.id) }
    }

    private func index(of id: UUID) -> Int? { entries.firstIndex { $0.id == id } }
}

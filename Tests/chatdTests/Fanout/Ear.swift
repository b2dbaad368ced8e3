import ServiceLifecycle
import ShardRouter
import Synchronization
import Testing

@testable import chatd

/// Reads what one server hears, and waits for it.
final class Ear: Sendable {
    private struct State {
        var events: [PubSubEvent] = []
        var hasEnded = false
    }

    private let state = Mutex(State())
    private let (changes, changed) = AsyncStream<Void>.makeStream(
        bufferingPolicy: .bufferingNewest(1))

    var events: [PubSubEvent] { state.withLock { $0.events } }

    /// The payloads of `room` so far.
    func payloads(of room: RoomID) -> [[UInt8]] {
        events.compactMap { event in
            if case .payload(let payload, room) = event { payload } else { nil }
        }
    }

    func count(of event: PubSubEvent) -> Int { events.count { $0 == event } }

    func listen(to server: some PubSub) async {
        for await event in server.events {
            state.withLock { $0.events.append(event) }
            changed.yield()
        }
        state.withLock { $0.hasEnded = true }
        changed.yield()
    }

    /// Returns when `claim` holds; it is looked at after every event.
    func wait(
        _ comment: Comment? = nil, _ location: SourceLocation = #_sourceLocation,
        until claim: @escaping @Sendable ([PubSubEvent]) -> Bool
    ) async {
        await waitForState(comment, location) { claim($0.events) }
    }

    func wait(
        for event: PubSubEvent, times: Int = 1, _ location: SourceLocation = #_sourceLocation
    ) async {
        await wait("waiting for \(event)", location) { events in
            events.count { $0 == event } >= times
        }
    }

    func waitForEnd(_ location: SourceLocation = #_sourceLocation) async {
        await waitForState("waiting for the end", location) { $0.hasEnded }
    }

    private func waitForState(
        _ comment: Comment?, _ location: SourceLocation,
        _ claim: @escaping @Sendable (State) -> Bool
    ) async {
        let isMet = await withTaskGroup { group in
            group.addTask {
                if self.state.withLock({ claim($0) }) { return true }
                for await _ in self.changes where self.state.withLock({ claim($0) }) { return true }
                return false
            }
            group.addTask {
                do {
                    try await Task.sleep(for: .seconds(20))
                } catch {
                    // The claim held.
                }
                return false
            }
            defer { group.cancelAll() }
            return await group.next() ?? false
        }
        let count = events.count
        #expect(isMet, comment ?? "\(count) events were heard", sourceLocation: location)
    }
}

/// Runs servers and their ears for as long as `body` takes.
func withRunning<Server: PubSub>(
    _ servers: [Server], hasEars: Bool = true, _ body: @Sendable ([Ear]) async throws -> Void
) async throws {
    let ears = servers.map { _ in Ear() }
    try await withThrowingTaskGroup { group in
        for (server, ear) in zip(servers, ears) {
            group.addTask { try await server.run() }
            if hasEars { group.addTask { await ear.listen(to: server) } }
        }
        try await body(ears)
        group.cancelAll()
        try await group.waitForAll()
    }
}

/// Returns when `claim` holds, for things that nobody tells about.
func eventually(
    within patience: Duration = .seconds(20), _ location: SourceLocation = #_sourceLocation,
    _ claim: () throws -> Bool
) async throws {
    let limit = ContinuousClock.now + patience
    while try !claim() {
        guard ContinuousClock.now < limit, !Task.isCancelled else {
            Issue.record("it did not happen", sourceLocation: location)
            return
        }
        try await Task.sleep(for: .milliseconds(1))
    }
}

extension Array<UInt8> {
    init(text: String) { self = Array(text.utf8) }
}

import Postgres
import ShardRouter
import Synchronization

/// The sanctions of rooms that this server does not keep, for messages that are posted there: read
/// from the shard, and believed for less than a beat.
final class SanctionBook: Sendable {
    private struct Page {
        /// As they were read last; none when they never were.
        var sanctions = Sanctions()
        /// Until when the shard is not asked again.
        var freshUntil: ContinuousClock.Instant
    }

    /// How long a page is believed.
    private static let lifetime: Duration = .seconds(3)
    /// How long a shard that did not answer is not asked again, so that one that is away does not
    /// keep everybody waiting.
    private static let rest: Duration = .seconds(1)
    /// How long a read may take at most: somebody waits for it before anything else is done for him.
    static let patienceAtMost: Duration = .milliseconds(500)
    /// Rooms at most; a full book is emptied, and read anew.
    private static let roomsAtMost = 10_000

    private let store: any MessageStore
    private let clock: ChatClock
    private let pages = Mutex<[RoomID: Page]>([:])

    init(store: any MessageStore, clock: ChatClock) {
        self.store = store
        self.clock = clock
    }

    /// The sanctions of `room`; while its shard does not answer those that were read last. None when
    /// none ever were: then what is written is queued, or was before anybody here knew better.
    func sanctions(of room: RoomID, patience: Duration) async -> Sanctions {
        let asked = clock.now()
        let known = pages.withLock { $0[room] }
        if let known, asked < known.freshUntil { return known.sanctions }
        do throws(ReadError) {
            let sanctions = try await store.sanctions(
                of: room, patience: min(patience, Self.patienceAtMost))
            write(Page(sanctions: sanctions, freshUntil: asked + Self.lifetime), of: room)
            return sanctions
        } catch {
            let sanctions = known?.sanctions ?? Sanctions()
            write(Page(sanctions: sanctions, freshUntil: clock.now() + Self.rest), of: room)
            return sanctions
        }
    }

    private func write(_ page: Page, of room: RoomID) {
        pages.withLock { pages in
            if pages.count >= Self.roomsAtMost { pages = [:] }
            pages[room] = page
        }
    }

    /// What is known of `room` may be wrong by now: it is read again before it is believed.
    func forget(_ room: RoomID) {
        pages.withLock { $0[room]?.freshUntil = clock.now() }
    }
}

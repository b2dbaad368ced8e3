import Postgres
import ShardRouter
import Synchronization

/// The sanctions of rooms that this server does not keep, for messages that are posted there: read
/// from the shard, and believed for less than a beat.
final class SanctionBook: Sendable {
    private struct Page {
        var sanctions: Sanctions
        var readAt: ContinuousClock.Instant
    }

    /// How long a page is believed.
    private static let lifetime: Duration = .seconds(3)
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

    /// The sanctions of `room`; none when its shard cannot be asked: then nothing can be stored
    /// there either, and what is queued was written before anybody knew better. That is believed
    /// as long as what was read, so that a shard that is away does not keep everybody waiting.
    func sanctions(of room: RoomID, patience: Duration) async -> Sanctions {
        if let page = pages.withLock({ $0[room] }), clock.now() - page.readAt < Self.lifetime {
            return page.sanctions
        }
        let asked = clock.now()
        do throws(ReadError) {
            let sanctions = try await store.sanctions(
                of: room, patience: min(patience, Self.patienceAtMost))
            write(Page(sanctions: sanctions, readAt: asked), of: room)
            return sanctions
        } catch {
            write(Page(sanctions: Sanctions(), readAt: clock.now()), of: room)
            return Sanctions()
        }
    }

    private func write(_ page: Page, of room: RoomID) {
        pages.withLock { pages in
            if pages.count >= Self.roomsAtMost { pages = [:] }
            pages[room] = page
        }
    }

    /// What is known of `room` may be wrong by now.
    func forget(_ room: RoomID) {
        pages.withLock { $0[room] = nil }
    }
}

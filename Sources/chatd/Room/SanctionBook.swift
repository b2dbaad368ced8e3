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
    /// there either, and what is queued was written before anybody knew better.
    func sanctions(of room: RoomID, patience: Duration) async -> Sanctions {
        let now = clock.now()
        if let page = pages.withLock({ $0[room] }), now - page.readAt < Self.lifetime {
            return page.sanctions
        }
        do throws(ReadError) {
            let sanctions = try await store.sanctions(of: room, patience: patience)
            pages.withLock { pages in
                if pages.count >= Self.roomsAtMost { pages = [:] }
                pages[room] = Page(sanctions: sanctions, readAt: now)
            }
            return sanctions
        } catch {
            return Sanctions()
        }
    }

    /// What is known of `room` may be wrong by now.
    func forget(_ room: RoomID) {
        pages.withLock { $0[room] = nil }
    }
}

import NIOCore
import Synchronization

/// What rooms and sessions send to the sockets of one event loop, in the order of the calls.
///
/// The first call has the loop write soon. Whatever is sent until it comes to that, and while it
/// writes, waits for the next round; so a busy loop writes many frames to a socket at once, an
/// idle one each as soon as it is there, and no timer stands in the way.
///
/// Unbounded by itself: a socket sends no more than it may have on its way, a room what its
/// messages are, and each round takes all that waits.
final class LoopOutlet: Sendable {
    /// One thing to send.
    enum Item: Sendable {
        /// To one socket.
        case frame(ByteBuffer, Member)
        /// To one socket that has joined: these first, before anything that its room sends.
        case greeting([ByteBuffer], Member)
        /// To all of a room.
        case delivery(Delivery)
    }

    /// A frame for all of a room that live on this loop.
    struct Delivery: Sendable {
        var frame: ByteBuffer
        var kind: RoomState.Delivery
        var readers: Readers
        var except: MemberID?
        /// Who has more waiting than this is skipped.
        var pendingBytes: Int
    }

    /// The members of a room on this loop at one time.
    final class Readers: Sendable {
        let members: [Member]

        init(_ members: [Member]) {
            self.members = members
        }
    }

    private struct Queue {
        var items: [Item] = []
        var isScheduled = false
    }

    let loop: any EventLoop
    private let queue = Mutex(Queue())

    init(loop: any EventLoop) {
        self.loop = loop
    }

    /// Sends `item` after everything that was enqueued before. On any thread.
    func enqueue(_ item: Item) {
        let isFirst = queue.withLock { queue in
            queue.items.append(item)
            defer { queue.isScheduled = true }
            return !queue.isScheduled
        }
        if isFirst { loop.execute { self.write() } }
    }

    private func write() {
        let items = queue.withLock { queue in
            queue.isScheduled = false
            defer { queue.items = [] }
            return queue.items
        }
        OutletRound(items).write()
    }
}

/// The outlets of all event loops.
final class LoopOutlets: Sendable {
    private let outlets = Mutex<[ObjectIdentifier: LoopOutlet]>([:])

    /// The one outlet of `loop`.
    func outlet(of loop: any EventLoop) -> LoopOutlet {
        outlets.withLock { outlets in
            if let known = outlets[ObjectIdentifier(loop)] { return known }
            let outlet = LoopOutlet(loop: loop)
            outlets[ObjectIdentifier(loop)] = outlet
            return outlet
        }
    }
}

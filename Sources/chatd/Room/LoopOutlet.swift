import NIOCore
import Synchronization

/// What rooms and sessions send to the sockets of one event loop, in the order of the calls.
///
/// The first call has the loop write soon. Whatever is sent until it comes to that, and while it
/// writes, waits for the next round; so a busy loop writes many frames to a socket at once, an
/// idle one each as soon as it is there, and no timer stands in the way. The many members of a large
/// room are written to in slices, see ``OutletSweep``, with all other work in between.
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
        /// The last word to one socket, or its end: nothing that its room sends comes after it.
        case farewell(Member, @Sendable () -> Void)
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
        /// The same for all readers of the room on this loop, at whatever time.
        let part: Part
        private let places = Mutex<[ObjectIdentifier: Int]?>(nil)

        init(_ members: [Member], of part: Part) {
            self.members = members
            self.part = part
        }

        /// The position of `member`; nil when it is not among these.
        ///
        /// - Complexity: a look at everybody the first time, then a constant.
        func place(of member: Member) -> Int? {
            places.withLock { places in
                if places == nil {
                    places = [:]
                    for (place, member) in members.enumerated() {
                        places?[ObjectIdentifier(member)] = place
                    }
                }
                return places?[ObjectIdentifier(member)]
            }
        }
    }

    /// The part of a room that lives on one loop.
    final class Part: Sendable {}

    private struct Queue {
        var items: [Item] = []
        var isScheduled = false
    }

    /// Large rooms that are being written to.
    private struct Sweeps {
        var all: [OutletSweep] = []
        var isScheduled = false
    }

    let loop: any EventLoop
    private let slice: Int
    private let queue = Mutex(Queue())
    private let sweeps: NIOLoopBoundBox<Sweeps>

    /// - Parameter slice: members of a large room that are written to without a pause; a room with no
    ///   more is none.
    init(loop: any EventLoop, slice: Int = 128) {
        self.loop = loop
        self.slice = slice
        sweeps = .makeBoxSendingValue(Sweeps(), eventLoop: loop)
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
        var round = OutletRound()
        for item in items {
            switch item {
            case .frame(let frame, let member):
                hurry(member, &round)
                round.add([frame], for: member)
            case .greeting(let frames, let member):
                round.add(frames, for: member, isGreeting: true)
            case .delivery(let delivery): add(delivery, &round)
            case .farewell(let member, let part):
                round.write()
                round = OutletRound()
                hurry(member, &round)
                member.socket.flush()
                member.isOver = true
                part()
            }
        }
        round.write()
        if !sweeps.value.isScheduled { sweep() }
    }

    // MARK: Large rooms

    private func add(_ delivery: Delivery, _ round: inout OutletRound) {
        let readers = delivery.readers
        var index = sweeps.value.all.firstIndex { $0.readers.part === readers.part }
        if let known = index, sweeps.value.all[known].readers !== readers {
            // Others are in the room now. Who stays gets first what came first.
            round.write()
            round = OutletRound()
            sweeps.value.all[known].finish()
            sweeps.value.all.remove(at: known)
            index = nil
        }
        if let index {
            sweeps.value.all[index].add(delivery)
        } else if readers.members.count > slice {
            if round.writes(to: readers.part) {
                // What the room was sent while it was small goes first.
                round.write()
                round = OutletRound()
            }
            var sweep = OutletSweep(readers)
            sweep.add(delivery)
            sweeps.value.all.append(sweep)
        } else {
            round.add(delivery)
        }
    }

    /// Lets `member` have what was sent to it before, because something of its own follows.
    private func hurry(_ member: Member, _ round: inout OutletRound) {
        for index in sweeps.value.all.indices where sweeps.value.all[index].isBehind(member) {
            round.post(to: member)
            sweeps.value.all[index].hurry(member)
        }
    }

    /// Writes to one slice of each large room, and comes back for the next.
    private func sweep() {
        sweeps.value.isScheduled = false
        for index in sweeps.value.all.indices { sweeps.value.all[index].advance(slice) }
        sweeps.value.all.removeAll(where: \.isDone)
        guard !sweeps.value.all.isEmpty else { return }
        sweeps.value.isScheduled = true
        // Not at once: what a loop is told to do at once it does before it reads again.
        loop.scheduleTask(in: Self.pause) { self.sweep() }
    }

    private static let pause: TimeAmount = .microseconds(20)
}

extension LoopOutlet.Delivery {
    /// Writes the frame to `member`, unless it is left out or too slow.
    func write(to member: Member) {
        guard except != member.id, !member.isOver else { return }
        if member.canTake(within: pendingBytes) {
            member.socket.write(frame)
        } else {
            member.skipped(kind)
        }
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

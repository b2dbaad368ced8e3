import NIOCore
import Postgres
import Synchronization

/// One socket in one room of this server.
struct MemberID: Hashable, Sendable {
    var number: UInt64
}

/// What a member's session has to know from its room. Called without any lock held.
protocol MemberOwner: AnyObject, Sendable {
    /// The member has joined: `hello` is on its way. On the socket's event loop.
    func welcomed()

    /// Some ticks have passed. On any thread.
    func ticked()

    /// The server stops.
    func stop()

    /// The server lets go of its sockets, and this one's turn has come.
    func dismiss(_ ending: SessionStateMachine.Ending, reconnectAfter: Duration)
}

/// A socket in a room.
///
/// All frames go out through the outlet of the socket's event loop, so that what was enqueued first
/// arrives first, whoever enqueued it.
final class Member: Sendable {
    let id: MemberID
    let user: String
    /// What the user could do when he came in.
    let rights: Rights
    let socket: any SessionSocket
    let owner: any MemberOwner
    let since: Timestamp
    let outlet: LoopOutlet

    /// The last message that was not written because the socket was too slow; 0 when none was.
    private let skipped = Atomic<UInt64>(0)
    /// Whether a `presence` frame was not written.
    private let lacksPresence = Atomic<Bool>(false)
    private let hasEnded = Atomic<Bool>(false)

    /// - Parameter outlet: of the socket's event loop.
    init(
        id: MemberID, user: String, rights: Rights, socket: any SessionSocket,
        owner: any MemberOwner, since: Timestamp, outlet: LoopOutlet
    ) {
        self.outlet = outlet
        self.rights = rights
        self.since = since
        self.id = id
        self.user = user
        self.socket = socket
        self.owner = owner
    }

    /// Whether the last word was said: what the room sends to all is not written any more.
    var isOver: Bool {
        get { hasEnded.load(ordering: .relaxed) }
        set { hasEnded.store(newValue, ordering: .relaxed) }
    }

    var skippedOrdinal: UInt64 { skipped.load(ordering: .relaxed) }

    /// Sends `frame` after everything that was enqueued before.
    func enqueue(_ frame: ByteBuffer) {
        // Answers to the frames of one read are made before the first of them is written.
        socket.reserve(bytes: frame.readableBytes)
        outlet.enqueue(.frame(frame, self))
    }

    /// Says the last word behind everything that was enqueued before: `part` sends it, or ends the
    /// socket, on its event loop. What others say is not written afterwards; answers are.
    func bidFarewell(_ part: @escaping @Sendable () -> Void) {
        outlet.enqueue(.farewell(self, part))
    }

    /// Whether the socket has no more than `pendingBytes` waiting. Else a frame that the whole room
    /// gets is not written to it, and healed later.
    func canTake(within pendingBytes: Int) -> Bool {
        socket.pendingBytes <= pendingBytes
    }

    /// A frame that the whole room gets was not written to the socket.
    func skipped(_ delivery: RoomState.Delivery) {
        switch delivery {
        case .message(let ordinal): skipped.store(ordinal, ordering: .relaxed)
        case .presence: lacksPresence.store(true, ordering: .relaxed)
        case .typing: break
        }
    }

    /// Whether the member missed a `presence` frame and can take one again; answers true once.
    func takesPresenceAgain(pendingBytes: Int) -> Bool {
        guard lacksPresence.load(ordering: .relaxed), socket.pendingBytes <= pendingBytes else {
            return false
        }
        return lacksPresence.exchange(false, ordering: .relaxed)
    }
}

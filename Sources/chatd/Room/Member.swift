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

    /// About a second has passed. On any thread.
    func ticked()

    /// The server stops.
    func stop()

    /// The server lets go of its sockets, and this one's turn has come.
    func dismiss(_ ending: SessionStateMachine.Ending, reconnectAfter: Duration)
}

/// A socket in a room.
///
/// All frames go out through the socket's event loop, one after the other, so that what was
/// enqueued first arrives first, whoever enqueued it.
final class Member: Sendable {
    let id: MemberID
    let user: String
    /// What the user could do when he came in.
    let rights: Rights
    let socket: any SessionSocket
    let owner: any MemberOwner
    let since: Timestamp

    /// The last message that was not written because the socket was too slow; 0 when none was.
    private let skipped = Atomic<UInt64>(0)
    /// Whether a `presence` frame was not written.
    private let lacksPresence = Atomic<Bool>(false)

    init(
        id: MemberID, user: String, rights: Rights, socket: any SessionSocket,
        owner: any MemberOwner, since: Timestamp
    ) {
        self.rights = rights
        self.since = since
        self.id = id
        self.user = user
        self.socket = socket
        self.owner = owner
    }

    var skippedOrdinal: UInt64 { skipped.load(ordering: .relaxed) }

    /// Sends `frame` after everything that was enqueued before.
    func enqueue(_ frame: ByteBuffer) {
        socket.eventLoop.execute { [socket] in socket.send(frame) }
    }

    /// Sends a frame that the whole room gets, unless more than `pendingBytes` are waiting in the
    /// socket: then it is skipped, and healed later. On the socket's event loop.
    func deliver(_ frame: ByteBuffer, _ delivery: RoomState.Delivery, pendingBytes: Int) {
        guard socket.pendingBytes > pendingBytes else { return socket.send(frame) }
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

import FoundationEssentials
import NIOCore

extension RoomState {
    /// What a room does about an event.
    enum Action: Equatable {
        /// The socket has joined: `hello` and the presence list go out, before anything else.
        case welcome(MemberID, Welcome)
        /// To all sockets that have been welcomed, except one.
        case deliver(ByteBuffer, Delivery, except: MemberID? = nil)
        /// To one socket, if it is still there.
        case send(ByteBuffer, to: MemberID)
        /// To the other servers.
        case publish(RoomEvent)
        /// Ask one socket for lost messages.
        case want([UUID], above: Int64?, of: MemberID)
        /// Ask the shard which of these it has, and report the outcome.
        case lookUp([UUID])
        /// End one socket.
        case dismiss(MemberID, SessionStateMachine.Ending)
        /// Read the shard, and report the outcome.
        case read(ReadPlan.Request)

        /// Whether one socket is sent something: after a heartbeat that is a `sync`.
        var isSend: Bool {
            guard case .send = self else { return false }
            return true
        }
    }

    /// What a delivered frame is; it decides what a skipped socket misses.
    enum Delivery: Equatable {
        /// A message, with its place among all that was delivered.
        case message(ordinal: UInt64)
        case presence
        case typing
    }

    struct Welcome: Equatable {
        var head: Int64
        var headID: UUID?
        var isWarm: Bool
        var presence: PresenceNews.Frame
    }

    /// A message as it was read from the shard.
    struct ReadMessage {
        var seq: Int64
        var id: UUID
        var author: String
        var frame: ByteBuffer
        /// How long ago it was sent.
        var age: Duration
        /// What a moderator did, when the message is that.
        var event: ModerationEvent?
    }
}

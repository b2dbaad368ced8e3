import Postgres
import ShardRouter

/// A socket as operators see it; one with many rooms is one.
struct SocketSummary: Sendable {
    var id: MemberID
    var user: String
    /// The room that was asked for, or the only one of the socket.
    var room: RoomID?
    /// How many rooms the socket is in; nil where it is made for one.
    var rooms: Int?
    var address: String?
    var waitingBytes: Int
    var since: Timestamp
    /// Ends the conversation; in one room alone when that was asked for.
    var dismiss: @Sendable (SessionStateMachine.Ending, Duration) -> Void
}

extension ChatServer {
    /// The open sockets with these properties; nil: with any.
    ///
    /// - Parameter room: of sockets with many rooms only those that are in it are given, and only
    ///   that room of them is ended by ``SocketSummary/dismiss``.
    func sockets(user: String?, id: UInt64?, room: String?) -> [SocketSummary] {
        let single = directory.all.filter { room == nil || $0.id.text == room }
            .flatMap { found in
                found.allMembers.filter { !$0.socket.namesRoom }.map { Self.summary($0, found.id) }
            }
        let many = roomsSessions.all.compactMap { $0.summary(in: room.map(RoomID.init)) }
        return (single + many).filter {
            (user == nil || $0.user == user) && (id == nil || $0.id.number == id)
        }
    }

    private static func summary(_ member: Member, _ room: RoomID) -> SocketSummary {
        SocketSummary(
            id: member.id, user: member.user, room: room, rooms: nil,
            address: member.socket.clientAddress, waitingBytes: member.socket.pendingBytes,
            since: member.since
        ) {
            member.owner.dismiss($0, reconnectAfter: $1)
        }
    }
}

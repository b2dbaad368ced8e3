import ShardRouter
import Synchronization

/// The rooms of this server: those with sockets, and some that had one a moment ago.
final class RoomDirectory: Sendable {
    private let environment: RoomEnvironment
    private let rooms = Mutex<[RoomID: Room]>([:])

    init(environment: RoomEnvironment) {
        self.environment = environment
    }

    /// The room called `id` if this server has it.
    func existing(_ id: RoomID) -> Room? {
        rooms.withLock { $0[id] }
    }

    /// Lets `member` into the room called `id`, which is made and subscribed to when needed.
    ///
    /// Joining happens under the directory's lock, so that the room cannot be dropped in between.
    func join(_ member: Member, to id: RoomID) -> Room {
        rooms.withLock { rooms in
            let room: Room
            if let known = rooms[id] {
                room = known
            } else {
                room = Room(id: id, environment: environment)
                rooms[id] = room
                environment.pubSub.subscribe(to: id)
            }
            room.join(member)
            return room
        }
    }

    var count: Int { rooms.withLock { $0.count } }

    var all: [Room] {
        rooms.withLock { Array($0.values) }
    }

    /// Drops rooms that nobody has been in for a while, and the longest idle ones when there are
    /// too many of them.
    func sweep() {
        let limits = environment.limits.room
        rooms.withLock { rooms in
            var idle: [(room: Room, time: Duration)] = []
            for room in rooms.values {
                guard let time = room.idleTime() else { continue }
                if time >= limits.idle {
                    drop(room, &rooms)
                } else {
                    idle.append((room, time))
                }
            }
            guard idle.count > limits.idleRooms else { return }
            idle.sort { $0.time > $1.time }
            for (room, _) in idle.prefix(idle.count - limits.idleRooms) { drop(room, &rooms) }
        }
    }

    private func drop(_ room: Room, _ rooms: inout [RoomID: Room]) {
        rooms[room.id] = nil
        environment.pubSub.unsubscribe(from: room.id)
    }
}

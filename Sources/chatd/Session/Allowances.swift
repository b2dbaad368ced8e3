import ShardRouter
import Synchronization

/// What users and rooms may still do on this server, over all their sockets and requests.
final class Allowances: Sendable {
    private struct State {
        var users: UsageTable<String>
        var rooms: UsageTable<RoomID>
    }

    private let state: Mutex<State>

    init(limits: SharedLimits) {
        state = Mutex(
            State(
                users: UsageTable(
                    perSecond: limits.userMessagesPerSecond, sockets: limits.userSockets,
                    remembered: limits.remembered),
                rooms: UsageTable(
                    perSecond: limits.roomMessagesPerSecond, sockets: limits.roomSockets,
                    remembered: limits.remembered)))
    }

    /// Counts a message.
    ///
    /// - Returns: nil when it may be stored, else how long to wait; nothing was counted.
    func message(
        of user: String, in room: RoomID, at now: ContinuousClock.Instant
    ) -> Duration? {
        state.withLock { state in
            if let wait = state.users.wait(of: user, at: now) { return wait }
            if let wait = state.rooms.wait(of: room, at: now) { return wait }
            state.users.use(user, at: now)
            state.rooms.use(room, at: now)
            return nil
        }
    }

    /// Counts a socket.
    ///
    /// - Parameters:
    ///   - user: nil: not counted.
    ///   - room: nil: not counted.
    /// - Returns: nil when it may stay – ``close(user:room:)`` must follow – else why not; nothing
    ///   was counted.
    func open(
        user: String?, room: RoomID?, at now: ContinuousClock.Instant
    ) -> SessionStateMachine.Ending? {
        state.withLock { state in
            if let user, !state.users.hasPlace(for: user) { return .tooManySocketsOfUser }
            if let room, !state.rooms.hasPlace(for: room) { return .roomFull }
            if let user { state.users.open(user, at: now) }
            if let room { state.rooms.open(room, at: now) }
            return nil
        }
    }

    func close(user: String?, room: RoomID?) {
        state.withLock { state in
            if let user { state.users.close(user) }
            if let room { state.rooms.close(room) }
        }
    }

    /// Users and rooms that are remembered.
    var count: (users: Int, rooms: Int) {
        state.withLock { ($0.users.count, $0.rooms.count) }
    }
}

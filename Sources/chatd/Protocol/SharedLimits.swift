/// Bounds of what one user, and one room, may do on one server, over all sockets and requests.
struct SharedLimits: Equatable, Sendable {
    /// Messages of one user in a second, and at once after a pause: two devices at full speed.
    var userMessagesPerSecond = 40
    /// Sockets of one user: some devices with a socket for each of their rooms.
    var userSockets = 200
    /// Messages in one room in a second, and at once after a pause: more than anybody reads, less
    /// than the room's shard stores.
    var roomMessagesPerSecond = 2_000
    /// Sockets in one room: by default as many as a server takes.
    var roomSockets = 20_000
    /// Users, and rooms, without a socket that are remembered for their rate; above, those are
    /// forgotten that may do as much as ever.
    var remembered = 10_000
}

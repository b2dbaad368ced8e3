import ShardRouter

/// How a room of this server is, for operators.
struct RoomSummary: Sendable {
    var room: RoomID
    var sockets: Int
    /// The highest `seq` below which this server misses nothing.
    var head: Int64
    var windowMessages: Int
    var windowBytes: Int
}

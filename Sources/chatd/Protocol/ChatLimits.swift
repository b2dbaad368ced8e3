/// Every bound of the chat: what clients are told, and what sessions and rooms keep to.
struct ChatLimits: Sendable {
    /// UTF-8 bytes of a message's text: some six pages of prose. Longer things are documents, and
    /// every reader of the room would pay for them.
    var textBytes = 16_384
    /// Bytes of one frame from a client: the longest text even when each byte is escaped by a
    /// backslash, and a heartbeat with some 1,600 ids.
    var frameBytes = 65_536
    /// Messages that one socket may send in a second, and at once.
    var messagesPerSecond = 20
    /// The shortest time between two heartbeats of a client.
    var heartbeatMin: Duration = .milliseconds(3_500)
    /// The longest time between two heartbeats of a client.
    var heartbeatMax: Duration = .milliseconds(7_000)
    /// The shortest wait before a client comes back.
    var reconnectMin: Duration = .milliseconds(200)
    /// The longest wait before a client comes back: a server's worth of sockets arrives spread
    /// over this time.
    var reconnectMax: Duration = .milliseconds(5_000)
    /// Ids in the `msgSeen` of one heartbeat; more than a frame can carry, so that a larger frame
    /// limit does not silently raise it.
    var reportedIDs = 10_000
    /// Messages in one page of history.
    var historyMessages = 500
    /// Messages in a page when the client does not say how many.
    var historyDefaultMessages = 50
    /// Encoded bytes in one `history` or `sync` frame. Half of what common client libraries take
    /// in one frame (1 MiB); a longer page says `complete:false`.
    var pageBytes = 512 * 1024
    /// Messages in one `sync` frame.
    var syncMessages = 500
    /// People in a room up to whom `presence` names who came and went; above, only the count.
    var presenceNames = 200
    /// How far a client's clock may be off before its messages are marked `skewed`.
    var clockSkew: Duration = .seconds(5 * 60)

    var session = SessionLimits()
    var shared = SharedLimits()
    var room = RoomLimits()
}

/// Bounds of one socket.
struct SessionLimits: Sendable {
    /// Heartbeats, pages of history and `typing` in a second, and at once. A client needs one
    /// heartbeat in 3.5 s, and more pages only while somebody scrolls.
    var otherFramesPerSecond = 50
    /// Rooms on one socket of many: one tab each of a busy desk. Each costs what a socket costs
    /// but its connection.
    var roomsPerSocket = 200
    /// Rooms that one socket may join in a second; all of ``roomsPerSocket`` at once after a
    /// pause, because a client that comes back joins them together. Each join may cost a read.
    var joinsPerSecond = 20
    /// Frames of a socket with many rooms in a second, and at once: a beat of each room and what
    /// somebody does in one of them.
    var sharedFramesPerSecond = 400
    /// Answers to `want` in a second, and at once: two questions' worth.
    var answersPerSecond = 100
    /// `typing` frames that are passed on in a second; the rest is dropped.
    var typingPerSecond = 1
    /// Bad frames within a minute that cost the connection.
    var badFrames = 10
    /// Frames refused as too many, within a minute, that cost the connection: as many as messages
    /// were allowed in that time.
    var refusedFrames = 1_200
    /// The minute of the two budgets above.
    var budgetPeriod: Duration = .seconds(60)
    /// Sockets that are closed in one go when all have to be: some milliseconds of an event loop.
    var farewells = 64
    /// What is left between two such goes, for the answers of those clients and for all others.
    var farewellPause: Duration = .milliseconds(10)
    /// How long a client that was closed with 4429 is asked to stay away.
    var penance: Duration = .seconds(10)
    /// A socket without a heartbeat for this long is closed: four of the longest beats.
    var silence: Duration = .seconds(30)
    /// Messages of one socket that may wait for their shard; more are refused as `overloaded`.
    var writesInFlight = 64
    /// Pages of history that one socket may read at once.
    var historyReads = 2
    /// Frames that may arrive before `hello` was sent; more end the connection.
    var earlyFrames = 128
    /// Bytes of such frames together: four of the longest.
    var earlyBytes = 256 * 1024
    /// Bytes that may wait in a socket before fan-out skips it. A second of a busy room.
    var pendingBytes = 1024 * 1024
    /// Bytes that may wait in a socket before it is closed at once: answers to its own frames are
    /// not skipped, so they need a bound too.
    var pendingBytesAtMost = 8 * 1024 * 1024
    /// How long a socket may be skipped before it is closed.
    var slowness: Duration = .seconds(10)
    /// How long a message may wait for its shard, retries included.
    var storePatience: Duration = .seconds(5)
    /// How long a page of history may take.
    var historyPatience: Duration = .seconds(5)
    /// What a client is told to wait when its own queue is full.
    var overloadedRetryAfter: Duration = .milliseconds(500)
}

/// Bounds of a room's window.
struct WindowLimits: Sendable {
    /// How long a message stays.
    var age: Duration = .seconds(120)
    /// Newest messages that stay whatever their age: who comes back to a quiet room is healed
    /// without a read.
    var keptMessages = 50
    /// Messages at most; more push out the oldest, and the window covers less time.
    var messages = 10_000
    /// Encoded bytes at most; more push out the oldest.
    var bytes = 4 * 1024 * 1024
}

/// Bounds of one room, and of all rooms of a server.
struct RoomLimits: Sendable {
    var window = WindowLimits()
    var want = WantLimits()
    /// Messages that a window is filled with at most, at first use.
    var fillMessages = 2_000
    /// Messages in one read of the shard.
    var readMessages = 500
    /// A room that is further behind its shard than this reads the newest messages instead of
    /// all that it missed.
    var catchUpMessages: Int64 = 2_000
    /// How far back the founding heartbeat reaches.
    var founding: Duration = .seconds(60)
    /// How long a written message counts as on its way while a socket's round trip is unknown.
    var unknownFlight: Duration = .seconds(1)
    /// What is added to two round trips: the time a client takes to read what arrived.
    var flightSlack: Duration = .milliseconds(250)
    /// How long a hole in the window may last before the shard is read: events of two servers
    /// overtake each other all the time.
    var gapGrace: Duration = .milliseconds(100)
    /// How long a message waits at most for one that precedes it: a read that is slow.
    var arrivalPatience: Duration = .seconds(1)
    /// The shortest time between two reads that clients or other servers provoke by naming a
    /// `seq` that this window lacks.
    var readInterval: Duration = .milliseconds(500)
    /// How often the shard is read while other servers cannot be heard: less than a beat.
    var deafReadInterval: Duration = .seconds(3)
    /// How long nothing may be heard of the shard before a room with people is compared with it: it
    /// may have lost messages, and nobody says a word. A read that finds nothing, once a minute.
    var quietReadInterval: Duration = .seconds(60)
    /// The wait after a failed read; doubled with each failure.
    var readBackoff: Duration = .milliseconds(250)
    /// The longest wait after failed reads.
    var readBackoffAtMost: Duration = .seconds(5)
    /// How long one read of the shard may take.
    var readPatience: Duration = .seconds(5)
    /// How long `hello` waits for a window that is being filled.
    var joinPatience: Duration = .seconds(2)
    /// A user is gone this long after the last heartbeat: 2.5 of the longest.
    var presenceExpiry: Duration = .milliseconds(17_500)
    /// The shortest time between two `presence` frames of a room: the shortest beat.
    var presenceInterval: Duration = .milliseconds(3_500)
    /// How often a server tells the others who is in its rooms: the longest beat.
    var presenceBeat: Duration = .milliseconds(7_000)
    /// The shortest time after which a server repeats who is in a room because another one asks.
    var presenceAnswer: Duration = .seconds(1)
    /// Users in one event between servers.
    var presenceChunk = 500
    /// Users of one other server that a room remembers; more are not counted.
    var presenceRemoteUsers = 50_000
    /// How long after a kick somebody may seem to have come and still be sent out by it: clocks of
    /// servers differ a little. Who has read why he was sent out takes longer to come back.
    var kickTolerance: Duration = .seconds(5)
    /// How long a room is kept after its last socket left: people reload pages.
    var idle: Duration = .seconds(30)
    /// Rooms without sockets that are kept; more drop the one that is idle for longest.
    var idleRooms = 1_000
    /// How often rooms look at the clock.
    var tick: Duration = .milliseconds(250)
    /// How often rooms look at it where nothing waits for a moment to come, in ticks.
    var calmTicks = 4
    /// How often sockets are looked after, in ticks: for so long a token may outlive its end.
    var memberTicks = 8
    /// How often rooms that nobody needs are looked for, in ticks.
    var sweepTicks = 4
    /// How long stopping waits for messages that are on their way to a shard.
    var stopPatience: Duration = .seconds(5)
}

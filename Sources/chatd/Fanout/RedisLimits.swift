/// Every bound of the talk with Redis.
struct RedisLimits: Sendable {
    /// How long opening a connection may take, the lookup of the name included. Redis answers
    /// within a millisecond; two seconds allow for one lost packet.
    var connect: Duration = .seconds(2)
    /// The time between two PINGs. They cost nothing and are what notices a hanging Redis.
    var heartbeat: Duration = .seconds(2)
    /// A connection on which nothing was heard for this long is given up: two PINGs without an
    /// answer. Shorter than a client's heartbeat, so that rooms read their shards in time.
    var silence: Duration = .seconds(5)
    /// The shortest time between two questions what the cluster looks like, when a node refused
    /// something; regularly it is asked at every heartbeat.
    var doubt: Duration = .milliseconds(100)
    /// The pause before the second attempt to connect; it doubles with every further one.
    var firstPause: Duration = .milliseconds(50)
    /// The longest pause between two attempts: a Redis that is back is heard within a beat.
    var longestPause: Duration = .seconds(3)
    /// A connection that lived this long was a good one: after its loss pauses begin anew.
    var settled: Duration = .seconds(10)

    /// Payloads that wait to be sent; more drop the oldest. Two seconds of a busy server.
    var queuedPayloads = 20_000
    /// Bytes of payloads that wait to be sent; more drop the oldest.
    var queuedBytes = 8 << 20
    /// A payload that could not be sent for this long is dropped: the shards have told the other
    /// servers by then, and who was present or typing is no longer true.
    var payloadAge: Duration = .seconds(5)
    /// Bytes of one write to the socket, about: few system calls, and no long stay on the loop.
    var writeBytes = 64 * 1024
    /// Rooms in one SUBSCRIBE; in a cluster each has a command of its own. Redis serves nobody else while it works on a command.
    var roomsPerCommand = 256
    /// Bytes of a reply that is not complete yet; more break the connection. Far above the largest
    /// payload, far below what hurts.
    var replyBytes = 16 << 20

    var events = PubSubEventLimits()
}

/// What may wait for the one who reads a server's events.
struct PubSubEventLimits: Sendable {
    /// Payloads; more drop the oldest. A second of a very busy server.
    var payloads = 10_000
    /// Bytes of payloads; more drop the oldest.
    var bytes = 32 << 20
}

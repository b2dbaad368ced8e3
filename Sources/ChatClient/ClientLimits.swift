/// Every bound of a client: what it keeps, how long it waits, and how far it obeys a server.
public struct ClientLimits: Sendable {
    /// Messages that wait for a shard. A full outbox refuses the next one.
    public var outboxMessages = 1_000
    /// Messages that are on their way at once. One: they keep their order whatever fails between.
    public var inFlight = 1
    /// Newest messages, with their receipts, that are kept; older ones can be read again.
    public var messages = 5_000
    /// Messages beyond a hole. What is not kept comes with the page that fills it.
    public var earlyMessages = 2_000
    /// Messages without a `seq`, as a shard that lost some leaves them. More are dropped.
    public var unsequenced = 5_000
    /// Ids of deleted messages that are not here. The oldest knowledge is dropped: pages tell it.
    public var deletedIDs = 1_000
    /// Events that nobody has read yet. The oldest are dropped; ``ChatClient/view()`` has it all.
    public var events = 10_000
    /// Bytes of one frame from the server: twice its largest page, and more.
    public var frameBytes = 4 << 20
    /// Messages in the newest page and in older ones.
    public var page = 50
    /// Messages in a page that fills a hole; servers give no more.
    public var fillPage = 500
    /// Further behind than this, the newest page is read instead of everything in between.
    public var catchUp: Int64 = 1_000
    /// So far below a number that was given a second time its neighbours are read again.
    public var suspected: Int64 = 100
    /// Ids in one report of the founding form.
    public var reportedIDs = 250
    /// Whether heartbeats take the founding form always; else only above a hole.
    public var foundingBeats = false

    /// The longest wait for an answer. Servers give up earlier, so silence is a dead connection.
    public var patience: Duration = .seconds(12)
    /// The longest wait for `hello`, from the first try to connect on.
    public var connectPatience: Duration = .seconds(10)
    /// How long the connection may stay open after `bye`, or after our own close.
    public var byePatience: Duration = .seconds(2)
    /// How long a hole may last before it is read: messages of two servers overtake each other.
    public var gapGrace: Duration = .milliseconds(150)
    /// When a `queued` message is sent again, with a jitter of a half: the server that has it on
    /// its disk may never come back.
    public var queuedAgain: Duration = .seconds(30)
    /// How long to stay away after 4429 when the server does not say.
    public var penance: Duration = .seconds(10)
    /// The shortest time between two `typing` frames.
    public var typing: Duration = .milliseconds(2_500)

    /// What a server may ask for between two heartbeats: not a flood, and not so rarely that
    /// servers take the client for dead (30 s).
    public var heartbeat: ClosedRange<Duration> = .milliseconds(50) ... .seconds(20)
    /// What a server may ask for before coming back, when it speaks to everybody.
    public var reconnect: ClosedRange<Duration> = .milliseconds(10) ... .seconds(60)
    /// The longest time to stay away that a server may ask one client for.
    public var longestAbsence: Duration = .seconds(600)

    public init() {}
}

/// The time that the states of this module count in; whoever drives them reads the clock.
typealias Instant = ContinuousClock.Instant

/// How long to wait, drawn anew each time.
struct Delays: Sendable {
    /// The bounds that a server has told, or those of the protocol.
    struct Bounds: Equatable, Sendable {
        var lower: Duration
        var upper: Duration

        /// Pulls what a server said into what is sane; an upper bound below the lower counts as it.
        func clamped(to range: ClosedRange<Duration>) -> Bounds {
            let lower = min(max(lower, range.lowerBound), range.upperBound)
            return Bounds(lower: lower, upper: min(max(upper, lower), range.upperBound))
        }
    }

    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// A number from 0 to 1, by SplitMix64 (Steele, Lea and Flood 2014).
    mutating func fraction() -> Double {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return Double((mixed ^ (mixed >> 31)) >> 11) / Double(1 << 53)
    }

    mutating func between(_ bounds: Bounds) -> Duration {
        bounds.lower + (bounds.upper - bounds.lower) * fraction()
    }

    /// Before coming back: longer with each failure, never all at once.
    mutating func beforeReconnect(_ bounds: Bounds, failures: Int) -> Duration {
        let longest = min(bounds.upper, bounds.lower * (4 << min(failures, 10)))
        return between(Bounds(lower: bounds.lower, upper: max(bounds.lower, longest)))
    }

    /// After an error that names no time: half a second, doubled up to five, with jitter.
    mutating func beforeRetry(failures: Int) -> Duration {
        let longest = min(.seconds(5), .milliseconds(500) * (1 << min(failures, 10)))
        return longest * (0.5 + fraction() / 2)
    }
}

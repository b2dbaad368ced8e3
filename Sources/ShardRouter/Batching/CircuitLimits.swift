/// When a shard counts as out of reach, and how it is tried again.
public struct CircuitLimits: Sendable {
    /// How long nothing may succeed before messages are turned away: longer than a restart or a
    /// checkpoint's hiccup, shorter than people's patience.
    public var tolerance = Duration.seconds(2)
    /// The first pause before a message may try again; it doubles, with jitter.
    public var firstPause = Duration.milliseconds(500)
    /// A shard that is back is noticed this soon at the latest.
    public var longestPause = Duration.seconds(5)
    /// When nothing was heard of a trial for so long, another message may try: longer than a
    /// batch can take.
    public var trial = Duration.seconds(6)

    public init() {}
}

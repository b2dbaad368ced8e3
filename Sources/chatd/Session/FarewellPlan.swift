/// When each socket of a server that drains is closed, and when its client is to come back. Pure.
///
/// The time has three parts: at first nothing is closed, so that load balancers notice; then the
/// sockets are closed one after the other; what is left is for the last clients to come back in. So
/// each is offline for a part of the time only, and the other servers get them one by one.
struct FarewellPlan: Equatable, Sendable {
    private let sockets: Int
    private let lead: Duration
    private let span: Duration
    private let shortest: Duration
    private let spread: Duration

    /// - Parameters:
    ///   - sockets: how many there are.
    ///   - time: from the beginning until the last client is back.
    ///   - reconnect: the shortest and the longest wait before a client comes back.
    init(sockets: Int, time: Duration, reconnect: ClosedRange<Duration>) {
        precondition(sockets >= 0 && time >= .zero, "nothing is negative")
        self.sockets = sockets
        let longest = min(reconnect.upperBound, max(reconnect.lowerBound, time / 2))
        lead = time / 10
        span = max(.zero, time - lead - longest)
        shortest = reconnect.lowerBound
        // A server's worth of clients does not come back in the same moment, however short the time.
        spread = max(longest, reconnect.lowerBound * 2) - shortest
    }

    /// When the socket with this number is closed, counted from the beginning.
    func closing(_ index: Int) -> Duration {
        precondition((0..<sockets).contains(index), "the socket is one of them")
        return lead + span * index / sockets
    }

    /// How long its client is to stay away then. Steps of the golden ratio, modulo one, fall into the
    /// largest gap that is left: no two clients get the same, and neighbours are far from each other.
    func reconnectAfter(_ index: Int) -> Duration {
        let steps = (UInt64(index) &+ 1) &* 0x9E37_79B9_7F4A_7C15
        return shortest + spread * Double(steps >> 11) * 0x1p-53
    }
}

import Synchronization

/// Bounds of reading history over HTTP: each page is a read of a shard.
struct ReadingLimits: Equatable, Sendable {
    /// Pages that one user may ask for in a second, and at once: nobody scrolls faster.
    var userPagesPerSecond = 20
    /// The same for one address, behind which many people may be.
    var addressPagesPerSecond = 500
    /// Users, and addresses, that are remembered; above, those are forgotten that may read as much
    /// as ever.
    var remembered = 10_000
}

/// How often users and addresses may read history over HTTP. The machine's own programs are counted
/// as users only.
final class ReadingRates: Sendable {
    private struct State {
        var users: UsageTable<String>
        var addresses: UsageTable<NetworkAddress>
    }

    private let state: Mutex<State>

    init(limits: ReadingLimits = ReadingLimits()) {
        state = Mutex(
            State(
                users: UsageTable(
                    perSecond: limits.userPagesPerSecond, remembered: limits.remembered),
                addresses: UsageTable(
                    perSecond: limits.addressPagesPerSecond, remembered: limits.remembered)))
    }

    /// Counts one page.
    ///
    /// - Parameters:
    ///   - user: nil when nobody asks who reads.
    ///   - address: nil when it is not known.
    /// - Returns: nil when it may be read, else how long to wait; nothing was counted.
    func page(
        for user: String?, from address: NetworkAddress?, at now: ContinuousClock.Instant
    ) -> Duration? {
        let network = address.flatMap { $0.isLoopback ? nil : $0.network }
        return state.withLock { state in
            if let user, let wait = state.users.wait(of: user, at: now) { return wait }
            if let network, let wait = state.addresses.wait(of: network, at: now) { return wait }
            if let user { state.users.use(user, at: now) }
            if let network { state.addresses.use(network, at: now) }
            return nil
        }
    }
}

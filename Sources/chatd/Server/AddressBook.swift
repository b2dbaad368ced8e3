import NIOCore
import Synchronization

/// Bounds of what one address may do. Many people share one: those of an office, of a campus, of a
/// provider that has too few.
struct AddressLimits: Equatable, Sendable {
    /// Sockets that are open at once.
    var sockets = 2_000
    /// Sockets that are opened in a second, and at once after a pause: all of the above may come
    /// back within the time that a reconnect is spread over.
    var socketsPerSecond = 500
    /// What a client is told to wait when too many are open.
    var fullRetryAfter: Duration = .seconds(10)
    /// Addresses without a socket that are remembered for their rate; above, those are forgotten
    /// that may open as many as ever.
    var remembered = 10_000
}

/// Counts the sockets of each address.
///
/// The machine's own programs are not counted: behind a proxy on the same machine that is not listed
/// as trusted, everybody would have one address.
final class AddressBook: Sendable {
    private struct Entry {
        var sockets = 0
        var bucket: TokenBucket
        var last: ContinuousClock.Instant
    }

    /// After this long a bucket is full again.
    private static let memory: Duration = .seconds(2)

    let proxies: TrustedProxies
    private let limits: AddressLimits
    private let entries = Mutex<[NetworkAddress: Entry]>([:])

    init(proxies: TrustedProxies = TrustedProxies(), limits: AddressLimits = AddressLimits()) {
        self.proxies = proxies
        self.limits = limits
    }

    /// Counts a socket that is to be opened; each one that may be must be followed by
    /// ``close(_:)``.
    ///
    /// - Returns: nil when it may be opened, else how long to stay away; nothing was counted.
    func open(_ address: NetworkAddress, at now: ContinuousClock.Instant) -> Duration? {
        guard !address.isLoopback else { return nil }
        return entries.withLock { entries in
            forgetSome(&entries, now)
            var entry =
                entries[address.network]
                ?? Entry(bucket: TokenBucket(perSecond: limits.socketsPerSecond), last: now)
            entry.last = now
            defer { entries[address.network] = entry }
            guard entry.sockets < limits.sockets else { return limits.fullRetryAfter }
            if let wait = entry.bucket.take(at: now) { return wait }
            entry.sockets += 1
            return nil
        }
    }

    func close(_ address: NetworkAddress) {
        guard !address.isLoopback else { return }
        entries.withLock { entries in
            guard var entry = entries[address.network] else { return }
            precondition(entry.sockets > 0, "a socket is closed once")
            entry.sockets -= 1
            entries[address.network] = entry
        }
    }

    /// Addresses that are remembered.
    var count: Int { entries.withLock { $0.count } }

    private func forgetSome(
        _ entries: inout [NetworkAddress: Entry], _ now: ContinuousClock.Instant
    ) {
        guard entries.count >= limits.remembered else { return }
        entries = entries.filter { $0.value.sockets > 0 || now - $0.value.last < Self.memory }
        guard entries.count >= limits.remembered * 2 else { return }
        // Still too many: rather forget how fast they were than refuse everybody.
        entries = entries.filter { $0.value.sockets > 0 }
    }
}

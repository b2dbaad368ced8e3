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
    /// Connections that are open at once, sockets included: as many again for plain requests, and
    /// for those that have not said what they want.
    var connections: Int { sockets * 2 }
    /// What a client is told to wait when too many are open.
    var fullRetryAfter: Duration = .seconds(10)
    /// Addresses without a socket that are remembered for their rate; above, those are forgotten
    /// that may open as many as ever.
    var remembered = 10_000
}

/// Counts the connections and the sockets of each address.
///
/// The machine's own programs are not counted: behind a proxy on the same machine that is not listed
/// as trusted, everybody would have one address.
final class AddressBook: Sendable {
    private struct Entry {
        var sockets = 0
        var connections = 0
        var isEmpty: Bool { sockets == 0 && connections == 0 }
        var bucket: TokenBucket
        var last: ContinuousClock.Instant
    }

    private struct Book {
        var entries: [NetworkAddress: Entry] = [:]
        var lastSweep: ContinuousClock.Instant?
    }

    /// After this long a bucket is full again.
    private static let memory: Duration = .seconds(2)
    private static let sweepInterval: Duration = .seconds(1)

    let proxies: TrustedProxies
    private let limits: AddressLimits
    private let book = Mutex(Book())

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
        return book.withLock { book in
            forgetSome(&book, now)
            var entry = entry(of: address, book, now)
            entry.last = now
            defer { book.entries[address.network] = entry }
            guard entry.sockets < limits.sockets else { return limits.fullRetryAfter }
            if let wait = entry.bucket.take(at: now) { return wait }
            entry.sockets += 1
            return nil
        }
    }

    /// Counts a connection that was made, unless a trusted proxy made it: who is behind it says the
    /// request. Each one that may stay must be followed by ``disconnect(_:)``.
    ///
    /// - Returns: whether it may stay; nothing was counted when it may not.
    func connect(_ peer: NetworkAddress, at now: ContinuousClock.Instant) -> Bool {
        guard isCounted(peer) else { return true }
        return book.withLock { book in
            forgetSome(&book, now)
            var entry = entry(of: peer, book, now)
            guard entry.connections < limits.connections else { return false }
            entry.connections += 1
            book.entries[peer.network] = entry
            return true
        }
    }

    func disconnect(_ peer: NetworkAddress) {
        guard isCounted(peer) else { return }
        book.withLock { book in
            guard var entry = book.entries[peer.network] else { return }
            precondition(entry.connections > 0, "a connection ends once")
            entry.connections -= 1
            book.entries[peer.network] = entry
        }
    }

    private func isCounted(_ peer: NetworkAddress) -> Bool {
        !peer.isLoopback && !proxies.contains(peer)
    }

    private func entry(
        of address: NetworkAddress, _ book: Book,
        _ now: ContinuousClock.Instant
    ) -> Entry {
        book.entries[address.network]
            ?? Entry(bucket: TokenBucket(perSecond: limits.socketsPerSecond), last: now)
    }

    func close(_ address: NetworkAddress) {
        guard !address.isLoopback else { return }
        book.withLock { book in
            guard var entry = book.entries[address.network] else { return }
            precondition(entry.sockets > 0, "a socket is closed once")
            entry.sockets -= 1
            book.entries[address.network] = entry
        }
    }

    /// Addresses that are remembered.
    var count: Int { book.withLock { $0.entries.count } }

    private func forgetSome(_ book: inout Book, _ now: ContinuousClock.Instant) {
        guard book.entries.count >= limits.remembered else { return }
        // All are looked at: not again for each of the many that come back at once.
        if let last = book.lastSweep, now - last < Self.sweepInterval { return }
        book.lastSweep = now
        book.entries = book.entries.filter {
            !$0.value.isEmpty || now - $0.value.last < Self.memory
        }
        guard book.entries.count >= limits.remembered * 2 else { return }
        // Still too many: rather forget how fast they were than refuse everybody.
        book.entries = book.entries.filter { !$0.value.isEmpty }
    }
}

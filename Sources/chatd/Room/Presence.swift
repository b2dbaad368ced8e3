import FoundationEssentials

/// Who is in a room, on all servers.
///
/// A user is there from the first sign of one of his sockets until the last of them is closed by
/// the client, or until the time after the last heartbeat has run out. Each server tells the
/// others how long its users still have; what a server that died told last runs out in the same
/// way. A user with several sockets, on whatever servers, counts once.
///
/// Of a crowd servers tell each other only how many they have. Then nobody knows who is on two
/// servers, and such a user counts once for each.
struct Presence: Sendable {
    typealias Instant = ContinuousClock.Instant

    /// Who came and who went, net.
    struct Changes: Equatable, Sendable {
        var joined: Set<String> = []
        var left: Set<String> = []

        var isEmpty: Bool { joined.isEmpty && left.isEmpty }

        fileprivate mutating func came(_ user: String) {
            if left.remove(user) == nil { joined.insert(user) }
        }

        fileprivate mutating func went(_ user: String) {
            if joined.remove(user) == nil { left.insert(user) }
        }
    }

    /// A user of this server.
    private struct LocalUser {
        var sockets = 0
        /// When his time runs out; nil once it has while a socket is still open.
        var expiry: Instant?
    }

    /// What a server said that only told how many it has.
    private struct Crowd {
        var count: Int
        var expiry: Instant
    }

    private let expiry: Duration
    private let remoteUsersAtMost: Int
    private var local: [String: LocalUser] = [:]
    private var remote: [UUID: [String: Instant]] = [:]
    private var crowds: [UUID: Crowd] = [:]
    /// Users of other servers of whom only the number is known.
    private(set) var nameless = 0
    /// For each user who is there, how many servers say so.
    private var servers: [String: Int] = [:]
    /// Nobody's time runs out earlier; nil when nobody is there.
    private var earliest: Instant?
    /// What has changed since ``takeChanges()``.
    private(set) var changes = Changes()

    init(limits: RoomLimits) {
        expiry = limits.presenceExpiry
        remoteUsersAtMost = limits.presenceRemoteUsers
    }

    /// People in the room.
    var count: Int { servers.count + nameless }

    /// Their names, in no order.
    var users: some Collection<String> { servers.keys }

    /// Users of this server, and how long each of them still has.
    func localUsers(now: Instant) -> [(user: String, remaining: Duration)] {
        local.compactMap { user, entry in
            entry.expiry.map { (user, max($0 - now, .zero)) }
        }
    }

    /// How many users this server has.
    var localCount: Int { local.values.count { $0.expiry != nil } }

    mutating func takeChanges() -> Changes {
        defer { changes = Changes() }
        return changes
    }

    // MARK: This server

    /// A socket of `user` was opened.
    ///
    /// - Returns: whether the user was not on this server before; the other servers want to know.
    mutating func opened(_ user: String, now: Instant) -> Bool {
        let isNew = seen(user, now: now)
        local[user]?.sockets += 1
        return isNew
    }

    /// A heartbeat of `user` arrived.
    ///
    /// - Returns: whether the user was not on this server before; his time may have run out.
    mutating func seen(_ user: String, now: Instant) -> Bool {
        let isNew = local[user]?.expiry == nil
        local[user, default: LocalUser()].expiry = now + expiry
        expect(now + expiry)
        if isNew { appeared(user) }
        return isNew
    }

    /// A socket of `user` is gone.
    ///
    /// - Parameter isDeparture: whether the client closed it on purpose; otherwise the user may
    ///   be back at once and stays until his time runs out.
    /// - Returns: whether the user has left this server by it.
    mutating func closed(_ user: String, isDeparture: Bool) -> Bool {
        guard var entry = local[user] else { return false }
        entry.sockets = max(0, entry.sockets - 1)
        let isThere = entry.expiry != nil
        guard entry.sockets == 0, isDeparture || !isThere else {
            local[user] = entry
            return false
        }
        local[user] = nil
        if isThere { vanished(user) }
        return isThere
    }

    // MARK: Other servers

    /// `server` says that `user` is there, and for how long he has if nothing more is heard.
    mutating func heard(of user: String, from server: UUID, remaining: Duration, now: Instant) {
        forgetCrowd(of: server)
        let until = now + min(max(remaining, .zero), expiry)
        expect(until)
        if remote[server]?[user] != nil {
            remote[server]?[user] = until
            return
        }
        guard remote[server, default: [:]].count < remoteUsersAtMost else { return }
        remote[server, default: [:]][user] = until
        appeared(user)
    }

    /// `server` says that `user` has left it.
    mutating func heardDeparture(of user: String, from server: UUID) {
        guard remote[server]?.removeValue(forKey: user) != nil else { return }
        if remote[server]?.isEmpty == true { remote[server] = nil }
        vanished(user)
    }

    /// `server` says only how many it has; whom it named before is among them.
    mutating func heard(count: Int, from server: UUID, now: Instant) {
        forgetCrowd(of: server)
        for user in remote.removeValue(forKey: server)?.keys.map({ $0 }) ?? [] { vanished(user) }
        guard count > 0 else { return }
        let believed = min(count, remoteUsersAtMost)
        crowds[server] = Crowd(count: believed, expiry: now + expiry)
        expect(now + expiry)
        nameless += believed
    }

    private mutating func forgetCrowd(of server: UUID) {
        nameless -= crowds.removeValue(forKey: server)?.count ?? 0
    }

    // MARK: Time

    /// Lets go of those whose time has run out.
    ///
    /// - Complexity: a look at everybody, but only when somebody's time may have run out: every few
    ///   seconds while all are well.
    mutating func expire(now: Instant) {
        guard let earliest, earliest <= now else { return }
        self.earliest = nil
        for (user, entry) in local {
            guard let until = entry.expiry else { continue }
            guard until <= now else {
                expect(until)
                continue
            }
            // Open sockets are counted on: he may be heard of again.
            local[user] = entry.sockets > 0 ? LocalUser(sockets: entry.sockets) : nil
            vanished(user)
        }
        for (server, users) in remote {
            for (user, until) in users {
                if until <= now { heardDeparture(of: user, from: server) } else { expect(until) }
            }
        }
        for (server, crowd) in crowds {
            if crowd.expiry <= now { forgetCrowd(of: server) } else { expect(crowd.expiry) }
        }
    }

    private mutating func expect(_ expiry: Instant) {
        earliest = min(earliest ?? expiry, expiry)
    }

    private mutating func appeared(_ user: String) {
        servers[user, default: 0] += 1
        if servers[user] == 1 { changes.came(user) }
    }

    private mutating func vanished(_ user: String) {
        guard let count = servers[user] else { return }
        if count > 1 {
            servers[user] = count - 1
        } else {
            servers[user] = nil
            changes.went(user)
        }
    }
}

import Postgres
import ShardRouter

/// Somebody whom the server believes to be who he says.
struct Identity: Equatable, Sendable {
    /// In which rooms he may do what.
    enum Grants: Equatable, Sendable {
        case everywhere(Rights)
        /// Every pattern that matches a room adds its rights.
        case patterns([Grant])
    }

    struct Grant: Equatable, Sendable {
        var pattern: RoomPattern
        var rights: Rights
    }

    /// From ``UserName/parse(_:)``.
    var user: String
    var grants: Grants
    /// When it has to be proven again; nil: never.
    var expiresAt: Timestamp?

    init(user: String, grants: Grants = .everywhere(.all), expiresAt: Timestamp? = nil) {
        self.user = user
        self.grants = grants
        self.expiresAt = expiresAt
    }

    /// What he may do in `room`.
    func rights(in room: RoomID) -> Rights {
        switch grants {
        case .everywhere(let rights):
            return rights
        case .patterns(let grants):
            var rights: Rights = []
            // A pattern is only looked at for what no other one gave.
            for grant in grants where !grant.rights.isSubset(of: rights) {
                if grant.pattern.matches(room) { rights.formUnion(grant.rights) }
            }
            return rights
        }
    }

    /// When it has to be proven again, on the clock that sessions look at: one that nobody sets.
    func expiry(on clock: ChatClock) -> ContinuousClock.Instant? {
        expiresAt.map { clock.now() + clock.time().duration(to: $0) }
    }
}

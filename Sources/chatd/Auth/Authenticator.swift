import Postgres
import ShardRouter

/// Finds out who sends a request: the one seam between the kinds of authentication.
protocol Authenticator: Sendable {
    /// Whether an identity can be renewed by a `token` frame.
    var takesTokens: Bool { get }

    /// Who sends a request. Waits for nothing.
    func identity(
        of credentials: Credentials, at now: Timestamp
    ) throws(AuthenticationError) -> Identity

    /// Who asks for something in `room` for which he need not say who he is.
    func guest(
        with credentials: Credentials, in room: RoomID, at now: Timestamp
    ) throws(AuthenticationError) -> Guest
}

/// Somebody who may be nameless.
struct Guest: Sendable {
    /// Nil when he has not said a name.
    var user: String?
    var rights: Rights
}

extension Authenticator {
    /// `user`, proven again by a fresh token that a `token` frame carries.
    func renewal(
        of user: String, by token: String, at now: Timestamp
    ) throws(FrameError) -> Identity {
        guard takesTokens else {
            throw FrameError(.unknownType, field: "type", "tokens are not used here")
        }
        let identity: Identity
        do throws(AuthenticationError) {
            identity = try self.identity(of: Credentials(token: .one(token)), at: now)
        } catch {
            throw FrameError(.forbidden, error.reason)
        }
        guard identity.user == user else {
            throw FrameError(.forbidden, "token: made for another user")
        }
        return identity
    }
}

/// Believes everybody, and lets everybody do the same.
struct OpenAuthenticator: Authenticator {
    var rights: Rights = .all

    var takesTokens: Bool { false }

    func identity(
        of credentials: Credentials, at now: Timestamp
    ) throws(AuthenticationError) -> Identity {
        guard let name = credentials.user else {
            throw .name(FrameError(.badFrame, field: "user", "missing: add ?user=NAME"))
        }
        do throws(FrameError) {
            return Identity(
                user: try UserName.parse(name), grants: .everywhere(rights))
        } catch {
            throw .name(error)
        }
    }

    func guest(
        with credentials: Credentials, in room: RoomID, at now: Timestamp
    ) throws(AuthenticationError) -> Guest {
        guard credentials.user != nil else { return Guest(user: nil, rights: rights) }
        do throws(AuthenticationError) {
            return Guest(user: try identity(of: credentials, at: now).user, rights: rights)
        } catch {
            return Guest(user: nil, rights: rights)  // Whoever gives a bad name gives none.
        }
    }
}

/// Believes tokens, and nothing else that a request says.
struct TokenAuthenticator: Authenticator {
    /// The verifier with the keys of now.
    let verifier: @Sendable () -> TokenVerifier

    var takesTokens: Bool { true }

    func identity(
        of credentials: Credentials, at now: Timestamp
    ) throws(AuthenticationError) -> Identity {
        do throws(TokenError) {
            switch credentials.token {
            case .none: throw .missing
            case .several: throw .several
            case .one(let token): return try verifier().identity(of: token, at: now)
            }
        } catch {
            throw .token(error)
        }
    }

    func guest(
        with credentials: Credentials, in room: RoomID, at now: Timestamp
    ) throws(AuthenticationError) -> Guest {
        let identity = try identity(of: credentials, at: now)
        return Guest(user: identity.user, rights: identity.rights(in: room))
    }
}

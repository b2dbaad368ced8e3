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

    /// What the sender of a request may do in `room`, where it does not matter who he is.
    func rights(
        of credentials: Credentials, in room: RoomID, at now: Timestamp
    ) throws(AuthenticationError) -> Rights
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

    func rights(
        of credentials: Credentials, in room: RoomID, at now: Timestamp
    ) throws(AuthenticationError) -> Rights {
        rights
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

    func rights(
        of credentials: Credentials, in room: RoomID, at now: Timestamp
    ) throws(AuthenticationError) -> Rights {
        try identity(of: credentials, at: now).rights(in: room)
    }
}

/// Why a connection to Redis was not made, or ended. Never holds a password.
enum RedisError: Error, Equatable {
    /// Nobody answers at the address.
    case unreachable(reason: String)
    /// Redis said no to a command that is needed.
    case refused(command: String, answer: String)
    /// Nothing was heard for so long: Redis hangs, or the network swallows everything.
    case silent(Duration)
    /// What arrived is not the Redis protocol, or not an answer to what was asked.
    case brokenProtocol(String)
    /// The other side has closed the connection.
    case closed
    /// This side has stopped.
    case stopped
}

extension RedisError {
    /// Whether a refusal only says that another node has the slot, or none has for the moment.
    static func isOfAnotherNode(_ answer: String) -> Bool {
        ["MOVED ", "ASK ", "CLUSTERDOWN ", "TRYAGAIN "].contains { answer.hasPrefix($0) }
    }
}

extension RedisError: CustomStringConvertible {
    var description: String {
        switch self {
        case .unreachable(let reason): "cannot be reached: \(reason)"
        case .refused(let command, let answer): "refused \(command): \(answer)"
        case .silent(let time): "was silent for \(time)"
        case .brokenProtocol(let what): "does not speak the Redis protocol: \(what)"
        case .closed: "closed the connection"
        case .stopped: "the connection is no longer needed"
        }
    }
}

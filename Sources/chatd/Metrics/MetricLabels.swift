import HTTPTypes
import ShardRouter

/// A value of a metric's label, out of a small closed set. The raw values count up from 0.
protocol MetricLabel: CaseIterable, RawRepresentable<Int>, Sendable {
    var text: String { get }
}

extension MetricLabel {
    var text: String { "\(self)" }
}

/// What a client sent.
enum FrameLabel: Int, MetricLabel {
    case message, answer, heartbeat, history, typing, bad, token, moderate
    case join, leave

    init(_ frame: ClientFrame) {
        switch frame {
        case .message: self = .message
        case .answer: self = .answer
        case .heartbeat: self = .heartbeat
        case .history: self = .history
        case .typing: self = .typing
        case .token: self = .token
        case .moderate: self = .moderate
        }
    }
}

/// How a message ended.
enum MessageLabel: Int, MetricLabel {
    case stored, duplicate, queued, conflict, refused, overloaded, unavailable, unknown, stopped

    init(_ outcome: WriteOutcome) {
        switch outcome {
        case .stored(let receipt): self = receipt.isDuplicate ? .duplicate : .stored
        case .queued: self = .queued
        }
    }

    init(_ error: WriteError) {
        switch error {
        case .overloaded: self = .overloaded
        case .conflict: self = .conflict
        case .refused: self = .refused
        case .unavailable: self = .unavailable
        case .unknownOutcome: self = .unknown
        case .stopped: self = .stopped
        }
    }
}

/// The code that a socket was closed with.
enum CloseLabel: Int, MetricLabel {
    case done, stopped, brokenFrame, binary, badText, tooBig
    case draining, unauthorized, forbidden, tooSlow, silent, tooMany
    /// The connection ended without a close frame.
    case cut
    case other

    init(_ code: UInt16?) {
        guard let code else {
            self = .cut
            return
        }
        self = Self.allCases.first { $0.code == code } ?? .other
    }

    var text: String { code.map(String.init) ?? "other" }

    private var code: UInt16? {
        switch self {
        case .done: CloseCode.done.rawValue
        case .stopped: CloseCode.stopped.rawValue
        case .brokenFrame: CloseCode.brokenFrame.rawValue
        case .binary: CloseCode.binary.rawValue
        case .badText: CloseCode.badText.rawValue
        case .tooBig: CloseCode.tooBig.rawValue
        case .draining: CloseCode.draining.rawValue
        case .unauthorized: CloseCode.unauthorized.rawValue
        case .forbidden: CloseCode.forbidden.rawValue
        case .tooSlow: CloseCode.tooSlow.rawValue
        case .silent: CloseCode.silent.rawValue
        case .tooMany: CloseCode.tooMany.rawValue
        case .cut: 1006  // What RFC 6455, 7.1.5 calls it.
        case .other: nil
        }
    }
}

/// What an HTTP request asked for.
enum RouteLabel: Int, MetricLabel {
    case socket, messages, health, readiness, metrics, file, unknown, moderation

    /// - Parameter route: nil when the address could not be read.
    init(_ route: Route?) {
        switch route {
        case .socket, .roomsSocket: self = .socket
        case .messages: self = .messages
        case .moderation: self = .moderation
        case .health: self = .health
        case .readiness: self = .readiness
        case .metrics: self = .metrics
        case .file: self = .file
        case .unknown, nil: self = .unknown
        }
    }
}

/// The class of an answer's status.
enum StatusLabel: Int, MetricLabel {
    case informational, successful, redirection, clientError, serverError

    init(_ status: HTTPResponse.Status) {
        self = Self(rawValue: status.code / 100 - 1) ?? .serverError
    }

    var text: String { "\(rawValue + 1)xx" }
}

import FoundationEssentials
import Postgres

/// One frame from a client, checked: every field fits.
enum ClientFrame: Equatable {
    case message(ClientMessage)
    /// A message with a receipt: what the server asked for by `want`.
    case answer(WantedMessage)
    case heartbeat(Heartbeat)
    case history(HistoryRequest)
    case typing
    /// A fresh token, so that the socket may live longer. Never shown.
    case token(String)
    case moderate(ModerationOrder)
}

/// A message as its author's client made it.
struct ClientMessage: Equatable, Sendable {
    /// UUID version 4.
    var id: UUID
    var sentAt: Timestamp
    /// Not empty, within the limit, without U+0000.
    var text: String
}

/// A message that a client gives back because the server has lost it.
struct WantedMessage: Equatable, Sendable {
    /// Without a text when it is an event.
    var message: ClientMessage
    var event: ModerationEvent?
    /// Who wrote it, as the receipt has to confirm; nil: the one who gives it back.
    var author: String?
    /// When a server received it first. No receipt confirms it.
    var receivedAt: Timestamp?
    /// Its old place, which no receipt confirms; it is only used when nothing else is there.
    var seq: Int64?
    var receipt: String
}

/// A page of history that a client asks for.
struct HistoryRequest: Equatable, Sendable {
    /// Only messages below this `seq`; with ``after`` given too, this one decides.
    var before: Int64?
    /// Only messages above this `seq`.
    var after: Int64?
    /// 1 … ``ChatLimits/historyMessages``; a larger wish was lowered to it.
    var limit: Int

    /// Whether the page ends at its newest message, so that older ones are left out first.
    var keepsNewest: Bool { before != nil || after == nil }

    /// - Throws: ``ErrorCode/badFrame`` when a number is negative, or `limit` is not positive.
    init(
        before: Int64?, after: Int64?, limit: Int64?, limits: ChatLimits
    ) throws(FrameError) {
        for (name, seq) in [("before", before), ("after", after)] {
            guard seq.map({ $0 >= 0 }) ?? true else {
                throw FrameError(.badFrame, field: name, "must not be negative")
            }
        }
        let wish = limit ?? Int64(limits.historyDefaultMessages)
        guard wish > 0 else {
            throw FrameError(.badFrame, field: "limit", "must be 1 or more")
        }
        self.before = before
        self.after = after
        self.limit = Int(min(wish, Int64(limits.historyMessages)))
    }
}

import FoundationEssentials
import NIOCore
import Postgres

extension ModerationOrder {
    /// Reads the body of a posted act: a `moderate` frame, whose `type` may be left out.
    static func decode(_ body: ByteBuffer, limits: ChatLimits) throws(FrameError) -> Self {
        try FrameFields.read(body) { fields throws(FrameError) in
            if let type = try fields.typeName(), type != "moderate" {
                throw FrameError(.unknownType, field: "type", "only \"moderate\" can be posted")
            }
            return try fields.moderationOrder()
        }
    }
}

extension FrameFields {
    func moderationOrder() throws(FrameError) -> ModerationOrder {
        let id = try messageID()
        do throws(FrameError) {
            return ModerationOrder(id: id, sentAt: try sendingTime(), act: try moderation())
        } catch {
            var error = error
            error.id = id
            throw error
        }
    }

    private func moderation() throws(FrameError) -> Moderation {
        let acts = [
            ("delete", delete), ("mute", mute), ("unmute", unmute), ("kick", kick),
            ("unbar", unbar),
        ].compactMap { name, value in value.map { (name, $0) } }
        guard let (name, value) = acts.first, acts.count == 1 else {
            throw FrameError(
                .badMessage, "give exactly one of delete, mute, unmute, kick and unbar")
        }
        let seconds = try moderationSeconds()
        guard seconds == nil || name == "mute" || name == "kick" else {
            throw FrameError(.badMessage, field: "for", "goes with mute and kick only")
        }
        switch name {
        case "delete":
            guard let content = scanner.content(of: value), let id = MessageID.parse(content)
            else { throw FrameError(.badMessage, field: name, "not the id of a message") }
            return .delete(id)
        case "mute": return .mute(try moderated(value, name), seconds: seconds)
        case "unmute": return .unmute(try moderated(value, name))
        case "kick": return .kick(try moderated(value, name), seconds: seconds)
        default: return .unbar(try moderated(value, name))
        }
    }

    private func moderationSeconds() throws(FrameError) -> Int64? {
        guard let seconds else { return nil }
        guard let number = scanner.integer(of: seconds),
            (1...Moderation.secondsAtMost).contains(number)
        else {
            throw FrameError(
                .badMessage, field: "for",
                "must be a whole number of seconds, 1 to \(Moderation.secondsAtMost)")
        }
        return number
    }

    private func moderated(_ value: JSONValue, _ name: String) throws(FrameError) -> String {
        guard let text = scanner.text(of: value) else {
            throw FrameError(.badMessage, field: name, "must be the name of a user")
        }
        do throws(FrameError) {
            return try UserName.parse(text)
        } catch {
            throw FrameError(.badMessage, field: name, error.reason)
        }
    }

    /// What is given back as an event: it has no text, and what it says is covered by its receipt.
    func wantedEvent(_ event: JSONValue) throws(FrameError) -> ModerationEvent {
        guard let event = ModerationEvent(event, in: scanner, at: try sendingTime()) else {
            throw FrameError(.badMessage, field: "event", "not an event that is known here")
        }
        return event
    }
}

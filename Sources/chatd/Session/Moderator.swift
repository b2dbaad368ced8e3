import FoundationEssentials
import Logging
import NIOCore
import Postgres
import ShardRouter

/// Why a moderator's act was not carried out.
enum ModerationError: Error, Equatable {
    /// The message to delete is not in the room, or is an event.
    case unknownMessage
    /// Moderators are not meant to lock themselves out.
    case oneself
    /// The event was not stored, or may not have been.
    case write(WriteError)
}

/// Carries out what moderators do: stores it as an event in the room's order, and tells everybody.
struct Moderator: Sendable {
    let environment: RoomEnvironment
    let directory: RoomDirectory

    /// Returns when the event is stored; never queued. The same order again gives the same event.
    ///
    /// - Parameter author: the socket that gets the ack, before everybody gets the event.
    func carryOut(
        _ order: ModerationOrder, in room: RoomID, by user: String, author: Member?
    ) async throws(ModerationError) -> KeptMessage {
        switch order.act {
        case .mute(user, _), .kick(user, _): throw .oneself
        case .delete, .mute, .unmute, .kick, .unbar: break
        }
        let now = environment.clock.time()
        let message = Message(
            id: order.id, room: room, author: user, sentAt: order.sentAt, receivedAt: now, text: "",
            event: ModerationEvent(order.act, at: now).json)
        let kept = try await store(message)
        environment.sanctionBook.forget(room)
        tell(kept, author)
        if !kept.isDuplicate {
            environment.logger.info(
                "A room was moderated.",
                metadata: [
                    "room.id": "\(room)", "user": "\(user)", "kind": "\(order.act.kind)",
                ])
        }
        return kept
    }

    private func store(_ message: Message) async throws(ModerationError) -> KeptMessage {
        let outcome: ModerationOutcome
        do throws(WriteError) {
            outcome = try await environment.store.moderate(
                message, patience: environment.limits.session.storePatience)
        } catch {
            if case .unknownOutcome = error { directory.existing(message.room)?.lostTrack() }
            throw .write(error)
        }
        switch outcome {
        case .done(let kept): return kept
        case .unknownMessage: throw .unknownMessage
        }
    }

    private func tell(_ kept: KeptMessage, _ author: Member?) {
        let message = kept.stored.message
        let proof = environment.receipts.receipt(for: message)
        let frame = ServerFrame.message(kept.stored, receipt: proof, limits: environment.limits)
        if let room = directory.existing(message.room) {
            if kept.isDuplicate {
                room.repeated(kept.stored, receipt: proof, author: author)
            } else {
                room.stored(kept.stored, frame: frame, receipt: proof, author: author)
            }
        } else if !kept.isDuplicate {
            let event = RoomEvent.message(
                seq: kept.seq, id: message.id, author: message.author, frame: frame,
                event: message.moderation)
            environment.publish(event, to: message.room)
        }
    }
}

extension ChatServer {
    /// Carries out an act that was posted.
    func moderate(
        _ order: ModerationOrder, in room: RoomID, by user: String
    ) async throws(ModerationError) -> KeptMessage {
        try await Moderator(environment: environment, directory: directory)
            .carryOut(order, in: room, by: user, author: nil)
    }

    /// Who may not write in `room`, or not be there, whether this server keeps the room or not.
    func sanctions(of room: RoomID) async -> Sanctions {
        if let known = directory.existing(room)?.knownSanctions { return known }
        return await environment.sanctionBook.sanctions(
            of: room, patience: environment.limits.session.storePatience)
    }
}

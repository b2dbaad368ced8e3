import FoundationEssentials
import Logging
import NIOCore
import Postgres
import ShardRouter

/// Stores messages and relays them.
///
/// A message is relayed after its shard has committed it: nobody ever sees one that is then
/// refused, and each carries its `seq` from the start.
struct MessageWriter: Sendable {
    let environment: RoomEnvironment
    let directory: RoomDirectory

    /// Stores `message` and tells everybody in the room: the author by an ack, when he has a
    /// socket, then the readers on this server, then the other servers.
    ///
    /// One that was stored before is not told again, for it may be deleted by now: a window that
    /// lacks it reads it. One
    /// that is queued is told to its author alone; the others hear of it by ``drained(_:_:)``.
    func write(
        _ message: ClientMessage, to room: RoomID, from user: String, author: Member?,
        _ arrival: MessageArrival
    ) async throws(WriteError) -> WriteOutcome {
        let message = Message(
            id: message.id, room: room, author: user, sentAt: message.sentAt,
            receivedAt: environment.clock.time(), text: message.text)
        switch await store(message, arrival) {
        case .success(let outcome):
            environment.ended(arrival, MessageLabel(outcome))
            switch outcome {
            case .stored(let receipt):
                let kept = message.kept(receipt)
                relay(kept, receipt, author, proof: await environment.proof(of: kept, receipt))
            case .queued: author?.enqueue(ServerFrame.ackQueued(id: message.id))
            }
            return outcome
        case .failure(let error):
            environment.ended(arrival, MessageLabel(error))
            if case .unknownOutcome = error { directory.existing(room)?.lostTrack() }
            throw error
        }
    }

    /// Whether the room's shard says that it has a message, or an event, called `id`. One that does not
    /// answer soon says nothing.
    func isStored(_ id: UUID, in room: RoomID) async -> Bool {
        do throws(ReadError) {
            let known = try await environment.store.known(
                [id], in: room, patience: SanctionBook.patienceAtMost)
            return known.contains(id)
        } catch {
            environment.logger.debug(
                "Whether a message is a repeated one cannot be seen.",
                metadata: ["room.id": "\(room)", "error": "\(error)"])
            return false
        }
    }

    private func store(
        _ message: Message, _ arrival: MessageArrival
    ) async -> Result<WriteOutcome, WriteError> {
        await within(arrival.span) {
            do throws(WriteError) {
                return .success(
                    try await environment.store.store(
                        message, patience: environment.limits.session.storePatience))
            } catch {
                return .failure(error)
            }
        }
    }

    /// A message that was queued has been stored: everybody in the room is told.
    func drained(_ message: Message, _ receipt: Receipt) {
        let kept = message.kept(receipt)
        relay(kept, receipt, nil, proof: environment.receipts.receipt(for: kept))
        // An attempt whose answer was lost had stored it, so that nobody was told: all read it.
        guard receipt.isDuplicate else { return }
        environment.publish(
            .present([], on: environment.instance, head: receipt.seq), to: message.room)
    }

    /// - Parameter proof: made once for all readers, on whatever server.
    private func relay(
        _ message: Message, _ receipt: Receipt, _ author: Member?, proof: String?
    ) {
        let stored = StoredMessage(message: message, seq: receipt.seq)
        let frame = ServerFrame.message(stored, receipt: proof, limits: environment.limits)
        let room = directory.existing(message.room)
        if receipt.isDuplicate {
            room?.repeated(stored, receipt: proof, author: author)
        } else if let room {
            room.stored(stored, frame: frame, receipt: proof, author: author)
        } else {
            let event = RoomEvent.message(
                seq: stored.seq, id: message.id, author: message.author, frame: frame)
            environment.publish(event, to: message.room)
        }
    }
}

extension Message {
    /// The message with the times that it was stored with.
    fileprivate func kept(_ receipt: Receipt) -> Message {
        var message = self
        message.sentAt = receipt.sentAt
        message.receivedAt = receipt.receivedAt
        return message
    }
}

extension RoomEnvironment {
    /// What a reader needs to give a message back one day that a shard has; nil without a key.
    ///
    /// One that was stored before may be deleted by now. Then its author's word for its text is no
    /// proof: the shard is asked what it has.
    func proof(of message: Message, _ receipt: Receipt) async -> String? {
        guard receipt.isDuplicate else { return receipts.receipt(for: message) }
        guard receipts.isReady else { return nil }
        do throws(ReadError) {
            let page = try await store.history(
                of: message.room, before: nil, after: receipt.seq - 1, limit: 1,
                patience: limits.session.historyPatience)
            guard let known = page.messages.first, known.message.id == message.id,
                known.deletedBy == nil
            else { return nil }
            return receipts.receipt(for: known.message)
        } catch {
            return nil  // The ack is true without it.
        }
    }
}

extension ServerFrame {
    /// What the author of a message is told when it was not stored, or may not have been. What
    /// the store says about itself stays here.
    static func error(_ error: WriteError, id: UUID) -> ByteBuffer {
        switch error {
        case .overloaded(shard: _, let retryAfter):
            self.error(
                .overloaded, "too many messages are waiting; nothing was stored", id: id,
                retryAfter: retryAfter, isTemporary: true)
        case .conflict:
            self.error(.idConflict, "this id already holds another message", id: id)
        case .refused:
            self.error(.badMessage, "the message cannot be stored", id: id)
        case .unavailable(shard: _, reason: _, let retryAfter):
            unwritable(id, retryAfter: retryAfter)
        case .unknownOutcome, .stopped:
            unwritable(id, retryAfter: nil)
        }
    }

    private static func unwritable(_ id: UUID, retryAfter: Duration?) -> ByteBuffer {
        error(
            .unavailable,
            "the room cannot be written to now; send the message again with the same id",
            id: id, retryAfter: retryAfter, isTemporary: true)
    }

    /// What a reader is told when a page cannot be read.
    static func error(_ error: ReadError) -> ByteBuffer {
        switch error {
        case .unavailable, .stopped:
            self.error(.unavailable, "the room cannot be read now", isTemporary: true)
        case .refused:
            self.error(.unavailable, "the room cannot be read")
        }
    }
}

import CoreMetrics
import DequeModule
import FoundationEssentials
import Logging
import Postgres
import ShardRouter
import Synchronization

/// Lost messages that come back from clients.
extension Room {
    /// What becomes of a message that a client gives back.
    enum Restoration: Equatable {
        case begun
        /// Nobody asked this client for it, or no longer.
        case unasked
        /// No server of the cluster has made its receipt.
        case forged
    }

    /// Messages that were given back, in the order in which they are stored. No more than were
    /// asked for at once.
    struct Answers {
        struct Answer {
            var message: Message
            var seq: Int64?
        }

        var waiting: Deque<Answer> = []
        var isStoring = false

        mutating func next() -> Answer? {
            isStoring = !waiting.isEmpty
            return waiting.popFirst()
        }
    }

    /// A client gives `message` back; it is stored and told to everybody, when it was asked for and
    /// its receipt fits.
    ///
    /// - Parameter seq: the place that it had.
    func restore(
        _ message: Message, seq: Int64?, receipt: String, from member: Member
    ) -> Restoration {
        guard ask({ $0.wants.takes(message.id, from: member.id) }) else { return .unasked }
        guard environment.receipts.isGenuine(receipt, for: message) else {
            environment.logger.debug(
                "A client gave back a message whose receipt is not of this cluster.",
                metadata: ["room.id": "\(id)"])
            perform { state, now in state.forged(message.id, by: member.id, now: now) }
            return .forged
        }
        let isFirst = answers.withLock { answers in
            answers.waiting.append(Answers.Answer(message: message, seq: seq))
            defer { answers.isStoring = true }
            return !answers.isStoring
        }
        // When the lanes have ended, so has the server.
        if isFirst { environment.lanes.start(key: id) { await self.storeAnswers() } }
        return .begun
    }

    /// Stores one after the other, so that they get their numbers in the order of their coming.
    private func storeAnswers() async {
        while let answer = answers.withLock({ $0.next() }) {
            await store(answer.message, answer.seq)
        }
    }

    private func store(_ message: Message, _ seq: Int64?) async {
        do throws(WriteError) {
            let kept = try await environment.store.restore(
                message, seq: seq, patience: environment.limits.session.storePatience)
            if !kept.isDuplicate { environment.metrics.restored.increment() }
            // As the shard has it, which may be without the text.
            let proof = environment.receipts.receipt(for: kept.stored.message)
            self.stored(
                kept.stored,
                frame: ServerFrame.message(
                    kept.stored, receipt: proof, limits: environment.limits),
                receipt: proof, author: nil)
            perform { state, now in state.restored(message.id, now: now) }
        } catch {
            environment.logger.debug(
                "A message that a client gave back was not stored.",
                metadata: ["room.id": "\(id)", "error": "\(error)"])
            perform { state, now in
                state.notRestored(message.id, isFinal: error.isFinal, now: now)
            }
        }
    }

    /// Asks the shard which of these it has.
    func lookUp(_ ids: [UUID]) async {
        var known: Set<UUID>?
        do throws(ReadError) {
            known = try await environment.store.known(
                ids, in: id, patience: environment.limits.room.readPatience)
        } catch {
            environment.logger.debug(
                "Reported ids of a room cannot be looked up; it will be tried again.",
                metadata: ["room.id": "\(id)", "error": "\(error)"])
        }
        perform { state, now in state.lookedUp(known, now: now) }
    }
}

extension WriteError {
    /// Whether the same message would fail again.
    fileprivate var isFinal: Bool {
        switch self {
        case .conflict, .refused: true
        case .overloaded, .unavailable, .unknownOutcome, .stopped: false
        }
    }
}

import FoundationEssentials

/// Brings the outbox to the server, in the order of writing.
extension RoomState {
    /// - Throws: ``SendError``; nothing was kept or sent then.
    func check(_ text: String) throws(SendError) {
        guard !text.isEmpty, !text.utf8.contains(0) else { throw .notAText }
        guard text.utf8.count <= textBytes else { throw .tooLong(bytes: textBytes) }
        guard outbox.entries.count < limits.outboxMessages else { throw .outboxFull }
    }

    mutating func send(_ entry: OutboxEntry, now: Instant) {
        outbox.add(entry)
        sendNext(now: now)
    }

    /// Gives up a message that was refused; one that may still be stored stays.
    mutating func discard(_ id: UUID) -> Bool {
        guard let entry = outbox.entries.first(where: { $0.id == id }) else { return false }
        switch entry.state {
        case .failed: return outbox.remove(id)
        case .sending, .queued: return false
        }
    }

    mutating func type(now: Instant) {
        guard isLive else { return }
        if let typedAt, now - typedAt < limits.typing { return }
        typedAt = now
        actions.append(.write(ClientFrame.typing))
    }

    mutating func sendNext(now: Instant) {
        guard isLive, sendsAgainAt == nil else { return }
        while inFlight.count < limits.inFlight, let entry = outbox.next(except: inFlight.keys) {
            let frame = ClientFrame.message(entry)
            guard entry.text.utf8.count <= textBytes, frame.utf8.count <= frameBytes else {
                fail(ChatFault(code: "tooLong", message: "longer than the server takes"), entry.id)
                continue
            }
            sendTimes.removeAll { now - $0 >= .seconds(1) }
            guard sendTimes.count < messagesPerSecond else {
                sendsAgainAt = sendTimes[0] + .seconds(1)
                return
            }
            sendTimes.append(now)
            inFlight[entry.id] = now + limits.patience
            actions.append(.write(frame))
        }
    }

    mutating func acknowledged(_ ack: ServerFrame.Ack, now: Instant) {
        if ack.level == "stored" {
            settle(ack.id, ack.seq ?? 0)
        } else if outbox.contains(ack.id) {
            outbox.queue(ack.id, until: now + limits.queuedAgain * (0.5 + delays.fraction()))
            tell(.queued(ack.id))
        }
        landed(ack.id, now: now)
    }

    /// A message has come back: it is stored, whether its ack arrived or not.
    mutating func saw(_ id: UUID, _ seq: Int64?, now: Instant) {
        guard let seq, outbox.contains(id) else { return }
        settle(id, seq)
        landed(id, now: now)
    }

    mutating func sendingRefused(_ fault: ChatFault, now: Instant) {
        if let id = fault.id, fault.isFinal {
            fail(fault, id)
            landed(id, now: now)
        } else if fault.id.map({ inFlight[$0] != nil }) ?? !inFlight.isEmpty {
            // What was sent behind it goes out again, too, and so keeps its place.
            inFlight = [:]
            sendsAgainAt = now + (retryDelay(fault) ?? delays.beforeRetry(failures: sendFailures))
            sendFailures += 1
        }
    }

    private mutating func settle(_ id: UUID, _ seq: Int64) {
        guard outbox.remove(id) else { return }
        actions.append(.forget(id))
        tell(.stored(id: id, seq: seq))
    }

    private mutating func fail(_ fault: ChatFault, _ id: UUID) {
        guard outbox.contains(id) else { return }
        outbox.fail(id, fault)
        actions.append(.forget(id))
        tell(.refused(id: id, fault))
    }

    /// What was on its way needs no more waiting.
    private mutating func landed(_ id: UUID, now: Instant) {
        guard inFlight.removeValue(forKey: id) != nil else { return }
        sendFailures = 0
        sendNext(now: now)
    }
}

/// Why a message cannot be sent at all. Nothing was kept.
public enum SendError: Error, Equatable {
    /// Empty, or with a U+0000.
    case notAText
    /// The server takes at most so many bytes of UTF-8.
    case tooLong(bytes: Int)
    /// Too much waits for a server; see ``ClientLimits/outboxMessages``.
    case outboxFull
    /// ``ChatClient/run()`` has ended, and with it all sending.
    case ended
    /// The outbox's storage did not take it.
    case notKept(String)
}

import FoundationEssentials
import ShardRouter

/// Messages and acts of moderators, from a socket to the room's shard.
extension ChatSession {
    /// Whether something may be written now; ``SessionStateMachine/writeEnded()`` must follow.
    private func isWithinRates(_ id: UUID, _ member: Member) -> Bool {
        guard isHandled({ $0.message(at: $1) }, id: id, member) else { return false }
        let now = environment.clock.now()
        let wait =
            bounds?.message(at: now)
            ?? environment.allowances.message(of: user, in: roomID, at: now)
        guard let wait else { return true }
        _ = isHandled({ $0.messageRefused(for: wait, at: $1) }, id: id, member)
        return false
    }

    func store(_ message: ClientMessage, _ member: Member) {
        guard isWithinRates(message.id, member) else { return }
        let arrival = environment.arrived(in: roomID)
        let isStarted = startWrite(message.id, member) { [self] in
            do throws(WriteError) {
                _ = try await writer.write(
                    message, to: roomID, from: user, author: member, arrival)
            } catch {
                failed(error, message.id, member)
            }
        }
        if !isStarted { environment.ended(arrival, .stopped) }
    }

    /// The user is muted, and is told so, unless he repeats what he wrote before: its ack may have
    /// been lost.
    func storeAgain(
        _ message: ClientMessage, _ member: Member, mute: Sanctions.Sanction
    ) {
        guard isWithinRates(message.id, member) else { return }
        startWrite(message.id, member) { [self] in
            guard await writer.isStored(message.id, in: roomID) else {
                member.enqueue(
                    ServerFrame.error(
                        "muted", mute, id: message.id, retryAfter: environment.wait(for: mute)))
                return
            }
            do throws(WriteError) {
                _ = try await writer.write(
                    message, to: roomID, from: user, author: member,
                    environment.arrived(in: roomID))
            } catch {
                failed(error, message.id, member)
            }
        }
    }

    func moderate(_ order: ModerationOrder, _ member: Member) {
        guard isWithinRates(order.id, member) else { return }
        let moderator = Moderator(environment: environment, directory: directory)
        startWrite(order.id, member) { [self] in
            do throws(ModerationError) {
                _ = try await moderator.carryOut(order, in: roomID, by: user, author: member)
            } catch {
                logFailure(of: "moderating", "\(error)")
                member.enqueue(ServerFrame.error(error, id: order.id))
            }
        }
    }

    private var writer: MessageWriter {
        MessageWriter(environment: environment, directory: directory)
    }

    private func failed(_ error: WriteError, _ id: UUID, _ member: Member) {
        logFailure(of: "storing a message", "\(error)")
        member.enqueue(ServerFrame.error(error, id: id))
    }

    /// Writes to the room's shard, after what was started before it.
    ///
    /// - Returns: false when the server has stopped; then the user is told.
    @discardableResult
    private func startWrite(
        _ id: UUID, _ member: Member, _ write: @escaping @Sendable () async -> Void
    ) -> Bool {
        let isStarted = environment.lanes.start(key: roomID) { [self] in
            await write()
            writeEnded()
        }
        if !isStarted {
            member.enqueue(ServerFrame.error(WriteError.stopped, id: id))
            writeEnded()
        }
        return isStarted
    }
}

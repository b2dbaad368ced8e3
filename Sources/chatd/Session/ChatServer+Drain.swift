import NIOCore

extension ChatServer {
    /// Lets all clients go: each gets a `bye` of its own, and its socket is closed. New sockets are
    /// not taken any more; messages that arrive on open ones are stored and acknowledged as ever.
    ///
    /// Sockets are closed in slices. The next one waits until every event loop has done with the last
    /// one, and a moment longer, since the clients' answers make as much work again: closing
    /// thousands holds up no loop. Who goes by himself is not closed again.
    ///
    /// - Parameters:
    ///   - time: until the last client is back elsewhere; zero closes all at once, as stopped.
    ///   - sleep: how the drain waits.
    /// - Note: Returns when every socket was told. Cancelling closes nothing more.
    func drain(
        over time: Duration,
        sleep: (ContinuousClock.Instant) async throws -> Void = {
            try await Task.sleep(until: $0, clock: .continuous)
        }
    ) async {
        takeNoMore()
        // Told in no order that anybody could see: people of one room come back one by one.
        let sockets = openSockets.shuffled()
        let limits = environment.limits
        let plan = FarewellPlan(
            sockets: sockets.count, time: time,
            reconnect: limits.reconnectMin...limits.reconnectMax)
        let start = ContinuousClock.now
        var earliest = start
        var next = 0
        do {
            while next < sockets.count {
                try await sleep(max(start + plan.closing(next), earliest))
                let slice = next..<min(next + limits.session.farewells, sockets.count)
                for index in slice {
                    if time > .zero {
                        sockets[index].dismiss(.draining, plan.reconnectAfter(index))
                    } else {
                        sockets[index].dismiss(.stopped, environment.reconnectDelay())
                    }
                }
                try await settle(sockets[slice])
                earliest = .now + limits.session.farewellPause
                next = slice.upperBound
            }
        } catch {
            return  // Cancelled: whoever did it closes what is left.
        }
    }

    /// A socket to let go of.
    private struct OpenSocket {
        var loop: any EventLoop
        var dismiss: (SessionStateMachine.Ending, Duration) -> Void
    }

    /// All sockets; one with many rooms is one.
    private var openSockets: [OpenSocket] {
        let single = directory.all.flatMap(\.allMembers).filter { !$0.socket.namesRoom }
        return single.map { member in
            OpenSocket(loop: member.socket.eventLoop) {
                member.owner.dismiss($0, reconnectAfter: $1)
            }
        }
            + roomsSessions.all.compactMap { session in
                session.eventLoop.map { loop in
                    OpenSocket(loop: loop) { session.dismiss($0, reconnectAfter: $1) }
                }
            }
    }

    /// Returns when the event loops of `sockets` have done what they were given.
    private func settle(_ sockets: ArraySlice<OpenSocket>) async throws {
        var loops: [any EventLoop] = []
        for socket in sockets where !loops.contains(where: { $0 === socket.loop }) {
            loops.append(socket.loop)
        }
        for loop in loops { try await loop.submit {}.get() }
    }
}

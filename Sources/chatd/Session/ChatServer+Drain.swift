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
        let members = directory.all.flatMap(\.allMembers).shuffled()
        let limits = environment.limits
        let plan = FarewellPlan(
            sockets: members.count, time: time,
            reconnect: limits.reconnectMin...limits.reconnectMax)
        let start = ContinuousClock.now
        var earliest = start
        var next = 0
        do {
            while next < members.count {
                try await sleep(max(start + plan.closing(next), earliest))
                let slice = next..<min(next + limits.session.farewells, members.count)
                for index in slice {
                    let owner = members[index].owner
                    if time > .zero {
                        owner.dismiss(.draining, reconnectAfter: plan.reconnectAfter(index))
                    } else {
                        owner.dismiss(.stopped, reconnectAfter: environment.reconnectDelay())
                    }
                }
                try await settle(members[slice])
                earliest = .now + limits.session.farewellPause
                next = slice.upperBound
            }
            for session in roomsSessions.all {
                session.dismiss(
                    time > .zero ? .draining : .stopped,
                    reconnectAfter: environment.reconnectDelay())
            }
        } catch {
            return  // Cancelled: whoever did it closes what is left.
        }
    }

    /// Returns when the event loops of `members` have done what they were given.
    private func settle(_ members: ArraySlice<Member>) async throws {
        var loops: [any EventLoop] = []
        for member in members where !loops.contains(where: { $0 === member.socket.eventLoop }) {
            loops.append(member.socket.eventLoop)
        }
        for loop in loops { try await loop.submit {}.get() }
    }
}

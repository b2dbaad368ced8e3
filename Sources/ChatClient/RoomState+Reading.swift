import FoundationEssentials

/// Pages of history, one at a time: an answer does not name its question, so the order of the two
/// is what connects them.
extension RoomState {
    /// Asks for the page before the oldest message here.
    mutating func loadOlder(now: Instant) {
        guard timeline.isLoaded, !timeline.isWhole, isLive else { return }
        want(.before, now: now)
    }

    mutating func want(_ wish: Wish, now: Instant) {
        wishes.insert(wish)
        ask(now: now)
    }

    mutating func ask(now: Instant) {
        guard isLive, request == nil, asksAgainAt == nil,
            let wish = wishes.min(by: { $0.rawValue < $1.rawValue })
        else { return }
        wishes.remove(wish)
        let frame: String
        var from: Int64?
        switch wish {
        case .newest: frame = ClientFrame.history(limit: limits.page)
        case .after:
            // With the last message that is here: another one in its place shows it was lost.
            var after = timeline.low == nil ? timeline.upTo : max(0, timeline.upTo - 1)
            if let joint { after = min(after, joint) }
            if let suspect, let low = timeline.low {
                after = min(after, max(low - 1, suspect - limits.suspected))
            }
            frame = ClientFrame.history(after: after, limit: limits.fillPage)
            from = after
        case .before:
            frame = ClientFrame.history(before: timeline.low, limit: limits.page)
            from = timeline.low
        }
        request = Request(
            wish: wish, from: from, settled: timeline.newestEarly,
            suspect: wish == .after ? suspect : nil, deadline: now + limits.patience)
        if wish == .after { suspect = nil }
        actions.append(.write(frame))
    }

    mutating func answered(_ page: ServerFrame.Page, now: Instant) {
        guard let request else { return take(page.messages, now: now) }
        self.request = nil
        askFailures = 0
        switch request.wish {
        case .newest:
            timeline.reset(page.messages, isWhole: page.complete)
            tell(.reset(timeline.messages.filter { $0.event == nil }))
            for message in timeline.messages { tellDeletion(by: message) }
        case .after where timeline.upTo < request.from ?? 0:
            // Numbers were lost meanwhile: the page does not join on to what is left.
            wishes.insert(.after)
            take(page.messages, now: now)
        case .before where timeline.low != request.from: break
        case .after:
            // A page that brings nothing new would be asked for again and again.
            let upTo = timeline.upTo
            if let joint, let from = request.from, from <= joint { self.joint = nil }
            show(timeline.append(page.messages, settled: page.complete ? request.settled : 0))
            if !page.complete && timeline.upTo > upTo { wishes.insert(.after) }
        case .before:
            let older = timeline.prepend(page.messages, isWhole: page.complete)
            tell(.prepended(older.filter { $0.event == nil }))
        }
        for message in page.messages { saw(message.id, message.seq, now: now) }
        ask(now: now)
    }

    /// - Returns: whether it was about a page, or may have been.
    @discardableResult
    mutating func readingRefused(_ fault: ChatFault, now: Instant) -> Bool {
        guard let request else { return false }
        self.request = nil
        suspect = suspect ?? request.suspect
        if fault.temporary != false { wishes.insert(request.wish) }
        asksAgainAt = now + (retryDelay(fault) ?? delays.beforeRetry(failures: askFailures))
        askFailures += 1
        return true
    }

    // MARK: Messages

    mutating func take(_ messages: [ChatMessage], now: Instant) {
        show(messages.flatMap { timeline.add($0) })
        for message in messages {
            if message.isDeleted { tell(.deleted(message.id)) }
            saw(message.id, message.seq, now: now)
        }
        if timeline.hasGap && gapEndsAt == nil { gapEndsAt = now + limits.gapGrace }
    }

    mutating func show(_ messages: [ChatMessage]) {
        guard !messages.isEmpty else { return }
        let shown = messages.filter { $0.event == nil }
        if !shown.isEmpty { tell(.appended(shown)) }
        for message in messages { tellDeletion(by: message) }
        timeline.trim()
    }

    private mutating func tellDeletion(by message: ChatMessage) {
        if let id = message.deletedID { tell(.deleted(id)) }
    }
}

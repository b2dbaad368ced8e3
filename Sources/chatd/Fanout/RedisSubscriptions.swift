import ShardRouter

/// Which rooms are to be heard, and how far Redis has confirmed it.
///
/// A room has at most one unanswered command, so nothing piles up however often wishes change
/// while Redis hangs.
struct RedisSubscriptions {
    private enum Phase {
        case off, subscribing, on, unsubscribing
    }

    private struct Entry {
        var isWanted: Bool
        var phase: Phase
    }

    /// What to tell Redis next.
    struct Commands: Equatable {
        var subscribe: [RoomID] = []
        var unsubscribe: [RoomID] = []

        var isEmpty: Bool { subscribe.isEmpty && unsubscribe.isEmpty }
    }

    /// Rooms that are wanted, or that Redis has not let go yet.
    private var entries: [RoomID: Entry] = [:]
    /// Rooms whose wish and phase may differ.
    private var changed: Set<RoomID> = []
    /// Rooms that Redis would not let us hear; only ``retry()`` asks again.
    private var refused: Set<RoomID> = []
    private(set) var isConnected = false

    var hasChanges: Bool { isConnected && !changed.isEmpty }

    func isWanted(_ room: RoomID) -> Bool { entries[room]?.isWanted ?? false }

    /// Whether Redis tells us what others publish in `room`.
    func isHeard(_ room: RoomID) -> Bool { entries[room]?.phase == .on }

    /// `room` is to be heard.
    ///
    /// - Returns: whether it is heard already, since Redis was not yet told to let it go.
    mutating func want(_ room: RoomID) -> Bool {
        let entry = entries[room] ?? Entry(isWanted: false, phase: .off)
        guard !entry.isWanted else { return false }
        entries[room] = Entry(isWanted: true, phase: entry.phase)
        switch entry.phase {
        case .on:
            changed.remove(room)
            return true
        case .off, .subscribing, .unsubscribing:
            changed.insert(room)
            return false
        }
    }

    /// `room` is no longer to be heard.
    mutating func release(_ room: RoomID) {
        guard let entry = entries[room], entry.isWanted else { return }
        guard entry.phase != .off else { return forget(room) }
        entries[room] = Entry(isWanted: false, phase: entry.phase)
        changed.insert(room)
    }

    /// A new connection knows nothing yet.
    mutating func connect() {
        precondition(!isConnected, "one connection at a time")
        isConnected = true
        changed = Set(entries.keys)
    }

    mutating func disconnect() {
        isConnected = false
        changed = []
        refused = []
        entries = entries.filter(\.value.isWanted).mapValues { _ in
            Entry(isWanted: true, phase: .off)
        }
    }

    /// What Redis must be told, and is told now; at most `limit` rooms of each kind.
    mutating func takeCommands(limit: Int) -> Commands {
        var commands = Commands()
        guard isConnected else { return commands }
        while let room = changed.first, commands.subscribe.count < limit,
            commands.unsubscribe.count < limit
        {
            changed.remove(room)
            guard let entry = entries[room] else { continue }
            switch (entry.isWanted, entry.phase) {
            case (true, .off):
                entries[room]?.phase = .subscribing
                commands.subscribe.append(room)
            case (false, .on):
                entries[room]?.phase = .unsubscribing
                commands.unsubscribe.append(room)
            case (false, .off): forget(room)
            case (true, .on), (_, .subscribing), (_, .unsubscribing):
                break  // As it should be, or looked at again when Redis has answered.
            }
        }
        return commands
    }

    /// Redis has confirmed a SUBSCRIBE.
    ///
    /// - Returns: whether somebody still wants to know.
    mutating func confirmSubscribe(_ room: RoomID) -> Bool {
        guard let entry = entries[room], entry.phase == .subscribing else { return false }
        entries[room]?.phase = .on
        if !entry.isWanted { changed.insert(room) }
        return entry.isWanted
    }

    /// Redis has confirmed an UNSUBSCRIBE.
    mutating func confirmUnsubscribe(_ room: RoomID) {
        guard let entry = entries[room], entry.phase == .unsubscribing else { return }
        entries[room]?.phase = .off
        if entry.isWanted {
            changed.insert(room)
        } else {
            forget(room)
        }
    }

    /// Redis has refused a SUBSCRIBE: another node has the room now, or none has for the moment.
    mutating func refuseSubscribe(_ room: RoomID) {
        guard let entry = entries[room], entry.phase == .subscribing else { return }
        entries[room]?.phase = .off
        if entry.isWanted {
            refused.insert(room)
        } else {
            forget(room)
        }
    }

    /// Redis has let the room go without being asked to: its node does not have it any more.
    mutating func loseRoom(_ room: RoomID) {
        guard let entry = entries[room], entry.phase == .on else { return }
        entries[room]?.phase = .off
        if entry.isWanted {
            refused.insert(room)
        } else {
            forget(room)
        }
    }

    /// Asks again for what was refused.
    mutating func retry() {
        guard isConnected else { return }
        changed.formUnion(refused)
        refused = []
    }

    private mutating func forget(_ room: RoomID) {
        entries[room] = nil
        changed.remove(room)
        refused.remove(room)
    }
}

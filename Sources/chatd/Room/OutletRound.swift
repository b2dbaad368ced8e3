import NIOCore

/// One round of a loop's outlet: sorts what is to be sent by socket, so that each socket is written
/// to once. What one socket is sent keeps its order.
///
/// Frames for the same readers are put on the wire together and shared. Members who are sent
/// something of their own beside them are written to frame by frame.
struct OutletRound {
    /// Frames of one room for the same readers.
    private struct Run {
        let readers: LoopOutlet.Readers
        var frames: [(place: Int, delivery: LoopOutlet.Delivery)] = []
        var bytes = 0
        /// Whether somebody is left out of a frame.
        var hasExceptions = false
    }

    /// What one member alone is sent.
    private struct Letter {
        var place: Int
        var frames: [ByteBuffer]
        var isGreeting: Bool
    }

    private var runs: [Run] = []
    private var letters: [ObjectIdentifier: [Letter]] = [:]
    private var addressees: [Member] = []

    private var latest: [ObjectIdentifier: Int] = [:]
    private var lastPlace = 0

    /// What all of a room are sent, after everything that was added before.
    mutating func add(_ delivery: LoopOutlet.Delivery) {
        lastPlace += 1
        let key = ObjectIdentifier(delivery.readers)
        let index: Int
        if let known = latest[key], runs[known].bytes < SharedFrames.bytesAtMost {
            index = known
        } else {
            index = runs.count
            runs.append(Run(readers: delivery.readers))
            latest[key] = index
        }
        runs[index].frames.append((lastPlace, delivery))
        runs[index].bytes += delivery.frame.readableBytes
        if delivery.except != nil { runs[index].hasExceptions = true }
    }

    /// Whether anything was added for all of a room's members on this loop.
    func writes(to part: LoopOutlet.Part) -> Bool {
        runs.contains { $0.readers.part === part }
    }

    /// What `member` alone is sent, after everything that was added before.
    mutating func add(_ frames: [ByteBuffer], for member: Member, isGreeting: Bool = false) {
        lastPlace += 1
        let key = ObjectIdentifier(member)
        if letters[key] == nil { addressees.append(member) }
        letters[key, default: []].append(
            Letter(place: lastPlace, frames: frames, isGreeting: isGreeting))
    }

    /// Writes at once what was added for `member` alone; it is flushed with the rest.
    mutating func post(to member: Member) {
        let key = ObjectIdentifier(member)
        guard let own = letters[key] else { return }
        letters[key] = []
        for letter in own { post(letter, to: member) }
    }

    /// Writes everything to the sockets, and flushes each of them once. On their event loop.
    consuming func write() {
        for run in runs { write(run) }
        for member in addressees {
            for letter in letters[ObjectIdentifier(member)] ?? [] { post(letter, to: member) }
        }
        if runs.count > 1 {
            for run in runs {
                for member in run.readers.members { member.socket.flush() }
            }
        }
        for member in addressees { member.socket.flush() }
    }

    // MARK: Writing

    private mutating func write(_ run: Run) {
        let frames = SharedFrames(run.frames.map(\.delivery.frame))
        let isOnly = runs.count == 1
        for member in run.readers.members {
            let key = ObjectIdentifier(member)
            if !letters.isEmpty, let own = letters[key] {
                letters[key] = deliver(run, among: own, to: member)
                continue
            }
            // A socket may be in several rooms; then it is flushed after all of them.
            deliver(run, frames, to: member, flushing: isOnly)
        }
    }

    private func deliver(
        _ run: Run, _ frames: SharedFrames, to member: Member, flushing: Bool
    ) {
        guard !run.hasExceptions || !run.frames.contains(where: { $0.delivery.except == member.id })
        else {
            for (_, delivery) in run.frames { delivery.write(to: member) }
            if flushing { member.socket.flush() }
            return
        }
        guard !member.isOver else { return }
        if member.canTake(within: run.frames[0].delivery.pendingBytes) {
            member.socket.write(frames, flushing: flushing)
        } else {
            for (_, delivery) in run.frames { member.skipped(delivery.kind) }
        }
    }

    /// Writes the frames of `run`, and before each what the member was sent before it.
    ///
    /// - Returns: what the member is sent later.
    private func deliver(
        _ run: Run, among letters: [Letter], to member: Member
    ) -> [Letter] {
        var letters = letters[...]
        for (place, delivery) in run.frames {
            while let letter = letters.first, letter.place < place {
                post(letter, to: member)
                letters.removeFirst()
            }
            delivery.write(to: member)
        }
        // Whoever reads is not taken for slow because of what a long round holds for him.
        if run.bytes >= SharedFrames.bytesAtMost { member.socket.flush() }
        return Array(letters)
    }

    private func post(_ letter: Letter, to member: Member) {
        for frame in letter.frames {
            if !letter.isGreeting { member.socket.reserve(bytes: -frame.readableBytes) }
            member.socket.write(frame)
        }
        if letter.isGreeting { member.owner.welcomed() }
    }
}

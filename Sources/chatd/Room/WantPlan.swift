import DequeModule
import FoundationEssentials

/// Decides which lost messages a room asks for, and whom: one client at a time.
///
/// An id that a client has reported and the window lacks is a candidate:
///
/// unchecked → checking → missing → asked → storing
///
/// The shard is asked first, for many ids at once and at most once per beat; what it has is no
/// candidate any more. Whoever is asked and gives nothing within a beat is passed over for the next
/// one that reported. A compact report names no ids: when it does not fit, one client is asked to
/// tell what it has, and does so in the founding form.
///
/// Clients may report ids that nobody ever had. Each has a share of the candidates, all take turns
/// at being looked up and asked, and who has given nothing goes to the end of the queue: what one
/// invents costs the others a beat, not their turn.
struct WantPlan: Sendable {
    typealias Instant = ContinuousClock.Instant

    enum Action: Equatable, Sendable {
        /// Ask the shard which of these it has, and report the outcome.
        case lookUp([UUID])
        /// Ask a client for these messages.
        case ask(MemberID, [UUID])
        /// Ask a client what it has above this `seq`, or without one.
        case askReport(MemberID, above: Int64)
    }

    enum Phase {
        case unchecked, checking, missing, asked, storing
    }

    struct Candidate {
        /// The order in which candidates were reported.
        var number: UInt64
        var phase = Phase.unchecked
        /// Who has it and was not asked yet, or is just being asked.
        var reporters: [MemberID]
        /// Whose share it counts for: who reported it first and is still there.
        var owner: MemberID

        var canGiveWay: Bool { phase != .asked && phase != .storing }
    }

    /// The client that is being asked.
    private struct Question {
        enum Subject {
            case messages(waiting: Set<UUID>, storing: Set<UUID>)
            case report
        }

        var member: MemberID
        var subject: Subject
        var due: Instant
        var hasAnswered = false
    }

    let limits: WantLimits
    var candidates: [UUID: Candidate] = [:]
    /// Candidates by owner.
    var shares: [MemberID: Int] = [:]
    /// The turn in which a client was asked last; who is not here was never, or gave all.
    var turns: [MemberID: UInt64] = [:]
    private var lastTurn: UInt64 = 0
    private var wasReportAsked = false
    private var question: Question?
    private var doubts: [(member: MemberID, above: Int64)] = []
    /// Ids that need nothing for now: the shard has them, or somebody else asks for them.
    private var quietIDs: [UUID: Instant] = [:]
    private var quietOrder: Deque<UUID> = []
    private var quietMembers: [MemberID: Instant] = [:]
    var lastNumber: UInt64 = 0
    private var lastLookUp: Instant?
    private var isLookingUp = false
    private var notBefore: Instant?

    init(limits: WantLimits) {
        self.limits = limits
    }

    /// Whether nothing is missing, as far as is known.
    var isCalm: Bool { candidates.isEmpty && doubts.isEmpty && question == nil }

    /// Ids that are looked into now.
    var candidateCount: Int { candidates.count }

    // MARK: Reports

    /// A client has reported `ids`, oldest first, which the window lacks.
    mutating func reported(_ ids: some Sequence<UUID>, by member: MemberID, now: Instant) {
        guard !isQuiet(member, now) else { return }
        var joined = 0
        var unknown: [UUID] = []
        for id in ids where !isQuiet(id, now) {
            if let known = candidates[id] {
                guard known.reporters.count < limits.reporters,
                    !known.reporters.contains(member)
                else { continue }
                candidates[id]?.reporters.append(member)
                joined += 1
            } else if unknown.count < limits.reportedIDs {
                unknown.append(id)
            }
        }
        let added = add(unknown, of: member)
        guard let question, question.member == member, case .report = question.subject else {
            return
        }
        self.question = nil
        // Who had nothing to tell is not asked again soon, nor is anybody at every beat.
        if added + joined == 0 { quietMembers[member] = now + limits.quiet }
    }

    /// A client's compact report says that it has messages which this server cannot name.
    mutating func doubted(by member: MemberID, above: Int64, now: Instant) {
        guard !isQuiet(member, now) else { return }
        if let question, question.member == member { return }
        if candidates.values.contains(where: { $0.reporters.contains(member) }) { return }
        if let index = doubts.firstIndex(where: { $0.member == member }) {
            doubts[index].above = above
        } else if doubts.count < limits.doubts {
            doubts.append((member, above))
        }
    }

    /// Another server asks for these: they will come from there.
    mutating func othersAsk(for ids: [UUID], now: Instant) {
        for id in ids {
            switch candidates[id]?.phase {
            case .unchecked, .missing:
                drop(id)
                quiet(id, until: now + limits.patience)
            case .checking, .asked, .storing: break
            case nil: quiet(id, until: now + limits.patience)
            }
        }
    }

    /// A message has become known in some other way.
    mutating func appeared(_ id: UUID) {
        guard !candidates.isEmpty, candidates[id]?.phase != .storing else { return }
        drop(id)
    }

    /// A client is gone.
    mutating func left(_ member: MemberID) {
        doubts.removeAll { $0.member == member }
        if question?.member == member { endQuestion() }
        forget(member)
        quietMembers[member] = nil
        turns[member] = nil
    }

    // MARK: The shard

    /// The shard has these of the ids that were looked up.
    mutating func lookedUp(_ known: Set<UUID>, now: Instant) {
        isLookingUp = false
        for (id, candidate) in candidates where candidate.phase == .checking {
            if known.contains(id) {
                drop(id)
                quiet(id, until: now + limits.quiet)
            } else if candidate.reporters.isEmpty {
                drop(id)
            } else {
                candidates[id]?.phase = .missing
            }
        }
    }

    /// The shard could not be asked; it will be again.
    mutating func lookUpFailed() {
        isLookingUp = false
        for (id, candidate) in candidates where candidate.phase == .checking {
            candidates[id]?.phase = .unchecked
        }
    }

    // MARK: Answers

    /// A client gives a message back.
    ///
    /// - Returns: whether it was asked for it. Then ``stored(_:now:)``, ``forged(by:now:)`` or
    ///   ``failed(_:isFinal:now:)`` must follow.
    mutating func takes(_ id: UUID, from member: MemberID) -> Bool {
        guard var question, question.member == member,
            case .messages(var waiting, var storing) = question.subject,
            waiting.remove(id) != nil
        else { return false }
        storing.insert(id)
        question.subject = .messages(waiting: waiting, storing: storing)
        self.question = question
        candidates[id]?.phase = .storing
        return true
    }

    /// A message that was given back is stored.
    mutating func stored(_ id: UUID, now: Instant) {
        drop(id)
        quiet(id, until: now + limits.quiet)
        settle(id, now)
    }

    /// A message that was given back could not be stored.
    ///
    /// - Parameter isFinal: whether it never can be; otherwise it is asked for again later.
    mutating func failed(_ id: UUID, isFinal: Bool, now: Instant) {
        if isFinal || candidates[id]?.reporters.isEmpty ?? true {
            drop(id)
            quiet(id, until: now + limits.quiet)
        } else {
            candidates[id]?.phase = .missing
            notBefore = now + limits.lookUpInterval
        }
        settle(id, now)
    }

    /// A receipt did not fit: who sent it is not asked again soon.
    mutating func forged(_ id: UUID, by member: MemberID, now: Instant) {
        if candidates[id]?.phase == .storing { candidates[id]?.phase = .missing }
        quietMembers[member] = now + limits.quiet
        if question?.member == member { endQuestion() }
        forget(member)
    }

    // MARK: Time

    /// What to do now.
    mutating func next(now: Instant) -> [Action] {
        if let question, now >= question.due { passOver(question, now) }
        if quietMembers.count > limits.candidates {
            quietMembers = quietMembers.filter { $0.value > now }
        }
        return [nextLookUp(now), nextQuestion(now)].compactMap(\.self)
    }

    private mutating func nextLookUp(_ now: Instant) -> Action? {
        guard !isLookingUp, !candidates.isEmpty,
            lastLookUp.map({ now - $0 >= limits.lookUpInterval }) ?? true
        else { return nil }
        let ids = inTurn(limits.lookUpIDs) { $0.phase == .unchecked }
        guard !ids.isEmpty else { return nil }
        isLookingUp = true
        lastLookUp = now
        for id in ids { candidates[id]?.phase = .checking }
        return .lookUp(ids)
    }

    private mutating func nextQuestion(_ now: Instant) -> Action? {
        guard question == nil, notBefore.map({ now >= $0 }) ?? true else { return nil }
        let isReportsTurn = !doubts.isEmpty && !wasReportAsked
        wasReportAsked = false
        if !isReportsTurn, let member = nextMember() {
            lastTurn += 1
            turns[member] = lastTurn
            let ids = oldest(limits.askedIDs) {
                $0.phase == .missing && $0.reporters.contains(member)
            }
            for id in ids { candidates[id]?.phase = .asked }
            question = Question(
                member: member, subject: .messages(waiting: Set(ids), storing: []),
                due: now + limits.patience)
            return .ask(member, ids)
        }
        guard !doubts.isEmpty else { return nil }
        wasReportAsked = true
        let (member, above) = doubts.removeFirst()
        question = Question(member: member, subject: .report, due: now + limits.patience)
        return .askReport(member, above: above)
    }
}

// MARK: - Steps

extension WantPlan {
    /// The asked client has not answered in time.
    private mutating func passOver(_ question: Question, _ now: Instant) {
        if case .messages(let waiting, let storing) = question.subject {
            guard storing.isEmpty else { return }  // The store has its own patience.
            for id in waiting where question.hasAnswered {
                withdraw(question.member, from: id)
                // It has answered for others, so that it will report this one again and again.
                if candidates[id]?.reporters.isEmpty ?? false {
                    drop(id)
                    quiet(id, until: now + limits.quiet)
                }
            }
        }
        endQuestion()
        guard !question.hasAnswered else { return }
        quietMembers[question.member] = now + limits.quiet
        forget(question.member)
    }

    /// Nobody is asked any more; what was asked for can be asked of others.
    private mutating func endQuestion() {
        guard case .messages(let waiting, _) = question?.subject else {
            question = nil
            return
        }
        for id in waiting where candidates[id]?.phase == .asked {
            candidates[id]?.phase = .missing
        }
        question = nil
    }

    /// One message of the question has found its end.
    private mutating func settle(_ id: UUID, _ now: Instant) {
        guard var question, case .messages(let waiting, var storing) = question.subject,
            storing.remove(id) != nil
        else { return }
        question.subject = .messages(waiting: waiting, storing: storing)
        question.hasAnswered = true
        question.due = now + limits.patience
        let isWhole = waiting.isEmpty && storing.isEmpty
        if isWhole { turns[question.member] = nil }
        self.question = isWhole ? nil : question
    }

    /// The client has nothing any more; what nobody else has is given up.
    private mutating func forget(_ member: MemberID) {
        for (id, candidate) in candidates where candidate.reporters.contains(member) {
            withdraw(member, from: id)
            let isIdle = candidate.phase != .storing && candidate.phase != .checking
            if isIdle, candidate.reporters.count == 1 { drop(id) }
        }
    }

    private mutating func withdraw(_ member: MemberID, from id: UUID) {
        guard var candidate = candidates[id] else { return }
        candidate.reporters.removeAll { $0 == member }
        if candidate.owner == member, let next = candidate.reporters.first {
            countOut(member)
            candidate.owner = next
            shares[next, default: 0] += 1
        }
        candidates[id] = candidate
    }

    func oldest(_ count: Int, where isMeant: (Candidate) -> Bool) -> [UUID] {
        let meant = candidates.filter { isMeant($0.value) }
        return meant.sorted { $0.value.number < $1.value.number }.prefix(count).map(\.key)
    }

    private func isQuiet(_ id: UUID, _ now: Instant) -> Bool {
        quietIDs[id].map { $0 > now } ?? false
    }

    private func isQuiet(_ member: MemberID, _ now: Instant) -> Bool {
        quietMembers[member].map { $0 > now } ?? false
    }

    private mutating func quiet(_ id: UUID, until: Instant) {
        if quietIDs.updateValue(until, forKey: id) == nil { quietOrder.append(id) }
        while quietOrder.count > limits.quietIDs {
            quietIDs[quietOrder.removeFirst()] = nil
        }
    }
}

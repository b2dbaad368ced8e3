/// What a runner does next, whoever began the move and however often it was cut off.
enum MoveDecision: Sendable, Equatable {
    /// Step 2.
    case prepare
    /// Step 3: nothing of the slots is left at the target.
    case wipe
    /// Step 4.
    case copy
    /// The subscription was switched off: on again.
    case attach
    /// Steps 5 to 7, after catching up and comparing.
    case switchOver
    /// Steps 8 to 11.
    case rollForward
    /// The move cannot go on, a new one can take its place.
    case abort(reason: String)
    /// An abort was cut off behind its tombstone.
    case finishAbort
    /// Nothing here fits: for the operator.
    case stop(reason: String)

    /// Decides by the first row of the table in docs/moving-data.md that fits.
    ///
    /// - Parameter hasLivingCopy: whether this runner itself is ready to begin the copy, having just
    ///   seen to it that the target is empty. A copy that somebody else began is never adopted.
    static func next(_ sight: MoveSight, hasLivingCopy: Bool) -> MoveDecision {
        switch (sight.target, sight.source) {
        case (.active, .fenced), (.active, .moved): .rollForward
        case (.barred, _): .finishAbort
        case (.clear, .owning): .prepare
        case (.preparing, .owning): .wipe
        case (.importing, .owning) where sight.subscription == .missing:
            hasLivingCopy ? .copy : .abort(reason: "its copy was cut off")
        case (.importing, .owning), (.importing, .fenced):
            whileImporting(sight)
        case (.clear, _), (.preparing, _), (.importing, _), (.active, _), (.other, _):
            .stop(reason: "the target says \(sight.target), the source says \(sight.source)")
        }
    }

    private static func whileImporting(_ sight: MoveSight) -> MoveDecision {
        switch (sight.subscription, sight.replicationSlot) {
        case (_, .missing): .abort(reason: "its replication slot is gone from the source")
        case (_, .lost):
            .abort(
                reason: "its replication slot is lost: the source removed log that the target had "
                    + "not read yet (max_slot_wal_keep_size), or it failed over")
        case (.missing, .usable): .abort(reason: "its subscription is gone from the target")
        case (.stopped, .usable): .attach
        case (.running, .usable): .switchOver
        }
    }
}

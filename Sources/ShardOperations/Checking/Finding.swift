/// Something in the cluster that is not as it should be.
public struct Finding: Sendable, Equatable {
    public enum Severity: String, Sendable {
        /// Works now, and will not for ever.
        case warning
        /// Rooms are in danger, out of reach, or cannot move.
        case error
    }

    /// What kind of thing it is; the words never change.
    public enum Code: String, Sendable, CaseIterable, Comparable {
        case catalogContradictsItself, shardAway, wrongDatabase, unfinishedAddition
        case twoOwners, noOwner, catalogDisagrees
        case staleFence, leftoverState
        case replicationSlotLost, replicationSlotHoldsLog
        case subscriptionFails, subscriptionDisabled, moveWithoutRunner
        case orphanedReplicationSlot, orphanedPublication, orphanedSubscription
        case foreignRows
        case tableCannotMove, tableRefersToMoving, tableNotRegistered
        case schemaDiffers, preparedTransaction, serverSetting

        public static func < (one: Code, other: Code) -> Bool { one.place < other.place }

        private var place: Int { Self.allCases.firstIndex(of: self) ?? 0 }
    }

    public var code: Code
    public var severity: Severity
    /// The shard's name; nil for what concerns the catalog or the whole.
    public var shard: String?
    /// What was seen.
    public var detail: String
    /// A command or SQL that repairs it, or the first step to it.
    public var repair: String

    /// What it means, in one sentence.
    public var explanation: String { code.explanation }
}

extension Finding.Code {
    /// What it means, in one sentence.
    public var explanation: String {
        switch self {
        case .catalogContradictsItself:
            "Routers refuse such a catalog and go on with the topology that they saved."
        case .shardAway:
            "Its rooms are out of reach; their messages wait in the spools of the servers."
        case .wrongDatabase:
            "Routers refuse it, so the shard's rooms are out of reach."
        case .unfinishedAddition:
            "The addition of the shard was cut off; repeating it goes on where it stopped."
        case .twoOwners:
            "Both shards accept messages of these rooms, so their histories part: compare the rows "
                + "before one of them is made to let go."
        case .noOwner:
            "Nobody accepts messages of these rooms, or answers for them."
        case .catalogDisagrees:
            "The shards' own tables decide; routers that ask the catalog first lose a round trip, "
                + "and no move of these slots can be opened."
        case .staleFence:
            "Writers of these rooms wait at the fence of a move that does not go on."
        case .leftoverState:
            "A move that is closed left its mark there, which keeps other moves away."
        case .replicationSlotLost:
            "The changes that the move still needs are gone, so it cannot end: abort it and make "
                + "a new one."
        case .replicationSlotHoldsLog:
            "The server keeps its log for the move's target, which fills the disk in the end."
        case .subscriptionFails:
            "The target fails to apply changes and tries again for ever; its log says why."
        case .subscriptionDisabled:
            "Nothing is applied at the target, while the source keeps its log for it."
        case .moveWithoutRunner:
            "Nobody works on this open move; it waits at a safe place, its slots cannot be moved "
                + "otherwise, and its source may keep log for it."
        case .orphanedReplicationSlot:
            "No open move needs it, and it keeps the server's log until the disk is full."
        case .orphanedPublication:
            "No open move needs it; later moves are not harmed by it."
        case .orphanedSubscription:
            "No open move needs it, and what it applies may harm rooms that live there now."
        case .foreignRows:
            "Nobody reads these rows, since their rooms live elsewhere; they take space, and a "
                + "move to there wipes them first."
        case .tableCannotMove:
            "Slots with rows in it cannot move before this is mended."
        case .tableRefersToMoving:
            "Its foreign key stops the purge of moved rooms, or loses its own rows with them."
        case .tableNotRegistered:
            "Its rows stay behind when their room moves."
        case .schemaDiffers:
            "A shard may own slots only at the schema of the others, and no move between "
                + "different ones is opened."
        case .preparedTransaction:
            "Moves wait for every transaction that may have written, prepared ones included."
        case .serverSetting:
            "Moves from or to this server are slow, risky or impossible."
        }
    }
}

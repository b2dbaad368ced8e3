import ShardRouter

/// Who owns each slot, by the catalog and by the shards' own tables.
extension Diagnosis {
    func ownership() -> [Symptom] {
        guard !catalog.topology.owners.isEmpty else { return [] }
        let moves = catalog.moveOfSlot
        var symptoms: [Symptom] = []
        for slot in 0..<Slot.count {
            let actives = shards.filter { $0.facts.state(slot) == "active" }
            let move = moves[slot]
            switch actives.count {
            case 0: symptoms += withoutOwner(slot, move)
            case 1: symptoms += compare(slot, actives[0], move)
            default: symptoms += withOwners(slot, actives)
            }
        }
        return symptoms
    }

    private func listedOwner(_ slot: Int) -> (id: ShardID, epoch: Int64) {
        (catalog.topology.owners[slot], catalog.topology.slotEpochs[slot].number)
    }

    private func epoch(_ slot: Int, _ facts: ShardFacts) -> Int64 {
        facts.slots[slot]?.epoch ?? 0
    }

    /// Several are active: the one with the highest epoch is newest; between equals the one that the
    /// catalog names.
    private func withOwners(
        _ slot: Int, _ actives: [(shard: Shard, facts: ShardFacts)]
    ) -> [Symptom] {
        let listed = listedOwner(slot).id
        let newestFirst = actives.sorted { one, other in
            (epoch(slot, other.facts), other.shard.id == listed ? 1 : 0)
                < (epoch(slot, one.facts), one.shard.id == listed ? 1 : 0)
        }
        let newest = newestFirst[0]
        let newestEpoch = epoch(slot, newest.facts)
        return newestFirst.dropFirst().map { other in
            Symptom(
                code: .twoOwners, severity: .error, shard: other.shard.name, subject: .slot(slot),
                detail: "active here since epoch \(epoch(slot, other.facts)) and on "
                    + "\(newest.shard.name) since epoch \(newestEpoch)",
                repair: psql(
                    other.shard.name,
                    "update shard.slots set state = 'moved', moved_to = \(newest.shard.id), "
                        + "epoch = greatest(epoch, \(newestEpoch)) "
                        + "where state = 'active' and \(Symptom.slots)"))
        }
    }

    /// One is active: the catalog should name it, with the same epoch.
    private func compare(
        _ slot: Int, _ active: (shard: Shard, facts: ShardFacts), _ move: CatalogFacts.Move?
    ) -> [Symptom] {
        let listed = listedOwner(slot)
        let epoch = epoch(slot, active.facts)
        guard listed.id != active.shard.id || listed.epoch != epoch else { return [] }
        // Between its last steps a move has told its shards and not yet the catalog.
        if let move, active.shard.id == move.target { return [] }
        let detail: String
        let repair: String
        if epoch >= listed.epoch {
            detail =
                "active on \(active.shard.name) since epoch \(epoch), which is newer than what the "
                + "catalog says: \(name(listed.id)) since \(listed.epoch)"
            repair = catalogFollows(active.shard, epoch)
        } else if listed.id == active.shard.id {
            detail = "its epoch on \(active.shard.name) is \(epoch), in the catalog \(listed.epoch)"
            repair = psql(
                active.shard.name,
                "update shard.slots set epoch = \(listed.epoch) where \(Symptom.slots)")
        } else {
            detail =
                "active on \(active.shard.name) since epoch \(epoch), but the catalog is newer: "
                + "\(name(listed.id)) since \(listed.epoch); is \(active.shard.name) an old copy?"
            repair =
                "compare the rows of both, then: "
                + catalogFollows(active.shard, listed.epoch + 1)
        }
        return [
            Symptom(
                code: .catalogDisagrees, severity: .error, shard: name(listed.id),
                subject: .slot(slot), detail: detail, repair: repair)
        ]
    }

    /// The shard's table decides, so the catalog is what changes.
    private func catalogFollows(_ shard: Shard, _ epoch: Int64) -> String {
        psql(
            "catalog",
            "begin; update catalog.slots set shard_id = \(shard.id), epoch = \(epoch) "
                + "where \(Symptom.slots); insert into catalog.topology (epoch, reason) "
                + "select max(epoch) + 1, 'catalog follows \(shard.name)' from catalog.topology; "
                + "commit")
    }

    private func withoutOwner(_ slot: Int, _ move: CatalogFacts.Move?) -> [Symptom] {
        // At a fence writers wait; how long is another question.
        guard !shards.contains(where: { $0.facts.state(slot) == "fenced" }) else { return [] }
        let listed = listedOwner(slot)
        guard let owner = catalog.topology.shard(listed.id) else { return [] }
        let row = facts(owner.id)?.slots[slot]
        let own =
            facts(owner.id) == nil
            ? "which is not asked"
            : "whose own table says \(row?.state ?? "none")"
                + (row?.movedTo.map { " to \(name(ShardID($0)))" } ?? "")
        func symptom(_ code: Finding.Code, _ detail: String, _ repair: String) -> [Symptom] {
            [
                Symptom(
                    code: code, severity: .error, shard: owner.name, subject: .slot(slot),
                    detail: detail, repair: repair)
            ]
        }
        guard isComplete else {
            // A shard that is away may be the owner.
            guard facts(owner.id) != nil, move == nil else { return [] }
            return symptom(
                .catalogDisagrees,
                "the catalog says \(owner.name), \(own), and not all shards answer",
                "shardctl doctor, when all shards answer")
        }
        let detail = "active nowhere; the catalog says \(owner.name), \(own)"
        if let move {
            return symptom(.noOwner, "\(detail); move \(move.id) is open", resume(move.id))
        }
        if let heir = row?.movedTo.flatMap({ catalog.topology.shard(ShardID($0)) }),
            heir.state == .joining
        {
            return symptom(.noOwner, detail, repeatAddition(of: heir))
        }
        return symptom(
            .noOwner, detail,
            psql(
                owner.name,
                "update shard.slots set state = 'active', moved_to = null, "
                    + "epoch = greatest(epoch, \(listed.epoch)) "
                    + "where state in ('none', 'moved') and \(Symptom.slots)"))
    }

    func resume(_ move: Int) -> String { "shardctl move resume \(move)" }

    // MARK: - What moves left in the shards' tables

    func leftovers() -> [Symptom] {
        shards.flatMap { shard, facts in
            facts.slots.values.compactMap { leftover($0, at: shard) }
        }
    }

    private func leftover(_ row: ShardFacts.SlotRow, at shard: Shard) -> Symptom? {
        guard ["preparing", "importing", "fenced"].contains(row.state) else { return nil }
        let open = row.move.flatMap { catalog.openMoves[$0] }
        if row.state == "fenced", (row.fencedFor ?? .zero) > limits.fence {
            let repair = open.map { resume($0.id) } ?? lift(row, at: shard)
            return Symptom(
                code: .staleFence, severity: .error, shard: shard.name, subject: .slot(row.slot),
                detail: "fenced by \(describe(row.move, open)) for more than "
                    + "\(limits.fence.components.seconds) s",
                repair: repair)
        }
        guard open == nil else { return nil }
        let repair =
            row.state == "fenced"
            ? lift(row, at: shard)
            : psql(
                shard.name,
                "select shard.move_bar(\(row.move ?? 0), array(select slot from shard.slots "
                    + "where state = '\(row.state)' and move_id = \(row.move ?? 0) order by slot))")
        return Symptom(
            code: .leftoverState, severity: row.state == "fenced" ? .error : .warning,
            shard: shard.name, subject: .slot(row.slot),
            detail: "\(row.state) by \(describe(row.move, open))", repair: repair)
    }

    private func describe(_ move: Int?, _ open: CatalogFacts.Move?) -> String {
        guard let move else { return "nobody" }
        return open == nil ? "move \(move), which is not open" : "move \(move)"
    }

    /// The end of a fence whose move is closed: released when the target owns the slot, else opened.
    private func lift(_ row: ShardFacts.SlotRow, at shard: Shard) -> String {
        let move = row.move ?? 0
        let owner = shards.first {
            $0.shard.id != shard.id && $0.facts.state(row.slot) == "active"
        }
        guard let owner else {
            return psql(
                shard.name,
                "select shard.move_reopen(\(move), array(select slot from shard.slots "
                    + "where state = 'fenced' and move_id = \(move) order by slot))")
        }
        return psql(
            shard.name,
            "update shard.slots set state = 'moved', moved_to = \(owner.shard.id), "
                + "epoch = greatest(epoch, \(epoch(row.slot, owner.facts))), "
                + "barred = greatest(barred, \(move)), fenced_at = null "
                + "where state = 'fenced' and move_id = \(move) and \(Symptom.slots)")
    }
}

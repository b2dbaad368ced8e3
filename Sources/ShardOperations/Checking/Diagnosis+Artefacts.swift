import ShardRouter

/// What moves left behind, and what the shards hold and stand in.
extension Diagnosis {
    private static let clean = "shardctl move clean"

    /// Replication slots, publications and subscriptions without an open move of that side.
    func artefacts() -> [Symptom] {
        shards.flatMap { shard, facts -> [Symptom] in
            var symptoms: [Symptom] = []
            func add(
                _ code: Finding.Code, _ severity: Finding.Severity,
                _ artefact: ShardFacts.Artefact, _ more: String = ""
            ) {
                let why =
                    artefact.move.map { id in
                        catalog.openMoves[id] == nil
                            ? "move \(id) is not open"
                            : "move \(id) has no use for it on this shard"
                    } ?? "its name is no name of a move"
                symptoms.append(
                    Symptom(
                        code: code, severity: severity, shard: shard.name,
                        subject: .named(artefact.name), detail: "\(artefact.name): \(why)\(more)",
                        repair: Self.clean))
            }
            for slot in facts.replicationSlots where !isNeeded(slot.artefact, at: shard, \.source) {
                // Somebody verifies at this moment.
                if slot.artefact.isForVerifying, slot.isActive { continue }
                let held = slot.heldBytes >> 20
                add(
                    .orphanedReplicationSlot, .error, slot.artefact,
                    held == 0 ? "" : "; it holds \(held) MiB of the log")
            }
            for publication in facts.publications where !isNeeded(publication, at: shard, \.source)
            {
                add(.orphanedPublication, .warning, publication)
            }
            for subscription in facts.subscriptions
            where !isNeeded(subscription.artefact, at: shard, \.target) {
                add(.orphanedSubscription, .error, subscription.artefact)
            }
            return symptoms
        }
    }

    private func isNeeded(
        _ artefact: ShardFacts.Artefact, at shard: Shard,
        _ side: KeyPath<CatalogFacts.Move, ShardID>
    ) -> Bool {
        guard let move = artefact.move.flatMap({ catalog.openMoves[$0] }) else { return false }
        return move[keyPath: side] == shard.id || artefact.isForVerifying
    }

    // MARK: - Rows and tables

    func contents() -> [Symptom] {
        shards.flatMap { shard, facts in
            facts.foreign.compactMap { foreign($0, at: shard) }
                + facts.tables.map { table($0, at: shard) }
        }
    }

    private func foreign(_ find: ForeignRooms.Find, at shard: Shard) -> Symptom? {
        let isOpen = find.move.map { catalog.openMoves[$0] != nil } ?? false
        let isOldCopy = find.state == "moved" && find.move.map(catalog.unpurged.contains) ?? false
        // What a move imports, wipes, or left to be purged later. Marks of closed moves are another
        // symptom.
        guard !isOpen, !isOldCopy, ["none", "moved"].contains(find.state) else { return nil }
        return Symptom(
            code: .foreignRows, severity: .warning, shard: shard.name, subject: .slot(find.slot),
            detail: "rows in \(find.table), though the slot is \(find.state) here",
            repair: psql(
                shard.name,
                "delete from \(find.table) t using shard.slots s "
                    + "where s.slot = shard.slot_of(t.room_id) and s.state = '\(find.state)' "
                    + "and s.slot in (select slot from shard.slots where \(Symptom.slots))"))
    }

    private func table(_ problem: TableChecks.Problem, at shard: Shard) -> Symptom {
        let (code, severity, repair): (Finding.Code, Finding.Severity, String) =
            switch problem.kind {
            case .broken:
                (
                    .tableCannotMove, .error,
                    "shardctl migrate new TITLE, with what brings the table back to the rule"
                )
            case .refers:
                (
                    .tableRefersToMoving, .error,
                    "shardctl migrate new TITLE, with: alter table \(problem.table) drop constraint …"
                )
            case .unregistered:
                (
                    .tableNotRegistered, .warning,
                    "shardctl migrate new TITLE, with: select shard.register_table("
                        + "'\(problem.table)')"
                )
            }
        return Symptom(
            code: code, severity: severity, shard: shard.name,
            subject: .named(problem.table + problem.what),
            detail: "\(problem.table): \(problem.what)", repair: repair)
    }

    // MARK: - Schemas, transactions, settings

    func surroundings() -> [Symptom] {
        schema("catalog", nil, catalog.schema, catalogSchema)
            + shards.flatMap { shard, facts in
                schema("shard", shard.name, facts.schema, shardSchema)
                    + facts.prepared.compactMap { prepared($0, at: shard) }
                    + facts.server.compactMap { setting($0, at: shard) }
            }
    }

    private func schema(
        _ kind: String, _ shard: String?, _ versions: [Int], _ wanted: [Int]
    ) -> [Symptom] {
        guard let gap = SchemaGap(has: versions, files: wanted) else { return [] }
        return [
            Symptom(
                code: .schemaDiffers, severity: .error, shard: shard, subject: .named(kind),
                detail: "\(kind) schema: \(gap.words)", repair: gap.remedy)
        ]
    }

    private func prepared(
        _ transaction: ShardFacts.PreparedTransaction, at shard: Shard
    ) -> Symptom? {
        guard .seconds(transaction.ageSeconds) > limits.prepared else { return nil }
        let gid = transaction.name.replacing("'", with: "''")
        return Symptom(
            code: .preparedTransaction, severity: .error, shard: shard.name,
            subject: .named("\(transaction.database) \(transaction.name)"),
            detail: "transaction '\(transaction.name)' in database \(transaction.database) was "
                + "prepared \(transaction.ageSeconds) s ago",
            repair: psql(shard.name, "rollback prepared '\(gid)'")
                + ", or commit prepared, in that database")
    }

    private func setting(_ finding: ServerChecks.Finding, at shard: Shard) -> Symptom? {
        let severity: Finding.Severity
        switch finding.severity {
        case .note: return nil
        case .warning: severity = .warning
        case .blocking: severity = .error
        }
        return Symptom(
            code: .serverSetting, severity: severity, shard: shard.name,
            subject: .named(finding.subject), detail: finding.what, repair: finding.fix)
    }
}

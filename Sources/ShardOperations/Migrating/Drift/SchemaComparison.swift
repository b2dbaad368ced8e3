import FoundationEssentials

/// The work behind ``SchemaDifference/differences(found:wanted:)``.
struct SchemaComparison {
    private typealias Kind = SchemaObject.Kind

    let found: SchemaSnapshot
    let wanted: SchemaSnapshot
    private let foundByName: [String: SchemaObject]
    private let wantedByName: [String: SchemaObject]
    private let wantedParts: [String: [SchemaObject]]
    /// What is dropped and made again to change it.
    private var recreated: Set<String> = []

    init(found: SchemaSnapshot, wanted: SchemaSnapshot) {
        func byName(_ snapshot: SchemaSnapshot) -> [String: SchemaObject] {
            Dictionary(
                snapshot.objects.map { ($0.description, $0) }, uniquingKeysWith: { one, _ in one })
        }
        self.found = found
        self.wanted = wanted
        foundByName = byName(found)
        wantedByName = byName(wanted)
        wantedParts = Dictionary(grouping: wanted.objects) { Self.whole(of: $0) ?? "" }
        for object in wanted.objects {
            guard let old = foundByName[object.description], old.definition != object.definition,
                isRecreated(from: old, to: object)
            else { continue }
            recreated.insert(object.description)
        }
    }

    /// Extra parts first, so that nothing hangs on what is changed next; extra foundations last.
    func differences() -> [SchemaDifference] {
        let extras = found.objects.filter { object in
            wantedByName[object.description] == nil
                && !isPartOf(object, foundByName, \.parent) { wantedByName[$0] == nil }
        }.map(extra)
        let others = wanted.objects.compactMap { object -> SchemaDifference? in
            guard let old = foundByName[object.description] else {
                let comesAlong = isPartOf(object, wantedByName, Self.whole) {
                    foundByName[$0] == nil
                }
                return comesAlong ? nil : missing(object)
            }
            return old.definition == object.definition ? nil : changed(from: old, to: object)
        }
        let isLate = { (difference: SchemaDifference) in
            switch difference.object.kind {
            case .schema, .extension, .type, .sequence, .function, .table, .column: true
            case .defaultValue, .generated, .identity, .notNull, .sequenceOwner, .view, .constraint,
                .index, .replicaIdentity, .options, .registration, .rowSecurity, .policy, .trigger,
                .rule,
                .statistics, .eventTrigger, .owner, .grant:
                false
            }
        }
        return extras.filter { !isLate($0) }.reversed() + others
            + extras.filter(isLate).reversed()
    }

    /// What `object` is brought with. The contents of a schema are brought one by one: they may need
    /// what is in another one.
    private static func whole(of object: SchemaObject) -> String? {
        let isOfSchema = object.parent?.hasPrefix("schema ") ?? false
        return isOfSchema && object.kind != .grant && object.kind != .owner ? nil : object.parent
    }

    /// Whether `applies` to something that `object` is a part of.
    private func isPartOf(
        _ object: SchemaObject, _ objects: [String: SchemaObject],
        _ whole: (SchemaObject) -> String?, where applies: (String) -> Bool
    ) -> Bool {
        var next = whole(object)
        while let name = next, let parent = objects[name] {
            if applies(name) { return true }
            next = whole(parent)
        }
        return false
    }

    private func missing(_ object: SchemaObject) -> SchemaDifference {
        var difference = SchemaDifference(
            object: object, change: .missing, statements: creation(of: object))
        if let words = wordsOfRecreation(object) {
            (difference.remark, difference.statements) = (words, [])
        } else if object.kind == .generated {
            anew(&difference)
        } else if object.kind == .sequence {
            difference.remark = "It begins anew: bring it behind the numbers in use, with setval()."
        } else if difference.statements.isEmpty {
            difference.remark =
                "No statement is known that brings it: "
                + "compare with a database that has it."
        }
        return difference
    }

    private func extra(_ object: SchemaObject) -> SchemaDifference {
        var difference = SchemaDifference(
            object: object, change: .extra, statements: object.removal.map { text($0, object) })
        if let words = wordsOfRecreation(object) {
            (difference.remark, difference.statements) = (words, [])
            return difference
        }
        switch object.kind {
        case .schema, .table, .column:
            difference.losesData = true
            difference.remark = "Its data would be lost: keep it until nobody needs it."
        case .sequence:
            difference.losesData = true
            difference.remark = "Its position would be lost."
        case .extension:
            difference.losesData = true
            difference.remark = "What the extension has stored would be lost."
        case .type, .function, .defaultValue, .generated, .identity, .notNull, .sequenceOwner,
            .view,
            .constraint, .index, .replicaIdentity, .options, .registration, .rowSecurity, .policy,
            .trigger, .rule,
            .statistics, .eventTrigger, .owner, .grant:
            break
        }
        return difference
    }

    private func changed(from old: SchemaObject, to new: SchemaObject) -> SchemaDifference {
        var difference = SchemaDifference(
            object: new, change: .changed(from: old.definition, to: new.definition), statements: [])
        if let words = wordsOfRecreation(new) {
            difference.remark = words
        } else if recreated.contains(new.description) {
            difference.statements = old.removal.map { text($0, old) } + creation(of: new)
        } else if new.kind == .generated {
            anew(&difference)
        } else if let labels = SchemaEnum.additions(from: old, to: new) {
            difference.statements = labels
        } else if new.kind == .constraint {
            difference.statements = new.creation.suffix(1)  // It lacks its validation.
        } else if new.kind == .options {
            difference.statements = options(from: old, to: new)
        } else if new.kind == .column || new.kind == .table {
            difference.statements = new.alteration.filter { !old.alteration.contains($0) }
        } else {
            difference.statements = new.alteration
        }
        if new.kind == .column, difference.statements.contains(where: { $0.contains(" type ") }) {
            difference.remark =
                "Another type may rewrite the table, which keeps everybody out, and "
                + "may round values."
        } else if new.kind == .table, !difference.statements.isEmpty {
            difference.remark = "Rewrites the table, which keeps everybody out meanwhile."
        } else if difference.statements.isEmpty, difference.remark == nil {
            difference.remark =
                "No statement is made for this: change it by hand on this database alone "
                + "(ALTER TYPE … RENAME VALUE, ATTACH or DETACH PARTITION and their like)."
        }
        return difference
    }

    /// Sets before it resets: a view must not be without its barrier in between.
    private func options(from old: SchemaObject, to new: SchemaObject) -> [String] {
        func keys(_ object: SchemaObject) -> [String] {
            object.definition.components(separatedBy: ", ").compactMap {
                $0.split(separator: "=").first.map(String.init)
            }
        }
        let surplus = keys(old).filter { !keys(new).contains($0) }
        guard !surplus.isEmpty, let reset = old.removal.first?.split(separator: "(").first else {
            return new.creation
        }
        return new.creation + ["\(reset)(\(surplus.joined(separator: ", ")))"]
    }

    /// A generated column cannot get its expression later; it is computed from others, so that
    /// nothing is lost that cannot be computed again, but what somebody wrote by hand.
    private func anew(_ difference: inout SchemaDifference) {
        guard let column = difference.object.parent.flatMap({ wantedByName[$0] }) else { return }
        difference.statements = column.removal + column.creation
        difference.losesData = true
        difference.remark = "The column has to be made anew, without what it holds now."
    }

    private func wordsOfRecreation(_ object: SchemaObject) -> String? {
        var next = object.parent
        while let name = next {
            if recreated.contains(name) { return "Comes with the repair of \(name)." }
            next = wantedByName[name]?.parent
        }
        return nil
    }

    private func isRecreated(from old: SchemaObject, to new: SchemaObject) -> Bool {
        switch new.kind {
        case .constraint:
            return old.definition != new.definition + " NOT VALID" || new.creation.count < 2
        case .function:
            // What it answers and what its arguments are called cannot be replaced.
            return new.alteration.isEmpty || head(old.definition) != head(new.definition)
        case .type:
            return new.alteration.isEmpty && SchemaEnum.additions(from: old, to: new) == nil
                && !new.definition.hasPrefix("enum")
        case .trigger: return new.alteration.isEmpty
        case .view, .index, .policy, .rule, .statistics, .eventTrigger, .grant: return true
        case .schema, .extension, .sequence, .table, .column, .defaultValue, .generated, .identity,
            .notNull, .sequenceOwner, .replicaIdentity, .options, .registration, .rowSecurity,
            .owner:
            return false
        }
    }

    private func head(_ definition: String) -> Substring {
        definition.firstRange(of: "\n LANGUAGE").map { definition[..<$0.lowerBound] }
            ?? definition[...]
    }

    /// The statements that make `object` and its parts, in the order of the snapshot.
    private func creation(of object: SchemaObject) -> [String] {
        var parts: Set<String> = [object.description]
        var waiting = [object.description]
        while let name = waiting.popLast() {
            for part in wantedParts[name] ?? [] where parts.insert(part.description).inserted {
                waiting.append(part.description)
            }
        }
        let statements = wanted.objects.filter { parts.contains($0.description) }.flatMap { part in
            let comesAlong = part != object && Self.comesWithParent(part.kind)
            return comesAlong ? [] : part.creation.map { text($0, part) }
        }
        // What a function's body needs may come after it.
        let hasBody = statements.contains { $0.contains("\n LANGUAGE sql\n") }
        return hasBody
            ? ["set check_function_bodies = off"] + statements + ["reset check_function_bodies"]
            : statements
    }

    /// Whether CREATE TABLE and ADD COLUMN say it too.
    private static func comesWithParent(_ kind: SchemaObject.Kind) -> Bool {
        switch kind {
        case .column, .defaultValue, .generated, .identity, .notNull: true
        case .schema, .extension, .type, .sequence, .function, .table, .sequenceOwner, .view,
            .constraint, .index, .replicaIdentity, .options, .registration, .rowSecurity, .policy,
            .trigger, .rule,
            .statistics, .eventTrigger, .owner, .grant:
            false
        }
    }

    private func text(_ statement: String, _ object: SchemaObject) -> String {
        object.kind == .grant ? statement.replacing("@owner", with: found.owner) : statement
    }
}

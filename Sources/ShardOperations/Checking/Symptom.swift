/// One thing that a look at the cluster saw, before it is believed.
///
/// Shards are read one after the other while moves go on, so a single look may see a slot at two
/// owners that never were at the same time. What two looks see is there.
struct Symptom: Sendable {
    /// What it is about, within its shard.
    enum Subject: Hashable, Sendable {
        case whole
        case slot(Int)
        case move(Int)
        case named(String)
    }

    /// What makes two symptoms the same one.
    struct Key: Hashable, Sendable {
        var code: Finding.Code
        var shard: String?
        var subject: Subject
    }

    /// Stands in a repair for the condition that selects the slots, such as
    /// `slot between 3 and 5 or slot = 9`.
    static let slots = "{slots}"

    var code: Finding.Code
    var severity: Finding.Severity
    var shard: String?
    var subject: Subject
    var detail: String
    var repair: String

    var key: Key { Key(code: code, shard: shard, subject: subject) }

    /// Those of `second` that `first` has as well.
    static func confirmed(_ first: [Symptom], _ second: [Symptom]) -> [Symptom] {
        let keys = Set(first.map(\.key))
        return second.filter { keys.contains($0.key) }
    }

    /// Slots with the same trouble become one finding.
    static func findings(_ symptoms: [Symptom]) -> [Finding] {
        struct Group: Hashable {
            var code: Finding.Code
            var shard: String?
            var detail: String
            var repair: String
        }
        var findings: [Finding] = []
        var slots: [Group: (first: Symptom, slots: [Int])] = [:]
        for symptom in symptoms {
            guard case .slot(let slot) = symptom.subject else {
                findings.append(symptom.finding(symptom.detail, symptom.repair))
                continue
            }
            let group = Group(
                code: symptom.code, shard: symptom.shard, detail: symptom.detail,
                repair: symptom.repair)
            slots[group, default: (symptom, [])].slots.append(slot)
        }
        for (first, slots) in slots.values {
            let ranges = ranges(slots)
            let names = ranges.prefix(8).map {
                $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)–\($0.upperBound)"
            }
            let list = names.joined(separator: ", ") + (ranges.count > 8 ? ", …" : "")
            let conditions = ranges.map {
                $0.count == 1
                    ? "slot = \($0.lowerBound)"
                    : "slot between \($0.lowerBound) and \($0.upperBound)"
            }
            findings.append(
                first.finding(
                    "\(slots.count == 1 ? "slot" : "\(slots.count) slots:") \(list): \(first.detail)",
                    first.repair.replacing(
                        Self.slots, with: "(\(conditions.joined(separator: " or ")))")))
        }
        return findings.sorted {
            ($0.code, $0.shard ?? "", $0.detail) < ($1.code, $1.shard ?? "", $1.detail)
        }
    }

    private func finding(_ detail: String, _ repair: String) -> Finding {
        Finding(code: code, severity: severity, shard: shard, detail: detail, repair: repair)
    }

    private static func ranges(_ slots: [Int]) -> [ClosedRange<Int>] {
        var ranges: [ClosedRange<Int>] = []
        for slot in slots.sorted() {
            if let last = ranges.last, last.upperBound + 1 == slot {
                ranges[ranges.count - 1] = last.lowerBound...slot
            } else {
                ranges.append(slot...slot)
            }
        }
        return ranges
    }
}

/// A command that runs `sql` in the database of a shard, or in the catalog.
func psql(_ database: String, _ sql: String) -> String {
    var quoted = ""
    for character in sql {
        if "\\\"$`".contains(character) { quoted.append("\\") }
        quoted.append(character)
    }
    return "shardctl psql \(database) -- -c \"\(quoted)\""
}

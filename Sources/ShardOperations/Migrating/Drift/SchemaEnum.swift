/// The labels of enumerations.
enum SchemaEnum {
    /// The statements that add the missing labels in their places; nil when that is not all that has
    /// to happen: labels cannot be dropped or moved.
    static func additions(from old: SchemaObject, to new: SchemaObject) -> [String]? {
        guard let before = labels(old), let after = labels(new) else { return nil }
        var rest = before[...]
        for label in after where label == rest.first { rest.removeFirst() }
        guard rest.isEmpty, let anchor = before.first else { return nil }
        let start = after.firstIndex(of: anchor) ?? 0
        // Backwards from the first known label, then forwards behind their predecessors.
        let front = (0..<start).reversed().map {
            "alter type \(new.name) add value \(after[$0]) before \(after[$0 + 1])"
        }
        return front
            + (start..<after.count).dropFirst().filter { !before.contains(after[$0]) }.map {
                "alter type \(new.name) add value \(after[$0]) after \(after[$0 - 1])"
            }
    }

    /// Quoted as they stand in the definition.
    private static func labels(_ object: SchemaObject) -> [String]? {
        guard object.kind == .type, object.definition.hasPrefix("enum (") else { return nil }
        var labels: [String] = []
        var label = ""
        var isQuoted = false
        for character in object.definition.dropFirst("enum (".count).dropLast() {
            if character == "'" { isQuoted.toggle() }
            if !isQuoted, character == "," || (character == " " && label.isEmpty) {
                if !label.isEmpty { labels.append(label) }
                label = ""
            } else {
                label.append(character)
            }
        }
        return label.isEmpty ? labels : labels + [label]
    }
}

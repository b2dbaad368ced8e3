/// The type of a column: PostgreSQL's internal name of it, and what stands in parentheses.
public struct ColumnType: Sendable, Equatable, CustomStringConvertible {
    /// As in `pg_type`, such as `int4` and `varchar`; arrays begin with `_`.
    public var name: String
    /// Such as the length of a varchar, or precision and scale of a numeric.
    public var modifiers: [Int]

    public init(_ name: String, _ modifiers: [Int] = []) {
        self.name = name
        self.modifiers = modifiers
    }

    public var description: String {
        name + (modifiers.isEmpty ? "" : "(\(modifiers.map(String.init).joined(separator: ",")))")
    }

    /// The type of a `TypeName`.
    init?(_ tree: SyntaxTree?) {
        guard let tree, let name = tree["names"]?.names.last else { return nil }
        let isArray = !(tree["arrayBounds"]?.list.isEmpty ?? true)
        self.init(
            isArray ? "_\(name)" : name,
            tree["typmods"]?.list.compactMap(\.constantNumber) ?? [])
    }

    /// From `atttypmod`, as each type packs it.
    init(name: String, packedModifier: Int) {
        guard packedModifier >= 0 else {
            self.init(name)
            return
        }
        switch name {
        case "varchar", "bpchar":
            self.init(name, [packedModifier - 4])
        case "numeric":
            // Eleven bits of scale, with a sign since version 15.
            let scale = (((packedModifier - 4) & 0x7FF) ^ 1_024) - 1_024
            self.init(name, [(packedModifier - 4) >> 16 & 0xFFFF, scale])
        case "interval":
            let precision = packedModifier & 0xFFFF
            self.init(name, [packedModifier >> 16 & 0x7FFF, precision])
        default:
            self.init(name, [packedModifier])
        }
    }

    /// Whether changing a column from this to `target` writes every row anew.
    ///
    /// Free is only what needs no function: the same bytes mean the same in both types.
    func rewrite(to target: ColumnType) -> StatementEffect.Rewrite {
        if self == target { return .no }
        if name == target.name {
            return isWidened(to: target) ? .no : .yes
        }
        switch (name, target.name) {
        case ("varchar", "text"), ("cidr", "inet"), ("xml", "text"):
            return .no
        case ("text", "varchar"), ("bit", "varbit"), ("varbit", "bit"):
            return target.modifiers.isEmpty ? .no : .yes
        case ("citext", "text"), ("text", "citext"):
            return .no
        case ("varchar", "bpchar"), ("text", "bpchar"):
            return target.modifiers.isEmpty ? .no : .yes
        case ("int4", "oid"), ("oid", "int4"):
            return .no
        case ("timestamp", "timestamptz"), ("timestamptz", "timestamp"):
            let isWide =
                target.modifiers.isEmpty || (modifiers.first ?? 6) <= target.modifiers[0]
            return isWide ? .depends(on: "the session's TimeZone, which is free only as UTC") : .yes
        default:
            return .yes
        }
    }

    private func isWidened(to target: ColumnType) -> Bool {
        if target.modifiers.isEmpty { return true }
        switch name {
        case "varchar", "varbit":
            return !modifiers.isEmpty && modifiers[0] <= target.modifiers[0]
        case "numeric":
            let (old, new) = (scaled, target.scaled)
            guard let old, let new else { return false }
            return old.scale == new.scale && old.precision <= new.precision
        case "timestamp", "timestamptz", "time", "timetz":
            return (modifiers.first ?? 6) <= target.modifiers[0] || target.modifiers[0] >= 6
        case "interval":
            let fields = 0x7FFF
            return (target.modifiers.first ?? fields) == fields
                && target.modifiers.count > 1
                && (modifiers.count > 1 ? modifiers[1] : 6) <= target.modifiers[1]
        default:
            return false
        }
    }

    private var scaled: (precision: Int, scale: Int)? {
        modifiers.first.map { ($0, modifiers.count > 1 ? modifiers[1] : 0) }
    }
}

/// What several readers of trees need.
extension SyntaxTree {
    /// The relation that this is, as a node or as a field of one.
    var rangeVar: RelationName? {
        SyntaxTree.object(["relation": self["RangeVar"] ?? self]).relation()
    }

    /// A name of two parts at most, such as the items of `DROP TABLE`.
    var qualifiedName: RelationName? { RelationName(parts: (self["List"]?["items"] ?? self).names) }

    /// Every relation that is named here or below, without the names of `WITH`.
    var relations: Set<RelationName> {
        var found: Set<RelationName> = []
        var local: Set<String> = []
        collectRelations(&found, &local)
        return found.filter { $0.schema != nil || !local.contains($0.name) }
    }

    private func collectRelations(_ found: inout Set<RelationName>, _ local: inout Set<String>) {
        if let name = self["ctename"]?.text { local.insert(name) }
        if self["relpersistence"] != nil, let name = rangeVar { found.insert(name) }
        switch self {
        case .object(let object):
            // What FOR UPDATE OF names may be an alias.
            for (key, value) in object where key != "lockedRels" {
                value.collectRelations(&found, &local)
            }
        case .list(let list):
            for value in list { value.collectRelations(&found, &local) }
        case .text, .number, .flag, .nothing: break
        }
    }

    /// The option `name` of a list of `DefElem`; nil where it is absent.
    func option(_ name: String) -> String? {
        for item in list.compactMap({ $0["DefElem"] }) where item["defname"]?.text == name {
            guard let argument = item["arg"] else { return "true" }
            return argument["String"]?["sval"]?.text
                ?? argument["Integer"].map { String($0["ival"]?.number ?? 0) }
                ?? argument["Boolean"].map { $0.isSet("boolval") ? "true" : "false" } ?? ""
        }
        return nil
    }

    func hasOption(_ name: String) -> Bool {
        option(name).map { !["false", "off", "0"].contains($0.lowercased()) } ?? false
    }

    /// The texts of constants, such as the arguments of a function.
    var constantText: String? { self["A_Const"]?["sval"]?["sval"]?.text }
    var constantNumber: Int? { self["A_Const"]?["ival"].map { $0["ival"]?.number ?? 0 } }

    /// The constraints of a `ColumnDef`, or nil.
    func constraint(_ kind: String) -> SyntaxTree? {
        self["constraints"]?.list.lazy.compactMap { $0["Constraint"] }
            .first { $0["contype"]?.text == kind }
    }

    /// Columns that cannot be NULL where this expression is true.
    var columnsProvenNotNull: Set<String> {
        if let test = self["NullTest"], test["nulltesttype"]?.text == "IS_NOT_NULL",
            let column = test["arg"]?["ColumnRef"]?["fields"]?.names.last
        {
            return [column]
        }
        if let both = self["BoolExpr"], both["boolop"]?.text == "AND_EXPR" {
            return both["args"]?.list.reduce(into: []) { $0.formUnion($1.columnsProvenNotNull) }
                ?? []
        }
        return []
    }

    /// The expression of a text such as `a IS NOT NULL`; nil when it cannot be read.
    static func expression(_ text: String) -> SyntaxTree? {
        do throws(SQLProblem) {
            let tree = try statement(SQLStatement(text: "select \(text)"))
            return tree["SelectStmt"]?["targetList"]?.list.first?["ResTarget"]?["val"]
        } catch {
            return nil
        }
    }
}

extension RelationName {
    init?(parts: [String]) {
        guard let name = parts.last else { return nil }
        self.init(schema: parts.count > 1 ? parts[parts.count - 2] : nil, name: name)
    }
}

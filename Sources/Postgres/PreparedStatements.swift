/// Which statements the server has a plan of, on one connection.
struct PreparedStatements {
    /// A plan fits its statement's text and the types of its parameters.
    struct Key: Hashable {
        var sql: String
        var types: [UInt32]
    }

    private var names: [Key: String] = [:]
    /// The longest unused one first.
    private var order: [Key] = []
    private var count = 0
    /// Plans that the server should forget.
    private(set) var retired: [String] = []

    /// The plan for `key`, if the server has one; it counts as used.
    mutating func name(for key: Key) -> String? {
        guard let name = names[key] else { return nil }
        if order.last != key, let place = order.lastIndex(of: key) {
            order.append(order.remove(at: place))
        }
        return name
    }

    mutating func newName() -> String {
        count += 1
        return "s\(count)"
    }

    /// The server has a plan for `key` now.
    mutating func add(_ key: Key, name: String) {
        names[key] = name
        order.append(key)
        if order.count > ConnectionLimits.preparedStatements {
            retire(order[0])
        }
    }

    /// The plan for `key` must not be used again: its tables have changed.
    mutating func retire(_ key: Key) {
        if let name = remove(key) { retired.append(name) }
    }

    /// The server has lost the plan for `key`.
    @discardableResult
    mutating func remove(_ key: Key) -> String? {
        order.removeAll { $0 == key }
        return names.removeValue(forKey: key)
    }

    mutating func takeRetired() -> [String] {
        defer { retired = [] }
        return retired
    }
}

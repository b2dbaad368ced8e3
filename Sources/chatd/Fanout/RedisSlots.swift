/// Which node of a Redis cluster has which of its slots: what `CLUSTER SLOTS` says.
///
/// These slots are Redis' own and have nothing to do with those of the ring. A channel of sharded
/// pub/sub lives on the node that has the slot of its name.
struct RedisSlots: Sendable, Equatable {
    static let count = 16_384

    /// In order, so that the same cluster is always the same value.
    let nodes: [RedisAddress]
    /// For each slot the node's place in ``nodes``; -1 where no node has it.
    private let owners: [Int16]

    /// Whether every slot has a node.
    let isWhole: Bool

    /// - Parameters:
    ///   - reply: the answer to `CLUSTER SLOTS`.
    ///   - asked: who gave it; stands for nodes that do not know their own address.
    /// - Returns: nil when the answer has another form.
    init?(_ reply: RedisReply, from asked: RedisAddress) {
        guard case .array(let parts) = reply else { return nil }
        var ranges: [(slots: ClosedRange<Int>, node: RedisAddress)] = []
        for part in parts {
            guard let range = RedisSlots.range(part, from: asked) else { return nil }
            ranges.append(range)
        }
        let nodes = Set(ranges.map(\.node)).sorted()
        guard nodes.count <= Int(Int16.max) else { return nil }
        let places = Dictionary(uniqueKeysWithValues: zip(nodes, 0..<Int16(nodes.count)))
        var owners = [Int16](repeating: -1, count: RedisSlots.count)
        for (slots, node) in ranges {
            for slot in slots { owners[slot] = places[node] ?? -1 }
        }
        self.nodes = nodes
        self.owners = owners
        isWhole = !owners.contains(-1)
    }

    /// `[first, last, [host, port, id, …], replica, …]`
    private static func range(
        _ reply: RedisReply, from asked: RedisAddress
    ) -> (slots: ClosedRange<Int>, node: RedisAddress)? {
        guard case .array(let parts) = reply, parts.count >= 3,
            case .integer(let first) = parts[0], case .integer(let last) = parts[1],
            0 <= first, first <= last, last < RedisSlots.count,
            case .array(let node) = parts[2], node.count >= 2, case .integer(let port) = node[1],
            (1...65_535).contains(port)
        else { return nil }
        var host = asked.host
        if case .bulk(let bytes) = node[0] {
            let named = String(decoding: bytes, as: UTF8.self)
            // A question mark stands for a host name that was never set.
            if !named.isEmpty, named != "?" { host = named }
        }
        return (Int(first)...Int(last), RedisAddress(host: host, port: Int(port)))
    }

    /// The node where `channel` lives; nil when no node has its slot.
    func owner(ofChannel channel: [UInt8]) -> RedisAddress? {
        let place = owners[RedisSlots.slot(of: channel)]
        return place < 0 ? nil : nodes[Int(place)]
    }

    /// The slot of a name: of what stands between its first braces, if anything does.
    static func slot(of name: [UInt8]) -> Int {
        var hashed = name[...]
        if let open = name.firstIndex(of: UInt8(ascii: "{")) {
            let inner = name[(open + 1)...].prefix { $0 != UInt8(ascii: "}") }
            if !inner.isEmpty, inner.endIndex < name.endIndex { hashed = inner }
        }
        return Int(checksum(hashed)) % count
    }

    /// CRC16 as XMODEM has it.
    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt16 {
        var sum: UInt16 = 0
        for byte in bytes {
            sum ^= UInt16(byte) << 8
            for _ in 0..<8 {
                sum = sum & 0x8000 == 0 ? sum << 1 : (sum << 1) ^ 0x1021
            }
        }
        return sum
    }
}

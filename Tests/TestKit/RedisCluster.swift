import Foundation

/// A real Redis cluster for one test: nodes that share the slots equally, without replicas.
public final class RedisCluster: Sendable {
    public static let slotCount = 16_384
    public let nodes: [RedisServer]
    /// What the nodes call each other.
    public let ids: [String]

    /// Starts a cluster; returns when every node serves its slots and knows the others'.
    public static func start(nodes count: Int = 3) throws -> RedisCluster {
        let nodes = try (0..<count).map { _ in
            try RedisServer.start([
                "--cluster-enabled", "yes", "--cluster-port", "\(RedisServer.freePort())",
                "--cluster-node-timeout", "3000", "--cluster-require-full-coverage", "no",
            ])
        }
        let cluster = try RedisCluster(nodes)
        try cluster.join()
        return cluster
    }

    private init(_ nodes: [RedisServer]) throws {
        self.nodes = nodes
        ids = try nodes.map { try $0.answer("CLUSTER MYID") }
    }

    /// The slots that the node at `place` has at first.
    public func slots(at place: Int) -> Range<Int> {
        let share = { Self.slotCount * $0 / self.nodes.count }
        return share(place)..<share(place + 1)
    }

    /// Gives a slot without data to another node, as the end of a migration does.
    public func move(slot: Int, to place: Int) throws {
        // The new owner first, as Redis demands it.
        for node in [nodes[place]] + nodes.filter({ $0 !== nodes[place] }) {
            try node.demand("CLUSTER SETSLOT \(slot) NODE \(ids[place])")
        }
    }

    private func join() throws {
        for (place, node) in nodes.enumerated() {
            let slots = slots(at: place)
            try node.demand("CLUSTER SET-CONFIG-EPOCH \(place + 1)")
            try node.demand("CLUSTER ADDSLOTSRANGE \(slots.lowerBound) \(slots.upperBound - 1)")
            let bus = try node.busPort()
            try nodes[0].demand("CLUSTER MEET 127.0.0.1 \(node.port) \(bus)")
        }
        let limit = ContinuousClock.now + .seconds(20)
        while try !isWhole() {
            guard ContinuousClock.now < limit else {
                throw TestServerError(description: "the nodes of Redis do not find each other")
            }
            usleep(20_000)
        }
    }

    private func isWhole() throws -> Bool {
        try nodes.allSatisfy { node in
            let info = try node.command("CLUSTER INFO")
            return info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:\(Self.slotCount)")
                && info.contains("cluster_known_nodes:\(nodes.count)")
        }
    }
}

extension RedisServer {
    /// The one line of text that a command gives.
    fileprivate func answer(_ text: String) throws -> String {
        let lines = try command(text).split(whereSeparator: \.isNewline)
        guard lines.count >= 2, lines[0].hasPrefix("$") else {
            throw TestServerError(description: "\(text): \(lines)")
        }
        return String(lines[1])
    }

    fileprivate func demand(_ text: String) throws {
        let answer = try command(text)
        guard answer.hasPrefix("+OK") else {
            throw TestServerError(description: "\(text): \(answer)")
        }
    }

    fileprivate func busPort() throws -> Int {
        // "$20\r\ncluster-port…": the second value of CONFIG GET.
        let lines = try command("CONFIG GET cluster-port").split(whereSeparator: \.isNewline)
        guard let line = lines.dropFirst(4).first, let port = Int(line) else {
            throw TestServerError(description: "no cluster-port: \(lines)")
        }
        return port
    }
}

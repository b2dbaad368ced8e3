import Foundation

/// A real Redis cluster for one test: nodes that share the slots equally, without replicas.
public final class RedisCluster: Sendable {
    public static let slotCount = 16_384
    public let nodes: [RedisServer]
    /// What the nodes call each other.
    public let ids: [String]
    private let options: [String]

    /// Starts a cluster; returns when every node serves its slots and knows the others'.
    ///
    /// - Parameter options: further words of each node's command line.
    public static func start(
        nodes count: Int = 3, _ options: [String] = []
    ) throws -> RedisCluster {
        let nodes = try (0..<count).map { _ in try startNode(options) }
        let cluster = try RedisCluster(nodes, options)
        try cluster.join()
        return cluster
    }

    private static func startNode(_ options: [String]) throws -> RedisServer {
        try RedisServer.start(
            [
                "--cluster-enabled", "yes", "--cluster-port", "\(RedisServer.freePort())",
                "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no",
            ] + options)
    }

    private init(_ nodes: [RedisServer], _ options: [String]) throws {
        self.nodes = nodes
        self.options = options
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

    /// A further node that takes over when the one at `place` dies; returns when it could.
    public func addReplica(of place: Int) throws -> RedisServer {
        let replica = try Self.startNode(options)
        try replica.demand("CLUSTER MEET 127.0.0.1 \(nodes[0].port) \(nodes[0].busPort())")
        try wait("the replica is known") {
            try (nodes + [replica]).allSatisfy {
                try $0.command("CLUSTER INFO").contains("cluster_known_nodes:\(nodes.count + 1)")
            }
        }
        try replica.demand("CLUSTER REPLICATE \(ids[place])")
        try wait("the replica follows") {
            let isLinked = try replica.command("INFO replication").contains("link_status:up")
            let known = try nodes.map { try $0.command("CLUSTER NODES") }
            return isLinked && known.allSatisfy { $0.contains("slave \(ids[place])") }
        }
        return replica
    }

    private func wait(_ what: String, until claim: () throws -> Bool) throws {
        let limit = ContinuousClock.now + .seconds(20)
        while try !claim() {
            guard ContinuousClock.now < limit else {
                throw TestServerError(description: "it did not happen: \(what)")
            }
            usleep(20_000)
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
        try wait("the nodes of Redis find each other", until: isWhole)
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

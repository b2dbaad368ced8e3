/// Where one Redis listens.
struct RedisAddress: Sendable, Hashable, Comparable, CustomStringConvertible {
    let host: String
    let port: Int

    static func < (one: RedisAddress, other: RedisAddress) -> Bool {
        (one.host, one.port) < (other.host, other.port)
    }

    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

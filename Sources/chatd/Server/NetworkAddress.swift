import Glibc
import NIOCore

/// An IP address. An IPv4 address and its form inside of IPv6 are the same.
struct NetworkAddress: Hashable, Sendable {
    /// The first half of the address as IPv6, and the second.
    private(set) var upper: UInt64
    private(set) var lower: UInt64

    private static let mapped: UInt64 = 0xFFFF_0000_0000

    var isIPv4: Bool { upper == 0 && lower & ~0xFFFF_FFFF == Self.mapped }

    /// Whether only programs of the same machine have it.
    var isLoopback: Bool {
        isIPv4 ? lower & 0xFF00_0000 == 0x7F00_0000 : upper == 0 && lower == 1
    }

    /// What one customer of a provider has: an IPv4 address, or 64 bits of IPv6.
    var network: NetworkAddress {
        var network = self
        if !isIPv4 { network.lower = 0 }
        return network
    }

    /// - Parameter text: `192.0.2.7` or `2001:db8::7`, nothing else.
    init?(_ text: some StringProtocol) {
        var four = [UInt8](repeating: 0, count: 4)
        if inet_pton(AF_INET, String(text), &four) == 1 {
            self.init(bytes: [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF] + four)
            return
        }
        var six = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, String(text), &six) == 1 else { return nil }
        self.init(bytes: six)
    }

    /// Nil for the address of a local socket.
    init?(_ address: SocketAddress?) {
        guard let text = address?.ipAddress else { return nil }
        self.init(text)
    }

    /// - Precondition: there are 16 `bytes`.
    private init(bytes: [UInt8]) {
        precondition(bytes.count == 16, "an address has 16 bytes")
        upper = bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) }
        lower = bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The address without what follows the first `bits` of its IPv6 form.
    func masked(bits: Int) -> NetworkAddress {
        precondition((0...128).contains(bits), "an address has 128 bits")
        var masked = self
        masked.upper &= bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits))
        masked.lower &= bits >= 64 ? ~(bits == 128 ? 0 : UInt64.max >> UInt64(bits - 64)) : 0
        return masked
    }
}

extension NetworkAddress: CustomStringConvertible {
    var description: String {
        if isIPv4 {
            return [24, 16, 8, 0].map { String(lower >> $0 & 0xFF) }.joined(separator: ".")
        }
        let address = [upper, lower].flatMap { half in
            stride(from: 56, through: 0, by: -8).map {
                UInt8(truncatingIfNeeded: half >> UInt64($0))
            }
        }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) {
            guard let text = inet_ntop(AF_INET6, address, $0.baseAddress, UInt32($0.count)) else {
                preconditionFailure("an address has a text")
            }
            return String(cString: text)
        }
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, `2001:db8::/32`, or a single one.
struct AddressRange: Hashable, Sendable {
    private let first: NetworkAddress
    /// Of the IPv6 form.
    private let bits: Int

    /// Nil when `text` is none, or names bits behind its prefix.
    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = NetworkAddress(parts[0]) else { return nil }
        let length = address.isIPv4 ? 32 : 128
        var bits = 128
        if parts.count == 2 {
            guard parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let given = Int(parts[1]),
                given <= length
            else { return nil }
            bits = 128 - length + given
        }
        guard address.masked(bits: bits) == address else { return nil }
        first = address
        self.bits = bits
    }

    func contains(_ address: NetworkAddress) -> Bool {
        address.masked(bits: bits) == first
    }
}

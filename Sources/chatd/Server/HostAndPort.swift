/// `chat.example:8080`, `127.0.0.1:8080` or `[::1]:8080`, in lower case.
struct HostAndPort: Equatable, Sendable {
    /// Without brackets.
    var host: String
    /// Nil when none is named.
    var port: Int?

    init(host: String, port: Int?) {
        self.host = host
        self.port = port
    }

    /// Nil when `text` is none.
    init?(_ text: some StringProtocol) {
        let text = text.lowercased()
        var host = text[...]
        var port: Substring?
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { return nil }
            host = text[..<end].dropFirst()
            let tail = text[end...].dropFirst()
            guard tail.isEmpty || tail.first == ":" else { return nil }
            port = tail.isEmpty ? nil : tail.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[colon...].dropFirst()
            // Several colons are an IPv6 address that lacks its brackets.
            guard port?.contains(":") == false else { return nil }
        }
        let isPlain = host.utf8.allSatisfy { byte in
            byte > UInt8(ascii: " ") && byte < 0x7F && !"/?#@[]\\".utf8.contains(byte)
        }
        guard !host.isEmpty, isPlain else { return nil }
        self.host = String(host)
        guard let port else { return }
        guard (1...5).contains(port.utf8.count), port.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(port), number <= 65_535
        else { return nil }
        self.port = number
    }

    /// Whether only programs of the same machine can reach the address.
    var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}

extension HostAndPort: CustomStringConvertible {
    var description: String {
        let shown = host.contains(":") ? "[\(host)]" : host
        guard let port else { return shown }
        return "\(shown):\(port)"
    }
}

/// What somebody may do in a room. None of them implies another.
struct Rights: OptionSet, Hashable, Sendable {
    let rawValue: UInt8

    /// Join with a socket, and read history.
    static let read = Rights(rawValue: 1)
    /// Send messages, and tell that one is typing.
    static let write = Rights(rawValue: 2)
    /// Keep order among the others.
    static let moderate = Rights(rawValue: 4)

    static let all: Rights = [.read, .write, .moderate]

    /// What clients and tokens call them.
    var names: [String] {
        [(Rights.read, "read"), (.write, "write"), (.moderate, "moderate")]
            .filter { contains($0.0) }.map(\.1)
    }

    /// The right that a token calls `name`; none for a name that is not known, which a later
    /// version may know.
    init(named name: String) {
        switch name {
        case "read": self = .read
        case "write": self = .write
        case "moderate": self = .moderate
        default: self = []
        }
    }

    init(rawValue: UInt8) {
        self.rawValue = rawValue
    }
}

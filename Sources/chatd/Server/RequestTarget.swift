/// What a request's first line asks for: a path and a query, percent-decoded.
struct RequestTarget: Equatable, Sendable {
    /// The path between slashes; the root has none.
    var segments: [String]
    private var query: [(name: String, value: String)]

    /// Reads `/v1/rooms/lobby/socket?user=ada`, or the same behind `http://host`.
    ///
    /// Nil when it is neither, or an escape is broken or does not give UTF-8.
    init?(_ text: String) {
        var rest = Substring(text)
        if rest.first != "/", let scheme = rest.firstRange(of: "://") {
            rest = rest[scheme.upperBound...]
            rest = rest[(rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex)...]
            if rest.first != "/" { rest = "/" + rest }
        }
        guard rest.first == "/" else { return nil }
        let path = rest.prefix { $0 != "?" && $0 != "#" }
        let queryText = rest.dropFirst(path.count).prefix { $0 != "#" }.dropFirst()

        segments = []
        if path != "/" {
            for part in path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
                guard let segment = Self.decoded(part, plusIsSpace: false) else { return nil }
                segments.append(segment)
            }
        }
        query = []
        for part in queryText.split(separator: "&") {
            let name = part.prefix { $0 != "=" }
            let value = part.dropFirst(name.count).dropFirst()
            guard let name = Self.decoded(name, plusIsSpace: true),
                let value = Self.decoded(value, plusIsSpace: true)
            else { return nil }
            query.append((name, value))
        }
    }

    /// The first value of a parameter; empty when it has none, nil when it is absent.
    subscript(_ name: String) -> String? {
        query.first { $0.name == name }?.value
    }

    /// - Parameter plusIsSpace: as browsers encode forms and queries.
    private static func decoded(_ text: Substring, plusIsSpace: Bool) -> String? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst().flatMap(Hexadecimal.value(of:)),
                    let low = rest.popFirst().flatMap(Hexadecimal.value(of:))
                else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace:
                bytes.append(UInt8(ascii: " "))
            default:
                bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    static func == (one: RequestTarget, other: RequestTarget) -> Bool {
        one.segments == other.segments
            && one.query.elementsEqual(other.query) { $0.name == $1.name && $0.value == $1.value }
    }
}

/// What the server has, by path.
enum Route: Equatable, Sendable {
    case socket(room: String)
    /// A socket for many rooms.
    case roomsSocket
    case messages(room: String)
    case moderation(room: String)
    case health
    case readiness
    case metrics
    case file(String)
    case unknown

    /// Whether it is about the messages of a room, and for programs.
    var isOfRoom: Bool {
        switch self {
        case .messages, .moderation: true
        case .socket, .roomsSocket, .health, .readiness, .metrics, .file, .unknown: false
        }
    }

    /// - Parameter segments: see ``RequestTarget/segments``.
    init(_ segments: [String]) {
        self =
            switch segments.count {
            case 0: .file("index.html")
            case 1 where segments[0] == "healthz": .health
            case 1 where segments[0] == "readyz": .readiness
            case 1 where segments[0] == "metrics": .metrics
            case 1: .file(segments[0])
            case 2 where segments == ["v1", "socket"]: .roomsSocket
            case 4 where segments[0] == "v1" && segments[1] == "rooms":
                switch segments[3] {
                case "socket": .socket(room: segments[2])
                case "messages": .messages(room: segments[2])
                case "moderation": .moderation(room: segments[2])
                default: .unknown
                }
            default: .unknown
            }
    }
}

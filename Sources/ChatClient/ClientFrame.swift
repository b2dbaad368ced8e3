import FoundationEssentials

/// What a client says, as JSON without a space too much.
enum ClientFrame {
    static func message(_ entry: OutboxEntry) -> String {
        """
        {"type":"message","id":"\(entry.id.lowercased)","sentAt":\(quoted(entry.sentAt)),\
        "text":\(quoted(entry.text))}
        """
    }

    /// The answer to `want`: all fields as they came.
    static func message(_ message: ChatMessage) -> String {
        var text = "{\"type\":\"message\",\"id\":\"\(message.id.lowercased)\""
        text += ",\"from\":\(quoted(message.from)),\"sentAt\":\(quoted(message.sentAt))"
        if let receivedAt = message.receivedAt { text += ",\"receivedAt\":\(quoted(receivedAt))" }
        text += ",\"text\":\(quoted(message.text))"
        if let seq = message.seq { text += ",\"seq\":\(seq)" }
        if let receipt = message.receipt { text += ",\"receipt\":\(quoted(receipt))" }
        if let event = message.event { text += ",\"event\":\(object(event))" }
        return text + (message.isSkewed ? ",\"skewed\":true}" : "}")
    }

    /// In the order of the protocol, which receipts may cover.
    private static func object(_ event: ChatMessage.Event) -> String {
        var text = "{\"kind\":\(quoted(event.kind))"
        if let id = event.id { text += ",\"id\":\"\(id.lowercased)\"" }
        if let user = event.user { text += ",\"user\":\(quoted(user))" }
        if let seconds = event.seconds { text += ",\"for\":\(seconds)" }
        if let until = event.until { text += ",\"until\":\(quoted(until))" }
        return text + "}"
    }

    /// The compact heartbeat: at most 64 bytes while every message has its `seq`.
    static func beat(upTo: Int64, unsequenced ids: some Collection<UUID>) -> String {
        guard !ids.isEmpty else { return "{\"amhere\":true,\"seen\":{\"upTo\":\(upTo)}}" }
        let digest = String(ids.reduce(0) { $0 ^ $1.folded }, radix: 16)
        let padded = String(repeating: "0", count: 16 - digest.count) + digest
        return """
            {"amhere":true,"seen":{"upTo":\(upTo),"count":\(ids.count),"digest":"\(padded)"}}
            """
    }

    /// The founding heartbeat, which names ids.
    static func beat(seen ids: [UUID], upTo: Int64) -> String {
        let list = ids.map { "\"\($0.lowercased)\"" }.joined(separator: ",")
        return "{\"amhere\":true,\"msgSeen\":[\(list)],\"upTo\":\(upTo)}"
    }

    /// A heartbeat that reports nothing.
    static let emptyBeat = "{\"amhere\":true}"
    static let typing = "{\"type\":\"typing\"}"

    static func history(after: Int64, limit: Int) -> String {
        "{\"type\":\"history\",\"after\":\(after),\"limit\":\(limit)}"
    }

    static func history(before: Int64? = nil, limit: Int) -> String {
        let before = before.map { "\"before\":\($0)," } ?? ""
        return "{\"type\":\"history\",\(before)\"limit\":\(limit)}"
    }

    static func token(_ token: ChatToken) -> String {
        "{\"type\":\"token\",\"token\":\(quoted(token.text))}"
    }

    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        quoted.reserveCapacity(text.utf8.count + 2)
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            case _: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}

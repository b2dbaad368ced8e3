import FoundationEssentials
import NIOCore
import Postgres

extension ClientFrame {
    /// Reads one frame.
    ///
    /// - Throws: What does not fit, as the client is told it. Fields that no frame of the type
    ///   has are ignored; of a field given twice the last one counts, as in JavaScript.
    static func decode(_ frame: ByteBuffer, limits: ChatLimits) throws(FrameError) -> ClientFrame {
        try FrameFields.read(frame) { fields throws(FrameError) in
            try fields.clientFrame(limits: limits)
        }
    }
}

extension ClientMessage {
    /// Reads the body of a posted message: a `message` frame, whose `type` may be left out.
    static func decode(_ body: ByteBuffer, limits: ChatLimits) throws(FrameError) -> ClientMessage {
        try FrameFields.read(body) { fields throws(FrameError) in
            if let type = try fields.typeName(), type != "message" {
                throw FrameError(.unknownType, field: "type", "only \"message\" can be posted")
            }
            return try fields.message(limits: limits)
        }
    }
}

/// The fields of a frame whose names mean something, not looked into yet.
struct FrameFields {
    let scanner: JSONScanner
    private var type, id, sentAt, text: JSONValue?
    private var amhere, msgSeen, upTo, seen: JSONValue?
    private var before, after, limit: JSONValue?
    private var token: JSONValue?
    private var from, receivedAt, seq, receipt, event: JSONValue?
    private(set) var delete, mute, unmute, kick, unbar, seconds: JSONValue?

    static func read<Frame>(
        _ frame: ByteBuffer, _ body: (FrameFields) throws(FrameError) -> Frame
    ) throws(FrameError) -> Frame {
        let result = frame.withUnsafeReadableBytes { bytes -> Result<Frame, FrameError> in
            do throws(FrameError) {
                return .success(try body(try FrameFields(bytes)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init(_ bytes: UnsafeRawBufferPointer) throws(FrameError) {
        var reading = JSONScanner(bytes)
        scanner = reading
        do throws(JSONError) {
            try reading.readObject { key, value in take(key, value) }
        } catch {
            throw FrameError(.badFrame, "\(error.reason) (at byte \(error.position))")
        }
    }

    private mutating func take(_ key: JSONValue, _ value: JSONValue) {
        // `null` is as good as left out.
        let value = value.kind == .null ? nil : value
        switch scanner.text(of: key) {
        case "type": type = value
        case "id": id = value
        case "sentAt": sentAt = value
        case "text": text = value
        case "amhere": amhere = value
        case "msgSeen": msgSeen = value
        case "upTo": upTo = value
        case "seen": seen = value
        case "before": before = value
        case "after": after = value
        case "limit": limit = value
        case "token": token = value
        case "from": from = value
        case "receivedAt": receivedAt = value
        case "seq": seq = value
        case "receipt": receipt = value
        case "event": event = value
        case "delete": delete = value
        case "mute": mute = value
        case "unmute": unmute = value
        case "kick": kick = value
        case "unbar": unbar = value
        case "for": seconds = value
        default: break
        }
    }

    func clientFrame(limits: ChatLimits) throws(FrameError) -> ClientFrame {
        guard let type = try typeName() else {
            guard let amhere else {
                throw FrameError(.badFrame, field: "type", "missing, and no heartbeat (amhere)")
            }
            guard amhere.kind == .boolean(true) else {
                throw FrameError(.badFrame, field: "amhere", "must be true")
            }
            return .heartbeat(Heartbeat(report: try report(limits: limits)))
        }
        switch type {
        case "message":
            // Anything but a text is a field that nobody knows.
            guard let receipt, receipt.kind == .string else {
                return .message(try message(limits: limits))
            }
            return .answer(try wantedMessage(receipt, limits: limits))
        case "history":
            return .history(
                try HistoryRequest(
                    before: try integer(before, "before"), after: try integer(after, "after"),
                    limit: try integer(limit, "limit"), limits: limits))
        case "typing": return .typing
        case "token": return .token(try tokenText())
        case "moderate": return .moderate(try moderationOrder())
        default: throw FrameError(.unknownType, field: "type", "not a type that is known here")
        }
    }

    func typeName() throws(FrameError) -> String? {
        guard let type else { return nil }
        guard let name = scanner.text(of: type) else {
            throw FrameError(.badFrame, field: "type", "must be a string")
        }
        return name
    }
}

// MARK: - Messages

extension FrameFields {
    private func tokenText() throws(FrameError) -> String {
        guard let token, let text = scanner.text(of: token) else {
            throw FrameError(.badFrame, field: "token", "must be a string")
        }
        return text
    }

    func message(limits: ChatLimits) throws(FrameError) -> ClientMessage {
        let id = try messageID()
        do throws(FrameError) {
            return ClientMessage(
                id: id, sentAt: try sendingTime(), text: try messageText(limits: limits))
        } catch {
            var error = error
            error.id = id
            throw error
        }
    }

    private func wantedMessage(
        _ receipt: JSONValue, limits: ChatLimits
    ) throws(FrameError) -> WantedMessage {
        let event = try event.map { value throws(FrameError) in try wantedEvent(value) }
        let message =
            event == nil
            ? try message(limits: limits)
            : ClientMessage(id: try messageID(), sentAt: try sendingTime(), text: "")
        do throws(FrameError) {
            return WantedMessage(
                message: message, event: event, author: try string(from, "from"),
                receivedAt: try string(receivedAt, "receivedAt").flatMap(Timestamp.init(rfc3339:))
                    .flatMap { ClientMessage.times.contains($0) ? $0 : nil },
                seq: try seq(seq, "seq"), receipt: try string(receipt, "receipt") ?? "")
        } catch {
            var error = error
            error.id = message.id
            throw error
        }
    }

    private func string(_ value: JSONValue?, _ name: String) throws(FrameError) -> String? {
        guard let value else { return nil }
        guard let text = scanner.text(of: value) else {
            throw FrameError(.badMessage, field: name, "must be a string")
        }
        return text
    }

    func messageID() throws(FrameError) -> UUID {
        guard let id else { throw FrameError(.badMessage, field: "id", "missing") }
        guard let content = scanner.content(of: id), let uuid = MessageID.parse(content) else {
            throw FrameError(.badMessage, field: "id", "not a UUID")
        }
        guard MessageID.isRandom(uuid) else {
            throw FrameError(.badMessage, field: "id", "not a UUID of version 4")
        }
        return uuid
    }

    func sendingTime() throws(FrameError) -> Timestamp {
        guard let sentAt else { throw FrameError(.badMessage, field: "sentAt", "missing") }
        guard let content = scanner.text(of: sentAt), let time = Timestamp(rfc3339: content) else {
            throw FrameError(
                .badMessage, field: "sentAt",
                "not a time of RFC 3339 such as 2026-11-23T10:15:02.113Z")
        }
        guard ClientMessage.times.contains(time) else {
            throw FrameError(.badMessage, field: "sentAt", "not in the years 1970 to 9999")
        }
        return time
    }

    private func messageText(limits: ChatLimits) throws(FrameError) -> String {
        guard let text else { throw FrameError(.badMessage, field: "text", "missing") }
        guard text.kind == .string else {
            throw FrameError(.badMessage, field: "text", "must be a string")
        }
        guard let content = scanner.text(of: text) else {
            throw FrameError(.badMessage, field: "text", "not UTF-8")
        }
        guard !content.isEmpty else {
            throw FrameError(.badMessage, field: "text", "must not be empty")
        }
        guard content.utf8.count <= limits.textBytes else {
            throw FrameError(.tooLong, field: "text", "longer than \(limits.textBytes) bytes")
        }
        guard !content.utf8.contains(0) else {
            throw FrameError(.badMessage, field: "text", "U+0000 cannot be stored")
        }
        return content
    }
}

extension ClientMessage {
    /// What `sentAt` may be: 1970 up to the end of 9999, which every program can show.
    static let times =
        Timestamp(
            microsecondsSince1970: 0)...Timestamp(microsecondsSince1970: 253_402_300_799_999_999)
}

// MARK: - Heartbeats

extension FrameFields {
    private func report(limits: ChatLimits) throws(FrameError) -> Heartbeat.Report {
        if let seen { return try compactReport(seen) }
        let upTo = try seq(upTo, "upTo")
        guard let msgSeen else { return upTo.map { .ids([], upTo: $0) } ?? .nothing }
        return .ids(try ids(msgSeen, limits: limits), upTo: upTo)
    }

    private func ids(_ array: JSONValue, limits: ChatLimits) throws(FrameError) -> [UUID] {
        guard array.kind == .array else {
            throw FrameError(.badFrame, field: "msgSeen", "must be an array of ids")
        }
        var ids: [UUID] = []
        var refusal: FrameError?
        do throws(JSONError) {
            ids.reserveCapacity(min(limits.reportedIDs, array.range.count / MessageID.textBytes))
            try scanner.elements(of: array) { element in
                guard refusal == nil else { return }
                guard ids.count < limits.reportedIDs else {
                    refusal = FrameError(
                        .tooLong, field: "msgSeen", "more than \(limits.reportedIDs) ids")
                    return
                }
                guard let content = scanner.content(of: element), let id = MessageID.parse(content)
                else {
                    refusal = FrameError(.badFrame, field: "msgSeen[\(ids.count)]", "not a UUID")
                    return
                }
                ids.append(id)
            }
        } catch {
            throw FrameError(.badFrame, field: "msgSeen", error.reason)
        }
        if let refusal { throw refusal }
        return ids
    }

    private func compactReport(_ seen: JSONValue) throws(FrameError) -> Heartbeat.Report {
        guard seen.kind == .object else {
            throw FrameError(.badFrame, field: "seen", "must be an object")
        }
        var fields: (upTo: JSONValue?, count: JSONValue?, digest: JSONValue?)
        do throws(JSONError) {
            try scanner.members(of: seen) { key, value in
                let value = value.kind == .null ? nil : value
                switch scanner.text(of: key) {
                case "upTo": fields.upTo = value
                case "count": fields.count = value
                case "digest": fields.digest = value
                default: break
                }
            }
        } catch {
            throw FrameError(.badFrame, field: "seen", error.reason)
        }
        guard let upTo = try seq(fields.upTo, "seen.upTo") else {
            throw FrameError(.badFrame, field: "seen.upTo", "missing")
        }
        let count = try seq(fields.count, "seen.count") ?? 0
        return .compact(upTo: upTo, count: count, digest: try digest(fields.digest))
    }

    private func digest(_ value: JSONValue?) throws(FrameError) -> UInt64 {
        guard let value else { return 0 }
        guard let content = scanner.content(of: value), content.count == 16,
            content.allSatisfy({ Hexadecimal.value(of: $0) != nil }),
            let digest = UInt64(String(decoding: content, as: UTF8.self), radix: 16)
        else {
            throw FrameError(.badFrame, field: "seen.digest", "must be 16 hexadecimal digits")
        }
        return digest
    }

    /// A number that counts messages: 0 or more.
    private func seq(_ value: JSONValue?, _ name: String) throws(FrameError) -> Int64? {
        guard let number = try integer(value, name) else { return nil }
        guard number >= 0 else { throw FrameError(.badFrame, field: name, "must not be negative") }
        return number
    }

    private func integer(_ value: JSONValue?, _ name: String) throws(FrameError) -> Int64? {
        guard let value else { return nil }
        guard let number = scanner.integer(of: value) else {
            throw FrameError(.badFrame, field: name, "must be a whole number below 2^63")
        }
        return number
    }
}

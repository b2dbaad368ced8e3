import FoundationEssentials
import NIOCore
import Postgres

extension ServerFrame {
    /// `frame`, an encoded `message`, as it is once the event with the place `seq` has deleted the
    /// message: without the text, and without the receipt that covers it.
    ///
    /// A frame that cannot be read stays as it is: only servers make them.
    static func emptied(_ frame: ByteBuffer, deletedBy seq: Int64) -> ByteBuffer {
        var json = JSONWriter(capacity: 320)
        json.raw("{")
        let isRead = frame.withUnsafeReadableBytes { bytes in
            var scanner = JSONScanner(bytes)
            let reader = scanner
            do throws(JSONError) {
                try scanner.readObject { key, value in
                    switch reader.text(of: key) {
                    case "receipt", "deleted", "deletedBy": break
                    case "text": json.raw("\"text\":\"\",")
                    default: json.member(bytes, key, value)
                    }
                }
                return true
            } catch {
                return false
            }
        }
        guard isRead else { return frame }
        json.raw("\"deleted\":true,\"deletedBy\":")
        json.integer(seq)
        json.raw("}")
        return json.buffer
    }

    /// What a moderator is told when nothing was done.
    static func error(_ error: ModerationError, id: UUID) -> ByteBuffer {
        switch error {
        case .unknownMessage:
            self.error(
                .badMessage, "delete: no such message in this room, or not stored yet", id: id)
        case .oneself:
            self.error(.badMessage, "nobody mutes or kicks himself", id: id)
        case .write(let error):
            self.error(error, id: id)
        }
    }

    /// What somebody who may not write, or read, is told.
    ///
    /// - Parameter name: what he is: muted, or barred.
    static func error(
        _ name: String, _ sanction: Sanctions.Sanction, id: UUID?, retryAfter: Duration?
    ) -> ByteBuffer {
        error(
            .forbidden, name + (sanction.until.map { " until \($0.rfc3339)" } ?? ""), id: id,
            retryAfter: retryAfter)
    }
}

extension JSONWriter {
    /// What a `message` has beside the others when it is an event, or was deleted.
    mutating func moderation(event: String?, deletedBy: Int64?) {
        if let event {
            raw(",\"event\":")
            raw(ByteBuffer(string: event))
        }
        if let deletedBy {
            raw(",\"deleted\":true,\"deletedBy\":")
            integer(deletedBy)
        }
    }

    /// A member of another text as it stands there, and a comma.
    fileprivate mutating func member(
        _ text: UnsafeRawBufferPointer, _ key: JSONValue, _ value: JSONValue
    ) {
        raw(ByteBuffer(bytes: text[key.range]))
        raw(":")
        raw(ByteBuffer(bytes: text[value.range]))
        raw(",")
    }
}

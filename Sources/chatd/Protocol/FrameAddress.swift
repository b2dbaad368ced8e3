import FoundationEssentials
import NIOCore
import ShardRouter

/// What a frame on a socket with many rooms is for: read before the frame itself.
struct FrameAddress: Equatable {
    enum Kind: Equatable {
        case join, leave, token
        /// A heartbeat; without a room it is the socket's own sign of life.
        case beat
        /// A frame of the room, whatever it is.
        case other
    }

    var kind: Kind
    var room: RoomID?
    /// The message that the frame is about, when it names one.
    var id: UUID?

    /// - Throws: ``ErrorCode/badFrame`` when the frame is no JSON object, ``ErrorCode/badRoom``
    ///   when `room` is no name of a room.
    static func read(_ frame: ByteBuffer) throws(FrameError) -> FrameAddress {
        let result = frame.withUnsafeReadableBytes { bytes -> Result<FrameAddress, FrameError> in
            do throws(FrameError) {
                return .success(try FrameAddress(bytes))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init(_ bytes: UnsafeRawBufferPointer) throws(FrameError) {
        var reading = JSONScanner(bytes)
        let scanner = reading
        var type: JSONValue?
        var room: JSONValue?
        var id: JSONValue?
        do throws(JSONError) {
            try reading.readObject { key, value in
                // As in every frame: `null` is as good as left out, the last of two counts.
                let value = value.kind == .null ? nil : value
                switch scanner.text(of: key) {
                case "type": type = value
                case "room": room = value
                case "id": id = value
                default: break
                }
            }
        } catch {
            throw FrameError(.badFrame, "\(error.reason) (at byte \(error.position))")
        }
        kind =
            switch type.map({ scanner.text(of: $0) }) {
            case .none: .beat
            case "join": .join
            case "leave": .leave
            case "token": .token
            case .some: .other
            }
        self.id = id.flatMap { scanner.content(of: $0) }.flatMap { MessageID.parse($0) }
        guard let room else { return }
        guard let name = scanner.text(of: room) else {
            throw FrameError(.badRoom, field: "room", "must be a string", id: self.id)
        }
        do throws(FrameError) {
            self.room = try RoomName.parse(name)
        } catch {
            var error = error
            error.id = self.id
            throw error
        }
    }
}

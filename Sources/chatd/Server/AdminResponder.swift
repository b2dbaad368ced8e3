import HTTPTypes
import HummingbirdCore
import NIOCore
import ShardRouter

/// Shows operators what is inside of a server, and throws people out. It asks nobody who he is, so
/// it listens on loopback only.
struct AdminResponder: Sendable {
    /// Rooms or sockets in one answer when no `limit` is given.
    private static let entries = 1_000
    /// Rooms or sockets in one answer at most.
    private static let entriesAtMost = 100_000

    let chat: ChatServer
    let registry: PrometheusRegistry
    let readiness: Readiness

    func response(to request: Request) async -> Response {
        do throws(HTTPRefusal) {
            return .json(try await answer(request))
        } catch {
            return Response(error)
        }
    }

    private func answer(_ request: Request) async throws(HTTPRefusal) -> ByteBuffer {
        // A web page in a browser of this machine must not reach in here, by whatever name.
        guard request.headers[.origin] == nil,
            let host = request.head.authority.flatMap({ HostAndPort($0) }), host.isLoopback
        else {
            throw HTTPRefusal(.forbidden, code: "forbidden", "only by a loopback address")
        }
        guard let target = RequestTarget(request.head.path ?? "") else { throw .badTarget }
        switch target.segments {
        case ["rooms"]:
            try allow(.get, request)
            return rooms(atMost: try limit(target))
        case ["sockets"]:
            try allow(.get, request)
            return sockets(target, atMost: try limit(target))
        case ["queues"]:
            try allow(.get, request)
            return queues
        case ["dependencies"]:
            try allow(.get, request)
            return await readiness.report().encoded(isForOperators: true)
        case ["kick"]:
            try allow(.post, request)
            return try kick(target)
        default:
            throw .notFound
        }
    }

    private func allow(
        _ method: HTTPRequest.Method, _ request: Request
    ) throws(HTTPRefusal) {
        guard request.method == method else { throw .notAllowed([method]) }
    }

    private func limit(_ target: RequestTarget) throws(HTTPRefusal) -> Int {
        guard let text = target["limit"] else { return Self.entries }
        guard let number = Int(text), (1...Self.entriesAtMost).contains(number) else {
            throw HTTPRefusal(
                .badRequest, code: "badRequest",
                "limit: must be a whole number, 1 to \(Self.entriesAtMost)")
        }
        return number
    }

    // MARK: Looking

    /// The rooms with the most sockets first.
    private func rooms(atMost count: Int) -> ByteBuffer {
        let rooms = chat.directory.all.map(\.summary).sorted {
            ($1.sockets, $0.room.text) < ($0.sockets, $1.room.text)
        }
        var json = JSONWriter(capacity: 4_096)
        json.raw("{\"total\":")
        json.integer(rooms.count)
        json.raw(",\"rooms\":[")
        for (index, room) in rooms.prefix(count).enumerated() {
            if index > 0 { json.raw(",") }
            json.raw("{\"name\":")
            json.string(room.room.text)
            json.raw(",\"sockets\":")
            json.integer(room.sockets)
            json.raw(",\"head\":")
            json.integer(room.head)
            json.raw(",\"window\":{\"messages\":")
            json.integer(room.windowMessages)
            json.raw(",\"bytes\":")
            json.integer(room.windowBytes)
            json.raw("}}")
        }
        json.raw("]}")
        return json.buffer
    }

    /// The sockets with the most waiting bytes first.
    private func sockets(_ target: RequestTarget, atMost count: Int) -> ByteBuffer {
        let found = chat.sockets(user: target["user"], id: nil, room: target["room"])
            .sorted { ($1.waitingBytes, $0.id.number) < ($0.waitingBytes, $1.id.number) }
        var json = JSONWriter(capacity: 4_096)
        json.raw("{\"total\":")
        json.integer(found.count)
        json.raw(",\"sockets\":[")
        for (index, socket) in found.prefix(count).enumerated() {
            if index > 0 { json.raw(",") }
            write(socket, to: &json)
        }
        json.raw("]}")
        return json.buffer
    }

    private func write(_ socket: SocketSummary, to json: inout JSONWriter) {
        json.raw("{\"id\":")
        json.integer(socket.id.number)
        json.raw(",\"user\":")
        json.string(socket.user)
        if let room = socket.room {
            json.raw(",\"room\":")
            json.string(room.text)
        }
        if let rooms = socket.rooms {
            json.raw(",\"rooms\":")
            json.integer(rooms)
        }
        json.raw(",\"address\":")
        json.string(socket.address ?? "")
        json.raw(",\"waitingBytes\":")
        json.integer(socket.waitingBytes)
        json.raw(",\"since\":")
        json.time(socket.since)
        json.raw("}")
    }

    /// What waits: writes by shard, the spool, pub/sub.
    private var queues: ByteBuffer {
        var json = JSONWriter(capacity: 1_024)
        json.raw("{")
        for (index, queue) in Self.queueNames.enumerated() {
            if index > 0 { json.raw(",") }
            json.string(queue.name)
            json.raw(":{")
            for (index, value) in registry.values(of: queue.metric).enumerated() {
                if index > 0 { json.raw(",") }
                json.string(value.label)
                json.raw(":")
                json.integer(Int64(exactly: value.value.rounded()) ?? 0)
            }
            json.raw("}")
        }
        json.raw("}")
        return json.buffer
    }

    private static let queueNames = [
        (name: "writeRows", metric: "router_queue_rows"),
        (name: "writeBytes", metric: "router_queue_bytes"),
        (name: "spoolRows", metric: "chatd_spool_pending_rows"),
        (name: "spoolBytes", metric: "chatd_spool_pending_bytes"),
        (name: "pubsubConnected", metric: "chatd_pubsub_connected"),
        (name: "pubsubDropped", metric: "chatd_pubsub_dropped_total"),
    ]

    // MARK: Throwing out

    /// Closes the sockets of a user, or one socket; of those with many rooms one room alone when it
    /// is named. Nobody is kept from coming back.
    private func kick(_ target: RequestTarget) throws(HTTPRefusal) -> ByteBuffer {
        let socket = target["socket"].map { UInt64($0) }
        let isNamed = target["user"] != nil || socket != nil
        guard isNamed, socket != .some(.none) else {
            throw HTTPRefusal(
                .badRequest, code: "badRequest",
                "name a user or a socket: /kick?user=NAME, with &room=NAME for one room, "
                    + "or /kick?socket=ID")
        }
        let found = chat.sockets(
            user: target["user"], id: socket ?? nil, room: target["room"])
        for socket in found { socket.dismiss(.kicked, chat.environment.reconnectDelay()) }
        var json = JSONWriter(capacity: 64)
        json.raw("{\"kicked\":")
        json.integer(found.count)
        json.raw("}")
        return json.buffer
    }
}

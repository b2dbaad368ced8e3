import Foundation
import TestKit

@testable import ChatClient

/// A server of one room that loses, delays and reorders what it sends, and clients of it, in a time
/// that only a schedule lets pass. Everything follows from the seed.
struct FakeRoom {
    enum Event {
        case toClient(Int, attempt: Int, String)
        case toServer(Int, attempt: Int, String)
        case opened(Int, attempt: Int)
        case closed(Int, attempt: Int, UInt16?)
        /// A queued message reaches its shard.
        case stored(ChatMessage)
        case write(Int)
        case cut(Int)
        case lose
    }

    struct Client {
        var state: ChatClientState
        /// Nil while the server has no connection of it.
        var attempt: Int?
        /// What a reader of the events has.
        var shown: [ChatMessage] = []
        var stored: [UUID] = []
    }

    var clients: [Client]
    private(set) var log: [ChatMessage] = []
    private(set) var now: Instant
    private let end: Instant
    private var events: [(at: Instant, order: Int, event: Event)] = []
    private var order = 0
    private var random: SeededGenerator
    private let losesMessages: Bool
    private(set) var losses = 0

    init(seed: UInt64, clients count: Int, chaos: Duration, losesMessages: Bool) {
        random = SeededGenerator(seed: seed)
        now = .now
        end = now + chaos
        self.losesMessages = losesMessages
        clients = (0..<count).map { number in
            Client(
                state: ChatClientState(
                    servers: 2, hasTokens: false, limits: ClientLimits(),
                    seed: seed &* 31 &+ UInt64(number)))
        }
        for number in clients.indices {
            later(.write(number))
            later(.cut(number))
        }
        if losesMessages { later(.lose) }
    }

    /// Plays until the chaos has ended and everybody had the time to repair everything.
    mutating func play(recovery: Duration) {
        for number in clients.indices { tell(number) { $0.connect(now: $1) } }
        while let next = nextTime(), next <= end + recovery {
            now = max(now, next)
            for number in clients.indices {
                while let deadline = clients[number].state.deadline, deadline <= now {
                    tell(number) { $0.passed(now: $1) }
                }
            }
            while let first = events.first, first.at <= now {
                events.removeFirst()
                handle(first.event)
            }
        }
    }

    private func nextTime() -> Instant? {
        (clients.compactMap(\.state.deadline) + events.prefix(1).map(\.at)).min()
    }

    private var isChaos: Bool { now < end }

    private mutating func chance(_ share: Double) -> Bool {
        isChaos && Double.random(in: 0..<1, using: &random) < share
    }

    private mutating func later(_ event: Event, within milliseconds: Int64 = 3_000) {
        let delay = Int64.random(in: 1...milliseconds, using: &random)
        schedule(event, at: now + .milliseconds(delay))
    }

    private mutating func schedule(_ event: Event, at time: Instant) {
        order += 1
        let entry = (at: time, order: order, event: event)
        let place = events.firstIndex { ($0.at, $0.order) > (time, order) } ?? events.endIndex
        events.insert(entry, at: place)
    }

    private mutating func handle(_ event: Event) {
        switch event {
        case .toClient(let number, let attempt, let text):
            tell(number) { $0.received(text, attempt: attempt, now: $1) }
        case .toServer(let number, let attempt, let text):
            if clients[number].attempt == attempt { receive(text, from: number) }
        case .opened(let number, let attempt): greet(number, attempt)
        case .closed(let number, let attempt, let code):
            if clients[number].attempt == attempt { clients[number].attempt = nil }
            tell(number) { $0.closed(.init(code: code), attempt: attempt, now: $1) }
        case .stored(let message): store(message)
        case .write(let number):
            guard isChaos else { return }
            write(number)
            later(.write(number))
        case .cut(let number):
            guard isChaos else { return }
            if let attempt = clients[number].attempt {
                clients[number].attempt = nil
                later(.closed(number, attempt: attempt, nil), within: 500)
            }
            later(.cut(number), within: 9_000)
        case .lose:
            guard isChaos else { return }
            lose()
            later(.lose, within: 9_000)
        }
    }

    // MARK: Clients

    private mutating func tell(
        _ number: Int, _ change: (inout ChatClientState, Instant) -> Void
    ) {
        change(&clients[number].state, now)
        for action in clients[number].state.drain() { perform(action, number) }
    }

    private mutating func perform(_ action: ClientAction, _ number: Int) {
        let attempt = clients[number].attempt
        switch action {
        case .open(let attempt, _, _):
            clients[number].attempt = attempt
            let isRefused = chance(0.2)
            later(
                isRefused
                    ? .closed(number, attempt: attempt, nil) : .opened(number, attempt: attempt),
                within: 200)
        case .write(let text):
            guard let attempt else { return }
            // Frames of one socket keep their order.
            schedule(.toServer(number, attempt: attempt, text), at: now + .milliseconds(20))
        case .close: clients[number].attempt = nil
        case .tell(let event): note(event, number)
        case .abandon, .fetchToken, .forget: break
        }
    }

    private mutating func note(_ event: ChatEvent, _ number: Int) {
        switch event {
        case .reset(let messages): clients[number].shown = messages
        case .appended(let messages): clients[number].shown += messages
        case .prepended(let messages): clients[number].shown = messages + clients[number].shown
        case .stored(let id, _): clients[number].stored.append(id)
        case .connected, .disconnected, .ended, .deleted, .queued, .refused, .fault, .presence,
            .typing:
            break
        }
    }

    private mutating func write(_ number: Int) {
        let id = UUID.numbered(Int.random(in: 0..<(1 << 40), using: &random))
        let entry = OutboxEntry(id: id, text: "\(id)", sentAt: "2026-11-23T10:15:02.113Z")
        tell(number) { state, now in state.withRoom(now) { $0.send(entry, now: now) } }
    }

    // MARK: The server

    private mutating func send(_ text: String, to number: Int, reordered: Bool = false) {
        guard let attempt = clients[number].attempt else { return }
        let delay = reordered ? Int64.random(in: 1...400, using: &random) : 20
        schedule(
            .toClient(number, attempt: attempt, text), at: now + .milliseconds(delay))
    }

    private mutating func greet(_ number: Int, _ attempt: Int) {
        guard clients[number].attempt == attempt else { return }
        let headID = log.last.map { ",\"headID\":\"\($0.id.lowercased)\"" } ?? ""
        send("{\"type\":\"hello\",\"head\":\(log.count)\(headID),\"warm\":true}", to: number)
    }

    private mutating func receive(_ text: String, from number: Int) {
        guard let object = try? JSONSerialization.jsonObject(with: Data(text.utf8)),
            let frame = object as? [String: Any]
        else { preconditionFailure("not JSON: \(text)") }
        if frame["amhere"] != nil {
            beat(frame, from: number)
        } else if frame["type"] as? String == "history" {
            history(frame, to: number)
        } else if let id = (frame["id"] as? String).flatMap(UUID.init) {
            take(id, frame, from: number)
        }
    }

    private mutating func take(_ id: UUID, _ frame: [String: Any], from number: Int) {
        if let known = log.first(where: { $0.id == id }) {
            return acknowledge(known, to: number)
        }
        let message = ChatMessage(
            id: id, from: frame["from"] as? String ?? "client \(number)",
            sentAt: frame["sentAt"] as? String ?? "", receivedAt: "2026-11-23T10:15:02.131Z",
            text: frame["text"] as? String ?? "", receipt: "a receipt")
        if frame["receipt"] != nil {
            store(message)
        } else if chance(0.1) {
            send(
                """
                {"type":"error","code":"overloaded","id":"\(id)","temporary":true,\
                "retryAfter":\(Int.random(in: 50...400, using: &random))}
                """, to: number)
        } else if chance(0.1) {
            send("{\"type\":\"ack\",\"id\":\"\(id)\",\"level\":\"queued\"}", to: number)
            later(.stored(message), within: 4_000)
        } else {
            store(message)
            log.last.map { acknowledge($0, to: number) }
        }
    }

    private mutating func acknowledge(_ message: ChatMessage, to number: Int) {
        guard let seq = message.seq else { return }
        send(
            "{\"type\":\"ack\",\"id\":\"\(message.id)\",\"level\":\"stored\",\"seq\":\(seq)}",
            to: number)
    }

    private mutating func store(_ message: ChatMessage) {
        guard !log.contains(where: { $0.id == message.id }) else { return }
        var message = message
        message.seq = Int64(log.count + 1)
        log.append(message)
        // Whoever misses that a number was given anew cannot see it by the next one, nor tell which
        // of two words is the older one: a shard that loses has an orderly server here.
        for number in clients.indices where losesMessages || !chance(0.15) {
            send(ClientFrame.message(message), to: number, reordered: !losesMessages)
        }
    }

    private mutating func beat(_ frame: [String: Any], from number: Int) {
        let seen = frame["seen"] as? [String: Any] ?? frame
        let reported = frame["msgSeen"] as? [String]
        guard let upTo = (seen["upTo"] as? NSNumber)?.intValue else { return }
        let ids = Set((reported ?? []).compactMap(UUID.init(uuidString:)))
        let isAhead = upTo > log.count || (seen["count"] as? NSNumber)?.intValue ?? 0 > 0
        let unknown = ids.subtracting(log.map(\.id))
        if !unknown.isEmpty {
            let list = unknown.map { "\"\($0)\"" }.sorted().joined(separator: ",")
            send("{\"type\":\"want\",\"ids\":[\(list)]}", to: number)
        } else if isAhead && reported == nil {
            send(
                "{\"type\":\"want\",\"ids\":[],\"above\":\(max(0, log.count - 100))}", to: number)
        }
        let missing = log.dropFirst(upTo).filter { !ids.contains($0.id) }
        guard !missing.isEmpty else { return }
        page("sync", missing.prefix(20), isComplete: missing.count <= 20, to: number)
    }

    private mutating func history(_ frame: [String: Any], to number: Int) {
        if chance(0.1) {
            return send(
                "{\"type\":\"error\",\"code\":\"unavailable\",\"temporary\":true}", to: number)
        }
        let limit = min((frame["limit"] as? NSNumber)?.intValue ?? 50, 30)
        if let after = (frame["after"] as? NSNumber)?.intValue {
            let rest = log.dropFirst(after)
            page("history", rest.prefix(limit), isComplete: rest.count <= limit, to: number)
        } else {
            page("history", log.suffix(limit), isComplete: log.count <= limit, to: number)
        }
    }

    private mutating func page(
        _ type: String, _ messages: ArraySlice<ChatMessage>, isComplete: Bool, to number: Int
    ) {
        let list = messages.map(ClientFrame.message).joined(separator: ",")
        send(
            "{\"type\":\"\(type)\",\"messages\":[\(list)],\"complete\":\(isComplete)}", to: number)
    }

    /// The shard is wound back, by messages that somebody has seen.
    private mutating func lose() {
        let count = Int.random(in: 1...3, using: &random)
        guard log.count > count else { return }
        let isSeen = log.suffix(count).allSatisfy { message in
            clients.contains { $0.state.room.timeline[message.id]?.seq == message.seq }
        }
        guard isSeen else { return }
        log.removeLast(count)
        losses += count
    }
}

import FoundationEssentials
import Testing

@testable import ChatClient

@Suite struct ChatClientStateTests {
    /// A client whose time stands still until it is told to pass.
    struct Stage {
        var state: ChatClientState
        var now = Instant.now
        var actions: [ClientAction] = []
        var attempt = 0

        init(
            servers: Int = 1, hasTokens: Bool = false, limits: ClientLimits = ClientLimits(),
            seed: UInt64 = 1
        ) {
            state = ChatClientState(
                servers: servers, hasTokens: hasTokens, limits: limits, seed: seed)
        }

        mutating func tell(_ change: (inout ChatClientState, Instant) -> Void) {
            change(&state, now)
            actions = state.drain()
            for case .open(let attempt, _, _) in actions { self.attempt = attempt }
        }

        mutating func receive(_ text: String) {
            let attempt = attempt
            tell { $0.received(text, attempt: attempt, now: $1) }
        }

        mutating func close(_ code: UInt16?) {
            let attempt = attempt
            tell { $0.closed(.init(code: code), attempt: attempt, now: $1) }
        }

        mutating func join() {
            tell { $0.connect(now: $1) }
            receive("{\"type\":\"hello\",\"head\":0,\"warm\":true}")
            receive("{\"type\":\"history\",\"messages\":[],\"complete\":true}")
        }

        mutating func send(_ number: Int) {
            let entry = OutboxEntry(id: .numbered(number), text: "text", sentAt: "now")
            tell { state, now in state.withRoom(now) { $0.send(entry, now: now) } }
        }

        /// Lets time pass up to the next thing that is due, and returns how long that was.
        mutating func turn() -> Duration {
            guard let deadline = state.deadline else { return .zero }
            let passed = deadline - now
            now = deadline
            tell { $0.passed(now: $1) }
            return passed
        }

        var written: [String] {
            actions.compactMap { action in
                switch action {
                case .write(let text): text
                case .open, .close, .abandon, .fetchToken, .tell, .forget: nil
                }
            }
        }

        var opened: ClientAction? {
            actions.first { action in
                switch action {
                case .open: true
                case .write, .close, .abandon, .fetchToken, .tell, .forget: false
                }
            }
        }
    }

    @Test(arguments: 0..<40)
    func `waits before coming back stay within the bounds, and differ`(seed: UInt64) {
        var stage = Stage(seed: seed)
        stage.tell { $0.connect(now: $1) }

        var waits: [Duration] = []
        for _ in 0..<8 {
            stage.close(nil)
            waits.append(stage.turn())
        }

        #expect(waits.allSatisfy { (.milliseconds(200) ... .seconds(5)).contains($0) }, "\(waits)")
        #expect(Set(waits).count == waits.count)
        #expect(waits[0] <= .milliseconds(800))
    }

    @Test func `heartbeats come within the bounds, the first after a part of them`() {
        let firsts = (0..<200).map { seed in
            var stage = Stage(seed: UInt64(seed))
            stage.join()
            let first = stage.turn()
            let second = stage.turn()
            #expect((.milliseconds(3_500) ... .seconds(7)).contains(second))
            #expect(stage.written == ["{\"amhere\":true,\"seen\":{\"upTo\":0}}"])
            return first
        }

        #expect(firsts.allSatisfy { $0 <= .seconds(7) })
        #expect(firsts.contains { $0 < .seconds(1) })
        #expect(firsts.contains { $0 > .seconds(4) })
    }

    @Test func `a queued message is sent again only after a long while`() {
        var stage = Stage()
        stage.join()
        stage.send(1)
        let sent = stage.written
        stage.receive(
            "{\"type\":\"ack\",\"id\":\"\(UUID.numbered(1).uuidString)\",\"level\":\"queued\"}")
        var waited = Duration.zero
        repeat { waited += stage.turn() } while !stage.written.contains(where: sent.contains)

        #expect(sent.count == 1)
        #expect(waited >= .seconds(15))
        #expect(waited <= .seconds(45))
    }

    @Test func `a queued message that is refused is not due any more`() {
        var stage = Stage()
        stage.join()
        stage.send(1)
        let id = UUID.numbered(1).uuidString
        stage.receive("{\"type\":\"ack\",\"id\":\"\(id)\",\"level\":\"queued\"}")
        stage.receive("{\"type\":\"error\",\"id\":\"\(id)\",\"code\":\"badMessage\"}")
        let turns = (0..<30).map { _ in stage.turn() }

        #expect(turns.allSatisfy { $0 > .zero }, "\(turns)")
        #expect(stage.state.room.outbox.queuedAgainAt == nil)
    }

    @Test func `silence after a message costs the connection`() {
        var stage = Stage()
        stage.join()
        stage.send(1)
        let sent = stage.written
        var waited = Duration.zero
        repeat { waited += stage.turn() } while !stage.actions.contains(.close(code: 4000))
        _ = stage.turn()
        stage.receive("{\"type\":\"hello\",\"head\":0,\"warm\":true}")

        #expect(waited == .seconds(12))
        #expect(stage.written.contains(sent[0]))
    }

    @Test func `a fresh token is fetched at first, after a refusal, and before the end`() {
        var stage = Stage(hasTokens: true)
        stage.tell { $0.connect(now: $1) }
        #expect(stage.actions == [.fetchToken])

        let (old, new) = (ChatToken("old"), ChatToken("new"))
        stage.tell { $0.tokenCame(old, lifetime: .seconds(100), now: $1) }
        #expect(stage.opened == .open(attempt: 1, server: 0, token: old))
        stage.close(4401)
        #expect(stage.actions.contains(.fetchToken))
        stage.tell { $0.tokenCame(new, lifetime: .seconds(100), now: $1) }
        #expect(stage.opened == .open(attempt: 2, server: 0, token: new))

        stage.receive("{\"type\":\"hello\",\"head\":0,\"warm\":true}")
        stage.receive("{\"type\":\"history\",\"messages\":[],\"complete\":true}")
        var waited = Duration.zero
        repeat { waited += stage.turn() } while !stage.actions.contains(.fetchToken)
        #expect(waited >= .seconds(70) && waited <= .seconds(90))
        stage.tell { $0.tokenCame(ChatToken("newest"), lifetime: nil, now: $1) }
        #expect(stage.written == ["{\"type\":\"token\",\"token\":\"newest\"}"])
    }

    @Test func `the token that was refused is not shown again`() {
        var stage = Stage(hasTokens: true)
        stage.tell { $0.connect(now: $1) }
        stage.tell { $0.tokenCame(ChatToken("old"), lifetime: nil, now: $1) }
        stage.close(4401)

        stage.tell { $0.tokenCame(ChatToken("old"), lifetime: nil, now: $1) }

        #expect(stage.opened == nil)
        #expect(stage.state.view.connection == .closed)
    }

    @Test func `what an old connection still says is not heard`() {
        var stage = Stage()
        stage.join()
        stage.close(nil)
        _ = stage.turn()

        stage.tell { $0.received("{\"type\":\"hello\",\"head\":9}", attempt: 1, now: $1) }
        stage.tell { $0.closed(.init(code: 1000), attempt: 1, now: $1) }

        #expect(stage.state.view.connection == .connecting)
        #expect(stage.actions.isEmpty)
    }

    @Test func `a full outbox refuses`() {
        var limits = ClientLimits()
        limits.outboxMessages = 2
        var stage = Stage(limits: limits)
        stage.send(1)
        stage.send(2)

        #expect(throws: SendError.outboxFull) { try stage.state.room.check("three") }
        #expect(throws: SendError.notAText) { try stage.state.room.check("") }
        #expect(throws: SendError.tooLong(bytes: 16_384)) {
            try stage.state.room.check(String(repeating: "x", count: 16_385))
        }
    }

    @Test func `tokens are not printed, and tell their end`() {
        let claims = "eyJleHAiOjE3OTU2ODcyMDB9"  // {"exp":1795687200}
        let token = ChatToken("aaaa.\(claims).bbbb")
        var dumped = ""
        dump(token, to: &dumped)

        #expect(token.expiresAt == Date(timeIntervalSince1970: 1_795_687_200))
        #expect(!"\(token) \(String(reflecting: token)) \(dumped)".contains("aaaa"))
    }
}

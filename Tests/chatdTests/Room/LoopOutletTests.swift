import NIOCore
import NIOEmbedded
import Postgres
import Synchronization
import TestKit
import Testing

@testable import chatd

/// What members are written, and in how many writes.
@Suite struct LoopOutletTests {
    private let loop = EmbeddedEventLoop()

    @Test func `frames that wait leave together, in one write for each socket`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        let bo = room.join("bo")
        loop.run()
        let before = (ada.writes.count, ada.flushes)

        for number in 1...3 { room.deliver("\(number)") }
        #expect(ada.writes.count == before.0)
        loop.run()

        #expect(Array(ada.writes[before.0...]) == [["1", "2", "3"]])
        #expect(ada.flushes == before.1 + 1)
        #expect(bo.writes.last == ["1", "2", "3"])
    }

    @Test func `what waits for a round counts as pending, and is counted once`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        loop.run()

        for _ in 1...3 { ada.member.enqueue(ByteBuffer(string: "12345")) }
        let waiting = ada.reserved.load(ordering: .relaxed)
        loop.run()

        #expect(waiting == 15)
        #expect(ada.reserved.load(ordering: .relaxed) == 0)
    }

    @Test func `what many are sent is one buffer`() {
        let room = Scene(loop)
        let members = (0..<3).map { room.join("\($0)") }
        loop.run()

        room.deliver("1")
        loop.run()

        #expect(Set(members.map(\.lastAddress)).count == 1)
        #expect(members[0].lastAddress != nil)
    }

    @Test func `who joins between two frames gets hello and the second`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        loop.run()

        room.deliver("1")
        let bo = room.join("bo")
        room.deliver("2")
        loop.run()

        #expect(ada.texts == ["hello ada", "presence", "welcomed", "1", "2"])
        #expect(bo.texts == ["hello bo", "presence", "welcomed", "2"])
    }

    @Test func `an ack keeps its place, and the others still share`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        let bo = room.join("bo")
        loop.run()

        room.deliver("1")
        ada.member.enqueue(ByteBuffer(string: "ack"))
        room.deliver("2")
        loop.run()

        #expect(ada.texts.suffix(3) == ["1", "ack", "2"])
        #expect(bo.writes.last == ["1", "2"])
    }

    @Test func `who is left out of one frame gets the ones around it`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        let bo = room.join("bo")
        loop.run()

        room.deliver("1")
        room.deliver("typing", .typing, except: ada.member.id)
        room.deliver("2")
        loop.run()

        #expect(ada.texts.suffix(2) == ["1", "2"])
        #expect(bo.texts.suffix(3) == ["1", "typing", "2"])
    }

    @Test func `a slow reader is skipped, and what it lacks is noted`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        let bo = room.join("bo")
        loop.run()

        bo.pending.store(11, ordering: .relaxed)
        room.deliver("7", .message(ordinal: 7))
        room.deliver("8", .message(ordinal: 8))
        room.deliver("presence", .presence)
        loop.run()

        #expect(ada.texts.suffix(3) == ["7", "8", "presence"])
        #expect(bo.texts.last == "welcomed")
        #expect(bo.member.skippedOrdinal == 8)
        #expect(!bo.member.takesPresenceAgain(pendingBytes: 10))
        bo.pending.store(10, ordering: .relaxed)
        #expect(bo.member.takesPresenceAgain(pendingBytes: 10))
        room.deliver("9", .message(ordinal: 9))
        loop.run()
        #expect(bo.texts.last == "9")
    }

    @Test func `a reader that becomes slow within a round is skipped soon`() {
        let room = Scene(loop)
        let ada = room.join("ada")
        loop.run()
        ada.keepsWhatItGets = true

        let text = String(repeating: "x", count: 1_000)
        for number in 0..<1_000 { room.deliver(text, .message(ordinal: UInt64(number))) }
        loop.run()

        let bytes = ada.texts.count { $0 == text } * 1_000
        #expect(bytes > 0)
        #expect(bytes < 128 * 1_024)
        #expect(ada.member.skippedOrdinal == 999)
    }

    @Test func `a frame that comes while a large room is written to goes to the rest at once`() {
        let room = Scene(loop, slice: 1)
        let members = (0..<4).map { room.join("\($0)") }
        loop.run()
        let before = members.map(\.writes.count)
        func new(_ index: Int) -> [[String]] { Array(members[index].writes[before[index]...]) }

        room.deliver("1")
        loop.run()
        #expect((0..<4).map(new) == [[["1"]], [], [], []])
        nextSlice()
        room.deliver("2")
        loop.run()
        nextSlice()
        nextSlice()

        #expect((0..<4).map(new) == [[["1"]], [["1"]], [["1", "2"]], [["1", "2"]]])
        nextSlice()
        nextSlice()
        nextSlice()
        #expect(
            (0..<4).map(new) == [[["1"], ["2"]], [["1"], ["2"]], [["1", "2"]], [["1", "2"]]])
    }

    @Test func `an ack brings forward what it follows, and nothing is sent twice`() {
        let room = Scene(loop, slice: 1)
        let members = (0..<3).map { room.join("\($0)") }
        loop.run()

        room.deliver("1")
        room.deliver("2")
        loop.run()
        members[2].member.enqueue(ByteBuffer(string: "ack"))
        room.deliver("3")
        loop.run()
        #expect(members[1].texts.last == "welcomed")
        #expect(members[2].texts.suffix(3) == ["1", "2", "ack"])

        settle()
        #expect(members[0].texts.suffix(3) == ["1", "2", "3"])
        #expect(members[1].texts.suffix(3) == ["1", "2", "3"])
        #expect(members[2].texts.suffix(4) == ["1", "2", "ack", "3"])
    }

    @Test func `a small room does not wait for a large one`() {
        let outlet = LoopOutlet(loop: loop, slice: 2)
        let large = Scene(outlet)
        let small = Scene(outlet)
        let many = (0..<10).map { large.join("\($0)") }
        let ada = small.join("ada")
        loop.run()

        large.deliver("1")
        loop.run()
        small.deliver("2")
        loop.run()

        #expect(ada.texts.last == "2")
        #expect(many.count { $0.texts.last == "1" } == 2)
        settle()
        #expect(many.count { $0.texts.last == "1" } == 10)
    }

    @Test(arguments: [1, 128])
    func `what others say ends with the last word, and answers may follow`(slice: Int) {
        let room = Scene(loop, slice: slice)
        let members = (0..<3).map { room.join("\($0)") }
        loop.run()

        room.deliver("1")
        loop.run()
        room.deliver("2")
        let last = members[2]
        last.member.bidFarewell { last.send(ByteBuffer(string: "bye")) }
        room.deliver("3")
        loop.run()
        last.member.enqueue(ByteBuffer(string: "ack"))
        settle()

        #expect(members[0].texts.suffix(3) == ["1", "2", "3"])
        #expect(last.texts.suffix(4) == ["1", "2", "bye", "ack"])
    }

    private func nextSlice() {
        loop.advanceTime(by: .microseconds(20))
    }

    private func settle() {
        loop.run()
        loop.advanceTime(by: .seconds(1))
    }

    @Test(arguments: 0..<300 as Range<UInt64>, [1, 3, 128])
    func `whatever happens, each member is sent everything in its order`(
        seed: UInt64, slice: Int
    ) {
        var random = SeededGenerator(seed: seed)
        let room = Scene(loop, slice: slice)
        var expected: [String: [String]] = [:]
        var all: [String: Recorder] = [:]
        var inside: [Recorder] = []

        for number in 0..<200 {
            switch random.next() % 10 {
            case 0:
                let name = "user \(number)"
                let recorder = room.join(name)
                all[name] = recorder
                inside.append(recorder)
                expected[name] = ["hello \(name)", "presence", "welcomed"]
            case 1 where !inside.isEmpty:
                let leaver = inside.remove(at: Int(random.next() % UInt64(inside.count)))
                room.leave(leaver)
                guard random.next() % 2 == 0 else {
                    // Whether it still gets what waits is nobody's business.
                    all[leaver.member.user] = nil
                    break
                }
                leaver.member.bidFarewell { leaver.send(ByteBuffer(string: "bye")) }
                expected[leaver.member.user]?.append("bye")
            case 2 where !inside.isEmpty:
                let one = inside[Int(random.next() % UInt64(inside.count))]
                one.member.enqueue(ByteBuffer(string: "own \(number)"))
                expected[one.member.user]?.append("own \(number)")
            case 3 where !inside.isEmpty:
                let out = inside[Int(random.next() % UInt64(inside.count))]
                room.deliver("typing \(number)", .typing, except: out.member.id)
                for one in inside where one !== out {
                    expected[one.member.user]?.append("typing \(number)")
                }
            case 4: loop.run()
            case 5, 6: nextSlice()
            default:
                room.deliver("\(number)")
                for one in inside { expected[one.member.user]?.append("\(number)") }
            }
        }
        settle()

        for (name, recorder) in all {
            #expect(recorder.texts == expected[name], "seed \(seed)")
        }
    }
}

/// A room's audience on one loop.
private final class Scene {
    private var audience = Audience()
    private let outlet: LoopOutlet
    private var lastID: UInt64 = 0

    convenience init(_ loop: EmbeddedEventLoop, slice: Int = 128) {
        self.init(LoopOutlet(loop: loop, slice: slice))
    }

    init(_ outlet: LoopOutlet) {
        self.outlet = outlet
    }

    func join(_ user: String) -> Recorder {
        lastID += 1
        let recorder = Recorder(MemberID(number: lastID), user, outlet)
        outlet.enqueue(
            .greeting(
                [ByteBuffer(string: "hello \(user)"), ByteBuffer(string: "presence")],
                recorder.member))
        audience.add(recorder.member)
        return recorder
    }

    func leave(_ recorder: Recorder) {
        audience.remove(recorder.member)
    }

    func deliver(
        _ text: String, _ kind: RoomState.Delivery = .message(ordinal: 1), except: MemberID? = nil
    ) {
        audience.deliver(ByteBuffer(string: text), kind, except: except, pendingBytes: 10)
    }
}

/// A member that keeps what it is written.
private final class Recorder: SessionSocket, MemberOwner {
    private struct State {
        var writes: [[String]] = []
        var flushes = 0
        var lastAddress: UInt?
        var member: Member?
        var keepsWhatItGets = false
    }

    let eventLoop: any EventLoop
    let pending = Atomic<Int>(0)
    let reserved = Atomic<Int>(0)
    private let state = Mutex(State())

    init(_ id: MemberID, _ user: String, _ outlet: LoopOutlet) {
        eventLoop = outlet.loop
        let member = Member(
            id: id, user: user, rights: .all, socket: self, owner: self,
            since: Timestamp(microsecondsSince1970: 0), outlet: outlet)
        state.withLock { $0.member = member }
    }

    var member: Member { state.withLock { $0.member! } }
    var writes: [[String]] { state.withLock { $0.writes } }
    var texts: [String] { writes.flatMap { $0 } }
    var flushes: Int { state.withLock { $0.flushes } }
    var lastAddress: UInt? { state.withLock { $0.lastAddress } }
    var keepsWhatItGets: Bool {
        get { state.withLock { $0.keepsWhatItGets } }
        set { state.withLock { $0.keepsWhatItGets = newValue } }
    }

    func send(_ text: ByteBuffer) {
        state.withLock { $0.writes.append([String(buffer: text)]) }
    }

    func write(_ frames: SharedFrames, flushing: Bool) {
        let bytes = frames.wire.readableBytes
        state.withLock { state in
            state.writes.append(frames.texts.map { String(buffer: $0) })
            state.lastAddress = frames.wire.withUnsafeReadableBytes {
                UInt(bitPattern: $0.baseAddress)
            }
            if flushing { state.flushes += 1 }
            if state.keepsWhatItGets { pending.add(bytes, ordering: .relaxed) }
        }
    }

    func flush() { state.withLock { $0.flushes += 1 } }
    func reserve(bytes: Int) { reserved.add(bytes, ordering: .relaxed) }
    func close(code: UInt16, reason: String) {}
    var pendingBytes: Int { pending.load(ordering: .relaxed) }
    var roundTrip: Duration? { nil }

    func welcomed() { state.withLock { $0.writes.append(["welcomed"]) } }
    func ticked() {}
    func stop() {}
    func dismiss(_ ending: SessionStateMachine.Ending, reconnectAfter: Duration) {}
}

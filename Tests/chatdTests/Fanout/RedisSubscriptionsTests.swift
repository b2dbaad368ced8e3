import ShardRouter
import TestKit
import Testing

@testable import chatd

@Suite struct RedisSubscriptionsTests {
    private static let room = RoomID("lobby")
    private let subscriptions = Book()

    @Test func `nothing is told before a connection, and all after it`() {
        #expect(!subscriptions.want(Self.room))
        #expect(!subscriptions.hasChanges)

        subscriptions.connect()

        #expect(subscriptions.takeCommands(limit: 10) == .init(subscribe: [Self.room]))
        #expect(subscriptions.takeCommands(limit: 10).isEmpty)
        #expect(subscriptions.confirmSubscribe(Self.room))
    }

    @Test func `a room has one unanswered command`() {
        subscriptions.connect()
        _ = subscriptions.want(Self.room)
        _ = subscriptions.takeCommands(limit: 10)

        subscriptions.release(Self.room)
        #expect(subscriptions.takeCommands(limit: 10).isEmpty)
        #expect(!subscriptions.confirmSubscribe(Self.room), "nobody wants to know any more")

        #expect(subscriptions.takeCommands(limit: 10) == .init(unsubscribe: [Self.room]))
        _ = subscriptions.want(Self.room)
        #expect(subscriptions.takeCommands(limit: 10).isEmpty)
        subscriptions.confirmUnsubscribe(Self.room)
        #expect(subscriptions.takeCommands(limit: 10) == .init(subscribe: [Self.room]))
        #expect(subscriptions.confirmSubscribe(Self.room))
    }

    @Test func `a room that was not let go yet is heard at once`() {
        subscriptions.connect()
        _ = subscriptions.want(Self.room)
        _ = subscriptions.takeCommands(limit: 10)
        _ = subscriptions.confirmSubscribe(Self.room)

        subscriptions.release(Self.room)

        #expect(subscriptions.want(Self.room))
        #expect(subscriptions.takeCommands(limit: 10).isEmpty)
    }

    @Test func `a lost connection forgets what was confirmed, not what is wanted`() {
        let other = RoomID("attic")
        subscriptions.connect()
        _ = subscriptions.want(Self.room)
        _ = subscriptions.want(other)
        _ = subscriptions.takeCommands(limit: 10)
        _ = subscriptions.confirmSubscribe(Self.room)
        _ = subscriptions.confirmSubscribe(other)
        subscriptions.release(other)

        subscriptions.disconnect()
        subscriptions.connect()

        #expect(subscriptions.takeCommands(limit: 10) == .init(subscribe: [Self.room]))
        #expect(!subscriptions.isWanted(other))
    }

    @Test func `commands are of limited size and leave nobody out`() {
        let rooms = (0..<1_000).map { RoomID("room-\($0)") }
        for room in rooms { _ = subscriptions.want(room) }
        subscriptions.connect()
        var told: Set<RoomID> = []

        while subscriptions.hasChanges {
            let commands = subscriptions.takeCommands(limit: 64)
            #expect(commands.subscribe.count <= 64)
            told.formUnion(commands.subscribe)
        }

        #expect(told == Set(rooms))
    }

    @Test func `what a node refuses is asked for again when that may help`() {
        subscriptions.connect()
        _ = subscriptions.want(Self.room)
        _ = subscriptions.takeCommands(limit: 10)

        subscriptions.refuseSubscribe(Self.room)
        #expect(!subscriptions.hasChanges, "asking again at once would only be refused again")

        subscriptions.retry()
        #expect(subscriptions.takeCommands(limit: 10) == .init(subscribe: [Self.room]))
        #expect(subscriptions.confirmSubscribe(Self.room))
        subscriptions.loseRoom(Self.room)
        #expect(!subscriptions.isHeard(Self.room))
        subscriptions.release(Self.room)
        subscriptions.retry()
        #expect(!subscriptions.hasChanges, "nobody wants to know any more")
    }

    /// A model of Redis answers in order, at any time, now and then refuses or drops a room, and
    /// loses the connection.
    @Test(arguments: 0..<50 as Range<UInt64>)
    func `Redis ends up with exactly the wanted rooms`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let subscriptions = Book()
        let rooms = (0..<8).map { RoomID("room-\($0)") }
        var wanted: Set<RoomID> = []
        var redis = ModelRedis()
        subscriptions.connect()
        for _ in 0..<2_000 {
            let room = rooms[Int.random(in: 0..<8, using: &generator)]
            switch Int.random(in: 0..<100, using: &generator) {
            case 0..<30:
                let isHeard = subscriptions.want(room)
                #expect(!isHeard || redis.isHeard(room), "seed \(seed)")
                wanted.insert(room)
            case 30..<60:
                subscriptions.release(room)
                wanted.remove(room)
            case 60..<75: redis.take(subscriptions.takeCommands(limit: 3))
            case 75..<93: redis.answer(subscriptions)
            case 93..<95: redis.answer(subscriptions, refuses: true)
            case 95..<97: redis.drop(room, subscriptions)
            case 97..<99: subscriptions.retry()
            default:
                subscriptions.disconnect()
                redis = ModelRedis()
                subscriptions.connect()
            }
        }

        subscriptions.retry()
        while subscriptions.hasChanges || !redis.unanswered.isEmpty {
            redis.take(subscriptions.takeCommands(limit: 3))
            while !redis.unanswered.isEmpty { redis.answer(subscriptions) }
        }

        #expect(redis.subscribed == wanted, "seed \(seed)")
    }
}

/// What Redis does with commands, and which answers are still on their way.
private struct ModelRedis {
    var subscribed: Set<RoomID> = []
    var unanswered: [(room: RoomID, isSubscribe: Bool)] = []

    mutating func take(_ commands: RedisSubscriptions.Commands) {
        for room in commands.subscribe {
            subscribed.insert(room)
            unanswered.append((room, true))
        }
        for room in commands.unsubscribe {
            subscribed.remove(room)
            unanswered.append((room, false))
        }
    }

    /// Lets `room` go without being asked to, as when its slot gets another node.
    mutating func drop(_ room: RoomID, _ subscriptions: Book) {
        guard isHeard(room) else { return }
        subscribed.remove(room)
        subscriptions.loseRoom(room)
    }

    mutating func answer(_ subscriptions: Book, refuses: Bool = false) {
        guard !unanswered.isEmpty else { return }
        let (room, isSubscribe) = unanswered.removeFirst()
        if isSubscribe, refuses {
            subscribed.remove(room)
            subscriptions.refuseSubscribe(room)
        } else if isSubscribe {
            let isNews = subscriptions.confirmSubscribe(room)
            #expect(!isNews || subscribed.contains(room))
        } else {
            subscriptions.confirmUnsubscribe(room)
        }
    }

    func isHeard(_ room: RoomID) -> Bool {
        subscribed.contains(room) && !unanswered.contains { $0.room == room }
    }
}

/// Subscriptions that `#expect` may change.
private final class Book {
    private var subscriptions = RedisSubscriptions()

    var hasChanges: Bool { subscriptions.hasChanges }
    func isWanted(_ room: RoomID) -> Bool { subscriptions.isWanted(room) }
    func want(_ room: RoomID) -> Bool { subscriptions.want(room) }
    func release(_ room: RoomID) { subscriptions.release(room) }
    func connect() { subscriptions.connect() }
    func disconnect() { subscriptions.disconnect() }
    func takeCommands(limit: Int) -> RedisSubscriptions.Commands {
        subscriptions.takeCommands(limit: limit)
    }
    func confirmSubscribe(_ room: RoomID) -> Bool { subscriptions.confirmSubscribe(room) }
    func isHeard(_ room: RoomID) -> Bool { subscriptions.isHeard(room) }
    func refuseSubscribe(_ room: RoomID) { subscriptions.refuseSubscribe(room) }
    func loseRoom(_ room: RoomID) { subscriptions.loseRoom(room) }
    func retry() { subscriptions.retry() }
    func confirmUnsubscribe(_ room: RoomID) { subscriptions.confirmUnsubscribe(room) }
}

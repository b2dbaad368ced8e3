import FoundationEssentials
import NIOCore
import TestKit
import Testing

@testable import chatd

/// Two servers with a room in common, on one clock.
private struct TwoServers {
    static let tick: Duration = .milliseconds(250)

    var rooms: [RoomState]
    var now = ContinuousClock.Instant.now
    var members = 0
    /// Bytes between the servers since the last ``pass(_:)`` began.
    var bytesBetween = 0
    /// Bytes of `presence` frames to all sockets of both.
    var bytesToClients = 0
    /// What a reader of each server was told last.
    var counts = [0, 0]

    init(limits: ChatLimits = ChatLimits()) {
        let now = now
        rooms = (0..<2).map {
            RoomState(server: .numbered($0 + 1), limits: limits, now: now)
        }
        for place in rooms.indices {
            perform(rooms[place].join(MemberID(number: 0), user: "nobody", now: now), at: place)
            perform(rooms[place].filled([], head: 0, isWhole: true, now: now), at: place)
            perform(
                rooms[place].leave(MemberID(number: 0), isDeparture: true, now: now), at: place)
        }
    }

    mutating func join(_ user: String, at place: Int) -> MemberID {
        members += 1
        let id = MemberID(number: UInt64(members))
        perform(rooms[place].join(id, user: user, now: now), at: place)
        return id
    }

    mutating func leave(_ id: MemberID, at place: Int) {
        perform(rooms[place].leave(id, isDeparture: true, now: now), at: place)
    }

    /// - Parameter beating: who sends heartbeats, each every five seconds.
    mutating func pass(_ time: Duration, beating: [[MemberID]], alive: [Int] = [0, 1]) {
        (bytesBetween, bytesToClients) = (0, 0)
        for step in 0..<Int(time / Self.tick) {
            now += Self.tick
            for place in alive {
                for id in beating[place] where (Int(id.number) + step).isMultiple(of: 20) {
                    perform(
                        rooms[place].beat(
                            .ids([], upTo: 0), from: id, skippedOrdinal: 0, isSlow: false,
                            roundTrip: nil, now: now), at: place)
                }
                perform(rooms[place].tick(now: now, isDeaf: false), at: place)
            }
        }
    }

    private mutating func perform(_ actions: [RoomState.Action], at place: Int) {
        for action in actions {
            switch action {
            case .publish(let event):
                bytesBetween += event.encoded().count
                perform(rooms[1 - place].heard(event, now: now), at: 1 - place)
            case .deliver(let frame, .presence, except: _):
                bytesToClients += frame.readableBytes * rooms[place].presence.localCount
            case .welcome, .deliver, .send, .want, .lookUp, .read, .dismiss: break
            }
            counts[place] = rooms[place].presence.count
        }
    }
}

@Suite struct PresenceTrafficTests {
    @Test func `a thousand people on two servers cost some bytes in a second`() {
        var servers = TwoServers()
        let ids = (0..<2).map { place in
            (0..<500).map { servers.join("user-\(place)-\($0)", at: place) }
        }
        servers.pass(.seconds(20), beating: ids)
        #expect(servers.rooms.map(\.presence.count) == [1_000, 1_000])

        servers.pass(.seconds(700), beating: ids)

        let between = servers.bytesBetween / 700
        print(
            "1,000 people in one room on two servers: \(between) bytes/s between them,",
            "\(servers.bytesToClients / 700) to all clients")
        #expect(between <= 10)
        #expect(servers.bytesToClients == 0, "nothing has changed")
    }

    @Test func `ten people in a second, who come and go in a crowd, cost no more`() {
        var servers = TwoServers()
        let ids = (0..<2).map { place in
            (0..<500).map { servers.join("user-\(place)-\($0)", at: place) }
        }
        servers.pass(.seconds(20), beating: ids)
        var (between, toClients) = (0, 0)
        for second in 0..<140 {
            let guests = (0..<10).map { servers.join("guest-\(second)-\($0)", at: 0) }
            servers.pass(.seconds(1), beating: ids)
            between += servers.bytesBetween
            toClients += servers.bytesToClients
            // One stays, so that the number changes.
            for guest in guests.dropFirst() { servers.leave(guest, at: 0) }
        }

        print(
            "with ten guests a second: \(between / 140) bytes/s between them,",
            "\(toClients / 140) to all clients")
        #expect(between / 140 <= 25)
        // One frame for each of a thousand people in the shortest beat.
        #expect(toClients / 140 <= 1_140 * 60 * 2 / 7)
    }

    @Test func `who was a crowd is named again when few are left`() {
        var servers = TwoServers()
        let ids = (0..<2).map { place in
            (0..<150).map { servers.join("user-\(place)-\($0)", at: place) }
        }
        servers.pass(.seconds(10), beating: ids)
        #expect(servers.rooms.map(\.presence.nameless) == [150, 150])

        for id in ids[1].dropFirst(10) { servers.leave(id, at: 1) }
        servers.pass(.seconds(10), beating: [ids[0], Array(ids[1].prefix(10))])

        for room in servers.rooms {
            #expect(room.presence.nameless == 0)
            #expect(room.presence.count == 160)
            #expect(room.wholePresence().joined.count == 160)
        }
    }

    @Test func `a server that is killed takes its crowd with it`() {
        var servers = TwoServers()
        let ids = (0..<2).map { place in
            (0..<300).map { servers.join("user-\(place)-\($0)", at: place) }
        }
        servers.pass(.seconds(10), beating: ids)
        #expect(servers.rooms[0].presence.count == 600)

        servers.pass(.milliseconds(17_500), beating: ids, alive: [0])

        #expect(servers.rooms[0].presence.count == 300)
        #expect(servers.rooms[0].presence.nameless == 0)
    }

    @Test func `the last of a crowd's server leaves no number behind`() {
        var limits = ChatLimits()
        limits.presenceNames = 4
        var servers = TwoServers(limits: limits)
        let ids = [
            (0..<3).map { servers.join("ada-\($0)", at: 0) },
            (0..<3).map { servers.join("bo-\($0)", at: 1) },
        ]
        servers.pass(.seconds(5), beating: ids)
        #expect(servers.rooms[0].presence.nameless == 3)

        for id in ids[1] { servers.leave(id, at: 1) }
        servers.pass(.seconds(5), beating: [ids[0], []])

        #expect(servers.rooms[0].presence.count == 3)
        #expect(servers.rooms[0].wholePresence().joined.count == 3)
    }
}

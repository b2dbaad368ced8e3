import FoundationEssentials
import TestKit
import Testing

@testable import chatd

@Suite struct PresenceTests {
    let start = ContinuousClock.Instant.now
    let other = UUID.numbered(1)
    let third = UUID.numbered(2)
    var presence = Presence(limits: RoomLimits())

    @Test mutating func `a user with several sockets counts once and leaves with the last`() {
        #expect(presence.opened("ada", now: start) == true)
        #expect(presence.opened("ada", now: start) == false)
        #expect(presence.count == 1)

        #expect(presence.closed("ada", isDeparture: true) == false)
        #expect(presence.count == 1)
        #expect(presence.closed("ada", isDeparture: true) == true)
        #expect(presence.count == 0)
    }

    @Test mutating func `a lost socket's user stays until his time runs out`() {
        _ = presence.opened("ada", now: start)
        #expect(presence.closed("ada", isDeparture: false) == false)

        presence.expire(now: start + .milliseconds(17_499))
        #expect(presence.count == 1)
        presence.expire(now: start + .milliseconds(17_500))
        #expect(presence.count == 0)
    }

    @Test mutating func `a shorter time that is told later runs out first`() {
        _ = presence.opened("ada", now: start)
        presence.expire(now: start + .seconds(1))

        presence.heard(
            of: "bo", from: other, remaining: .seconds(2), now: start + .seconds(1))
        presence.expire(now: start + .milliseconds(2_999))
        #expect(presence.count == 2)
        presence.expire(now: start + .seconds(3))
        #expect(presence.users.sorted() == ["ada"])
        presence.expire(now: start + .milliseconds(17_500))
        #expect(presence.count == 0)
    }

    @Test mutating func `every beat gives the same time again`() {
        _ = presence.opened("ada", now: start)

        #expect(presence.seen("ada", now: start + .seconds(10)) == false)
        presence.expire(now: start + .seconds(27))

        #expect(presence.count == 1)
        #expect(
            presence.localUsers(now: start + .seconds(27)).map(\.remaining) == [.milliseconds(500)])
    }

    @Test mutating func `a silent socket's user goes and comes back with his next beat`() {
        _ = presence.opened("ada", now: start)
        _ = presence.takeChanges()

        presence.expire(now: start + .seconds(18))
        #expect(presence.takeChanges() == Presence.Changes(joined: [], left: ["ada"]))
        #expect(presence.localUsers(now: start).isEmpty)

        #expect(presence.seen("ada", now: start + .seconds(20)) == true)
        #expect(presence.takeChanges() == Presence.Changes(joined: ["ada"], left: []))
        #expect(presence.closed("ada", isDeparture: true) == true)
        #expect(presence.count == 0)
    }

    @Test mutating func `a silent socket that closes is told of no second time`() {
        _ = presence.opened("ada", now: start)
        presence.expire(now: start + .seconds(18))
        _ = presence.takeChanges()

        #expect(presence.closed("ada", isDeparture: true) == false)

        #expect(presence.changes.isEmpty)
        presence.expire(now: start + .seconds(60))
        #expect(presence.changes.isEmpty)
    }

    @Test mutating func `a user on two servers counts once and goes when both say so`() {
        _ = presence.opened("ada", now: start)
        presence.heard(of: "ada", from: other, remaining: .seconds(17), now: start)
        presence.heard(of: "ada", from: third, remaining: .seconds(17), now: start)
        #expect(presence.count == 1)

        _ = presence.closed("ada", isDeparture: true)
        presence.heardDeparture(of: "ada", from: other)
        presence.heardDeparture(of: "ada", from: other)
        #expect(presence.count == 1)
        presence.heardDeparture(of: "ada", from: third)
        #expect(presence.count == 0)
    }

    @Test mutating func `users of a dead server run out at their own time`() {
        presence.heard(of: "ada", from: other, remaining: .seconds(3), now: start)
        presence.heard(of: "bo", from: other, remaining: .seconds(12), now: start)
        presence.heard(of: "cy", from: other, remaining: .seconds(1_000_000), now: start)

        presence.expire(now: start + .seconds(3))
        #expect(Set(presence.users) == ["bo", "cy"])
        presence.expire(now: start + .milliseconds(17_500))
        #expect(presence.count == 0)
    }

    @Test mutating func `one server cannot fill the memory of another`() {
        var limits = RoomLimits()
        limits.presenceRemoteUsers = 2
        presence = Presence(limits: limits)

        for name in ["a", "b", "c"] {
            presence.heard(of: name, from: other, remaining: .seconds(9), now: start)
        }

        #expect(presence.count == 2)
    }

    @Test mutating func `who comes and goes at once is no news`() {
        _ = presence.opened("ada", now: start)
        _ = presence.closed("ada", isDeparture: true)

        #expect(presence.changes.isEmpty)
    }

    @Test mutating func `nobody leaves who was not there`() {
        #expect(presence.closed("ada", isDeparture: true) == false)
        presence.heardDeparture(of: "ada", from: other)

        #expect(presence.changes.isEmpty)
    }
    @Test mutating func `a crowd of another server is a number, and replaces its names`() {
        _ = presence.opened("ada", now: start)
        presence.heard(of: "bo", from: other, remaining: .seconds(17), now: start)

        presence.heard(count: 300, from: other, now: start)
        #expect(presence.count == 301)
        #expect(presence.nameless == 300)

        presence.heard(of: "bo", from: other, remaining: .seconds(17), now: start)
        #expect(presence.count == 2)
        #expect(presence.nameless == 0)
    }

    @Test mutating func `a dead server's crowd is gone after two and a half beats`() {
        presence.heard(count: 300, from: other, now: start)

        presence.expire(now: start + .milliseconds(17_499))
        #expect(presence.count == 300)
        presence.expire(now: start + .milliseconds(17_500))
        #expect(presence.count == 0)
    }
}

@Suite struct PresenceNewsTests {
    let start = ContinuousClock.Instant.now
    var limits = ChatLimits()
    var presence = Presence(limits: RoomLimits())

    @Test mutating func `the first change is told at once, the others together after a beat`() {
        var news = PresenceNews(limits: limits)
        _ = presence.opened("ada", now: start)
        #expect(
            news.due(&presence, now: start)
                == PresenceNews.Frame(count: 1, joined: ["ada"], left: []))

        _ = presence.opened("cy", now: start)
        _ = presence.opened("bo", now: start)
        _ = presence.closed("ada", isDeparture: true)
        #expect(news.due(&presence, now: start + .milliseconds(3_499)) == nil)
        #expect(
            news.due(&presence, now: start + .milliseconds(3_500))
                == PresenceNews.Frame(count: 2, joined: ["bo", "cy"], left: ["ada"]))
        #expect(news.due(&presence, now: start + .seconds(60)) == nil)
    }

    @Test mutating func `above two hundred only the count is told, and the names again below`() {
        limits.presenceNames = 2
        var news = PresenceNews(limits: limits)
        for name in ["a", "b", "c"] { _ = presence.opened(name, now: start) }

        #expect(news.whole(of: presence) == PresenceNews.Frame(count: 3, joined: [], left: []))
        #expect(
            news.due(&presence, now: start)
                == PresenceNews.Frame(count: 3, joined: [], left: []))

        _ = presence.closed("b", isDeparture: true)
        #expect(
            news.due(&presence, now: start + .seconds(4))
                == PresenceNews.Frame(count: 2, joined: ["a", "c"], left: []))
    }

    @Test mutating func `a count that did not change is not told again`() {
        limits.presenceNames = 1
        var news = PresenceNews(limits: limits)
        for name in ["a", "b"] { _ = presence.opened(name, now: start) }
        _ = news.due(&presence, now: start)

        _ = presence.closed("a", isDeparture: true)
        _ = presence.opened("c", now: start)

        #expect(news.due(&presence, now: start + .seconds(4)) == nil)
    }

    @Test mutating func `names are told again when a crowd of another server has names`() {
        limits.presenceNames = 3
        var news = PresenceNews(limits: limits)
        _ = presence.opened("ada", now: start)
        presence.heard(count: 9, from: .numbered(1), now: start)
        #expect(
            news.due(&presence, now: start)
                == PresenceNews.Frame(count: 10, joined: [], left: []))

        presence.heard(count: 1, from: .numbered(1), now: start)
        #expect(
            news.due(&presence, now: start + .seconds(4))
                == PresenceNews.Frame(count: 2, joined: [], left: []))
        presence.heard(of: "bo", from: .numbered(1), remaining: .seconds(17), now: start)

        #expect(
            news.due(&presence, now: start + .seconds(8))
                == PresenceNews.Frame(count: 2, joined: ["ada", "bo"], left: []))
    }

    @Test mutating func `changes that nobody was there to hear are forgotten`() {
        var news = PresenceNews(limits: limits)
        _ = presence.opened("ada", now: start)

        news.skip(&presence)

        #expect(news.due(&presence, now: start) == nil)
    }
}

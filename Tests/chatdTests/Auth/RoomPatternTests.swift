import ShardRouter
import Testing

@testable import chatd

@Suite(.timeLimit(.minutes(1))) struct RoomPatternTests {
    @Test(arguments: [
        ("lobby", "lobby"), ("*", "lobby"), ("**", "lobby"), ("****", "a"), ("team.*", "team.red"),
        ("team.*", "team."), ("*.red", "team.red"), ("team.*.public", "team.red.public"),
        ("team.*.public", "team.a.b.public"), ("a*b*c", "abc"), ("a*b*c", "aXbXbXc"),
        ("*a*", "bab"), ("*ab", "aab"), ("*aab", "aaab"), ("l*y", "lobby"), ("lobby*", "lobby"),
        ("*lobby", "lobby"), ("a**b", "a-b"), ("*-*-*", "a-b-c"), ("a:*", "a:b"),
    ])
    func `a pattern is for these rooms`(pattern: String, room: String) {
        #expect(RoomPattern(pattern).matches(RoomID(room)))
    }

    @Test(arguments: [
        ("", "lobby"), ("lobby", "Lobby"), ("lobby", "lobby2"), ("lobby2", "lobby"),
        ("team.*", "team"), ("team.*", "steam.red"), ("*.red", "red"), ("a*b*c", "acb"),
        ("*ab", "aba"), ("team.?", "team.a"), ("team.", "teamX"), ("[a-z]", "a"), (" *", "a"),
        ("lobby ", "lobby"), ("a*a", "a"), ("ä", "a"), ("*\u{0}", "a"), (".*", "lobby"),
    ])
    func `a pattern is not for these rooms`(pattern: String, room: String) {
        #expect(!RoomPattern(pattern).matches(RoomID(room)))
    }

    @Test func `a pattern longer than any room matches nothing`() {
        let room = RoomID(String(repeating: "a", count: 128))

        #expect(RoomPattern(String(repeating: "a*", count: 128) + "*").matches(room))
        #expect(!RoomPattern(String(repeating: "a*", count: 129)).matches(room))
        #expect(!RoomPattern("*" + String(repeating: "a", count: 100_000)).matches(room))
    }

    /// With exponential cost this would not end.
    @Test func `no pattern costs more than its length times the room's`() {
        let room = RoomID(String(repeating: "a", count: 128))
        let nasty = RoomPattern(String(repeating: "*a", count: 120) + "*b")

        for _ in 0..<200 { #expect(!nasty.matches(room)) }
    }
}

@Suite struct IdentityTests {
    private static func identity(_ grants: (String, Rights)...) -> Identity {
        Identity(
            user: "ada",
            grants: .patterns(
                grants.map { Identity.Grant(pattern: RoomPattern($0.0), rights: $0.1) }))
    }

    @Test(
        arguments: [
            ("lobby", [.read, .write]), ("team.red", [.read]), ("team.blue", [.read, .moderate]),
            ("other", []),
        ] as [(String, Rights)])
    func `all patterns that match add up`(room: String, rights: Rights) {
        let ada = Self.identity(
            ("lobby", .read), ("lob*", .write), ("team.*", .read), ("team.blue", .moderate))

        #expect(ada.rights(in: RoomID(room)) == rights)
    }

    @Test func `no right implies another`() {
        #expect(!Self.identity(("*", .moderate)).rights(in: .lobby).contains(.read))
        #expect(!Self.identity(("*", .write)).rights(in: .lobby).contains(.read))
        #expect(!Self.identity(("*", .read)).rights(in: .lobby).contains(.write))
    }

    @Test func `an open identity may do everything`() {
        #expect(Identity(user: "ada").rights(in: .lobby) == .all)
    }

    @Test func `names of rights that are not known give none`() {
        #expect(Rights(named: "read") == .read)
        for name in ["", "Read", "admin", "read write"] { #expect(Rights(named: name) == []) }
    }
}

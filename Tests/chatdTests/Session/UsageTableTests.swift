import Testing

@testable import chatd

@Suite struct UsageTableTests {
    private let start = ContinuousClock.now

    @Test func `each has a rate of his own`() {
        var table = UsageTable<String>(perSecond: 2, remembered: 10)
        for _ in 1...2 {
            #expect(table.wait(of: "ada", at: start) == nil)
            table.use("ada", at: start)
        }

        #expect(table.wait(of: "ada", at: start) == .milliseconds(500))
        #expect(table.wait(of: "bo", at: start) == nil)
        #expect(table.wait(of: "ada", at: start + .milliseconds(500)) == nil)
    }

    @Test func `sockets are counted until they are closed`() {
        var table = UsageTable<String>(perSecond: 1, sockets: 2, remembered: 10)
        table.open("ada", at: start)
        table.open("ada", at: start)

        #expect(!table.hasPlace(for: "ada"))
        #expect(table.hasPlace(for: "bo"))
        table.close("ada")
        #expect(table.hasPlace(for: "ada"))
    }

    @Test func `whoever has done nothing for a while is forgotten, with a socket never`() {
        var table = UsageTable<Int>(perSecond: 1, sockets: 1, remembered: 100)
        for one in 0..<50 { table.open(one, at: start) }
        for one in 50..<150 { table.use(one, at: start) }
        #expect(table.count == 150)

        table.use(1_000, at: start + .seconds(3))

        #expect(table.count == 51)
        #expect(!table.hasPlace(for: 0))
    }

    @Test func `no more than twice as many are remembered, however many come at once`() {
        var table = UsageTable<Int>(perSecond: 1, remembered: 100)
        for one in 0..<10_000 {
            table.use(one, at: start)
            #expect(table.count <= 200)
        }
        for one in 0..<1_000 {
            table.open(one, at: start)
            table.close(one)
        }
        #expect(table.count <= 200)
    }
}

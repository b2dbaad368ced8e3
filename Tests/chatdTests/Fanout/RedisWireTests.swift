import NIOCore
import NIOEmbedded
import Testing

@testable import chatd

@Suite struct RedisWireTests {
    private static let wire = """
        +OK\r\n-ERR no\r\n:-7\r\n$-1\r\n$0\r\n\r\n$5\r\na\r\nb\0\r\n*-1\r\n*0\r\n\
        *3\r\n$7\r\nmessage\r\n$1\r\nc\r\n*2\r\n:1\r\n+x\r\n
        """
    private static let replies: [RedisReply] = [
        .status("OK"), .error("ERR no"), .integer(-7), .null, .bulk([]),
        .bulk([UInt8](text: "a\r\nb\0")), .null, .array([]),
        .array([
            .bulk([UInt8](text: "message")), .bulk([UInt8](text: "c")),
            .array([.integer(1), .status("x")]),
        ]),
    ]

    @Test(arguments: [1, 2, 3, 5, 7, 1_000])
    func `replies are the same however the bytes are cut`(size: Int) throws {
        let channel = EmbeddedChannel(handler: RedisReplyDecoder(replyBytes: 1_000))
        var rest = ByteBuffer(string: Self.wire)
        var replies: [RedisReply] = []

        while let part = rest.readSlice(length: min(size, rest.readableBytes)),
            part.readableBytes > 0
        {
            try channel.writeInbound(part)
            while let reply = try channel.readInbound(as: RedisReply.self) { replies.append(reply) }
        }

        #expect(replies == Self.replies)
    }

    @Test(arguments: ["hello\r\n", "*1\r\n?\r\n", ":x\r\n", "$-2\r\n", "\0", "+OK\r\n!\r\n"])
    func `bytes that are not the protocol are an error, once`(text: String) throws {
        let channel = EmbeddedChannel(handler: RedisReplyDecoder(replyBytes: 1_000))

        #expect(throws: RedisError.self) { try channel.writeInbound(ByteBuffer(string: text)) }
        try channel.writeInbound(ByteBuffer(string: "+OK\r\n"))

        let isFirst = text.hasPrefix("+OK")
        #expect(try channel.readInbound(as: RedisReply.self) == (isFirst ? .status("OK") : nil))
        #expect(try channel.readInbound(as: RedisReply.self) == nil)
    }

    @Test func `an endless reply is an error`() throws {
        let channel = EmbeddedChannel(handler: RedisReplyDecoder(replyBytes: 1_000))
        try channel.writeInbound(ByteBuffer(string: "$100000\r\n"))
        try channel.writeInbound(ByteBuffer(repeating: 0, count: 900))

        #expect(throws: RedisError.self) {
            try channel.writeInbound(ByteBuffer(repeating: 0, count: 200))
        }
    }

    @Test func `a command may hold any bytes`() {
        var buffer = ByteBuffer()

        RedisCommand("PUBLISH", [[0, 13, 10], []]).write(to: &buffer)
        RedisCommand("PING").write(to: &buffer)

        #expect(
            String(buffer: buffer)
                == "*3\r\n$7\r\nPUBLISH\r\n$3\r\n\0\r\n\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n")
    }

    @Test func `pauses double, up to the longest, and begin anew after a good connection`() {
        var limits = RedisLimits()
        limits.firstPause = .milliseconds(100)
        limits.longestPause = .milliseconds(500)
        limits.settled = .seconds(10)
        var backOff = RedisBackOff(limits: limits)
        let lives: [Duration] = [.zero, .zero, .seconds(9), .zero, .zero, .seconds(10), .zero]

        let longest = lives.map { backOff.next(after: $0, draw: \.upperBound) }

        #expect(longest == [100, 200, 400, 500, 500, 100, 200].map { .milliseconds($0) })
        let shortest = backOff.next(after: .seconds(10), draw: \.lowerBound)
        #expect(shortest == .milliseconds(50))
    }
}

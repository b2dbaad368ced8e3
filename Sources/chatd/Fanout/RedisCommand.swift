import CHiredis
import NIOCore

/// A command in the form that Redis reads, made by hiredis' formatter.
struct RedisCommand: Sendable {
    private let words: [[UInt8]]

    init(_ name: StaticString, _ arguments: [[UInt8]] = []) {
        precondition(name.utf8CodeUnitCount > 0, "a command has a name")
        let name = name.withUTF8Buffer { Array($0) }
        words = [name] + arguments
    }

    init(_ name: StaticString, _ arguments: String...) {
        self.init(name, arguments.map { Array($0.utf8) })
    }

    /// Appends the command to `buffer`; any bytes may be in its arguments.
    func write(to buffer: inout ByteBuffer) {
        var content: [UInt8] = []
        content.reserveCapacity(words.reduce(0) { $0 + $1.count })
        for word in words { content += word }
        let lengths = words.map(\.count)
        content.withUnsafeBytes { content in
            var next = content.bindMemory(to: CChar.self).baseAddress
            var starts = lengths.map { length in
                defer { next = next.map { $0 + length } }
                return next
            }
            var text: UnsafeMutablePointer<CChar>?
            let length = redisFormatCommandArgv(&text, Int32(words.count), &starts, lengths)
            defer { redisFreeCommand(text) }
            precondition(length > 0, "there is memory for a command")
            buffer.writeBytes(UnsafeRawBufferPointer(start: text, count: Int(length)))
        }
    }
}

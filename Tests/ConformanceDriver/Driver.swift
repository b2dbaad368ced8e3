import ChatClient
import Foundation

/// Lets the conformance list drive ``ChatClient``: commands come in by lines of JSON, answers go
/// out in the same way. `docs/protocol.md` describes them, under "Conformance".
@main
struct Driver {
    /// What the list may ask for; see there.
    struct Command: Decodable {
        var action: String
        var servers: [String]?
        var room: String?
        var user: String?
        var token: String?
        var text: String?
        var patience: Int?

        enum CodingKeys: String, CodingKey {
            case action = "do"
            case servers, room, user, token, text, patience
        }
    }

    struct ViewAnswer: Encodable {
        struct Message: Encodable {
            var id: String
            var seq: Int64?
            var from: String
            var text: String
            var deleted: Bool
        }

        struct Pending: Encodable {
            var id: String
            var text: String
            var state: String
        }

        var connection: String
        var messages: [Message]
        var pending: [Pending]
        var people: [String]
        var peopleCount: Int
    }

    struct Done: Encodable {
        var ok = true
    }

    static func main() async throws {
        var commands = Commands().makeAsyncIterator()
        var command = await commands.next()
        while let current = command {
            // Whatever comes before a start has no client, and the list never does that.
            precondition(current.action == "start", "the first command is start")
            command = try await play(current, &commands)
        }
    }

    /// Runs one client until the next `start`, which it returns, or the end.
    private static func play(
        _ start: Command, _ commands: inout AsyncStream<Command>.Iterator
    ) async throws -> Command? {
        let client = try client(start)
        answer(Done())
        return try await withThrowingTaskGroup { group in
            group.addTask { await client.run() }
            defer { group.cancelAll() }
            while let command = await commands.next() {
                switch command.action {
                case "start": return command
                case "close":
                    group.cancelAll()
                    try await group.waitForAll()
                case "send": try client.send(command.text ?? "")
                case "typing": client.typing()
                case "older": client.loadOlder()
                case "token": client.renew(ChatToken(command.token ?? ""))
                case "view":
                    answer(ViewAnswer(client.view()))
                    continue
                case _: preconditionFailure("\(command.action) is no command")
                }
                answer(Done())
            }
            return nil
        }
    }

    private static func client(_ start: Command) throws -> ChatClient {
        var configuration = ChatClient.Configuration(
            servers: start.servers ?? [], room: start.room ?? "", user: start.user)
        if let patience = start.patience {
            configuration.limits.patience = .milliseconds(patience)
        }
        let client = try ChatClient(configuration)
        if let token = start.token { client.renew(ChatToken(token)) }
        return client
    }

    private static func answer(_ value: some Encodable) {
        do {
            let line = try JSONEncoder().encode(value) + Data("\n".utf8)
            try FileHandle.standardOutput.write(contentsOf: line)
        } catch {
            preconditionFailure("nobody reads the answers: \(error)")
        }
    }
}

/// The commands on standard input, read by a thread that may wait.
private struct Commands: AsyncSequence {
    func makeAsyncIterator() -> AsyncStream<Driver.Command>.Iterator {
        let (stream, continuation) = AsyncStream<Driver.Command>.makeStream()
        Thread.detachNewThread {
            while let line = readLine() {
                do {
                    let command = try JSONDecoder().decode(
                        Driver.Command.self, from: Data(line.utf8))
                    continuation.yield(command)
                } catch {
                    preconditionFailure("not a command: \(line)")
                }
            }
            continuation.finish()
        }
        return stream.makeAsyncIterator()
    }
}

extension Driver.ViewAnswer {
    init(_ view: ChatView) {
        connection = view.connection.rawValue
        messages = view.messages.map { message in
            Message(
                id: message.id.uuidString.lowercased(), seq: message.seq, from: message.from,
                text: message.text, deleted: message.isDeleted)
        }
        pending = view.pending.map { entry in
            Pending(id: entry.id.uuidString.lowercased(), text: entry.text, state: entry.stateName)
        }
        people = view.people
        peopleCount = view.peopleCount
    }
}

extension OutboxEntry {
    fileprivate var stateName: String {
        switch state {
        case .sending: "sending"
        case .queued: "queued"
        case .failed: "failed"
        }
    }
}

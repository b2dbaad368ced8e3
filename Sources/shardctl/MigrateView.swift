import Foundation
import Glibc
import ShardOperations
import Synchronization

/// Shows how migrations go on: a live table on a terminal, a line for each change in a pipe. With
/// `--json` each change is an object in a line of standard error.
final class MigrateView: Sendable {
    private struct Contents {
        /// In the order in which they were heard of first.
        var names: [String] = []
        var lines: [String: String] = [:]
        var paintedLines = 0
        var paintedAt: ContinuousClock.Instant?
    }

    private static let repaint = Duration.milliseconds(100)

    private let contents = Mutex(Contents())
    private let isJSON: Bool
    private let isTerminal: Bool
    /// The place at which this program kills itself, as tests of its being stopped want it:
    /// `DATABASE VERSION STATEMENT`.
    private let death = ProcessInfo.processInfo.environment["SHARDCTL_DIE_AT"]

    private static let stoppedUp: StaticString = """

        shardctl: stopped. What was being applied is rolled back or written down
        next: shardctl migrate up

        """
    private static let stoppedDown: StaticString = """

        shardctl: stopped. What was being taken back is rolled back or written down
        next: shardctl migrate status; shardctl migrate down goes on

        """

    init(isJSON: Bool, _ direction: MigrationDirection) {
        self.isJSON = isJSON
        isTerminal = !isJSON && isatty(STDOUT_FILENO) == 1
        Interruption.watch(direction == .up ? Self.stoppedUp : Self.stoppedDown)
    }

    @Sendable func show(_ event: MigrationEvent) {
        dieIfWanted(event)
        contents.withLock { contents in
            let line = Self.line(event.what)
            guard contents.lines[event.database] != line else { return }
            if contents.lines[event.database] == nil { contents.names.append(event.database) }
            contents.lines[event.database] = line
            if isTerminal {
                paint(&contents, isLast: false)
            } else {
                tell(event, line)
            }
        }
    }

    /// Leaves the last picture on the terminal.
    func finish() {
        guard isTerminal else { return }
        contents.withLock { paint(&$0, isLast: true) }
    }

    private func dieIfWanted(_ event: MigrationEvent) {
        guard let death else { return }
        var place = ""
        switch event.what {
        case .begins(let migration, let number, _):
            place = "\(event.database) \(migration.version) \(number)"
        case .applied(let migration, _):
            place = "\(event.database) \(migration.version) applied"
        default: return
        }
        if place == death { kill(getpid(), SIGKILL) }
    }

    private func tell(_ event: MigrationEvent, _ line: String) {
        guard isJSON else {
            print("\(event.database): \(line)")
            fflush(nil)
            return
        }
        let object: JSONValue = .object([
            "database": .text(event.database), "what": .text(Self.name(event.what)),
            "text": .text(line),
        ])
        FileHandle.standardError.write(Data((encoded(["event": object]) + "\n").utf8))
    }

    private func paint(_ contents: inout Contents, isLast: Bool) {
        let isDue = contents.paintedAt.map { .now - $0 > Self.repaint } ?? true
        guard isDue || isLast else { return }
        contents.paintedAt = .now
        let width = terminalColumns
        let names = contents.names.map(\.count).max() ?? 0
        let lines = contents.names.map { name in
            let padded = name.padding(toLength: names, withPad: " ", startingAt: 0)
            return String("\(padded)  \(contents.lines[name] ?? "")".prefix(width))
        }
        let back = contents.paintedLines > 0 ? "\u{1b}[\(contents.paintedLines)A" : ""
        print(back + "\u{1b}[J" + lines.joined(separator: "\n"))
        contents.paintedLines = lines.count
        fflush(nil)
    }

    private static func line(_ what: MigrationEvent.What) -> String {
        switch what {
        case .waitingForRunner(let who): "waits for another runner: \(who)"
        case .waitingForMoves(let which): "waits, because \(which)"
        case .begins(let migration, let number, let count):
            "\(migration.name): statement \(number) of \(count)"
        case .waitingForLock(let migration, let who): "\(migration.name): waits for \(who)"
        case .triesAgain(let migration, _):
            "\(migration.name): no lock in time, rolled back; tries again when it is free"
        case .mends(let migration, let sql): "\(migration.name): mends: \(sql)"
        case .applied(let migration, let time): "\(migration.name): applied in \(time.shown)"
        case .undone(let migration, let time): "\(migration.name): taken back in \(time.shown)"
        case .finished(let versions):
            versions.isEmpty
                ? "current" : "done: \(versions.map(String.init).joined(separator: " "))"
        case .failed(let why): "failed: \(why)"
        }
    }

    private static func name(_ what: MigrationEvent.What) -> String {
        switch what {
        case .waitingForRunner: "waitingForRunner"
        case .waitingForMoves: "waitingForMoves"
        case .begins: "begins"
        case .waitingForLock: "waitingForLock"
        case .triesAgain: "triesAgain"
        case .mends: "mends"
        case .applied: "applied"
        case .undone: "undone"
        case .finished: "finished"
        case .failed: "failed"
        }
    }
}

extension Duration {
    /// Such as `340 ms` or `12.3 s`.
    var shown: String {
        let milliseconds = self / .milliseconds(1)
        return milliseconds < 1_000
            ? "\(Int(milliseconds)) ms" : "\((milliseconds / 100).rounded() / 10) s"
    }
}

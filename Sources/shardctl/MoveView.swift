import Foundation
import Glibc
import ShardOperations
import Synchronization

/// Shows how moves go on: a live table on a terminal, a line for each change in a pipe. With `--json`
/// each change is an object in a line of standard error: standard output is the result alone.
final class MoveView: Sendable {
    private struct Contents {
        var events: [Int64: MoveEvent] = [:]
        /// What was shown of each move last, without its counters.
        var shown: [Int64: String] = [:]
        var shownAt: [Int64: ContinuousClock.Instant] = [:]
        var paintedLines = 0
        var paintedAt: ContinuousClock.Instant?
    }

    /// How often counters are shown while nothing else changes.
    private static let interval = Duration.seconds(5)
    private static let repaint = Duration.milliseconds(150)

    private let contents = Mutex(Contents())
    private let isJSON: Bool
    private let isTerminal: Bool

    init(isJSON: Bool) {
        self.isJSON = isJSON
        isTerminal = !isJSON && isatty(STDOUT_FILENO) == 1
        Interruption.watch(
            """

            shardctl: stopped. Nothing is lost; the same command goes on, or shardctl move resume --all
            next: shardctl move list

            """)
    }

    func show(_ event: MoveEvent) {
        contents.withLock { contents in
            contents.events[event.move] = event
            if isTerminal {
                paint(&contents, isLast: event.phase == .done || event.phase == .aborted)
            } else {
                tell(event, &contents)
            }
            Interruption.note(
                switching: contents.events.values.count { $0.phase == .switching })
        }
    }

    /// Leaves the last picture on the terminal.
    func finish() {
        guard isTerminal else { return }
        contents.withLock { paint(&$0, isLast: true) }
    }

    private func tell(_ event: MoveEvent, _ contents: inout Contents) {
        // A note whose numbers alone have changed is no news.
        let state = "\(event.phase.rawValue) \((event.note ?? "").filter { !$0.isNumber })"
        let isDue = contents.shownAt[event.move].map { .now - $0 > Self.interval } ?? true
        guard contents.shown[event.move] != state || isDue else { return }
        contents.shown[event.move] = state
        contents.shownAt[event.move] = .now
        guard isJSON else {
            print(Self.line(event))
            fflush(nil)
            return
        }
        let line = encoded(["event": .object(Self.json(event))]) + "\n"
        FileHandle.standardError.write(Data(line.utf8))
    }

    private func paint(_ contents: inout Contents, isLast: Bool) {
        let isDue = contents.paintedAt.map { .now - $0 > Self.repaint } ?? true
        guard isDue || isLast else { return }
        contents.paintedAt = .now
        let events = contents.events.values.sorted { $0.move < $1.move }
        let open = events.filter { $0.phase != .done && $0.phase != .aborted }
        let closed = events.count - open.count
        var lines = closed > 0 ? ["\(closed) done"] : []
        lines += open.map(Self.line)
        let back = contents.paintedLines > 0 ? "\u{1b}[\(contents.paintedLines)A" : ""
        let width = terminalColumns
        print(
            back + "\u{1b}[J" + lines.map { String($0.prefix(width)) }.joined(separator: "\n"))
        contents.paintedLines = lines.count
        fflush(nil)
    }

    private static func line(_ event: MoveEvent) -> String {
        var text =
            "move \(event.move)  \(event.source) → \(event.target)  \(event.slots) slots  "
            + words(event.phase)
        if event.rows > 0 {
            text += "  \(event.rows)"
            if event.expectedRows > 0 { text += " of about \(event.expectedRows)" }
            text += " rows, \(megabytes(event.bytes))"
            let seconds = event.copying / .seconds(1)
            if seconds > 0.2, event.phase == .copying {
                let rate = Double(event.rows) / seconds
                text += ", \(Int(rate)) rows/s"
                let left = Double(event.expectedRows - event.rows) / max(rate, 1)
                if left > 1 { text += ", \(duration(left)) left" }
            }
        }
        if let note = event.note { text += "  (\(note))" }
        return text
    }

    private static func words(_ phase: MovePhase) -> String {
        switch phase {
        case .opened: "opened"
        case .checking: "checking"
        case .preparing: "preparing the target"
        case .wiping: "clearing the target"
        case .connecting: "waiting for the source's snapshot"
        case .copying: "copying"
        case .catchingUp: "catching up"
        case .verifying: "comparing"
        case .switching: "switching"
        case .releasing: "switched, telling everybody"
        case .cleaning: "cleaning up"
        case .done: "done"
        case .aborting: "aborting"
        case .aborted: "aborted"
        }
    }

    private static func json(_ event: MoveEvent) -> [String: JSONValue] {
        [
            "move": .number(Int(event.move)), "source": .text(event.source),
            "target": .text(event.target), "slots": .number(event.slots),
            "phase": .text(event.phase.rawValue), "rows": .number(Int(event.rows)),
            "expectedRows": .number(Int(event.expectedRows)),
            "bytes": .number(Int(event.bytes)),
            "seconds": .decimal(event.elapsed / .seconds(1)),
            "note": event.note.map { .text($0) } ?? .null,
        ]
    }
}

/// A longer line would take two, and the next picture would begin too low.
var terminalColumns: Int {
    var size = winsize()
    let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    return isKnown ? Int(size.ws_col) : 80
}

func megabytes(_ bytes: Int64) -> String {
    bytes < 1_048_576 ? "\((bytes + 1023) / 1024) KiB" : "\(bytes / 1_048_576) MiB"
}

func duration(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded())
    if whole < 120 { return "\(whole) s" }
    return whole < 5_400 ? "\(whole / 60) min" : "\(whole / 3_600) h \(whole / 60 % 60) min"
}

import BenchKit
import Foundation

/// Runs a shell command on a thread of its own and returns how many seconds it took.
///
/// - Throws: when its status is not 0.
func timed(_ command: String) async throws -> Double {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
            let start = ContinuousClock.now
            continuation.resume(
                with: Result {
                    try shell(command)
                    return (ContinuousClock.now - start).seconds
                })
        }
    }
}

/// How many seconds `body` took.
func timed(_ body: () async throws -> Void) async throws -> Double {
    let start = ContinuousClock.now
    try await body()
    return (ContinuousClock.now - start).seconds
}

/// Command lines that do something once for each line of a file, as people write them.
struct ShellLoop: Sendable {
    /// A file; its lines have no quotes.
    var lines: String
    /// A line of shell; `$0` is the line.
    var body: String

    var oneByOne: String {
        "while read -r place; do sh -ec '\(body)' \"$place\" < /dev/null || exit 1; done < '\(lines)'"
    }

    func atOnce(_ width: Int) -> String {
        "xargs -a '\(lines)' -d '\\n' -n 1 -P \(width) sh -ec '\(body)'"
    }
}

/// One of the ways to do the same, with its seconds of each round.
struct Way: Sendable {
    var name: String
    /// How often it is taken at most; the slowest ones are not taken in every round.
    var rounds = Int.max
    var prepare: @Sendable () async throws -> Void = {}
    /// Answers its seconds.
    var run: @Sendable () async throws -> Double
}

/// Takes all ways in turn, each round beginning with another one.
func interleaved(_ ways: [Way], rounds: Int) async throws -> [String: [Double]] {
    var seconds: [String: [Double]] = [:]
    for round in 0..<rounds {
        for place in ways.indices {
            let way = ways[(place + round) % ways.count]
            guard round < way.rounds else { continue }
            try await way.prepare()
            seconds[way.name, default: []].append(try await way.run())
        }
    }
    return seconds
}

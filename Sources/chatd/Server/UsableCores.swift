import NIOCore

/// The cores that this process may use: fewer than the machine's when it is pinned to some, or has
/// only a share of them.
enum UsableCores {
    static var count: Int {
        let status = ProcessReadings.contents(of: "/proc/self/status") ?? ""
        return min(System.coreCount, pinnedCount(status) ?? System.coreCount)
    }

    /// - Parameter status: the file `/proc/…/status`, whose masks are groups of hexadecimal digits.
    static func pinnedCount(_ status: String) -> Int? {
        let name = "Cpus_allowed:"
        guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else {
            return nil
        }
        let count = line.dropFirst(name.count).reduce(0) { count, digit in
            count + (digit.hexDigitValue?.nonzeroBitCount ?? 0)
        }
        return count > 0 ? count : nil
    }
}

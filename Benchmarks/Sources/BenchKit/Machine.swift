import Foundation
import Glibc
import Postgres

/// What everything ran on.
package enum Machine {
    package static func facts(
        _ server: BenchServer, folder: String
    ) async throws -> [String: String] {
        let version = try await withDatabase(server.place("postgres")) {
            try await $0.query("show server_version", deadline: .now + .seconds(20))[0]
                .get(0, as: String.self)
        }
        let processors = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)
            .split(separator: "\n").filter { $0.hasPrefix("model name") }
        let model = processors.first?.split(separator: ":").last ?? "unknown"
        let load = try String(contentsOfFile: "/proc/loadavg", encoding: .utf8)
        return [
            "cores": String(processors.count), "cpu": model.trimmingCharacters(in: .whitespaces),
            "postgresql": version, "fsync": "\(short(syncMicroseconds(folder))) µs",
            "load": load.trimmingCharacters(in: .newlines),
        ]
    }

    /// The median time of a write of 8 KiB with fdatasync, as a commit does it.
    private static func syncMicroseconds(_ folder: String) -> Double {
        let descriptor = open("\(folder)/sync", O_WRONLY | O_CREAT, 0o600)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        let page = [UInt8](repeating: 1, count: 8_192)
        // As the log of a server: the file is as long from the start as it will be.
        for _ in 0..<256 { _ = write(descriptor, page, page.count) }
        fsync(descriptor)
        let times = (0..<200).map { place in
            let start = ContinuousClock.now
            _ = pwrite(descriptor, page, page.count, off_t(place * page.count))
            fdatasync(descriptor)
            return (ContinuousClock.now - start).microseconds
        }
        return median(times)
    }
}

import FoundationEssentials
import Glibc

/// What the kernel knows of this process, under the names that Prometheus has for it.
enum ProcessReadings {
    static func add(to registry: PrometheusRegistry) {
        let start = startTime()
        registry.read("process_start_time_seconds", .gauge) { start }
        registry.read("process_cpu_seconds_total", .counter, cpuSeconds)
        registry.read("process_resident_memory_bytes", .gauge, residentBytes)
        registry.read("process_open_fds", .gauge, openFiles)
        registry.read("process_max_fds", .gauge, maximumFiles)
    }

    /// In seconds since 1970.
    @Sendable static func startTime() -> Double? {
        // The name in parentheses may hold anything, spaces and parentheses too.
        guard let stat = contents(of: "/proc/self/stat"),
            let ticks = stat.split(separator: ")").last?.split(separator: " ").dropFirst(19).first
                .flatMap({ Double($0) }),
            let boot = contents(of: "/proc/stat")?.split(separator: "\n")
                .first(where: { $0.hasPrefix("btime ") })?.split(separator: " ").last
                .flatMap({ Double($0) })
        else { return nil }
        return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    @Sendable static func cpuSeconds() -> Double? {
        var time = timespec()
        guard clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return nil }
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1_000_000_000
    }

    @Sendable static func residentBytes() -> Double? {
        guard
            let pages = contents(of: "/proc/self/statm")?.split(separator: " ").dropFirst().first
                .flatMap({ Double($0) })
        else { return nil }
        return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
    }

    @Sendable static func openFiles() -> Double? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = 0
        while readdir(folder) != nil { count += 1 }
        return Double(count - 3)  // Without ".", "..", and the folder itself.
    }

    @Sendable static func maximumFiles() -> Double? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return nil
        }
        return Double(limit.rlim_cur)
    }

    static func contents(of path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }
}

import Foundation
import Glibc

/// Finds the processes behind pid files and ports by what the kernel says of them.
enum ServerProcess {
    /// The process of a pid file, when it lives and works in `folder`.
    ///
    /// After a crash of the machine the number may belong to somebody else.
    ///
    /// - Parameter mark: a word of its command line, asked when its working folder is hidden.
    static func pid(file: String, folder: String, mark: String) -> Int? {
        guard let first = text(file)?.split(separator: "\n").first,
            let pid = Int(first.trimmingCharacters(in: .whitespaces)), pid > 0
        else { return nil }
        if let place = link("/proc/\(pid)/cwd") {
            return place == realPath(folder) ? pid : nil
        }
        guard let words = text("/proc/\(pid)/cmdline") else { return nil }
        let isMarked = words.split(separator: "\0").joined(separator: " ").split(separator: " ")
            .contains { $0 == mark }
        return isMarked ? pid : nil
    }

    /// Whether a living PostgreSQL process may still work in `folder`: those of a server that was
    /// killed take a moment to notice.
    static func isInUse(_ folder: String) -> Bool {
        let folder = realPath(folder)
        return names(in: "/proc").compactMap(Int.init).contains { pid in
            guard text("/proc/\(pid)/comm") == "postgres\n",
                text("/proc/\(pid)/stat")?.contains(") Z ") == false
            else { return false }
            // One whose working folder is hidden counts, to be safe.
            return link("/proc/\(pid)/cwd").map { $0 == folder } ?? true
        }
    }

    /// Whether something on this machine answers at `port`.
    static func isListening(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, length) == 0
            }
        }
    }

    /// Who listens at `port`, for people; nil when the kernel does not tell this user.
    static func owner(ofPort port: Int) -> String? {
        // The kernel's table is read in pieces: what moves in it meanwhile may be passed over.
        for _ in 1...5 {
            if let owner = ownerAtOneLook(ofPort: port) { return owner }
        }
        return nil
    }

    private static func ownerAtOneLook(ofPort port: Int) -> String? {
        let sockets = Set(listeners(at: port).map { "socket:[\($0)]" })
        guard !sockets.isEmpty else { return nil }
        for pid in names(in: "/proc").compactMap(Int.init) {
            let descriptors = names(in: "/proc/\(pid)/fd")
            guard
                descriptors.contains(where: { number in
                    link("/proc/\(pid)/fd/\(number)").map(sockets.contains) ?? false
                })
            else { continue }
            let name = text("/proc/\(pid)/comm")?.trimmingCharacters(in: .newlines) ?? "?"
            return "\(name), process \(pid)"
        }
        return nil
    }

    /// The last lines of a log, indented.
    static func tail(_ file: String, lines: Int = 8) -> String {
        guard let text = text(file), !text.isEmpty else { return "" }
        return text.split(separator: "\n").suffix(lines).map { "\n    \($0)" }.joined()
    }

    /// The path without symbolic links; as it is when there is no such file.
    static func realPath(_ path: String) -> String {
        guard let pointer = realpath(path, nil) else { return path }
        defer { free(pointer) }
        return String(cString: pointer)
    }

    /// The numbers of the sockets that listen at `port`.
    private static func listeners(at port: Int) -> [Substring] {
        let digits = String(port, radix: 16, uppercase: true)
        let suffix = ":" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap { table in
            (text(table) ?? "").split(separator: "\n").compactMap { line in
                let cells = line.split(separator: " ")
                // Local address, state (0A: listening), inode.
                guard cells.count > 9, cells[1].hasSuffix(suffix), cells[3] == "0A" else {
                    return nil
                }
                return cells[9]
            }
        }
    }

    private static func names(in folder: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            names.append(
                withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                })
        }
        return names
    }

    private static func link(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let length = buffer.withUnsafeMutableBytes { bytes in
            bytes.assumingMemoryBound(to: CChar.self).baseAddress.map {
                readlink(path, $0, bytes.count)
            } ?? 0
        }
        return length > 0 ? String(decoding: buffer.prefix(length), as: UTF8.self) : nil
    }

    private static func text(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }
}

import BenchKit
import Foundation
import Glibc

/// A server that is measured: `chatd`, or a rival.
struct ChatSubject {
    let name: String
    let port: Int
    let daemon: Daemon
    var isOurs = true

    /// What a process holds, in bytes.
    struct Memory {
        var resident: Double
        /// Without what it shares with others.
        var proportional: Double
    }

    var memory: Memory {
        get throws {
            Memory(
                resident: try kibibytes("status", "VmRSS:") * 1_024,
                proportional: try kibibytes("smaps_rollup", "Pss:") * 1_024)
        }
    }

    private func kibibytes(_ file: String, _ name: String) throws -> Double {
        let path = "/proc/\(daemon.processID)/\(file)"
        for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
            let words = line.split(separator: " ").flatMap { $0.split(separator: "\t") }
            if words.count > 1, words[0] == name, let value = Double(words[1]) { return value }
        }
        throw BenchError(description: "\(path) has no \(name)")
    }

    /// The sum of a counter over all its labels.
    func metric(_ name: String) throws -> Double {
        try httpGet("/metrics").body.split(separator: "\n")
            .filter { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") }
            .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }
            .reduce(0, +)
    }

    /// Returns when `path` is answered, with whatever status a server without such a page has.
    func ready(_ path: String) async throws {
        let limit = ContinuousClock.now + .seconds(30)
        while true {
            do {
                let status = try httpGet(path).status
                if status == 200 || path == "/" { return }
            } catch {
                guard ContinuousClock.now < limit else { throw error }
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func httpGet(_ path: String) throws -> (status: Int, body: String) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let isConnected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected else { throw BenchError(description: "\(name) does not listen") }
        let request = Array(
            "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n\r\n".utf8)
        _ = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL))
        var (answer, part) = ([UInt8](), [UInt8](repeating: 0, count: 65_536))
        while true {
            let count = recv(descriptor, &part, part.count, 0)
            guard count > 0 else { break }
            answer += part.prefix(count)
        }
        let text = String(decoding: answer, as: UTF8.self)
        guard let status = text.split(separator: " ").dropFirst().first.flatMap({ Int($0) }),
            let head = text.range(of: "\r\n\r\n")
        else { throw BenchError(description: "\(name) does not answer \(path)") }
        return (status, String(text[head.upperBound...]))
    }
}

import Glibc
import Synchronization

/// A TCP proxy in front of a server on 127.0.0.1 that cuts, delays and swallows on demand.
///
/// Each connection is pumped by threads of its own. Everything ends with ``stop()`` or with the last
/// reference.
public final class FaultProxy: Sendable {
    /// What happens to everything that passes.
    public enum Fault: Sendable, Equatable {
        case none
        /// Each piece is held back for so long, in either direction.
        case delay(milliseconds: UInt32)
        /// Nothing passes any more, and nobody is told: as if a cable was pulled.
        case silence
        /// New connections are closed at once; those that are open stay.
        case refusal
    }

    /// When a connection is cut that carries a marked message.
    public enum Moment: Sendable, CaseIterable {
        /// Nothing of it reaches the server.
        case beforeQuery
        /// A part of it reaches the server.
        case insideQuery
        /// The server has done it and its answer is thrown away.
        case beforeAnswer
        /// A part of the answer comes back.
        case insideAnswer
    }

    private struct Contents {
        var fault = Fault.none
        var cut: (moment: Moment, marker: [UInt8])?
        var cuts = 0
        var connections: [Int: Connection] = [:]
        var nextNumber = 0
        var isStopped = false
    }

    /// One connection: the client's socket and the server's.
    private final class Connection: Sendable {
        let client: Int32
        let server: Int32
        /// Set when the next answer is to be cut.
        let doom = Mutex<Moment?>(nil)
        private let pumps = Atomic<Int>(2)

        init(client: Int32, server: Int32) {
            self.client = client
            self.server = server
        }

        /// Resets both sides, without the good manners of a close.
        func cut() {
            for socket in [client, server] {
                var hard = linger(l_onoff: 1, l_linger: 0)
                setsockopt(
                    socket, SOL_SOCKET, SO_LINGER, &hard, socklen_t(MemoryLayout<linger>.size))
                shutdown(socket, Int32(SHUT_RDWR))
            }
        }

        /// The descriptors are closed when neither direction uses them any more.
        func pumpEnded() {
            shutdown(client, Int32(SHUT_RDWR))
            shutdown(server, Int32(SHUT_RDWR))
            guard pumps.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
            close(client)
            close(server)
        }
    }

    public let port: Int
    private let target: Int
    private let listener: Int32
    private let contents = Mutex(Contents())

    /// Starts a proxy in front of the server on `target`.
    public init(to target: Int) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard listener >= 0, FaultProxy.withAddress(0, { bind(listener, $0, $1) }) == 0,
            listen(listener, 128) == 0
        else { throw TestServerError(description: "the proxy cannot listen") }
        self.target = target
        self.listener = listener
        port = FaultProxy.port(of: listener)
    }

    /// Begins to accept connections.
    public func start() -> FaultProxy {
        FaultProxy.thread { [listener, weak self] in
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                _ = fcntl(client, F_SETFD, FD_CLOEXEC)
                guard let self else {
                    close(client)
                    return
                }
                self.serve(client)
            }
        }
        return self
    }

    deinit { stop() }

    /// Cuts everything and accepts nothing any more. Idempotent.
    public func stop() {
        let wasStopped = contents.withLock { contents in
            defer { contents.isStopped = true }
            return contents.isStopped
        }
        guard !wasStopped else { return }
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
        cutAll()
    }

    /// What happens from now on.
    public func set(_ fault: Fault) { contents.withLock { $0.fault = fault } }

    /// Resets every open connection.
    public func cutAll() {
        contents.withLock { Array($0.connections.values) }.forEach { $0.cut() }
    }

    /// Cuts the connection that next carries a query with `marker` in it, at `moment`, once.
    public func cutNext(_ moment: Moment, marker: String) {
        contents.withLock { $0.cut = (moment, Array(marker.utf8)) }
    }

    /// How many connections were cut by ``cutNext(_:marker:)``.
    public var cuts: Int { contents.withLock { $0.cuts } }

    // MARK: Pumping

    private func serve(_ client: Int32) {
        let fault = contents.withLock { $0.fault }
        let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard fault != .refusal,
            FaultProxy.withAddress(target, { connect(server, $0, $1) }) == 0
        else {
            close(client)
            close(server)
            return
        }
        var yes: Int32 = 1
        for socket in [client, server] {
            setsockopt(
                socket, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
        let connection = Connection(client: client, server: server)
        let number = contents.withLock { contents in
            contents.nextNumber += 1
            contents.connections[contents.nextNumber] = connection
            return contents.nextNumber
        }
        for isQuery in [true, false] {
            FaultProxy.thread { [self] in
                pump(connection, isQuery: isQuery)
                contents.withLock { $0.connections[number] = nil }
                connection.pumpEnded()
            }
        }
    }

    private func pump(_ connection: Connection, isQuery: Bool) {
        let (source, sink) =
            isQuery
            ? (connection.client, connection.server) : (connection.server, connection.client)
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(source, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            guard waitForPassage() else { return }
            let share = passage(connection, isQuery: isQuery, buffer[..<count])
            guard FaultProxy.send(buffer[..<Int(Double(count) * share)], to: sink) else { return }
            if share < 1 {
                contents.withLock { $0.cuts += 1 }
                connection.cut()
                return
            }
        }
    }

    /// - Returns: false when the proxy was stopped.
    private func waitForPassage() -> Bool {
        while true {
            let (fault, isStopped) = contents.withLock { ($0.fault, $0.isStopped) }
            if isStopped { return false }
            switch fault {
            case .none, .refusal: return true
            case .delay(let milliseconds):
                usleep(milliseconds * 1_000)
                return true
            case .silence: usleep(2_000)
            }
        }
    }

    /// How much of a piece passes before the connection is cut; 1 when it is not.
    private func passage(
        _ connection: Connection, isQuery: Bool, _ piece: ArraySlice<UInt8>
    ) -> Double {
        guard isQuery else {
            switch connection.doom.withLock({ $0 }) {
            case .beforeAnswer?: return 0
            case .insideAnswer?: return 0.5
            case .beforeQuery?, .insideQuery?, nil: return 1
            }
        }
        let moment = contents.withLock { contents -> Moment? in
            guard let cut = contents.cut, piece.contains(cut.marker) else { return nil }
            contents.cut = nil
            return cut.moment
        }
        switch moment {
        case .beforeQuery?: return 0
        case .insideQuery?: return 0.5
        case .beforeAnswer?, .insideAnswer?:
            connection.doom.withLock { $0 = moment }
            return 1
        case nil: return 1
        }
    }

    // MARK: Sockets

    private static func send(_ bytes: ArraySlice<UInt8>, to socket: Int32) -> Bool {
        bytes.withUnsafeBytes { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = Glibc.send(
                    socket, bytes.baseAddress.map { $0 + sent }, bytes.count - sent,
                    Int32(MSG_NOSIGNAL))
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }
    }

    private static func withAddress(
        _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private static func port(of socket: Int32) -> Int {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = getsockname(socket, $0, &length)
            }
        }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    private static func thread(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Box(body))
        let failure = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, box.toOpaque())
        precondition(failure == 0, "a thread can be started")
        pthread_detach(thread)
    }

    private final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}

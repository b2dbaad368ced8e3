import CLibpq
import Glibc
import Synchronization

/// Bounds of what a connection keeps and waits for.
enum ConnectionLimits {
    /// Plans that the server keeps for one connection; the oldest goes first. A program has tens
    /// of statements, and a plan takes some 10–100 KB of the server's memory.
    static let preparedStatements = 200
    /// How long a server may take to answer a cancel request before the connection is cut.
    static let cancelGrace = Duration.seconds(2)
    /// The shortest time that libpq gives to one host.
    static let leastConnectSeconds = 2
    /// Rows of a COPY are handed on in pieces of about this size.
    static let copyBytes = 64 * 1024
}

/// Owns a `PGconn`.
///
/// `@unchecked`: only the connection's own executor thread calls libpq with it; the flags are
/// atomic.
final class ConnectionHandle: @unchecked Sendable {
    let pointer: OpaquePointer
    let socket: Int32
    let isClosed = Atomic<Bool>(false)
    let isInTransaction = Atomic<Bool>(false)
    /// Whether the server has refused to write.
    let hasLostRole = Atomic<Bool>(false)
    /// Whether bytes on the wire may be the business of TLS itself.
    let isEncrypted: Bool
    /// Cancel requests that have not been answered yet.
    let cancelsUnderWay = Atomic<Int>(0)

    init(_ pointer: OpaquePointer) {
        self.pointer = pointer
        socket = PQsocket(pointer)
        isEncrypted = PQsslInUse(pointer) == 1
    }

    deinit { PQfinish(pointer) }

    /// Whether the server has closed the socket, or has said something while nothing was asked,
    /// which is what it does before it closes it.
    var isPeerGone: Bool {
        var byte: UInt8 = 0
        let count = recv(socket, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        if count > 0 { return !isEncrypted }
        return count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
    }

    /// Tells the server that nothing more comes. The descriptor itself stays until the last reference
    /// goes: until then nobody else can get its number.
    func hangUp() { _ = shutdown(socket, Int32(SHUT_RDWR)) }

    var errorMessage: String { trimmed(String(cString: PQerrorMessage(pointer))) }

    /// Connects on a thread of its own, since libpq looks names up and may wait. A cancelled task
    /// does not wait for that thread; what it then brings is closed.
    static func connect(
        _ settings: ConnectionSettings, deadline: ContinuousClock.Instant
    ) async throws(PostgresError) -> ConnectionHandle {
        var settings = settings
        let seconds = Int((deadline - .now).components.seconds)
        guard seconds >= 0 else { throw .deadlineExceeded }
        if settings["connect_timeout"] == nil {
            let each = seconds / max(1, settings.hostCount)
            settings["connect_timeout"] = String(max(ConnectionLimits.leastConnectSeconds, each))
        }
        settings["client_encoding"] = "UTF8"
        // A peer that is gone without a word is noticed within half a minute.
        let liveness = [
            "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
            "tcp_user_timeout": "20000",
        ]
        for (keyword, value) in liveness where settings[keyword] == nil {
            settings[keyword] = value
        }
        let text = settings.connectionString
        let attempt = ConnectAttempt()
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                attempt.begin(continuation)
                startThread { attempt.end(open(text)) }
            }
        } onCancel: {
            attempt.end(.failure(.cancelled))
        }
        return try outcome.get()
    }

    private static func open(_ connectionString: String) -> Result<ConnectionHandle, PostgresError>
    {
        guard let pointer = PQconnectdb(connectionString) else {
            return .failure(.connectionFailed(reason: "out of memory"))
        }
        let handle = ConnectionHandle(pointer)
        guard PQstatus(pointer) == CONNECTION_OK else {
            return .failure(.connectionFailed(reason: handle.errorMessage))
        }
        _ = PQsetNoticeProcessor(pointer, { _, _ in }, nil)
        guard PQsetnonblocking(pointer, 1) == 0, PQenterPipelineMode(pointer) == 1 else {
            return .failure(.connectionFailed(reason: handle.errorMessage))
        }
        return .success(handle)
    }

    /// Asks the server to cancel what runs, without waiting for the answer.
    func requestCancel() {
        guard let cancel = PQgetCancel(pointer) else { return }
        let box = CancelBox(cancel)
        cancelsUnderWay.add(1, ordering: .acquiringAndReleasing)
        startThread { [self] in
            defer { cancelsUnderWay.subtract(1, ordering: .acquiringAndReleasing) }
            var reason = [CChar](repeating: 0, count: 256)
            // A request that fails is noticed by the grace time running out.
            _ = PQcancel(box.pointer, &reason, 256)
        }
    }
}

/// Somebody who waits for a connection, until it is there or he is cancelled.
private final class ConnectAttempt: Sendable {
    typealias Outcome = Result<ConnectionHandle, PostgresError>

    private enum State {
        case notBegun
        case waiting(CheckedContinuation<Outcome, Never>)
        case over(Outcome)
    }

    private let state = Mutex(State.notBegun)

    func begin(_ continuation: CheckedContinuation<Outcome, Never>) {
        let outcome = state.withLock { state -> Outcome? in
            if case .over(let outcome) = state { return outcome }
            state = .waiting(continuation)
            return nil
        }
        if let outcome { continuation.resume(returning: outcome) }
    }

    /// Only the first outcome counts; a handle that comes later is closed by going away.
    func end(_ outcome: Outcome) {
        let continuation = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
            switch state {
            case .notBegun:
                state = .over(outcome)
                return nil
            case .waiting(let continuation):
                state = .over(.failure(.cancelled))
                return continuation
            case .over:
                return nil
            }
        }
        continuation?.resume(returning: outcome)
    }
}

/// Owns a `PGcancel`, which libpq allows to be used on another thread.
private final class CancelBox: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) {
        self.pointer = pointer
    }

    deinit { PQfreeCancel(pointer) }
}

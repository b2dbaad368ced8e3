import CLibpq
import Glibc
import Synchronization

/// One thread that runs connections: their jobs, their sockets' readiness and their deadlines.
///
/// libpq is touched on this thread only, so it never blocks Swift's shared threads, and the
/// sockets wait in `epoll`.
///
/// `@unchecked`: what is not behind the mutex is touched by the thread alone.
final class PostgresExecutor: SerialExecutor, @unchecked Sendable {
    /// Two threads drive hundreds of connections: each does little more than copy bytes.
    private static let all = (0..<2).map { _ in PostgresExecutor() }
    private static let turn = Atomic<Int>(0)

    /// The executor for a new connection, in turn.
    static func next() -> PostgresExecutor {
        all[turn.wrappingAdd(1, ordering: .relaxed).oldValue & 1]
    }

    /// Why a wait ended.
    enum Wakeup {
        case ready
        case deadline
        /// Somebody wants the waiter to look at its flags.
        case interrupted
    }

    private struct Inbox {
        var jobs: [UnownedJob] = []
        var interrupts: [Int32] = []
        var isAsleep = false
    }

    private struct Waiter {
        var continuation: CheckedContinuation<Wakeup, Never>
        var deadline: ContinuousClock.Instant
    }

    private let inbox = Mutex(Inbox())
    private let epoll: Int32
    private let wake: Int32
    private var waiters: [Int32: Waiter] = [:]
    /// Never later than the earliest deadline; looked at again when it has passed.
    private var earliestDeadline: ContinuousClock.Instant?

    private init() {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        precondition(epoll >= 0 && wake >= 0, "the system gives out no file descriptors")
        let added = shim_epoll_control(epoll, EPOLL_CTL_ADD, wake, UInt32(shim_epoll_in))
        precondition(added == 0, "an eventfd can be watched")
        startThread { self.loop() }
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        deliver { $0.jobs.append(job) }
    }

    /// Ends the wait on `fd`, if there is one. Callable from any thread.
    func interrupt(_ fd: Int32) {
        deliver { $0.interrupts.append(fd) }
    }

    /// Waits until `fd` can be read, or written too, or `deadline` passes. On the thread only.
    func register(
        _ fd: Int32, alsoWrite: Bool, deadline: ContinuousClock.Instant,
        _ continuation: CheckedContinuation<Wakeup, Never>
    ) {
        precondition(waiters[fd] == nil, "one waiter for each socket")
        var events = UInt32(shim_epoll_in) | UInt32(shim_epoll_oneshot)
        if alsoWrite { events |= UInt32(shim_epoll_out) }
        if shim_epoll_control(epoll, EPOLL_CTL_MOD, fd, events) != 0 {
            let added = shim_epoll_control(epoll, EPOLL_CTL_ADD, fd, events)
            precondition(added == 0, "an open socket can be watched")
        }
        waiters[fd] = Waiter(continuation: continuation, deadline: deadline)
        earliestDeadline = earliestDeadline.map { min($0, deadline) } ?? deadline
    }

    private func deliver(_ change: (inout Inbox) -> Void) {
        let mustWake = inbox.withLock { inbox in
            change(&inbox)
            defer { inbox.isAsleep = false }
            return inbox.isAsleep
        }
        guard mustWake else { return }
        var one: UInt64 = 1
        let written = write(wake, &one, 8)
        precondition(written == 8, "an eventfd takes eight bytes")
    }

    private func loop() -> Never {
        var events = [epoll_event](repeating: epoll_event(), count: 64)
        while true {
            let (jobs, interrupts) = inbox.withLock { inbox in
                defer { (inbox.jobs, inbox.interrupts) = ([], []) }
                return (inbox.jobs, inbox.interrupts)
            }
            for fd in interrupts { finish(fd, .interrupted) }
            for job in jobs { job.runSynchronously(on: asUnownedSerialExecutor()) }
            fireDeadlines()
            let count = epoll_wait(epoll, &events, Int32(events.count), sleepMilliseconds())
            inbox.withLock { $0.isAsleep = false }
            for index in 0..<max(0, Int(count)) {
                let fd = shim_epoll_fd(&events[index])
                if fd == wake {
                    var counter: UInt64 = 0
                    _ = read(wake, &counter, 8)
                } else {
                    finish(fd, .ready)
                }
            }
        }
    }

    private func finish(_ fd: Int32, _ wakeup: Wakeup) {
        waiters.removeValue(forKey: fd)?.continuation.resume(returning: wakeup)
    }

    private func fireDeadlines() {
        let now = ContinuousClock.now
        guard let earliest = earliestDeadline, earliest <= now else { return }
        for (fd, waiter) in waiters where waiter.deadline <= now { finish(fd, .deadline) }
        earliestDeadline = waiters.values.lazy.map(\.deadline).min()
    }

    /// 0 when there is work, -1 to sleep until something happens.
    private func sleepMilliseconds() -> Int32 {
        let hasWork = inbox.withLock { inbox in
            inbox.isAsleep = inbox.jobs.isEmpty && inbox.interrupts.isEmpty
            return !inbox.isAsleep
        }
        if hasWork { return 0 }
        guard let earliestDeadline else { return -1 }
        let (seconds, attoseconds) = (earliestDeadline - .now).components
        let milliseconds = seconds * 1_000 + attoseconds / 1_000_000_000_000_000 + 1
        return Int32(max(0, min(milliseconds, 60_000)))
    }
}

/// Runs `body` on a thread of its own: for calls that block.
func startThread(_ body: @escaping @Sendable () -> Void) {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(body))
    let failure = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, box.toOpaque())
    precondition(failure == 0, "the system gives out no threads")
    pthread_detach(thread)
}

import CoreMetrics
import DequeModule
import FoundationEssentials
import Logging
import Postgres
import ServiceLifecycle
import ShardRouter
import Synchronization

/// Messages that are safe on this server's disk and that no shard has stored yet.
///
/// ``take(_:completion:)`` puts a message into a bounded queue; ``run()`` writes whatever has
/// collected there in one commit, and tells the callers when it is on the disk. There is no timer:
/// while one commit is on its way the next one collects.
final class Spool: WriteOverflow, Service {
    private struct Entry {
        var message: Message
        var completion: @Sendable (Result<Void, OverflowError>) -> Void
    }

    private struct Contents {
        /// The file that the counts are about.
        var generation = 1
        /// Messages of each room that wait, on the disk or for it.
        var rooms: [RoomID: Int] = [:]
        /// What waits and what was refused.
        var rows = 0
        var bytes = 0
        /// What waits for the disk. The first ones are being written.
        var queue: Deque<Entry> = []
        var queueBytes = 0
        var isStopped = false
        var isFailing = false
        var writer: UnsafeContinuation<Void, Never>?

        mutating func count(_ message: Message) {
            rooms[message.room, default: 0] += 1
            rows += 1
            bytes += message.spoolBytes
        }

        mutating func forget(_ message: Message) {
            let left = (rooms[message.room] ?? 1) - 1
            rooms[message.room] = left > 0 ? left : nil
            rows -= 1
            bytes -= message.spoolBytes
        }
    }

    let folder: SpoolFolder
    private let limits: SpoolLimits
    private let metrics: SpoolMetrics
    private let logger: Logger
    private let disk: SpoolDisk
    private let contents: Mutex<Contents>
    /// Rooms that have something to drain. One consumer.
    let arrivals: AsyncStream<RoomID>
    private let arrival: AsyncStream<RoomID>.Continuation

    /// Opens the spool in the folder at `path` and counts what waits there.
    ///
    /// A damaged file is set aside, and a new one begun.
    static func open(
        _ path: String, limits: SpoolLimits = SpoolLimits(), factory: any MetricsFactory,
        logger: Logger
    ) async throws(SpoolError) -> Spool {
        let spool = Spool(
            try SpoolFolder(taking: path), limits: limits, metrics: SpoolMetrics(factory: factory),
            logger: logger)
        let (generation, load) = try await spool.use { file throws(SpoolError) in
            (file.generation, try file.load())
        }
        // A file that was begun for a damaged one is counted already.
        if generation == 1 { spool.count(load) }
        return spool
    }

    private init(
        _ folder: SpoolFolder, limits: SpoolLimits, metrics: SpoolMetrics, logger: Logger
    ) {
        self.folder = folder
        self.limits = limits
        self.metrics = metrics
        self.logger = logger
        contents = Mutex(Contents())
        // Rooms are announced when their messages are on the disk: bounded by what is written.
        (arrivals, arrival) = AsyncStream.makeStream()
        disk = SpoolDisk(folder)
    }

    /// Messages and bytes that wait, and those that were refused.
    var load: (rows: Int, bytes: Int) { contents.withLock { ($0.rows, $0.bytes) } }

    /// Whether nothing waits.
    var isEmpty: Bool { contents.withLock { $0.rooms.isEmpty } }

    /// Remembers which cluster the messages belong to.
    ///
    /// - Throws: ``SpoolError/foreign(folder:)`` when messages of another one wait.
    func bind(to cluster: UUID) async throws(SpoolError) {
        try await use { [disk] file throws(SpoolError) in
            try file.bind(to: cluster)
            disk.cluster = cluster
        }
    }

    func holds(_ room: RoomID) -> Bool {
        contents.withLock { $0.rooms[room] != nil }
    }

    func take(
        _ message: Message,
        completion: @escaping @Sendable (Result<Void, OverflowError>) -> Void
    ) {
        let bytes = message.spoolBytes
        let (refusal, writer) = contents.withLock {
            contents -> (OverflowError?, UnsafeContinuation<Void, Never>?) in
            if contents.isStopped { return (.unusable(reason: "this server is stopping"), nil) }
            guard contents.rows < limits.rows, contents.bytes + bytes <= limits.bytes,
                contents.queue.count < limits.rowsInMemory,
                contents.queueBytes + bytes <= limits.bytesInMemory
            else { return (.full, nil) }
            contents.queue.append(Entry(message: message, completion: completion))
            contents.queueBytes += bytes
            contents.count(message)
            defer { contents.writer = nil }
            return (nil, contents.writer)
        }
        if let refusal {
            if refusal == .full { metrics.full.increment() }
            completion(.failure(refusal))
        }
        writer?.resume()
    }

    /// Writes until graceful shutdown, and then what still waits for the disk.
    func run() async throws {
        await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                while let batch = await nextBatch() { await write(batch) }
            } onCancel: {
                stop()
            }
        } onGracefulShutdown: {
            self.stop()
        }
        arrival.finish()
    }

    /// Takes nothing new.
    func stop() {
        let writer = contents.withLock { contents in
            contents.isStopped = true
            defer { contents.writer = nil }
            return contents.writer
        }
        writer?.resume()
    }
}

// MARK: - Writing

extension Spool {
    /// The oldest messages that wait for the disk. They stay in the queue until they are settled.
    private func nextBatch() async -> [Entry]? {
        while true {
            let (batch, isOver) = contents.withLock { contents in
                (Array(contents.queue.prefix(limits.batchRows)), contents.isStopped)
            }
            if !batch.isEmpty { return batch }
            if isOver { return nil }
            await withUnsafeContinuation { (writer: UnsafeContinuation<Void, Never>) in
                let mustGoOn = contents.withLock { contents in
                    if contents.isStopped || !contents.queue.isEmpty { return true }
                    contents.writer = writer
                    return false
                }
                if mustGoOn { writer.resume() }
            }
        }
    }

    private func write(_ batch: [Entry]) async {
        let start = ContinuousClock.now
        let messages = batch.map(\.message)
        for isLastAttempt in [false, true] {
            do throws(SpoolError) {
                let (generation, additions) = try await use { file throws(SpoolError) in
                    (file.generation, try file.add(messages))
                }
                guard settle(batch, additions, in: generation) else {
                    continue  // That file was set aside meanwhile: once more, to the new one.
                }
                metrics.commit.recordNanoseconds(start.nanosecondsToNow)
                worked()
                return
            } catch {
                if case .damaged = error, !isLastAttempt { continue }
                failed(error)
                return refuse(batch, "\(error)")
            }
        }
        refuse(batch, "the spool's file was damaged again and again")
    }

    /// Takes a batch that is on the disk out of the queue, and tells its callers.
    ///
    /// - Returns: false when the file was set aside meanwhile; then nothing is changed.
    private func settle(
        _ batch: [Entry], _ additions: [SpoolFile.Addition], in generation: Int
    ) -> Bool {
        let isCurrent = contents.withLock { contents in
            guard generation == contents.generation else { return false }
            for addition in additions {
                let message = contents.queue.removeFirst().message
                contents.queueBytes -= message.spoolBytes
                if addition != .added { contents.forget(message) }
            }
            return true
        }
        guard isCurrent else { return false }
        let added = zip(batch, additions).filter { $0.1 == .added }
        metrics.taken.increment(by: added.count)
        for room in Set(added.map(\.0.message.room)) { arrival.yield(room) }
        measure()
        for (entry, addition) in zip(batch, additions) {
            entry.completion(addition == .conflict ? .failure(.conflict) : .success(()))
        }
        return true
    }

    private func refuse(_ batch: [Entry], _ reason: String) {
        contents.withLock { contents in
            for _ in batch {
                let message = contents.queue.removeFirst().message
                contents.queueBytes -= message.spoolBytes
                contents.forget(message)
            }
        }
        measure()
        for entry in batch { entry.completion(.failure(.unusable(reason: reason))) }
    }

    private func measure() {
        let (rows, bytes) = load
        metrics.pendingRows.set(rows)
        metrics.pendingBytes.set(bytes)
    }
}

// MARK: - Draining

extension Spool {
    /// The oldest messages of `room` on the disk, in order.
    func oldest(of room: RoomID) async throws(SpoolError) -> [SpooledMessage] {
        let limit = limits.drainRows
        return try await using { file throws(SpoolError) in
            try file.oldest(of: room, limit: limit)
        }
    }

    /// A shard has stored these. Those of a file that was set aside meanwhile count no more.
    func drained(_ messages: [SpooledMessage]) async throws(SpoolError) {
        guard let first = messages.first else { return }
        try await using { file throws(SpoolError) in
            guard file.generation == first.generation else { return }
            try file.remove(messages.map(\.number))
        }
        forget(messages)
        metrics.drained.increment(by: messages.count)
        measure()
    }

    /// Its shard will never take these. They are kept for a human, and count in the bounds.
    func refused(_ refusals: [(spooled: SpooledMessage, reason: String)]) async throws(SpoolError) {
        guard let (first, reason) = refusals.first else { return }
        logger.error(
            """
            messages that were acknowledged as queued are refused by their shard; they are kept, \
            see 'chatd spool status'
            """,
            metadata: [
                "room.id": "\(first.message.room)", "count": "\(refusals.count)",
                "error": "\(reason)",
            ])
        try await using { file throws(SpoolError) in
            guard file.generation == first.generation else { return }
            for (spooled, reason) in refusals {
                try file.refuse(spooled.number, reason: reason, at: .now)
            }
        }
        contents.withLock { contents in
            guard first.generation == contents.generation else { return }
            for (spooled, _) in refusals {
                contents.forget(spooled.message)
                contents.rows += 1
                contents.bytes += spooled.message.spoolBytes
            }
        }
        metrics.refused.increment(by: refusals.count)
        measure()
    }

    private func forget(_ messages: [SpooledMessage]) {
        contents.withLock { contents in
            for spooled in messages where spooled.generation == contents.generation {
                contents.forget(spooled.message)
            }
        }
    }

    private func using<Value: Sendable>(
        _ body: @escaping @Sendable (SpoolFile) throws(SpoolError) -> Value
    ) async throws(SpoolError) -> Value {
        do throws(SpoolError) {
            let value = try await use(body)
            worked()
            return value
        } catch {
            failed(error)
            throw error
        }
    }
}

// MARK: - The file

extension Spool {
    private func use<Value: Sendable>(
        _ body: @escaping @Sendable (SpoolFile) throws(SpoolError) -> Value
    ) async throws(SpoolError) -> Value {
        try await disk.use(onDamage: { self.found($0) }, body)
    }

    private func count(_ load: SpoolFile.Load) {
        contents.withLock { contents in
            for room in load.rooms {
                contents.rooms[room.room, default: 0] += room.rows
                contents.rows += room.rows
                contents.bytes += room.bytes
            }
            contents.rows += load.refusedRows
            contents.bytes += load.refusedBytes
        }
        for room in load.rooms { arrival.yield(room.room) }
        measure()
    }

    private func found(_ damage: SpoolDamage) {
        metrics.damaged.increment()
        logger.error(
            """
            the spool's file is damaged; a copy was set aside, and what can be read of it is used
            """,
            metadata: ["spool.damaged": "\(damage.place)", "error": "\(damage.reason)"])
        guard let (generation, load) = damage.next else { return }
        contents.withLock { contents in
            contents.generation = generation
            contents.rooms = [:]
            contents.rows = 0
            contents.bytes = 0
            for entry in contents.queue { contents.count(entry.message) }
        }
        count(load)
    }

    /// Told once, until it works again.
    private func failed(_ error: SpoolError) {
        let isNew = contents.withLock { contents in
            defer { contents.isFailing = true }
            return !contents.isFailing
        }
        guard isNew else { return }
        logger.error("the spool cannot be used", metadata: ["error": "\(error)"])
    }

    private func worked() {
        let wasFailing = contents.withLock { contents in
            defer { contents.isFailing = false }
            return contents.isFailing
        }
        if wasFailing { logger.info("the spool works again") }
    }
}

extension ContinuousClock.Instant {
    var nanosecondsToNow: Int64 {
        let (seconds, attoseconds) = (ContinuousClock.now - self).components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}

import CoreMetrics
import NIOCore
import NIOWebSocket
import Synchronization

/// A socket as its session sees it: takes frames from any thread, writes them on its event loop.
///
/// open → closing (our close frame is under way) → ended
///
/// What is sent within one turn of the loop leaves in one flush. What many sockets are sent goes
/// straight to the channel, as bytes that all of them share. Whoever fills the queue looks at
/// ``pendingBytes`` and closes; the queue itself refuses nothing but pongs.
final class WebSocketConnection: SessionSocket {
    private enum Phase {
        case open, closing, ended
    }

    private enum Item {
        case frame(WebSocketOpcode, ByteBuffer)
        /// Frames that have their headers.
        case wire(ByteBuffer)
        /// The client has a bounded time for its close frame from here on.
        case awaitClose
        /// Nothing is read any more that could be the client's close frame.
        case closeOutput
        case end

        /// What the item adds to ``pendingBytes``.
        var bytes: Int {
            switch self {
            case .frame(_, let payload):
                payload.readableBytes
                    + WebSocketFrameWriter.headerBytes(payloadBytes: payload.readableBytes)
            case .wire(let frames): frames.readableBytes
            case .awaitClose, .closeOutput, .end: 0
            }
        }
    }

    private struct Outbox {
        var phase = Phase.open
        var items: [Item] = []
        /// Where the pong that waits is among the items.
        var pong: Int?
        var isDrainScheduled = false
        /// Bytes that the channel holds until a flush.
        var unflushedBytes = 0
        /// Ours, if we were the first to close.
        var closeCode: UInt16?
    }

    /// How a batch of items leaves the channel behind.
    private enum Ending {
        case stays, awaitsClose, closesOutput, ends
    }

    private let channel: any Channel
    private let environment: SocketEnvironment
    let address: NetworkAddress?
    private let outbox = Mutex(Outbox())
    /// Bytes in the outbox and, roughly, in a channel that cannot keep up.
    private let pending = Atomic<Int>(0)
    /// Bytes that the channel could not write at once, as far as they are known. On the event loop.
    private let stuck = Atomic<Int>(0)
    /// Nanoseconds; negative before the first pong.
    private let smoothedRoundTrip = Atomic<Int64>(-1)
    private let lastRoundTrip = Atomic<Int64>(0)
    /// When the ping was sent that is not answered yet; ``answered`` when all are.
    private let pingedAt = Atomic<UInt64>(WebSocketConnection.answered)
    private static let answered = UInt64.max
    private let isPingWanted = Atomic<Bool>(false)

    init(
        channel: any Channel, environment: SocketEnvironment, address: NetworkAddress? = nil
    ) {
        self.address = address
        self.channel = channel
        self.environment = environment
    }

    // MARK: For the session

    var eventLoop: any EventLoop { channel.eventLoop }

    var pendingBytes: Int { pending.load(ordering: .relaxed) }

    var roundTrip: Duration? {
        let smoothed = smoothedRoundTrip.load(ordering: .relaxed)
        guard smoothed >= 0 else { return nil }
        let pinged = pingedAt.load(ordering: .relaxed)
        let waiting =
            pinged == Self.answered ? 0 : (eventLoop.now - .uptimeNanoseconds(pinged)).nanoseconds
        return .nanoseconds(max(smoothed, lastRoundTrip.load(ordering: .relaxed), waiting))
    }

    func measureRoundTrip() { isPingWanted.store(true, ordering: .relaxed) }

    func send(_ text: ByteBuffer) {
        enqueue { outbox in
            guard outbox.phase == .open else { return }
            outbox.items.append(.frame(.text, text))
        }
    }

    func write(_ text: ByteBuffer) {
        outbox.withLock { outbox in
            guard outbox.phase == .open else { return }
            append(.frame(.text, text), to: &outbox)
        }
    }

    func write(_ frames: SharedFrames, flushing: Bool) {
        let wire = frames.wire
        let (isNext, isDue) = outbox.withLock { outbox in
            guard outbox.phase == .open else { return (false, flushing) }
            guard outbox.items.isEmpty else {
                append(.wire(wire), to: &outbox)
                return (false, flushing)
            }
            outbox.unflushedBytes += wire.readableBytes
            let isDue =
                flushing || outbox.unflushedBytes >= environment.limits.unflushedBytes
            if isDue { outbox.unflushedBytes = 0 }
            return (true, isDue)
        }
        guard isNext else { return isDue ? flush() : () }
        environment.metrics.bytesSent.increment(by: wire.readableBytes)
        guard isDue else { return channel.write(wire, promise: nil) }
        channel.writeAndFlush(wire, promise: nil)
        noteStuck()
    }

    func flush() {
        let (items, unflushedBytes) = takeItems()
        if !items.isEmpty {
            drain(items)
        } else if unflushedBytes > 0 {
            channel.flush()
            noteStuck()
        }
    }

    func reserve(bytes: Int) {
        pending.add(bytes, ordering: .relaxed)
    }

    func close(code: UInt16, reason: String) {
        beginClosing(code, reason, .awaitClose)
    }

    // MARK: For the handler, on the event loop

    /// Closes a socket whose frames cannot be told apart any more.
    func closeUnreadable(code: UInt16, reason: String) {
        beginClosing(code, reason, .closeOutput)
    }

    /// The client has closed: repeats its code if it was the first to do so, then ends.
    ///
    /// What it still writes must not meet a closed socket, whose reset could overtake our answer:
    /// only the output is closed before the client closes, too (RFC 6455, 7.1.1).
    func finish(repeating code: UInt16?) {
        enqueue { outbox in
            switch outbox.phase {
            case .open:
                let payload = WebSocketFrameWriter.closePayload(code: code, reason: "")
                outbox.items.append(.frame(.connectionClose, payload))
                outbox.items.append(.closeOutput)
                outbox.phase = .closing
            case .closing:
                outbox.items.append(.end)
                outbox.phase = .ended
            case .ended:
                break
            }
        }
    }

    /// The client will send nothing more: ends when all that waits is written, or soon.
    func end() {
        enqueue { outbox in
            guard outbox.phase != .ended else { return }
            outbox.phase = .ended
            outbox.items.append(.end)
        }
    }

    /// Whether a ping is wanted before its time; answers true once.
    func takesPing() -> Bool {
        guard isPingWanted.load(ordering: .relaxed) else { return false }
        return isPingWanted.exchange(false, ordering: .relaxed)
    }

    func ping(_ payload: ByteBuffer) {
        pingedAt.store(eventLoop.now.uptimeNanoseconds, ordering: .relaxed)
        enqueue { outbox in
            guard outbox.phase == .open else { return }
            outbox.items.append(.frame(.ping, payload))
        }
    }

    /// Answers a ping. Of several that wait only the last is answered, none while too much waits.
    func pong(_ payload: ByteBuffer) {
        guard pendingBytes <= environment.limits.pongBytes else { return }
        enqueue { outbox in
            guard outbox.phase == .open else { return }
            if let index = outbox.pong {
                pending.subtract(outbox.items[index].bytes, ordering: .relaxed)
                outbox.items[index] = .frame(.pong, payload)
                pending.add(outbox.items[index].bytes, ordering: .relaxed)
            } else {
                outbox.pong = outbox.items.count
                outbox.items.append(.frame(.pong, payload))
            }
        }
    }

    /// The last ping came back after `sample`. Smoothed as TCP does it (RFC 6298).
    func measured(_ sample: TimeAmount) {
        let before = smoothedRoundTrip.load(ordering: .relaxed)
        let smoothed = before < 0 ? sample.nanoseconds : (before * 7 + sample.nanoseconds) / 8
        smoothedRoundTrip.store(max(0, smoothed), ordering: .relaxed)
        lastRoundTrip.store(sample.nanoseconds, ordering: .relaxed)
        pingedAt.store(Self.answered, ordering: .relaxed)
    }

    /// The channel is gone: what waits is dropped.
    ///
    /// - Returns: the code of our close frame if it was the first; nil otherwise.
    func lost() -> UInt16? {
        let (dropped, code) = outbox.withLock { outbox in
            outbox.phase = .ended
            defer { outbox.items = [] }
            return (outbox.items.reduce(0) { $0 + $1.bytes }, outbox.closeCode)
        }
        pending.subtract(dropped, ordering: .relaxed)
        return code
    }

    // MARK: Writing

    private func beginClosing(_ code: UInt16, _ reason: String, _ item: Item) {
        enqueue { outbox in
            guard outbox.phase == .open else { return }
            outbox.phase = .closing
            outbox.closeCode = code
            let payload = WebSocketFrameWriter.closePayload(code: code, reason: reason)
            outbox.items.append(.frame(.connectionClose, payload))
            outbox.items.append(item)
        }
    }

    /// Appends to the outbox, counts what was appended, and has it written soon.
    private func enqueue(_ append: (inout Outbox) -> Void) {
        let isFirst = outbox.withLock { outbox in
            let count = outbox.items.count
            append(&outbox)
            for item in outbox.items[count...] {
                pending.add(item.bytes, ordering: .relaxed)
            }
            guard !outbox.items.isEmpty, !outbox.isDrainScheduled else { return false }
            outbox.isDrainScheduled = true
            return true
        }
        if isFirst { eventLoop.execute { self.flushScheduled() } }
    }

    private func append(_ item: Item, to outbox: inout Outbox) {
        outbox.items.append(item)
        pending.add(item.bytes, ordering: .relaxed)
    }

    private func flushScheduled() {
        outbox.withLock { $0.isDrainScheduled = false }
        flush()
    }

    private func takeItems() -> (items: [Item], unflushedBytes: Int) {
        outbox.withLock { outbox in
            defer {
                outbox.pong = nil
                outbox.items = []
                outbox.unflushedBytes = 0
            }
            return (outbox.items, outbox.unflushedBytes)
        }
    }

    private func drain(_ items: [Item]) {
        var ending = Ending.stays
        for item in items {
            switch item {
            case .frame, .wire: break
            case .awaitClose: ending = .awaitsClose
            case .closeOutput: ending = .closesOutput
            case .end: ending = .ends
            }
        }
        write(items, ending)
    }

    private func write(_ items: [Item], _ ending: Ending) {
        var batch = channel.allocator.buffer(capacity: copiedBytes(of: items))
        for item in items {
            switch item {
            case .frame(let opcode, let payload):
                WebSocketFrameWriter.writeHeader(
                    opcode, payloadBytes: payload.readableBytes, to: &batch)
                append(payload, to: &batch)
            case .wire(let frames): append(frames, to: &batch)
            case .awaitClose, .closeOutput, .end: break
            }
        }
        let bytes = items.reduce(0) { $0 + $1.bytes }
        environment.metrics.bytesSent.increment(by: bytes)
        pending.subtract(bytes, ordering: .relaxed)
        guard ending != .stays else {
            if batch.readableBytes > 0 { channel.write(batch, promise: nil) }
            channel.flush()
            return noteStuck()
        }
        cutLater()
        let written = channel.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in self.act(on: ending) }
        channel.writeAndFlush(batch, promise: written)
        noteStuck()
    }

    /// Copies `bytes` behind what is to be written, or writes them as they are when they are many.
    private func append(_ bytes: ByteBuffer, to batch: inout ByteBuffer) {
        guard bytes.readableBytes > environment.limits.copiedPayloadBytes else {
            batch.writeImmutableBuffer(bytes)
            return
        }
        if batch.readableBytes > 0 { channel.write(batch, promise: nil) }
        channel.write(bytes, promise: nil)
        batch = channel.allocator.buffer(capacity: 0)
    }

    private func copiedBytes(of items: [Item]) -> Int {
        items.reduce(0) { count, item in
            switch item {
            case .frame(_, let payload):
                count + WebSocketFrameWriter.headerBytes(payloadBytes: payload.readableBytes)
                    + copiedBytes(of: payload)
            case .wire(let frames): count + copiedBytes(of: frames)
            case .awaitClose, .closeOutput, .end: count
            }
        }
    }

    private func copiedBytes(of bytes: ByteBuffer) -> Int {
        bytes.readableBytes <= environment.limits.copiedPayloadBytes ? bytes.readableBytes : 0
    }

    /// Counts what the channel holds after a flush, until it has written that.
    ///
    /// A channel that holds less than its high-water mark counts as empty: nobody asks more exactly,
    /// and a client that keeps up costs nothing here.
    private func noteStuck() {
        guard !channel.isWritable, channel.isActive, let options = channel.syncOptions else {
            return
        }
        let held: Int
        do {
            held = try options.getOption(.bufferedWritableBytes)
        } catch {
            return  // The channel has just been closed, and holds nothing.
        }
        let bytes = held - stuck.load(ordering: .relaxed)
        guard bytes > 0 else { return }
        stuck.add(bytes, ordering: .relaxed)
        pending.add(bytes, ordering: .relaxed)
        // Writes complete in order: an empty one stands for all before it.
        let written = channel.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in
            self.stuck.subtract(bytes, ordering: .relaxed)
            self.pending.subtract(bytes, ordering: .relaxed)
        }
        channel.writeAndFlush(ByteBuffer(), promise: written)
    }

    /// Everything up to here is written, or lost with the channel.
    private func act(on ending: Ending) {
        switch ending {
        case .stays, .awaitsClose: break
        case .closesOutput: channel.close(mode: .output, promise: nil)
        case .ends: channel.close(promise: nil)
        }
    }

    private func cutLater() {
        eventLoop.scheduleTask(in: TimeAmount(environment.limits.closePatience)) { [channel] in
            channel.close(promise: nil)
        }
    }
}

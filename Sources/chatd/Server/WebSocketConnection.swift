import CoreMetrics
import NIOCore
import NIOWebSocket
import Synchronization

/// A socket as its session sees it: takes frames from any thread, writes them on its event loop.
///
/// open → closing (our close frame is under way) → ended
///
/// What is sent within one turn of the loop leaves in one flush. Whoever fills the queue looks at
/// ``pendingBytes`` and closes; the queue itself refuses nothing but pongs.
final class WebSocketConnection: SessionSocket {
    private enum Phase {
        case open, closing, ended
    }

    private enum Item {
        case frame(WebSocketOpcode, ByteBuffer)
        /// The client has a bounded time for its close frame from here on.
        case awaitClose
        /// Nothing is read any more that could be the client's close frame.
        case closeOutput
        case end

        /// What the item adds to ``pendingBytes``.
        var bytes: Int {
            guard case .frame(_, let payload) = self else { return 0 }
            return payload.readableBytes
                + WebSocketFrameWriter.headerBytes(payloadBytes: payload.readableBytes)
        }
    }

    private struct Outbox {
        var phase = Phase.open
        var items: [Item] = []
        /// Where the pong that waits is among the items.
        var pong: Int?
        var isDrainScheduled = false
        /// Ours, if we were the first to close.
        var closeCode: UInt16?
    }

    /// How a batch of items leaves the channel behind.
    private enum Ending {
        case stays, awaitsClose, closesOutput, ends
    }

    private let channel: any Channel
    private let limits: TransportLimits
    private let bytesSent: Counter
    let address: NetworkAddress?
    private let outbox = Mutex(Outbox())
    private let pending = Atomic<Int>(0)
    /// Nanoseconds; negative before the first pong.
    private let roundTripNanoseconds = Atomic<Int64>(-1)

    init(
        channel: any Channel, limits: TransportLimits, bytesSent: Counter,
        address: NetworkAddress? = nil
    ) {
        self.address = address
        self.channel = channel
        self.limits = limits
        self.bytesSent = bytesSent
    }

    // MARK: For the session

    var eventLoop: any EventLoop { channel.eventLoop }

    var pendingBytes: Int { pending.load(ordering: .relaxed) }

    var roundTrip: Duration? {
        let nanoseconds = roundTripNanoseconds.load(ordering: .relaxed)
        return nanoseconds < 0 ? nil : .nanoseconds(nanoseconds)
    }

    func send(_ text: ByteBuffer) {
        enqueue { outbox in
            guard outbox.phase == .open else { return }
            outbox.items.append(.frame(.text, text))
        }
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

    func ping(_ payload: ByteBuffer) {
        enqueue { outbox in
            guard outbox.phase == .open else { return }
            outbox.items.append(.frame(.ping, payload))
        }
    }

    /// Answers a ping. Of several that wait only the last is answered, none while too much waits.
    func pong(_ payload: ByteBuffer) {
        guard pendingBytes <= limits.pongBytes else { return }
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

    /// A ping came back after `sample`. Smoothed as TCP does it (RFC 6298).
    func measured(_ sample: TimeAmount) {
        let before = roundTripNanoseconds.load(ordering: .relaxed)
        let smoothed = before < 0 ? sample.nanoseconds : (before * 7 + sample.nanoseconds) / 8
        roundTripNanoseconds.store(max(0, smoothed), ordering: .relaxed)
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
        if isFirst { eventLoop.execute { self.drain() } }
    }

    private func drain() {
        let items = outbox.withLock { outbox in
            outbox.isDrainScheduled = false
            outbox.pong = nil
            defer { outbox.items = [] }
            return outbox.items
        }
        guard !items.isEmpty else { return }
        var ending = Ending.stays
        for item in items {
            switch item {
            case .frame: break
            case .awaitClose: ending = .awaitsClose
            case .closeOutput: ending = .closesOutput
            case .end: ending = .ends
            }
        }
        write(items, ending)
    }

    private func write(_ items: [Item], _ ending: Ending) {
        var batch = channel.allocator.buffer(capacity: copiedBytes(of: items))
        for case .frame(let opcode, let payload) in items {
            WebSocketFrameWriter.writeHeader(
                opcode, payloadBytes: payload.readableBytes, to: &batch)
            if payload.readableBytes <= limits.copiedPayloadBytes {
                batch.writeImmutableBuffer(payload)
            } else {
                channel.write(batch, promise: nil)
                channel.write(payload, promise: nil)
                batch = channel.allocator.buffer(capacity: 0)
            }
        }
        // Writes complete in order: the last one stands for all. It may be empty.
        let bytes = items.reduce(0) { $0 + $1.bytes }
        let written = channel.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in
            self.pending.subtract(bytes, ordering: .relaxed)
            self.act(on: ending)
        }
        if ending != .stays { cutLater() }
        bytesSent.increment(by: bytes)
        channel.writeAndFlush(batch, promise: written)
    }

    private func copiedBytes(of items: [Item]) -> Int {
        var bytes = 0
        for case .frame(_, let payload) in items {
            bytes += WebSocketFrameWriter.headerBytes(payloadBytes: payload.readableBytes)
            if payload.readableBytes <= limits.copiedPayloadBytes { bytes += payload.readableBytes }
        }
        return bytes
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
        eventLoop.scheduleTask(in: TimeAmount(limits.closePatience)) { [channel] in
            channel.close(promise: nil)
        }
    }
}

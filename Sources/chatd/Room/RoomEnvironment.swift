import CoreMetrics
import FoundationEssentials
import Logging
import NIOCore
import ShardRouter
import Synchronization

/// What rooms and sessions of a server share.
final class RoomEnvironment: Sendable {
    let store: any MessageStore
    let pubSub: any PubSub
    let lanes: WorkLanes
    let outlets = LoopOutlets()
    let clock: ChatClock
    let limits: ChatLimits
    /// What users and rooms may still do here.
    let allowances: Allowances
    let receipts: ReceiptKeyring
    let sanctionBook: SanctionBook
    let logger: Logger
    /// The name that clients see.
    let serverName: String
    /// This run of this server, among all servers.
    let instance: UUID
    /// A number drawn from the range, both ends included.
    let draw: @Sendable (ClosedRange<Int64>) -> Int64
    let metrics: ChatMetrics
    let tracing: ChatTracing

    private let lastMember = Atomic<UInt64>(0)

    init(
        store: any MessageStore, pubSub: any PubSub, serverName: String, limits: ChatLimits,
        receipts: ReceiptKeyring, clock: ChatClock, lanes: WorkLanes, logger: Logger,
        draw: @escaping @Sendable (ClosedRange<Int64>) -> Int64, metrics: ChatMetrics,
        tracing: ChatTracing
    ) {
        self.store = store
        self.pubSub = pubSub
        self.serverName = serverName
        self.limits = limits
        allowances = Allowances(limits: limits.shared)
        self.receipts = receipts
        sanctionBook = SanctionBook(store: store, clock: clock)
        self.clock = clock
        self.lanes = lanes
        self.logger = logger
        self.draw = draw
        self.metrics = metrics
        self.tracing = tracing
        instance = UUID()
    }

    /// An id that no other socket of this server has.
    func nextMember() -> MemberID {
        MemberID(number: lastMember.add(1, ordering: .relaxed).newValue)
    }

    /// How long a client is to wait before it comes back; another time for each.
    func reconnectDelay() -> Duration {
        let shortest = limits.reconnectMin.wholeMilliseconds
        let longest = max(shortest, limits.reconnectMax.wholeMilliseconds)
        return .milliseconds(draw(shortest...longest))
    }

    /// How a conversation ends.
    ///
    /// - Parameter reconnectAfter: drawn when it is nil.
    func farewell(
        _ ending: SessionStateMachine.Ending, reconnectAfter: Duration? = nil
    ) -> Farewell {
        Farewell(
            code: ending.code, reason: ending.reason,
            bye: bye(ending.code, ending.reason, reconnectAfter: reconnectAfter),
            isOfRoom: ending.isOfRoom)
    }

    /// What a client is told before its socket is closed.
    ///
    /// - Parameter reconnectAfter: drawn when it is nil.
    func bye(
        _ code: CloseCode, _ reason: String, reconnectAfter: Duration? = nil
    ) -> ByteBuffer {
        let penance = code == .tooMany ? limits.session.penance : nil
        return ServerFrame.bye(
            code, reason, reconnectAfter: (penance ?? .zero) + (reconnectAfter ?? reconnectDelay()),
            retryAfter: penance)
    }

    /// Tells the other servers about `event`.
    func publish(_ event: RoomEvent, to room: RoomID) {
        metrics.published.increment()
        pubSub.publish(event.encoded(), to: room)
    }
}

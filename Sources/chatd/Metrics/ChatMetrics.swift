import CoreMetrics
import HTTPTypes
import ShardRouter

/// What chatd counts and measures. Handles are made once; recording looks nothing up but a place
/// in an array.
struct ChatMetrics: Sendable {
    let deliveries: Counter
    let syncs: Counter
    let windowReads: Counter
    let wants: Counter
    let restored: Counter
    let bytesSent: Counter
    let published: Counter
    let received: Counter
    private let store: Timer
    private let frames: LabeledCounters<FrameLabel>
    private let messages: LabeledCounters<MessageLabel>
    private let closes: LabeledCounters<CloseLabel>
    private let requests: [LabeledCounters<StatusLabel>]
    private let requestTimes: [Timer]

    /// - Parameter factory: what takes the metrics; without one nothing does.
    init(factory: any MetricsFactory = NOOPMetricsHandler.instance) {
        deliveries = Counter(label: "chatd_deliveries_total", factory: factory)
        syncs = Counter(label: "chatd_syncs_total", factory: factory)
        windowReads = Counter(label: "chatd_window_reads_total", factory: factory)
        wants = Counter(label: "chatd_wants_total", factory: factory)
        restored = Counter(label: "chatd_restored_total", factory: factory)
        bytesSent = Counter(label: "chatd_bytes_sent_total", factory: factory)
        published = Counter(label: "chatd_pubsub_published_total", factory: factory)
        received = Counter(label: "chatd_pubsub_received_total", factory: factory)
        store = Timer(label: "chatd_store_seconds", factory: factory)
        frames = LabeledCounters("chatd_frames_received_total", "type", factory: factory)
        messages = LabeledCounters("chatd_messages_total", "outcome", factory: factory)
        closes = LabeledCounters("chatd_sockets_closed_total", "code", factory: factory)
        requests = RouteLabel.allCases.map {
            LabeledCounters(
                "chatd_http_requests_total", "code", [("route", $0.text)], factory: factory)
        }
        requestTimes = RouteLabel.allCases.map {
            Timer(
                label: "chatd_http_request_seconds", dimensions: [("route", $0.text)],
                factory: factory)
        }
    }

    func received(_ frame: FrameLabel) { frames[frame].increment() }

    /// A message has got its outcome, `duration` after it arrived.
    func ended(_ outcome: MessageLabel, after duration: Duration) {
        messages[outcome].increment()
        store.recordNanoseconds(duration.wholeNanoseconds)
    }

    /// - Parameter code: the first close frame's; nil when there was none.
    func closed(_ code: UInt16?) { closes[CloseLabel(code)].increment() }

    /// A connection's first request asked for a WebSocket, and got this.
    func upgraded(_ status: HTTPResponse.Status) {
        requests[RouteLabel.socket.rawValue][StatusLabel(status)].increment()
    }

    /// An HTTP request was answered.
    func answered(_ route: RouteLabel, _ status: HTTPResponse.Status, after duration: Duration) {
        requests[route.rawValue][StatusLabel(status)].increment()
        requestTimes[route.rawValue].recordNanoseconds(duration.wholeNanoseconds)
    }
}

/// The counters of one name, one for each value of a label.
struct LabeledCounters<Label: MetricLabel>: Sendable {
    private let counters: [Counter]

    init(
        _ name: String, _ key: String, _ dimensions: [(String, String)] = [],
        factory: any MetricsFactory
    ) {
        counters = Label.allCases.map {
            Counter(label: name, dimensions: dimensions + [(key, $0.text)], factory: factory)
        }
    }

    subscript(_ label: Label) -> Counter { counters[label.rawValue] }
}

extension Duration {
    var wholeNanoseconds: Int64 {
        components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
    }
}

/// What each exported metric says, for people who read `/metrics`.
enum MetricHelp {
    /// The text for `name`; a metric that is not listed gets its name in words.
    static func text(for name: String) -> String {
        texts[name] ?? String(name.map { $0 == "_" ? " " : $0 })
    }

    private static let texts = chat.merging(router) { first, _ in first }

    private static let chat: [String: String] = [
        "chatd_sockets": "WebSockets that are open.",
        "chatd_rooms": "Rooms that this server keeps.",
        "chatd_frames_received_total": "Frames from clients, by type.",
        "chatd_messages_total": "Messages from clients, by outcome.",
        "chatd_deliveries_total": "Frames handed to sockets by fan-out.",
        "chatd_syncs_total": "Heartbeats answered with missing messages.",
        "chatd_bytes_sent_total": "Bytes of WebSocket frames written.",
        "chatd_sockets_closed_total": "WebSockets that ended, by close code.",
        "chatd_store_seconds": "Time from a message's arrival to its outcome.",
        "chatd_window_reads_total": "Reads of a shard to fill or mend a room's window.",
        "chatd_wants_total": "Clients asked for lost messages.",
        "chatd_restored_total": "Lost messages that clients gave back.",
        "chatd_pubsub_connected": "Whether other servers are heard: 1 yes, 0 no.",
        "chatd_pubsub_published_total": "Payloads given to pub/sub.",
        "chatd_pubsub_dropped_total": "Payloads that pub/sub dropped.",
        "chatd_pubsub_received_total": "Payloads of other servers that were heard.",
        "chatd_http_requests_total": "HTTP requests answered, by route and class of status.",
        "chatd_http_request_seconds": "Time to answer an HTTP request.",
        "chatd_spool_pending_rows": "Messages in the spool, refused ones included.",
        "chatd_spool_pending_bytes": "Size of the messages in the spool.",
        "chatd_spool_taken_total": "Messages that the spool has taken.",
        "chatd_spool_drained_total": "Spooled messages that a shard has taken.",
        "chatd_spool_refused_total": "Spooled messages that a shard refused.",
        "chatd_spool_full_total": "Messages that found the spool full.",
        "chatd_spool_damaged_total": "Files of the spool that were found damaged.",
        "chatd_spool_commit_seconds": "Time to make a batch durable in the spool.",
        "process_start_time_seconds": "When the process started, in seconds since 1970.",
        "process_cpu_seconds_total": "Processor time used, user and system together.",
        "process_resident_memory_bytes": "Memory that the process holds.",
        "process_open_fds": "Files and sockets that are open.",
        "process_max_fds": "Files and sockets that may be open.",
    ]

    private static let router: [String: String] = [
        "router_queue_rows": "Writes that wait for a shard or are on their way.",
        "router_queue_bytes": "Size of the writes that wait for a shard or are on their way.",
        "router_batch_rows": "Rows in one transaction.",
        "router_commit_seconds": "Time to commit one batch.",
        "router_retries_total": "Batches tried again, by reason.",
        "router_redirects_total": "Writes routed again because their slot had moved.",
        "router_writes_total": "Writes that ended, by outcome.",
        "router_write_seconds": "Time from a write's call to its end.",
        "router_circuit_open": "Whether a shard is not asked for now: 1 open, 0 closed.",
        "router_circuit_opened_total": "How often a shard's circuit opened.",
        "router_pool_connections": "Connections to a shard, by state.",
        "router_pool_waiting": "Callers that wait for a connection.",
        "router_lease_wait_seconds": "Time that callers waited for a connection.",
        "router_connects_total": "Attempts to connect to a shard, by outcome.",
        "router_reads_total": "Reads that ended, by outcome.",
        "router_read_seconds": "Time to read from a shard.",
        "router_topology_epoch": "The epoch of the topology in use.",
        "router_catalog_up": "Whether the catalog answers: 1 yes, 0 no.",
        "router_topology_changes_total": "Topologies taken over since the start.",
    ]
}

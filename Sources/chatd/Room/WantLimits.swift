/// Bounds of what a room does to get lost messages back from its clients.
struct WantLimits: Sendable {
    /// The shortest time between two look-ups of reported ids at the shard: the shortest beat.
    var lookUpInterval: Duration = .milliseconds(3_500)
    /// Ids in one look-up.
    var lookUpIDs = 500
    /// Ids that one report adds: more come with the next one.
    var reportedIDs = 250
    /// How many messages below the head a client is asked about, too: fewer than one report has.
    var overlap: Int64 = 100
    /// Ids that are looked up, asked for or stored, together; more are passed over until then.
    var candidates = 1_000
    /// Such ids of one client: as many as one report adds.
    var memberCandidates = 250
    /// Clients remembered for one id.
    var reporters = 8
    /// Ids in one `want`.
    var askedIDs = 50
    /// How long an asked client has for the next message: the longest beat.
    var patience: Duration = .milliseconds(7_000)
    /// How long a client is left alone that gave nothing, or something forged, and an id that
    /// needs nothing more.
    var quiet: Duration = .seconds(60)
    /// Such ids that are remembered; more push out the oldest.
    var quietIDs = 2_000
    /// Clients whose compact report does not fit, and which wait to be asked about it.
    var doubts = 64
}

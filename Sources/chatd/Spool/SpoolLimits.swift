/// The bounds of the spool, each with its reason.
struct SpoolLimits: Sendable {
    /// Messages that may wait: an hour of a shard that gets 250 a second.
    var rows = 1_000_000
    /// Their bytes: they must fit on a server's disk beside everything else.
    var bytes = 1 << 30
    /// Messages that wait for the disk, and their bytes: a second of a busy server.
    var rowsInMemory = 20_000
    var bytesInMemory = 32 << 20
    /// Messages of one commit. Beyond some hundreds a row gets no cheaper, only later.
    var batchRows = 512
    /// Messages of one room that are stored together.
    var drainRows = 128
    /// Rooms that are drained at once: they fill the router's batches and leave room for others.
    var drainRooms = 32
    /// How long the stores of one room's batch may take: less than a stop of the server may.
    var drainPatience = Duration.seconds(5)
    /// The first pause after a shard refused; it doubles, with jitter.
    var firstPause = Duration.milliseconds(100)
    /// A shard that is back is noticed this soon at the latest.
    var longestPause = Duration.seconds(5)
    /// What a row costs beside its texts, in bytes: its id, times, index entries.
    static let rowOverhead = 160
}

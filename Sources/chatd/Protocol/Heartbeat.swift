import FoundationEssentials

/// A client's word that it is there, and what it has seen.
struct Heartbeat: Equatable {
    /// What the client has, as far as it says.
    enum Report: Equatable {
        /// It only says that it is there: nothing can be missing.
        case nothing
        /// The founding form: the ids seen in the last minute; `upTo` (when given) says that
        /// everything up to that `seq` is there without a hole.
        case ids([UUID], upTo: Int64?)
        /// The compact form: everything up to `upTo` is there without a hole, and `count` messages
        /// without a `seq`.
        ///
        /// `digest` is the XOR over the ids of those messages of (upper 64 bits XOR lower 64 bits
        /// of the UUID, each read with the most significant byte first), on the wire as 16
        /// lower-case hexadecimal digits; 0 when there are none. Every message that this server
        /// relays has a `seq`, so that count and digest never decide what is missing: whoever has
        /// messages without one has what a shard has lost, and is asked for it.
        case compact(upTo: Int64, count: Int64, digest: UInt64)
    }

    var report: Report
}

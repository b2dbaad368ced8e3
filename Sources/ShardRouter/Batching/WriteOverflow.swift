/// Where messages go whose shard is out of reach: somewhere durable, which stores them later.
///
/// The router calls it in the order of the messages of a room, under a lock of its own: neither
/// function may wait, nor call the router.
public protocol WriteOverflow: Sendable {
    /// Whether messages of `room` wait here. As long as they do, the later ones of the room come
    /// here too, so that nothing overtakes them. Asked for every message: constant time.
    func holds(_ room: RoomID) -> Bool

    /// Takes `message` over. `completion` is called once, on any thread: with success when the
    /// message is durable, with a refusal perhaps before this returns.
    ///
    /// From this call on ``holds(_:)`` is true for the room, until the message was refused, or was
    /// stored by ``ShardRouter/storeInOrder(_:patience:)`` or ``ShardRouter/store(_:patience:)``.
    func take(
        _ message: Message,
        completion: @escaping @Sendable (Result<Void, OverflowError>) -> Void)
}

/// Why an overflow did not take a message. Nothing was kept of it.
public enum OverflowError: Error, Sendable, Equatable {
    /// As much waits as may; try again later.
    case full
    /// Another message of the room with this id waits.
    case conflict
    /// The disk failed, or the overflow is closed.
    case unusable(reason: String)
}

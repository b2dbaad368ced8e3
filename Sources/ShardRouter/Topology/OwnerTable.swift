import Synchronization

/// The owner of every slot, for the path of every message: one atomic word for a slot.
///
/// A word holds the owner and the epoch in which it became the owner, so it is consistent in
/// itself; rooms never need two slots at once. Looking up is wait-free and allocates nothing;
/// nothing is ever freed while a reader looks.
///
/// `@unchecked`: the pointer never changes, and what it points to is atomic.
final class OwnerTable: @unchecked Sendable {
    private let words: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        words = .allocate(capacity: Slot.count)
        for slot in 0..<Slot.count {
            (words + slot).initialize(to: Atomic(0))
        }
    }

    deinit {
        words.deinitialize(count: Slot.count)
        words.deallocate()
    }

    /// The owner; nil while nobody is known to own the slot.
    func owner(of slot: Slot) -> ShardID? {
        let word = words[slot.number].load(ordering: .acquiring)
        return word == 0 ? nil : ShardID(Int(word >> 48))
    }

    /// Takes over what is newer than what the table knows.
    ///
    /// - Returns: whether this changed the owner. An answer that is not newer changes nothing.
    @discardableResult
    func learn(_ owner: ShardID, of slot: Slot, since epoch: Epoch) -> Bool {
        precondition(owner.isInRange, "a shard number has 16 bits")
        precondition(epoch.isInRange, "an epoch has 48 bits")
        let new = UInt64(owner.number) << 48 | UInt64(epoch.number)
        var known = words[slot.number].load(ordering: .acquiring)
        while known == 0 || known & 0xffff_ffff_ffff < UInt64(epoch.number) {
            let outcome = words[slot.number].compareExchange(
                expected: known, desired: new, ordering: .acquiringAndReleasing)
            if outcome.exchanged { return true }
            known = outcome.original
        }
        return false
    }

    /// Takes over whatever in `topology` is newer.
    func learn(_ topology: Topology) {
        for slot in topology.owners.indices {
            learn(topology.owners[slot], of: Slot(slot), since: topology.slotEpochs[slot])
        }
    }
}

public import FoundationEssentials

/// What makes a topology impossible.
public enum TopologyError: Error, Equatable, Sendable {
    /// There must be one owner and one epoch for each of the 16,384 slots.
    case wrongSlotCount(found: Int)
    /// A slot belongs to a shard that is not listed.
    case unknownOwner(slot: Slot, shard: ShardID)
    /// Two shards have the same id or name.
    case duplicateShard(String)
    /// A shard's number does not fit (1 … 65,535).
    case badShardNumber(Int)
    /// An epoch does not fit (0 … 2⁴⁸ − 1).
    case badEpoch(Int64)
}

/// Who owns which slot, at one epoch. An immutable value.
public struct Topology: Hashable, Sendable {
    /// Which cluster this is; every shard carries the same id.
    public let clusterID: UUID
    /// The seed of the ring's hash.
    public let seed: Int64
    public let epoch: Epoch
    /// By id.
    public let shards: [Shard]
    /// The owner of each slot; 16,384 of them, or none while the cluster has no active shard.
    public let owners: [ShardID]
    /// The epoch in which each slot got its owner.
    public let slotEpochs: [Epoch]

    public init(
        clusterID: UUID, seed: Int64, epoch: Epoch, shards: [Shard], owners: [ShardID],
        slotEpochs: [Epoch]
    ) throws(TopologyError) {
        guard owners.isEmpty || owners.count == Slot.count else {
            throw .wrongSlotCount(found: owners.count)
        }
        guard slotEpochs.count == owners.count else {
            throw .wrongSlotCount(found: slotEpochs.count)
        }
        var ids: Set<ShardID> = []
        var names: Set<String> = []
        for shard in shards {
            guard shard.id.isInRange else {
                throw .badShardNumber(shard.id.number)
            }
            guard ids.insert(shard.id).inserted, names.insert(shard.name).inserted else {
                throw .duplicateShard(shard.name)
            }
        }
        if let bad = slotEpochs.first(where: { !$0.isInRange }) { throw .badEpoch(bad.number) }
        for (slot, owner) in owners.enumerated() where !ids.contains(owner) {
            throw .unknownOwner(slot: Slot(slot), shard: owner)
        }
        self.clusterID = clusterID
        self.seed = seed
        self.epoch = epoch
        self.shards = shards.sorted { $0.id < $1.id }
        self.owners = owners
        self.slotEpochs = slotEpochs
    }

    /// The hash that places rooms on this ring.
    public var ringHash: RingHash { RingHash(seed: seed) }

    /// The owner of `slot`; nil while nobody owns anything.
    public func owner(of slot: Slot) -> ShardID? {
        owners.isEmpty ? nil : owners[slot.number]
    }

    /// The shard with this id.
    public func shard(_ id: ShardID) -> Shard? {
        shards.first { $0.id == id }
    }

    /// The shard with this name.
    public func shard(named name: String) -> Shard? {
        shards.first { $0.name == name }
    }

    /// How many slots each shard owns, shards without any included.
    public var slotCounts: [ShardID: Int] {
        let none = Dictionary(uniqueKeysWithValues: shards.map { ($0.id, 0) })
        return owners.reduce(into: none) { $0[$1, default: 0] += 1 }
    }
}

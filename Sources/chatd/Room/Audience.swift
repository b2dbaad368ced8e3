import NIOCore

/// The members that a room writes to, grouped by event loop: a frame for all of them is handed over
/// once per loop, whatever their number.
struct Audience {
    /// The members of one loop. Adding and removing cost the same at any size.
    private struct Group {
        let outlet: LoopOutlet
        private let part = LoopOutlet.Part()
        private(set) var members: [Member] = []
        private(set) var positions: [MemberID: Int] = [:]
        /// The members as they were at the last delivery; nil when that was others.
        private var known: LoopOutlet.Readers?

        init(outlet: LoopOutlet) {
            self.outlet = outlet
        }

        mutating func readers() -> LoopOutlet.Readers {
            if let known { return known }
            let readers = LoopOutlet.Readers(members, of: part)
            known = readers
            return readers
        }

        mutating func add(_ member: Member) {
            known = nil
            precondition(positions[member.id] == nil, "a member is added once")
            positions[member.id] = members.count
            members.append(member)
        }

        mutating func remove(at position: Int) {
            known = nil
            positions[members[position].id] = nil
            let last = members.removeLast()
            guard position < members.count else { return }
            members[position] = last
            positions[last.id] = position
        }
    }

    private var groups: [Group] = []

    var isEmpty: Bool { groups.isEmpty }

    mutating func add(_ member: Member) {
        let index: Int
        if let known = groups.firstIndex(where: { $0.outlet === member.outlet }) {
            index = known
        } else {
            groups.append(Group(outlet: member.outlet))
            index = groups.count - 1
        }
        groups[index].add(member)
    }

    mutating func remove(_ member: Member) {
        guard let index = groups.firstIndex(where: { $0.outlet === member.outlet }),
            let position = groups[index].positions[member.id]
        else { return }
        groups[index].remove(at: position)
        if groups[index].members.isEmpty { groups.remove(at: index) }
    }

    /// How many members there are besides one.
    func count(except: MemberID?) -> Int {
        groups.reduce(0) { count, group in
            let isHere = except.map { group.positions[$0] != nil } ?? false
            return count + group.members.count - (isHere ? 1 : 0)
        }
    }

    /// Hands `frame` to every member but one, in the order of the calls.
    mutating func deliver(
        _ frame: ByteBuffer, _ kind: RoomState.Delivery, except: MemberID?, pendingBytes: Int
    ) {
        for index in groups.indices {
            groups[index].outlet.enqueue(
                .delivery(
                    LoopOutlet.Delivery(
                        frame: frame, kind: kind, readers: groups[index].readers(),
                        except: except, pendingBytes: pendingBytes)))
        }
    }
}

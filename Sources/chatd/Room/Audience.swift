import NIOCore

/// The members that a room writes to, grouped by event loop: a frame for all of them costs one hop
/// per loop, whatever their number.
struct Audience {
    /// The members of one loop. Adding and removing cost the same at any size.
    private struct Group {
        let loop: any EventLoop
        var members: [Member] = []
        var positions: [MemberID: Int] = [:]
    }

    private var groups: [Group] = []

    var isEmpty: Bool { groups.isEmpty }

    mutating func add(_ member: Member) {
        let loop = member.socket.eventLoop
        let index: Int
        if let known = groups.firstIndex(where: { $0.loop === loop }) {
            index = known
        } else {
            groups.append(Group(loop: loop))
            index = groups.count - 1
        }
        precondition(groups[index].positions[member.id] == nil, "a member is added once")
        groups[index].positions[member.id] = groups[index].members.count
        groups[index].members.append(member)
    }

    mutating func remove(_ member: Member) {
        guard let index = groups.firstIndex(where: { $0.positions[member.id] != nil }),
            let position = groups[index].positions.removeValue(forKey: member.id)
        else { return }
        let last = groups[index].members.removeLast()
        if last.id != member.id {
            groups[index].members[position] = last
            groups[index].positions[last.id] = position
        }
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
    func deliver(
        _ frame: ByteBuffer, _ delivery: RoomState.Delivery, except: MemberID?, pendingBytes: Int
    ) {
        for group in groups {
            let members = group.members
            group.loop.execute {
                for member in members where member.id != except {
                    member.deliver(frame, delivery, pendingBytes: pendingBytes)
                }
            }
        }
    }
}

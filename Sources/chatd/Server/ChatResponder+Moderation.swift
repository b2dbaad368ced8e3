import FoundationEssentials
import HTTPTypes
import HummingbirdCore
import NIOCore
import ShardRouter

extension ChatResponder {
    /// An act of a moderator, for programs and operators.
    func moderate(
        _ name: String, _ target: RequestTarget, _ request: Request
    ) async throws(HTTPRefusal) -> Response {
        guard origins.allows(origins: request.headers[values: .origin], hosts: hosts(request))
        else { throw .foreignOrigin }
        let room = try room(name)
        let user = try author(target, request, in: room, needing: .moderate)
        let order: ModerationOrder
        do throws(FrameError) {
            order = try ModerationOrder.decode(try await body(request), limits: limits)
        } catch {
            throw HTTPRefusal(error)
        }
        if let wait = chat.allowance(of: user, in: room) {
            throw HTTPRefusal(tooManyMessages: order.id, retryAfter: wait)
        }
        do throws(ModerationError) {
            let kept = try await chat.moderate(order, in: room, by: user)
            return .json(
                ServerFrame.ack(
                    id: order.id, seq: kept.seq,
                    receipt: chat.receipts.receipt(for: kept.stored.message)),
                kept.isDuplicate ? .ok : .created)
        } catch {
            throw HTTPRefusal(error, id: order.id)
        }
    }

    /// - Throws: when the user may not be in the room, or is muted there and does not repeat what he
    ///   wrote before.
    func checkSanctions(
        of user: String, in room: RoomID, id: UUID
    ) async throws(HTTPRefusal) {
        let sanctions = await chat.sanctions(of: room)
        let time = chat.environment.clock.time()
        if let bar = sanctions.bar(of: user, at: time) { throw refusal("barred", bar, id) }
        guard let mute = sanctions.mute(of: user, at: time) else { return }
        if await !chat.isStored(id, in: room) { throw refusal("muted", mute, id) }
    }

    /// - Throws: when the user may not be in the room.
    func checkBar(of user: String, in room: RoomID) async throws(HTTPRefusal) {
        let sanctions = await chat.sanctions(of: room)
        let bar = sanctions.bar(of: user, at: chat.environment.clock.time())
        if let bar { throw refusal("barred", bar, nil) }
    }

    private func refusal(
        _ name: String, _ sanction: Sanctions.Sanction, _ id: UUID?
    ) -> HTTPRefusal {
        let wait = chat.environment.wait(for: sanction)
        var refusal = HTTPRefusal(.forbidden, code: "forbidden", "")
        refusal.body = ServerFrame.error(name, sanction, id: id, retryAfter: wait)
        if let wait { refusal.comeBack(after: wait) }
        return refusal
    }
}

extension HTTPRefusal {
    static let noRightToModerate = HTTPRefusal(
        .forbidden, code: "forbidden", "no right to moderate this room")

    init(_ error: ModerationError, id: UUID) {
        switch error {
        case .write(let error):
            self.init(error, id: id)
        case .unknownMessage, .oneself:
            self.init(.badRequest, code: "badMessage", "")
            body = ServerFrame.error(error, id: id)
        }
    }
}

import CHiredis
import NIOCore

/// Turns bytes into replies, with hiredis' reader.
///
/// Bytes that are not the protocol make a ``RedisError/brokenProtocol(_:)`` in the pipeline;
/// nothing is read after that.
final class RedisReplyDecoder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = RedisReply

    private let reader: UnsafeMutablePointer<redisReader>
    private let replyBytes: Int
    private var isBroken = false

    /// - Parameter replyBytes: how much of an incomplete reply is kept before it is broken.
    init(replyBytes: Int) {
        guard let reader = redisReaderCreate() else { preconditionFailure("there is memory") }
        self.reader = reader
        self.replyBytes = replyBytes
    }

    deinit { redisReaderFree(reader) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isBroken else { return }
        let isFed = unwrapInboundIn(data).withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.bindMemory(to: CChar.self).baseAddress, bytes.count)
                == REDIS_OK
        }
        guard isFed else { return fail(context, problem) }
        while !isBroken {
            var object: UnsafeMutableRawPointer?
            guard redisReaderGetReply(reader, &object) == REDIS_OK else {
                return fail(context, problem)
            }
            guard let object else { break }
            defer { freeReplyObject(object) }
            let reply = RedisReplyDecoder.reply(object.assumingMemoryBound(to: redisReply.self))
            context.fireChannelRead(wrapInboundOut(reply))
        }
        guard reader.pointee.len - reader.pointee.pos <= replyBytes else {
            return fail(context, "a reply of more than \(replyBytes) bytes")
        }
    }

    private func fail(_ context: ChannelHandlerContext, _ problem: String) {
        isBroken = true
        context.fireErrorCaught(RedisError.brokenProtocol(problem))
    }

    private var problem: String {
        withUnsafeBytes(of: &reader.pointee.errstr) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    /// - Complexity: hiredis refuses nesting deeper than seven, so the recursion is bounded.
    private static func reply(_ object: UnsafePointer<redisReply>) -> RedisReply {
        switch object.pointee.type {
        case REDIS_REPLY_STATUS: .status(text(object))
        case REDIS_REPLY_ERROR: .error(text(object))
        case REDIS_REPLY_INTEGER: .integer(object.pointee.integer)
        case REDIS_REPLY_STRING: .bulk(Array(content(object)))
        case REDIS_REPLY_ARRAY:
            .array(
                UnsafeBufferPointer(start: object.pointee.element, count: object.pointee.elements)
                    .map { element in element.map { reply($0) } ?? .null })
        case REDIS_REPLY_NIL: .null
        default: preconditionFailure("hiredis knows six types of replies")
        }
    }

    private static func content(_ object: UnsafePointer<redisReply>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: object.pointee.str, count: object.pointee.len)
    }

    private static func text(_ object: UnsafePointer<redisReply>) -> String {
        String(decoding: content(object), as: UTF8.self)
    }
}

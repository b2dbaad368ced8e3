import NIOCore
import ShardRouter

extension ServerFrame {
    /// What a client lacks, oldest first. `messages` are encoded `message` frames.
    static func sync(_ messages: some Collection<ByteBuffer>, isComplete: Bool) -> ByteBuffer {
        page("{\"type\":\"sync\",\"messages\":[", messages, isComplete: isComplete)
    }

    /// A page of history as a frame, cut to ``ChatLimits/pageBytes``.
    ///
    /// - Parameter isNewest: whether the newest messages stay when the page is too large (the
    ///   client pages towards older ones), or the oldest.
    static func history(
        _ page: HistoryPage, keepingNewest isNewest: Bool,
        receipts: ReceiptKeyring = ReceiptKeyring(), limits: ChatLimits
    ) -> ByteBuffer {
        self.page("{\"type\":\"history\",\"messages\":[", page, isNewest, receipts, limits)
    }

    /// A page of history as the body of an HTTP answer: the same without `type`.
    static func historyBody(
        _ page: HistoryPage, keepingNewest isNewest: Bool,
        receipts: ReceiptKeyring = ReceiptKeyring(), limits: ChatLimits
    ) -> ByteBuffer {
        self.page("{\"messages\":[", page, isNewest, receipts, limits)
    }

    private static func page(
        _ opening: StaticString, _ page: HistoryPage, _ isNewest: Bool, _ receipts: ReceiptKeyring,
        _ limits: ChatLimits
    ) -> ByteBuffer {
        var frames = page.messages.map {
            message($0, receipt: receipts.receipt(for: $0.message), limits: limits)
        }
        let kept = countWithin(
            limits.pageBytes, isNewest ? Array(frames.reversed()) : frames)
        let isCut = kept < frames.count
        if isCut {
            frames = Array(isNewest ? frames.suffix(kept) : frames.prefix(kept))
        }
        return self.page(opening, frames, isComplete: page.isComplete && !isCut)
    }

    /// How many of the first frames fit into `bytes`; at least one, so that paging moves on.
    static func countWithin(_ bytes: Int, _ frames: some Collection<ByteBuffer>) -> Int {
        var total = 0
        var count = 0
        for frame in frames {
            total += frame.readableBytes + 1
            if total > bytes && count > 0 { break }
            count += 1
        }
        return count
    }

    private static func page(
        _ opening: StaticString, _ messages: some Collection<ByteBuffer>, isComplete: Bool
    ) -> ByteBuffer {
        let bytes = messages.reduce(64) { $0 + $1.readableBytes + 1 }
        var json = JSONWriter(capacity: bytes)
        json.raw(opening)
        var isFirst = true
        for message in messages {
            if !isFirst { json.raw(",") }
            isFirst = false
            json.raw(message)
        }
        json.raw("],\"complete\":")
        json.boolean(isComplete)
        json.raw("}")
        return json.buffer
    }
}

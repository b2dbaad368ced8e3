import NIOCore
import NIOWebSocket

@testable import chatd

/// What holds for the decoders whatever bytes they get. The fuzzer draws the bytes; tests replay
/// those that were worth keeping.
///
/// The first byte picks the decoder: `a` what a frame on a socket with many rooms is for, `c` a
/// client's frame, `p` a posted message, `t` the target of a request, `w` what a socket sends,
/// after one byte that says how it is cut into pieces.
enum FuzzedDecoders {
    /// - Returns: what does not hold; nil when all does.
    static func fault(with input: some Collection<UInt8>) -> String? {
        guard let kind = input.first else { return nil }
        let bytes = Array(input.dropFirst())
        switch kind {
        case UInt8(ascii: "a"):
            return frameFault(bytes) { try? FrameAddress.read($0) }
        case UInt8(ascii: "c"):
            return frameFault(bytes) { try? ClientFrame.decode($0, limits: ChatLimits()) }
        case UInt8(ascii: "p"):
            return frameFault(bytes) { try? ClientMessage.decode($0, limits: ChatLimits()) }
        case UInt8(ascii: "t"):
            return targetFault(String(decoding: bytes, as: UTF8.self))
        case UInt8(ascii: "w"):
            return bytes.first.flatMap { socketFault(bytes.dropFirst(), seed: $0) }
        default:
            return nil
        }
    }

    // MARK: JSON

    /// What is accepted is accepted again, with the same meaning, when it is written anew and when
    /// fields are added that mean nothing.
    private static func frameFault<Frame: Equatable>(
        _ bytes: [UInt8], _ decode: (ByteBuffer) -> Frame?
    ) -> String? {
        guard let frame = decode(ByteBuffer(bytes: bytes)) else { return nil }
        let rewritten = bytes.withUnsafeBytes { JSONRewriter($0).rewritten() }
        guard let rewritten else { return "what was accepted cannot be read again" }
        guard decode(rewritten) == frame else {
            return "written anew it means something else: \(String(buffer: rewritten))"
        }
        guard let start = bytes.firstIndex(of: UInt8(ascii: "{")) else {
            return "what was accepted is no object"
        }
        let noise = Array(#""zz":[{"type":"typing"},null,-1.5e9,"\ud83d\ude00"],"#.utf8)
        let isEmpty =
            bytes[(start + 1)...].first { !" \t\n\r".utf8.contains($0) } == UInt8(ascii: "}")
        var widened = bytes
        widened.insert(contentsOf: isEmpty ? noise.dropLast() : noise[...], at: start + 1)
        guard decode(ByteBuffer(bytes: widened)) == frame else {
            return "with a field that means nothing it means something else"
        }
        return nil
    }

    // MARK: Targets

    private static func targetFault(_ text: String) -> String? {
        guard let target = RequestTarget(text) else { return nil }
        _ = Route(target.segments)
        guard RequestTarget("http://host" + text) == target || !text.hasPrefix("/") else {
            return "behind a host it means something else"
        }
        return nil
    }

    // MARK: Sockets

    /// The same bytes give the same actions however they are cut, and none breaks a promise.
    private static func socketFault(_ bytes: ArraySlice<UInt8>, seed: UInt8) -> String? {
        for (messageBytes, fragments) in [(65_536, 1_024), (200, 4)] {
            let whole = FuzzedSocket.actions(
                bytes, pieces: Int.max..., messageBytes: messageBytes, fragments: fragments)
            if let fault = promiseFault(whole, messageBytes: messageBytes) { return fault }
            let cut = FuzzedSocket.actions(
                bytes, pieces: (Int(seed % 16) + 1)..., messageBytes: messageBytes,
                fragments: fragments)
            guard cut == whole else { return "in pieces it is \(cut), in one \(whole)" }
        }
        return nil
    }

    private static func promiseFault(
        _ actions: [FuzzedSocket.Event], messageBytes: Int
    ) -> String? {
        var isOver = false
        for action in actions {
            switch action {
            case .did(.nothing):
                continue
            case .did(.finish):
                isOver = true
                continue
            case .did(.fail), .gaveUp:
                if isOver, case .did = action { return "a failure after the end" }
                isOver = true
                continue
            case .did(.deliver(let text)):
                guard text.isUTF8 else { return "a text that is not UTF-8" }
                guard text.readableBytes <= messageBytes else { return "a text over the limit" }
                let again = FuzzedSocket.actions(
                    RawFrame.masked(.text, Array(text.readableBytesView))[...], pieces: Int.max...,
                    messageBytes: messageBytes, fragments: 1)
                guard again == [.did(.deliver(text))] else { return "sent again it is \(again)" }
            case .did(.pong(let payload)), .did(.measure(let payload)):
                guard payload.readableBytes <= 125 else { return "a long control frame" }
            }
            if isOver { return "\(action) after the end" }
        }
        return nil
    }
}

/// A socket's way from bytes to actions, without a channel.
enum FuzzedSocket {
    enum Event: Equatable {
        case did(WebSocketStateMachine.Action)
        /// Nothing is read after it.
        case gaveUp(CloseCode)
    }

    /// - Parameter pieces: its lower bound is how many bytes arrive at once.
    static func actions(
        _ bytes: ArraySlice<UInt8>, pieces: PartialRangeFrom<Int>, messageBytes: Int,
        fragments: Int
    ) -> [Event] {
        var reader = WebSocketFrameReader(payloadBytesAtMost: messageBytes)
        var machine = WebSocketStateMachine(messageBytes: messageBytes, fragments: fragments)
        var events: [Event] = []
        var buffer = ByteBuffer()
        var rest = bytes
        while !rest.isEmpty {
            buffer.writeBytes(rest.prefix(pieces.lowerBound))
            rest = rest.dropFirst(pieces.lowerBound)
            do throws(WebSocketFrameReader.Failure) {
                while let frame = try reader.next(in: &buffer) {
                    events.append(.did(machine.received(frame)))
                }
            } catch {
                return events + [.gaveUp(error.code)]
            }
        }
        return events
    }
}

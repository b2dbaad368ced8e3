import NIOCore

@testable import chatd

/// Writes the JSON of a text anew: without spaces, with the escapes of ``JSONWriter``.
struct JSONRewriter {
    private let bytes: UnsafeRawBufferPointer

    /// - Parameter bytes: must outlive the rewriter.
    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// The whole text; nil when it is no JSON object.
    func rewritten() -> ByteBuffer? {
        var scanner = JSONScanner(bytes)
        let reader = scanner
        var writer = JSONWriter()
        var isFirst = true
        do throws(JSONError) {
            writer.raw("{")
            try scanner.readObject { key, value throws(JSONError) in
                try member(key, value, &isFirst, reader, &writer)
            }
            writer.raw("}")
        } catch {
            return nil
        }
        return writer.buffer
    }

    private func member(
        _ key: JSONValue, _ value: JSONValue, _ isFirst: inout Bool, _ scanner: JSONScanner,
        _ writer: inout JSONWriter
    ) throws(JSONError) {
        // A name that is not UTF-8 is none that means anything.
        guard let name = scanner.text(of: key) else { return }
        if !isFirst { writer.raw(",") }
        isFirst = false
        writer.string(name)
        writer.raw(":")
        try write(value, scanner, &writer)
    }

    private func write(
        _ value: JSONValue, _ scanner: JSONScanner, _ writer: inout JSONWriter
    ) throws(JSONError) {
        var isFirst = true
        switch value.kind {
        case .null: writer.raw("null")
        case .boolean(let isTrue): writer.boolean(isTrue)
        case .number: writer.raw(ByteBuffer(bytes: bytes[value.range]))
        case .string:
            guard let text = scanner.text(of: value) else { return writer.raw("7") }
            writer.string(text)
        case .object:
            writer.raw("{")
            try scanner.members(of: value) { key, value throws(JSONError) in
                try member(key, value, &isFirst, scanner, &writer)
            }
            writer.raw("}")
        case .array:
            writer.raw("[")
            try scanner.elements(of: value) { element throws(JSONError) in
                if !isFirst { writer.raw(",") }
                isFirst = false
                try write(element, scanner, &writer)
            }
            writer.raw("]")
        }
    }
}

/// The rule for names of people: 1–64 characters and at most 256 bytes, something to see among
/// them, and nothing that changes how the text around the name looks.
///
/// A name is brought to NFC: Swift takes two forms of one text for equal, shards compare bytes, and
/// both have to mean the same person.
enum UserName {
    static let charactersAtMost = 64
    /// A character may be made of any number of scalars; this bounds them.
    static let bytesAtMost = 256

    /// The name that `text` writes, in NFC. It must be percent-decoded already.
    static func parse(_ text: String) throws(FrameError) -> String {
        guard !text.isEmpty else { throw refusal("must not be empty") }
        // No form takes more than three times the bytes of another: longer work is not begun.
        guard text.utf8.count <= 3 * bytesAtMost else { throw tooLong }
        let text = composed(text)
        guard text.utf8.count <= bytesAtMost, text.count <= charactersAtMost else {
            throw tooLong
        }
        guard !text.unicodeScalars.contains(where: isForbidden) else {
            throw refusal("control characters are not allowed")
        }
        guard text.unicodeScalars.contains(where: isVisible) else {
            throw refusal("must not be only white space")
        }
        return text
    }

    /// `text` in NFC, by the tables that `==` of strings uses. Foundation's
    /// `precomposedStringWithCanonicalMapping` has others, and takes letters beyond U+FFFF for Latin
    /// ones when a mark follows.
    private static func composed(_ text: String) -> String {
        String(decoding: text._nfcCodeUnits, as: UTF8.self)
    }

    private static var tooLong: FrameError {
        refusal("longer than \(charactersAtMost) characters or \(bytesAtMost) bytes")
    }

    private static func refusal(_ reason: String) -> FrameError {
        FrameError(.badFrame, field: "user", reason)
    }

    /// Control characters, line breaks, and marks that turn the direction of the text after them.
    private static func isForbidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator:
            return true
        default:
            return (0x202A...0x202E).contains(scalar.value)
                || (0x2066...0x2069).contains(scalar.value)
        }
    }

    /// Whether the scalar alone leaves a mark; a joiner or a space does not.
    private static func isVisible(_ scalar: Unicode.Scalar) -> Bool {
        !scalar.properties.isWhitespace && scalar.properties.generalCategory != .format
    }
}

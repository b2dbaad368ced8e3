import Logging
import Postgres

/// Writes each event as one line of logfmt: `time=… level=… source=… message="…" key=value …`.
///
/// What others have chosen, such as names and errors, cannot begin a line or a key of its own: a value
/// stands in quotes unless it is plain, and is escaped in them as in JSON.
struct LogfmtHandler: LogHandler {
    /// Keys that a line has by itself.
    private static let ownKeys: Set = ["time", "level", "source", "message"]

    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]
    var metadataProvider = LoggingSystem.metadataProvider
    /// Takes one line with its end.
    var output: @Sendable (String) -> Void = StandardError.write

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        output(line(event, at: .now))
    }

    /// - Returns: the line with its end.
    func line(_ event: LogEvent, at time: Timestamp) -> String {
        var line = "time=\(time.rfc3339) level=\(event.level.rawValue)"
        line += " source=\(Self.value(event.source)) message=\(Self.quoted("\(event.message)"))"
        for (key, value) in merged(event).sorted(by: { $0.key < $1.key }) {
            Self.add(value, as: Self.ownKeys.contains(key) ? "metadata." + key : key, to: &line)
        }
        return line + "\n"
    }

    /// The nearer to the event, the stronger, as in the handlers of swift-log itself.
    private func merged(_ event: LogEvent) -> Logger.Metadata {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let given = event.metadata { all.merge(given) { $1 } }
        if let error = event.error {
            all["error.message"] = "\(error)"
            all["error.type"] = "\(String(reflecting: type(of: error)))"
        }
        return all
    }

    /// Adds ` key=value`; of what has parts, each by itself.
    private static func add(
        _ value: Logger.Metadata.Value, as key: String, to line: inout String
    ) {
        switch value {
        case .string(let text):
            line += " \(plain(key: key))=\(Self.value(text))"
        case .stringConvertible(let thing):
            line += " \(plain(key: key))=\(Self.value("\(thing)"))"
        case .dictionary(let parts):
            for (name, part) in parts.sorted(by: { $0.key < $1.key }) {
                add(part, as: "\(key).\(name)", to: &line)
            }
        case .array(let parts):
            for (index, part) in parts.enumerated() { add(part, as: "\(key).\(index)", to: &line) }
        }
    }

    // MARK: Text

    private static func plain(key: String) -> String {
        let bytes = key.utf8.map { byte in
            isLetterOrDigit(byte) || "._-".utf8.contains(byte) ? byte : UInt8(ascii: "_")
        }
        return bytes.isEmpty ? "_" : String(decoding: bytes, as: UTF8.self)
    }

    private static func value(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { isLetterOrDigit($0) || "._:/+-".utf8.contains($0) }
        return isPlain && !text.isEmpty ? text : quoted(text)
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }

    /// A string as in JSON, of visible characters alone.
    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case _ where isInvisible(scalar):
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// Line breaks of all kinds, control characters, and marks that turn the direction of text.
    private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
        let category = scalar.properties.generalCategory
        return [.control, .format, .lineSeparator, .paragraphSeparator].contains(category)
    }
}

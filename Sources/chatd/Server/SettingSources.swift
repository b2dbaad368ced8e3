import FoundationEssentials

/// Where settings come from, in the order in which they decide.
struct SettingSources: Sendable {
    var flags: [Setting: String] = [:]
    var environment: [String: String] = [:]
    var file: ConfigurationFile?

    /// The value that decides; nil when there is none. An empty variable counts as not set.
    subscript(_ setting: Setting) -> GivenValue? {
        if let text = flags[setting] {
            return GivenValue(setting: setting, text: text, source: .flag)
        }
        if let text = environment[setting.variable], !text.isEmpty {
            return GivenValue(setting: setting, text: text, source: .environment)
        }
        if let file, let text = file.values[setting] {
            return GivenValue(setting: setting, text: text, source: .file(path: file.path))
        }
        return nil
    }
}

/// A file of settings: one JSON object.
struct ConfigurationFile: Equatable, Sendable {
    /// As long as no configuration is; guards against a path to something else.
    static let bytesAtMost = 1_024 * 1_024

    let path: String
    /// Flags as `1` and `0`, lists with commas: as a variable would say it.
    let values: [Setting: String]

    /// Reads the file at `path`.
    static func read(_ path: String) throws(ConfigurationError) -> ConfigurationFile {
        let content: Data
        do {
            content = try Data(contentsOf: URL(filePath: path))
        } catch let error as CocoaError where error.code == .fileReadNoSuchFile {
            throw .unreadableFile(path: path, reason: "there is no such file")
        } catch let error as CocoaError where error.code == .fileReadNoPermission {
            throw .unreadableFile(path: path, reason: "permission denied")
        } catch {
            throw .unreadableFile(path: path, reason: "it cannot be read")
        }
        return try ConfigurationFile(path: path, content: content)
    }

    init(path: String, content: Data) throws(ConfigurationError) {
        guard content.count <= Self.bytesAtMost else {
            throw .unreadableFile(path: path, reason: "it is larger than \(Self.bytesAtMost) bytes")
        }
        let entries: [String: FileValue]
        do {
            entries = try JSONDecoder().decode([String: FileValue].self, from: content)
        } catch {
            throw .unreadableFile(
                path: path, reason: "it must hold one JSON object, such as {\"bind\": \"[::1]:80\"}"
            )
        }
        var values: [Setting: String] = [:]
        // In order, so that the same file gives the same error each time.
        for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
            guard let setting = Setting(rawValue: key) else {
                throw .unknownKey(key, path: path)
            }
            values[setting] = try Self.text(of: value, for: setting, path: path)
        }
        self.path = path
        self.values = values
    }

    private static func text(
        of value: FileValue, for setting: Setting, path: String
    ) throws(ConfigurationError) -> String {
        switch (setting, value) {
        case (.allowOpen, .boolean(let isTrue)): return isTrue ? "1" : "0"
        case (.allowOpen, _): throw .badKind(setting, path: path, allowed: "true or false")
        case (.allowedOrigins, .list(let items)), (.trustedProxies, .list(let items)):
            return items.joined(separator: ",")
        case (.drainTime, .number(let number)), (.addressSockets, .number(let number)),
            (.addressRate, .number(let number)), (.addressPages, .number(let number)),
            (.userSockets, .number(let number)), (.userRate, .number(let number)),
            (.userPages, .number(let number)), (.roomSockets, .number(let number)),
            (.roomRate, .number(let number)):
            return Int(exactly: number).map { String($0) } ?? String(number)
        case (.allowedOrigins, _), (.trustedProxies, _):
            throw .badKind(setting, path: path, allowed: "a list of texts")
        case (_, .text(let text)): return text
        case (_, _): throw .badKind(setting, path: path, allowed: "a text in quotes")
        }
    }
}

private enum FileValue: Decodable {
    case text(String)
    case boolean(Bool)
    case number(Double)
    case list([String])
    case other

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        self =
            Self.decoded(String.self, container).map(Self.text)
            ?? Self.decoded(Bool.self, container).map(Self.boolean)
            ?? Self.decoded(Double.self, container).map(Self.number)
            ?? Self.decoded([String].self, container).map(Self.list) ?? .other
    }

    /// Nil when the value is of another kind, which the decoder tells by an error only.
    private static func decoded<Value: Decodable>(
        _ type: Value.Type, _ container: any SingleValueDecodingContainer
    ) -> Value? {
        do {
            return try container.decode(type)
        } catch {
            return nil
        }
    }
}

import Logging
import Postgres

/// Each setting as it is in force, and where it comes from, for people.
struct EffectiveSettings: Sendable {
    struct Entry: Equatable, Sendable {
        var setting: Setting
        /// Without secrets.
        var value: String
        /// `CHATD_BIND`, `--bind`, `"bind" in chatd.json`, or `default`.
        var source: String
    }

    let entries: [Entry]

    init(_ configuration: ServerConfiguration, _ sources: SettingSources) {
        let values = Self.values(configuration)
        entries = Setting.allCases.map { setting in
            let given = sources[setting]
            // What may hold a password is shown by those who know where it is, or not at all.
            let fallback = setting.isSecret ? (given == nil ? "none" : "(hidden)") : given?.text
            return Entry(
                setting: setting, value: values[setting] ?? fallback ?? "none",
                source: given?.place ?? "default")
        }
    }

    /// What is in force, where that is more than what was given.
    private static func values(_ configuration: ServerConfiguration) -> [Setting: String] {
        var values: [Setting: String] = [
            .catalog: configuration.catalog.withoutSecrets,
            .bind: "\(configuration.bind)",
            .serverName: configuration.serverName,
            .topologyFile: configuration.topologyFile ?? "none",
            .spoolDir: configuration.spool?.folder ?? "none",
            .drainTime: "\(configuration.drainTime)",
            .addressSockets: "\(configuration.addresses.sockets)",
            .addressRate: "\(configuration.addresses.socketsPerSecond)",
            .userSockets: "\(configuration.shared.userSockets)",
            .userRate: "\(configuration.shared.userMessagesPerSecond)",
            .userPages: "\(configuration.reading.userPagesPerSecond)",
            .addressPages: "\(configuration.reading.addressPagesPerSecond)",
            .roomSockets: "\(configuration.shared.roomSockets)",
            .roomRate: "\(configuration.shared.roomMessagesPerSecond)",
            .logLevel: configuration.logLevel.rawValue,
        ]
        if let redis = configuration.redis { values[.redisURL] = "\(redis)" }
        return values
    }

    /// A table: name, value, source.
    var text: String {
        let keys = entries.map(\.setting.key.count).max() ?? 0
        let widths = entries.map(\.value.count).max() ?? 0
        return entries.map { entry in
            let key = entry.setting.key
            return key + String(repeating: " ", count: keys - key.count + 2) + entry.value
                + String(repeating: " ", count: widths - entry.value.count + 2) + entry.source
        }.joined(separator: "\n")
    }
}

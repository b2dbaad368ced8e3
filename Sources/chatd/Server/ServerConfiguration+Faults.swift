extension ServerConfiguration {
    /// Each setting that cannot be used, looked at by itself: a server says only the first.
    static func faults(_ sources: SettingSources) -> [ConfigurationError] {
        var faults: [ConfigurationError] = []
        func note(_ fault: ConfigurationError?) {
            if let fault, !faults.contains(fault) { faults.append(fault) }
        }
        note(fault { () throws(ConfigurationError) in try catalog(sources) })
        note(fault { () throws(ConfigurationError) in try bind(sources) })
        note(
            fault { () throws(ConfigurationError) in
                try redisTLS(sources, try redis(sources))
            })
        note(fault { () throws(ConfigurationError) in try origins(sources) })
        note(
            fault { () throws(ConfigurationError) in
                try serverName(sources, bind: defaultBind, hostName: "", processID: 0)
            })
        note(fault { () throws(ConfigurationError) in try spoolPlace(sources) })
        note(fault { () throws(ConfigurationError) in try drainTime(sources) })
        note(fault { () throws(ConfigurationError) in try proxies(sources) })
        note(fault { () throws(ConfigurationError) in try addressLimits(sources) })
        note(fault { () throws(ConfigurationError) in try sharedLimits(sources) })
        note(fault { () throws(ConfigurationError) in try readingLimits(sources) })
        note(fault { () throws(ConfigurationError) in try tlsFiles(sources) })
        note(fault { () throws(ConfigurationError) in try admin(sources) })
        note(fault { () throws(ConfigurationError) in try logLevel(sources) })
        note(fault { () throws(ConfigurationError) in try allowsOpen(sources) })
        note(fault { () throws(ConfigurationError) in try Authentication(sources) })
        return faults
    }

    private static func fault<Value>(
        _ setting: () throws(ConfigurationError) -> Value
    ) -> ConfigurationError? {
        do throws(ConfigurationError) {
            _ = try setting()
            return nil
        } catch {
            return error
        }
    }
}

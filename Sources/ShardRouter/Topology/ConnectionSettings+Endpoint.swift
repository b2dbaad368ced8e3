public import Postgres

extension ConnectionSettings {
    /// The complete connection to a shard: endpoints hold no user and no secrets, so what
    /// `endpoint` does not say is taken from the catalog's own connection string.
    ///
    /// - Throws: `PostgresError.badConnectionString`.
    public init(
        _ endpoint: String, completedBy catalog: ConnectionSettings
    ) throws(PostgresError) {
        self = try ConnectionSettings(endpoint)
            .fillingIn(
                catalog,
                keywords: [
                    "user", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl",
                    "channel_binding", "application_name", "connect_timeout",
                    "target_session_attrs",
                ])
    }
}

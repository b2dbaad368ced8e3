public import CoreMetrics
public import Postgres
public import Tracing

/// What a router needs to know.
public struct RouterConfiguration: Sendable {
    /// The catalog. Shards take its user and TLS settings where their endpoints have none.
    public var catalog: ConnectionSettings
    /// Where the last known topology is kept, for a start without the catalog; nil keeps none.
    public var topologyFile: String?
    public var limits: RouterLimits
    /// Where ``ShardRouter/accept(_:patience:)`` keeps messages whose shard is out of reach; nil
    /// refuses them.
    public var overflow: (any WriteOverflow)?
    /// Where metrics go; nil takes the factory that the program has set up.
    public var metricsFactory: (any MetricsFactory)?
    /// Where spans go; nil takes the tracer that the program has set up, if any.
    public var tracer: (any Tracer)?

    /// - Parameters:
    ///   - catalog: see ``catalog``.
    ///   - topologyFile: see ``topologyFile``.
    ///   - applicationName: how the router's connections appear in `pg_stat_activity`, unless the
    ///     catalog's string says it.
    ///   - limits: see ``limits``.
    public init(
        catalog: ConnectionSettings, topologyFile: String? = nil,
        applicationName: String = "shardrouter", limits: RouterLimits = RouterLimits()
    ) {
        self.catalog = catalog
        if self.catalog["application_name"] == nil {
            self.catalog["application_name"] = applicationName
        }
        self.topologyFile = topologyFile
        self.limits = limits
    }
}

/// Why a router could not start.
public enum RouterStartError: Error, Sendable {
    /// The catalog cannot be used, and there is no last known topology.
    case noTopology(CatalogError, file: String)
    /// A shard's endpoint leads to the wrong database, or to one with an older schema.
    case unfitShard(ShardError)
    /// Not one shard answers.
    case noShardReachable([ShardError])
    /// The cluster has no shard that owns anything.
    case noShards(catalog: String)
}

extension RouterStartError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noTopology(let error, let file):
            "\(error)\nThere is no last known topology either (\(file)). "
                + "Check SHARD_CATALOG and that the server runs; 'shardctl init' makes a catalog."
        case .unfitShard(let error):
            "\(error)\nCheck the shard's endpoint with 'shardctl shard list'."
        case .noShardReachable(let errors):
            errors.map(\.description).joined(separator: "\n")
                + "\nNot one shard answers: check that their servers run and can be reached."
        case .noShards(let catalog):
            "the catalog (\(catalog)) has no shards; add one with 'shardctl shard add'."
        }
    }
}

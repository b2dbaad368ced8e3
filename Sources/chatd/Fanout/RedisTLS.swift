import NIOSSL

/// TLS towards Redis: the certificate is verified, and that it is of the host that was named.
struct RedisTLS: Sendable {
    private let context: NIOSSLContext

    /// - Parameter authorities: a PEM file of the authorities that are trusted; nil trusts those
    ///   of the system.
    init(authorities: String?) throws(RedisTLSError) {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let authorities { configuration.trustRoots = .file(authorities) }
        do {
            context = try NIOSSLContext(configuration: configuration)
        } catch {
            throw RedisTLSError(reason: "\(error)")
        }
    }

    /// What encrypts a connection to `host`.
    func handler(host: String) throws -> NIOSSLClientHandler {
        // An address is no name that could be sent; it is verified against the connection's own.
        try NIOSSLClientHandler(
            context: context, serverHostname: NetworkAddress(host) == nil ? host : nil)
    }
}

/// The authorities of Redis' certificate cannot be read.
struct RedisTLSError: Error, Equatable {
    var reason: String
}

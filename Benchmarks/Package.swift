// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

let package = Package(
    name: "Benchmarks",
    dependencies: [
        .package(name: "shardchat", path: ".."),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(
            url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        // Counts allocations: it stands in front of malloc in the programs that link it.
        .target(name: "CBench", cSettings: [.unsafeFlags(["-O2"])]),
        // The rival: nothing but C and libpq.
        .executableTarget(
            name: "BareClient", dependencies: ["CPostgres"],
            cSettings: [.unsafeFlags(["-O2"])]),
        // Thousands of chat clients in one thread: it must cost less than what it loads.
        .executableTarget(
            name: "ChatLoad",
            cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
        // What the programs share: servers on disk, clusters, figures.
        .target(
            name: "BenchKit",
            dependencies: [
                .product(name: "ShardRouter", package: "shardchat"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "ChatBench",
            dependencies: [
                "BenchKit",
                // Built beside it and started as programs of their own.
                "ChatLoad",
                .product(name: "ChatClient", package: "shardchat"),
                .product(name: "chatd", package: "shardchat"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "MigrateBench",
            dependencies: [
                "BenchKit",
                .product(name: "ShardOperations", package: "shardchat"),
                .product(name: "ShardRouter", package: "shardchat"),
                // Built beside it and started as a program of its own.
                .product(name: "shardctl", package: "shardchat"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "MoveBench",
            dependencies: [
                "BenchKit",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "ShardOperations", package: "shardchat"),
                .product(name: "ShardRouter", package: "shardchat"),
                // Built beside it and started as a program of its own.
                .product(name: "chatd", package: "shardchat"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "RouterBench",
            dependencies: [
                "BenchKit", "CBench",
                .product(name: "ShardRouter", package: "shardchat"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict),
    ]
)

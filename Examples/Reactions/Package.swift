// swift-tools-version: 6.2
import PackageDescription

let package = Package(
    name: "reactions",
    dependencies: [
        .package(name: "shardchat", path: "../.."),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        .executableTarget(
            name: "reactions",
            dependencies: [
                .product(name: "ShardRouter", package: "shardchat"),
                .product(name: "Logging", package: "swift-log"),
            ])
    ]
)

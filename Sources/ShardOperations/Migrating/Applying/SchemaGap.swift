/// What a database lacks, or has beyond the files. No I/O.
enum SchemaGap: Sendable, Equatable {
    case missing([Int])
    case unknown([Int])

    /// - Returns: nil when it has just what the files say.
    init?(has: [Int], files: [Int]) {
        let unknown = Set(has).subtracting(files).sorted()
        let missing = Set(files).subtracting(has).sorted()
        if !unknown.isEmpty {
            self = .unknown(unknown)
        } else if !missing.isEmpty {
            self = .missing(missing)
        } else {
            return nil
        }
    }

    var words: String {
        switch self {
        case .missing(let versions): "\(Self.list(versions)) missing"
        case .unknown(let versions): "\(Self.list(versions)) not in the files"
        }
    }

    var remedy: String {
        switch self {
        case .missing: "shardctl migrate up"
        case .unknown: "use the files of the newer release"
        }
    }

    private static func list(_ versions: [Int]) -> String {
        let words = versions.map(String.init).joined(separator: ", ")
        return versions.count == 1 ? "migration \(words) is" : "migrations \(words) are"
    }
}

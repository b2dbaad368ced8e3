/// The words of Prometheus' text format 0.0.4: names, escapes and numbers.
enum PrometheusText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// `label` with everything that a name may not hold replaced by `_`.
    static func name(_ label: String) -> String {
        var name = ""
        for scalar in label.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "_": name.unicodeScalars.append(scalar)
            case "0"..."9":
                if name.isEmpty { name = "_" }
                name.unicodeScalars.append(scalar)
            default: name += "_"
            }
        }
        return name.isEmpty ? "_" : name
    }

    /// ``name(_:)`` of `label`, ending in `suffix` as that of others does.
    static func name(_ label: String, suffix: String) -> String {
        let name = name(label)
        return name.hasSuffix(suffix) ? name : name + suffix
    }

    /// `{name="value",…}`, sorted by name; empty without dimensions. Of names that become the same
    /// the first one counts.
    static func labels(_ dimensions: [(String, String)]) -> String {
        guard !dimensions.isEmpty else { return "" }
        let values = Dictionary(
            dimensions.map { (labelName($0), $1) }, uniquingKeysWith: { first, _ in first })
        let pairs = values.sorted { $0.key < $1.key }.map { "\($0)=\"\(escaped($1))\"" }
        return "{\(pairs.joined(separator: ","))}"
    }

    /// `labels` with `le` added, for a bucket.
    static func labels(_ labels: String, upTo bound: Double) -> String {
        let rest = labels.isEmpty ? "" : labels.dropFirst().dropLast() + ","
        return "{\(rest)le=\"\(number(bound))\"}"
    }

    /// The text behind `# HELP name`.
    static func help(_ text: String) -> String {
        escaped(text, quotes: false)
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        // Below 2^53 every whole number is exact.
        let isWhole = value.magnitude < 9_007_199_254_740_992 && value == value.rounded()
        return isWhole ? String(Int64(value)) : "\(value)"
    }

    /// Names with two underscores in front, and that of a bucket's bound, are not for us.
    private static func labelName(_ label: String) -> String {
        var name = name(label)
        while name.hasPrefix("__") { name.removeFirst() }
        return name == "le" ? "le_" : name
    }

    private static func escaped(_ text: String, quotes: Bool = true) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}

import Foundation
import Glibc

/// One line of the table.
package struct Figure: Codable, Sendable {
    /// What has to be reached.
    package enum Target: Codable, Sendable {
        case atLeast(Double)
        case atMost(Double)

        func isMet(by value: Double) -> Bool {
            switch self {
            case .atLeast(let bound): value >= bound
            case .atMost(let bound): value <= bound
            }
        }

        var text: String {
            switch self {
            case .atLeast(let bound): "≥ \(short(bound))"
            case .atMost(let bound): "≤ \(short(bound))"
            }
        }
    }

    package var name: String
    /// Ours divided by the rival's, the median of the rounds' own ratios.
    package var ratio: Double?
    package var ours: Double
    package var rival: Double?
    package var unit: String
    /// For the ratio, or for our own value where there is no rival.
    package var target: Target?
    package var note = ""

    package init(
        name: String, ratio: Double? = nil, ours: Double, rival: Double? = nil, unit: String,
        target: Target? = nil, note: String = ""
    ) {
        (self.name, self.unit, self.target, self.note) = (name, unit, target, note)
        (self.ratio, self.ours, self.rival) = (ratio, ours, rival)
    }

    package var isMet: Bool? { target?.isMet(by: ratio ?? ours) }
}

/// Everything that was measured.
package struct Report: Codable, Sendable {
    /// One run as it was.
    package struct Entry: Codable, Sendable {
        var name: String
        var subject: String
        var round: Int
        var run: Run
    }

    package var machine: [String: String] = [:]
    package var figures: [Figure] = []
    package var runs: [Entry] = []
    /// What was measured again and again, by name.
    package var series: [String: [Double]] = [:]

    package init() {}

    package mutating func note(_ name: String, _ subject: String, round: Int, _ run: Run) {
        runs.append(Entry(name: name, subject: subject, round: round, run: run))
    }

    /// Adds a line and prints it.
    package mutating func add(_ figure: Figure) {
        figures.append(figure)
        print(Self.line(figure))
        fflush(nil)
    }

    /// Compares the medians of what both did in the same rounds.
    package mutating func compare(
        _ name: String, ours: [Double], rival: [Double], unit: String, target: Figure.Target?,
        note: String = ""
    ) {
        let ratios = zip(ours, rival).map { $0 / max($1, .leastNormalMagnitude) }
        add(
            Figure(
                name: name, ratio: median(ratios), ours: median(ours), rival: median(rival),
                unit: unit, target: target, note: note))
    }

    package static let header =
        pad("figure", 52) + pad("ratio", 8, isRight: true) + pad("ours", 11, isRight: true)
        + pad("rival", 11, isRight: true) + "  " + pad("unit", 12) + pad("target", 9)

    private static func line(_ figure: Figure) -> String {
        let verdict =
            switch figure.isMet {
            case true?: "met   "
            case false?: "MISSED"
            case nil: "      "
            }
        return pad(figure.name, 52) + pad(figure.ratio.map(short) ?? "", 8, isRight: true)
            + pad(short(figure.ours), 11, isRight: true)
            + pad(figure.rival.map(short) ?? "", 11, isRight: true) + "  " + pad(figure.unit, 12)
            + pad(figure.target?.text ?? "", 9) + verdict + "  " + figure.note
    }

    package func write(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(self).write(to: URL(filePath: path), options: .atomic)
    }
}

/// Three or four digits that matter.
package func short(_ value: Double) -> String {
    switch abs(value) {
    case 1e15...: "–"
    case 100...: String(Int(value.rounded()))
    case 10..<100: String(format: "%.1f", value)
    default: String(format: "%.2f", value)
    }
}

private func pad(_ text: String, _ width: Int, isRight: Bool = false) -> String {
    let space = String(repeating: " ", count: max(0, width - text.count))
    return isRight ? space + text : text + space
}

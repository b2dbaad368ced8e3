import Foundation
import TestKit
import Testing

/// The fuzzer's corpus, replayed; `Tests/Fuzzing/run` looks for more.
@Suite struct FuzzCorpusTests {
    @Test func `whatever was worth keeping holds`() throws {
        let inputs = try Self.corpus()

        #expect(inputs.count > 40)
        for (name, bytes) in inputs {
            #expect(FuzzedDecoders.fault(with: bytes) == nil, "\(name)")
        }
    }

    @Test func `mutations of the corpus hold, too`() throws {
        let inputs = try Self.corpus().map(\.bytes)
        let seed = UInt64.random(in: 0...UInt64.max)
        print("Mutations have the seed \(seed).")
        var random = SeededGenerator(seed: seed)

        for number in 0..<20_000 {
            let bytes = Self.mutation(of: inputs, &random)
            let fault = FuzzedDecoders.fault(with: bytes)
            #expect(fault == nil, "number \(number) of seed \(seed): \(bytes)")
        }
    }

    static func corpus() throws -> [(name: String, bytes: [UInt8])] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Fuzzing/corpus").standardizedFileURL
        return try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil
        ).map { ($0.lastPathComponent, Array(try Data(contentsOf: $0))) }
    }

    /// One input with a few bytes changed, cut out, doubled, or the end of another one.
    static func mutation(
        of inputs: [[UInt8]], _ random: inout SeededGenerator
    ) -> [UInt8] {
        var bytes = inputs.randomElement(using: &random) ?? []
        for _ in 0..<Int.random(in: 1...4, using: &random) where bytes.count > 1 {
            // The first byte picks the decoder.
            let place = Int.random(in: 1..<bytes.count, using: &random)
            let end = min(bytes.count, place + Int.random(in: 1...8, using: &random))
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 2: bytes.removeSubrange(place..<end)
            case 3: bytes.insert(contentsOf: bytes[place..<end], at: place)
            default:
                let other = inputs.randomElement(using: &random) ?? []
                bytes.replaceSubrange(place..., with: other.dropFirst(place))
            }
        }
        return bytes
    }
}

import Foundation
import TestKit
import Testing

@testable import chatd

@Suite struct JSONScannerTests {
    @Test(arguments: [
        #"{}"#, #" { } "#, #"{"a":1}"#, #"{"a":-0.5e+3,"b":[],"c":{}}"#,
        #"{"a":[1,[2,[3]]],"b":true,"c":false,"d":null}"#, #"{"a\n\"\\\/\b\f\r\t":"\u00e9"}"#,
        #"{"a":"\ud83d\ude00"}"#, "{\n\t\"a\" :\r\n 1 }", #"{"a":0,"a":1}"#, #"{"é":"😀"}"#,
    ])
    func `valid objects are read`(json: String) {
        #expect(failure(json) == nil)
    }

    @Test(arguments: [
        "", " ", "[]", "1", "\"a\"", "{", "}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{,}"#,
        #"{a:1}"#, #"{'a':1}"#, #"{"a":01}"#, #"{"a":+1}"#, #"{"a":.5}"#, #"{"a":1.}"#,
        #"{"a":1e}"#, #"{"a":-}"#, #"{"a":NaN}"#, #"{"a":tru}"#, #"{"a":truex}"#, #"{"a":nul"#,
        #"{"a":"b}"#, "{\"a\":\"\n\"}", "{\"a\":\"\u{1}\"}", #"{"a":"\x"}"#, #"{"a":"\"#,
        #"{"a":"\u12"}"#, #"{"a":"\u12g4"}"#, #"{"a":1}x"#, #"{"a":1}{}"#, #"{"a":[1,]}"#,
        #"{"a":[1 2]}"#, #"{"a":[}"#, #"{"a":"\ud800"}"#, #"{"a":"\udc00"}"#,
        #"{"a":"\ud800\ud800"}"#, #"{"a":"\ud800x"}"#, #"{"a":"\ud800\n"}"#, #"{"a" 1}"#,
    ])
    func `what is no object of JSON is refused`(json: String) {
        #expect(failure(json) != nil)
    }

    @Test func `nesting is bounded`() {
        let deep = JSONScanner.depthAtMost
        func nested(_ levels: Int) -> String {
            String(repeating: "{\"a\":", count: levels - 1) + "{}"
                + String(repeating: "}", count: levels - 1)
        }

        #expect(failure(nested(deep)) == nil)
        #expect(failure(nested(deep + 1))?.reason == "too deeply nested")
        #expect(failure(String(repeating: "{\"a\":[", count: 100_000)) != nil)
    }

    @Test func `texts come out as another parser reads them`() throws {
        let escaped = #"{"a":"\u0041\n\"\\\/\b\f\r\t\ud83d\ude00é😀\u20ac"}"#

        let ours = values(escaped).first.flatMap(\.1)

        let theirs = try JSONSerialization.jsonObject(with: Data(escaped.utf8)) as? [String: Any]
        #expect(ours == theirs?["a"] as? String)
    }

    @Test(
        arguments: [
            ("0", 0), ("-1", -1), ("9223372036854775807", .max), ("-9223372036854775808", .min),
            ("9223372036854775808", nil), ("1.0", nil), ("1e3", nil), ("\"1\"", nil), ("true", nil),
            ("[1]", nil), ("123456789012345678901234567890", nil),
        ] as [(String, Int64?)])
    func `whole numbers of 64 bits are read and others are not`(json: String, number: Int64?) {
        var read: Int64?
        withScanner("{\"a\":\(json)}") { scanner in
            var reading = scanner
            try? reading.readObject { _, value in read = scanner.integer(of: value) }
        }

        #expect(read == number)
    }

    @Test func `bytes that are not UTF-8 never become text`() {
        var json = Array(#"{"a":""#.utf8)
        json += [0xC3, 0x28] + Array(#""}"#.utf8)
        var text: String?? = .none

        json.withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            let again = scanner
            try? scanner.readObject { _, value in text = again.text(of: value) }
        }

        #expect(text == .some(nil))
    }

    /// Cuts, changes and doubles bytes of good frames: the scanner must agree with another parser
    /// on what is JSON, wherever both hold to the same rules.
    @Test(arguments: 0..<8)
    func `damaged texts are judged as another parser judges them`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let good = Array(
            #"{"type":"message","id":"2b190304","n":[1,-2.5e3,true,null,{"a":"\u00e9\n"}]}"#.utf8)
        for _ in 0..<2_000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes.remove(at: index)
                case 1: bytes[index] = UInt8.random(in: 0x20...0x7E, using: &random)
                default: bytes.insert(bytes[index], at: index)
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            let parsed = try? JSONSerialization.jsonObject(with: Data(bytes))

            #expect((failure(text) == nil) == (parsed is [String: Any]), "seed \(seed): \(text)")
        }
    }

    // MARK: Helpers

    private func failure(_ json: String) -> JSONError? {
        var failure: JSONError?
        withScanner(json) { scanner in
            var scanner = scanner
            do throws(JSONError) { try scanner.readObject { _, _ in } } catch { failure = error }
        }
        return failure
    }

    private func values(_ json: String) -> [(String?, String?)] {
        var values: [(String?, String?)] = []
        withScanner(json) { scanner in
            var reading = scanner
            try? reading.readObject { key, value in
                values.append((scanner.text(of: key), scanner.text(of: value)))
            }
        }
        return values
    }

    private func withScanner(_ json: String, _ body: (JSONScanner) -> Void) {
        Array(json.utf8).withUnsafeBytes { body(JSONScanner($0)) }
    }
}

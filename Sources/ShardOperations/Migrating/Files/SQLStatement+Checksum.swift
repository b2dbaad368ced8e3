import Crypto
import Foundation

extension SQLStatement {
    /// SHA-256 of the text and the rows, in hexadecimal digits.
    var checksum: String {
        SHA256.hash(data: Data("\(text)\n\(copyData ?? "")".utf8)).hexadecimal
    }
}

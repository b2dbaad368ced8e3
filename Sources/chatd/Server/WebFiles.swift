import Crypto
import FoundationEssentials
import HTTPTypes
import HummingbirdCore
import NIOCore

/// The web client, which is part of the program.
struct WebFiles: Sendable {
    struct File: Sendable {
        var content: ByteBuffer
        var contentType: String
        var entityTag: String
    }

    private let files: [String: File]

    init(_ contents: [(name: String, bytes: [UInt8])] = WebFiles.embedded) {
        files = Dictionary(
            uniqueKeysWithValues: contents.map { name, bytes in
                let digest = SHA256.hash(data: bytes).prefix(12)
                let file = File(
                    content: ByteBuffer(bytes: bytes), contentType: Self.contentType(of: name),
                    entityTag: "\"\(Data(digest).base64EncodedString())\"")
                return (name, file)
            })
    }

    subscript(_ name: String) -> File? { files[name] }

    /// The file, or that the client has it already. Nil when there is no such file.
    ///
    /// Names stay the same from version to version, so clients ask every time whether a file has
    /// changed.
    func answer(_ name: String, ifNoneMatch: [String]) -> Response? {
        guard let file = files[name] else { return nil }
        let headers: HTTPFields = [
            .eTag: file.entityTag, .cacheControl: "no-cache", .contentType: file.contentType,
        ]
        let known = ifNoneMatch.flatMap { $0.split(separator: ",") }.map { tag in
            let tag = tag.drop { $0 == " " }
            return tag.hasPrefix("W/") ? tag.dropFirst(2) : tag
        }
        guard !known.contains(where: { $0 == file.entityTag || $0 == "*" }) else {
            return Response(status: .notModified, headers: headers)
        }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: file.content))
    }

    private static func contentType(of name: String) -> String {
        switch name.split(separator: ".").last {
        case "html": "text/html; charset=utf-8"
        case "css": "text/css; charset=utf-8"
        case "js": "text/javascript; charset=utf-8"
        case "svg": "image/svg+xml"
        default: "application/octet-stream"
        }
    }
}

extension WebFiles {
    /// Each file of `Web/`; a test compares the list with the folder.
    static let embedded: [(name: String, bytes: [UInt8])] = [
        ("app.css", PackageResources.app_css),
        ("app.js", PackageResources.app_js),
        ("bubble.js", PackageResources.bubble_js),
        ("client.js", PackageResources.client_js),
        ("dates.js", PackageResources.dates_js),
        ("delays.js", PackageResources.delays_js),
        ("frames.js", PackageResources.frames_js),
        ("icon.svg", PackageResources.icon_svg),
        ("identifiers.js", PackageResources.identifiers_js),
        ("index.html", PackageResources.index_html),
        ("messagelist.js", PackageResources.messagelist_js),
        ("outbox.js", PackageResources.outbox_js),
        ("reader.js", PackageResources.reader_js),
        ("sender.js", PackageResources.sender_js),
        ("ticker.js", PackageResources.ticker_js),
        ("timeline.js", PackageResources.timeline_js),
    ]
}

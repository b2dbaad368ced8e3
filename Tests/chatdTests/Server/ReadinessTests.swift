import Foundation
import NIOCore
import Testing

@testable import chatd

@Suite struct ReadinessTests {
    @Test(arguments: [
        (
            "cannot connect: connection to server at \"10.0.0.7\", port 5432 failed: Connection "
                + "refused", DependencyTrouble.refused
        ),
        ("could not translate host name \"db.example\" to address", .notResolvable),
        ("FATAL:  password authentication failed for user \"ada\"", .authentication),
        ("cannot connect: fe_sendauth: no password supplied", .authentication),
        ("cannot connect: FATAL:  role \"ada\" does not exist", .authentication),
        ("cannot connect: FATAL:  database \"catalog\" does not exist", .noDatabase),
        ("cannot connect: server does not support SSL, but SSL was required", .encryption),
        ("cannot connect: FATAL:  sorry, too many clients already", .busy),
        ("cannot connect: FATAL:  the database system is starting up", .starting),
        ("terminating connection due to administrator command (SQLSTATE 57P01)", .starting),
        ("the server did not answer in time", .timeout),
        ("cannot connect: timeout expired", .timeout),
        ("the connection was lost: server closed the connection unexpectedly", .lost),
        ("something that nobody has seen before at db.example", .unreachable),
        ("", .unreachable),
    ])
    func `a reason for anybody is a word of a closed list`(
        reason: String, trouble: DependencyTrouble
    ) {
        #expect(DependencyTrouble(reason) == trouble)
    }

    @Test func `names of hosts are told to operators only`() throws {
        let secret = "cannot connect: connection to server at \"db.example\" failed: refused"
        let report = Readiness.Report(
            isReady: true,
            dependencies: [
                StoreHealth.Part(name: "catalog", isReachable: false, reason: secret),
                StoreHealth.Part(name: "shard-a", isReachable: true, reason: ""),
            ])

        #expect(try reasons(report.encoded()) == ["refused", ""])
        #expect(try reasons(report.encoded(isForOperators: true)) == [secret, ""])
    }

    private func reasons(_ buffer: ByteBuffer) throws -> [String] {
        let object = try JSONSerialization.jsonObject(with: Data(buffer.readableBytesView))
        let parts = (object as? [String: Any])?["dependencies"] as? [[String: Any]]
        return try #require(parts).compactMap { $0["reason"] as? String }
    }
}

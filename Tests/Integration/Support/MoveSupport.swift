import FoundationEssentials
import Postgres
import ShardOperations
import ShardRouter
import TestKit
import Testing

extension TestCluster {
    /// The cluster as its operator sees it.
    func operations() throws -> Cluster {
        Cluster(
            catalog: try ConnectionSettings(catalog.connectionString()),
            migrations: URL(filePath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: "migrations"))
    }

    /// No replication slot, publication, subscription, mark, fence or half copy on any shard, and no
    /// open move.
    func expectNothingLeft() async throws {
        for number in servers.indices.map({ $0 + 1 }) {
            let row = try await rows(
                shard: number,
                """
                select (select count(*) from pg_replication_slots where slot_type = 'logical'),
                    (select count(*) from pg_publication),
                    (select count(*) from pg_subscription),
                    (select count(*) from shard.move_marks) + (select count(*) from shard.move_probes),
                    (select count(*) from shard.slots where state in ('preparing', 'importing', 'fenced')),
                    (select count(*) from public.rooms r join shard.slots s
                        on s.slot = shard.slot_of(r.room_id) where s.state = 'none')
                """)[0]
            let names = [
                "slots", "publications", "subscriptions", "marks", "fences", "foreign rows",
            ]
            for (index, name) in names.enumerated() {
                #expect(
                    try row.get(index, as: Int.self) == 0, "\(name) are left at shard \(number)")
            }
        }
        let connection = try await catalogConnection()
        defer { connection.close() }
        let open: Int = try await connection.query(
            "select count(*) from catalog.moving_slots", deadline: .now + .seconds(20))[0].get(0)
        #expect(open == 0, "a move is open")
    }
}

extension Topology {
    /// The slots that shard `number` owns.
    func slots(of number: Int) -> [Int] {
        owners.indices.filter { owners[$0] == ShardID(number) }
    }
}

import BenchKit
import Foundation
import Postgres

/// Holds what callers were told against what the shards have where the slots are active.
struct LedgerCheck {
    private(set) var acknowledged = 0
    private(set) var lost = 0
    private(set) var doubled = 0
    private(set) var disordered = 0

    private struct Row {
        var room: String
        var seq: Int64
    }

    init(_ outcome: PausePhase.Outcome, _ cluster: BenchCluster) async throws {
        var rows: [UUID: Row] = [:]
        var seqs: [String: [Int64]] = [:]
        for shard in cluster.shards {
            let found = try await withDatabase(shard.connectionString) {
                try await $0.query(
                    """
                    select m.room_id, m.seq, m.id from public.messages m
                    join shard.slots s on s.slot = shard.slot_of(m.room_id)
                    where s.state = 'active'
                        and (m.room_id like 'load-%' or m.room_id like 'probe-%')
                    """, deadline: .now + .seconds(600))
            }
            for row in found {
                let room: String = try row.get(0)
                let seq: Int64 = try row.get(1)
                if rows.updateValue(Row(room: room, seq: seq), forKey: try row.get(2)) != nil {
                    doubled += 1
                }
                seqs[room, default: []].append(seq)
            }
        }
        // Numbers without a hole, each once.
        for list in seqs.values where list.sorted() != Array(1...Int64(list.count)) {
            disordered += 1
        }
        var last: [String: Int64] = [:]
        for one in outcome.ledger {
            guard let room = Self.room(one, outcome.settings) else { continue }
            acknowledged += 1
            let row = rows[one.uuid]
            if row?.room != room || row?.seq != one.seq { lost += 1 }
            // One caller writes to a room, so the order of the answers is the order of the room.
            if one.seq <= last[room] ?? 0 { disordered += 1 }
            last[room] = one.seq
        }
    }

    private static func room(_ one: Acknowledgement, _ settings: LoadSettings) -> String? {
        switch Acknowledgement.Kind(rawValue: one.kind) {
        case .load: settings.rooms[Int(one.room)]
        case .probe: settings.probes[Int(one.room)]
        case .read, nil: nil
        }
    }
}

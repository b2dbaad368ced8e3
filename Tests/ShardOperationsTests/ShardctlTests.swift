import Foundation
import ShardRouter
import TestKit
import Testing

/// The built program: exit codes and the keys of `--json`.
@Suite struct ShardctlTests {
    @Test func `commands answer with the agreed keys and exit codes`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one", "two"])
        let shardctl = Shardctl(
            catalog: server.connectionString(database: "\(databases.prefix)_catalog"))

        #expect(try await shardctl.run("init").code == 2)
        let add = try await shardctl.run(
            "shard", "add", "one", "--endpoint", databases.endpoint("one"))
        #expect(add.code == 0)
        #expect(add.json["slots"] as? Int == Slot.count)

        let list = try await shardctl.run("shard", "list")
        let shards = try #require(list.json["shards"] as? [[String: Any]])
        let keys: Set<String> = ["name", "state", "weight", "slots", "endpoint"]
        #expect(shards.count == 1)
        #expect(Set(shards[0].keys) == keys)
        #expect(Set(try await shardctl.run("shard", "show", "one").json.keys) == keys)

        let room = try await shardctl.run("room", "locate", "lobby").json
        #expect(Set(room.keys) == ["room", "slot", "shard", "endpoint", "agrees"])
        #expect(room["shard"] as? String == "one")
        #expect(room["agrees"] as? Bool == true)
        #expect(
            room["slot"] as? Int == RingHash(seed: 7).slot(of: RoomID("lobby")).number)

        #expect(try await shardctl.run("ring", "show").code == 0)
        #expect(try await shardctl.run("migrate", "status").code == 0)
        #expect(try await shardctl.run("status").code == 0)
        try await databases.script("one", "update shard.slots set state = 'moved' where slot = 0")
        #expect(try await shardctl.run("status").code == 3)
        try await databases.script("one", "delete from shard.migrations where version = 2")
        #expect(try await shardctl.run("migrate", "status").code == 3)
    }

    @Test func `errors are one object with a way out`() async throws {
        let shardctl = Shardctl(catalog: "host=127.0.0.1 port=1 dbname=catalog")
        for (words, code, name) in [
            (["status"], 1, "failed"),
            (["shard", "add", "Bad", "--endpoint", "dbname=x"], 2, "refused"),
            (["ring", "show", "--bogus"], 64, "usage"), (["migrate", "new"], 64, "usage"),
            (["dev", "down", "--wipe", "--dir", "/tmp/absent"], 2, "refused"),
        ] {
            let answer = try await shardctl.run(words)
            let error = try #require(answer.json["error"] as? [String: String], "\(words)")
            #expect(answer.code == code, "\(words)")
            #expect(error["code"] == name)
            #expect(error["message"]?.isEmpty == false)
            #expect(error["next"]?.isEmpty == false)
        }
    }

    @Test func `psql gets the words after the dashes and passes its exit code on`() async throws {
        let server = try PostgresServer.start()
        let databases = try await Databases.make(on: server, shards: ["one"])
        let shardctl = Shardctl(
            catalog: server.connectionString(database: "\(databases.prefix)_catalog"))
        _ = try await shardctl.run("shard", "add", "one", "--endpoint", databases.endpoint("one"))

        let answer = try await shardctl.runPlainly(
            ["psql", "--room", "lobby", "--", "-Atc", "select current_database()"])
        #expect(answer.code == 0)
        #expect(answer.text == "\(databases.prefix)_one\n")
        #expect(
            try await shardctl.runPlainly(["psql", "one", "--", "-qc", "select 1/0"]).code == 1)
        #expect(try await shardctl.runPlainly(["psql", "other"]).code == 2)
    }
}

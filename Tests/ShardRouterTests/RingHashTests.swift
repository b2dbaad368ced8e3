import ShardRouter
import Testing

@Suite struct RingHashTests {
    /// (seed, room, hash), printed by PostgreSQL 15 with `hashtextextended(room, seed)`.
    static let golden: [(seed: Int64, room: String, hash: Int64)] = [
        (0, "", -6939563903564495251),
        (0, "abc", -6747756470228489321),
        (0, "abcdef", 290958262752763840),
        (0, "abcdefghi", -3278210106038014113),
        (0, "abcdefghijkl", -7556637188122330412),
        (0, "abcdefghijklm", 8871624171452417744),
        (0, "Müller", -3591366676506796338),
        (0, "日本語の部屋", 7924782312031291952),
        (0, "room:2b190304-9788-4dfb-be16-723cdcf6bb51", 7434493520208753999),
        (1, "", -150071773020461347),
        (1, "ab", 6831083245906393158),
        (1, "abcde", 3336351395796527909),
        (1, "abcdefgh", -996835456672934620),
        (1, "abcdefghijk", 8196382510784792041),
        (1, "abcdefghijkl", -6429754808531195817),
        (1, "abcdefghijklm", 3808842878744369845),
        (1, "lobby", 5288710501594849952),
        (1, "é", 3288078274765394327),
        (1, "room:2b190304-9788-4dfb-be16-723cdcf6bb51", 2895045725346951185),
        (-1, "", -5142811166230430645),
        (-1, "ab", 3639176434904646991),
        (-1, "abcde", 1101614911744638770),
        (-1, "abcdefgh", 3589487173844465705),
        (-1, "abcdefghijk", 2833918571160852060),
        (-1, "abcdefghijkl", -3669402583748189229),
        (-1, "abcdefghijklm", 6205390682044465928),
        (-1, "lobby", -2783451524705909999),
        (-1, "é", -8024666802897165061),
        (-1, "room:2b190304-9788-4dfb-be16-723cdcf6bb51", 1882104058294735185),
        (-9223372036854775808, "", -8806176666887012470),
        (-9223372036854775808, "abc", -4393664051055053206),
        (-9223372036854775808, "abcdef", 1904414986221539528),
        (-9223372036854775808, "abcdefghi", 4385658164650818788),
        (-9223372036854775808, "abcdefghijkl", 7166779322169138750),
        (-9223372036854775808, "abcdefghijklm", -8758644972904818305),
        (-9223372036854775808, "Müller", -949922256728180011),
        (-9223372036854775808, "日本語の部屋", 5543234033237157319),
        (-9223372036854775808, "room:2b190304-9788-4dfb-be16-723cdcf6bb51", -961856415022051812),
        (9223372036854775807, "", -4298248173090169092),
        (9223372036854775807, "ab", -3624711498925237321),
        (9223372036854775807, "abcde", 140345642306784946),
        (9223372036854775807, "abcdefgh", 4029779553967995786),
        (9223372036854775807, "abcdefghijk", 2145874302060842752),
        (9223372036854775807, "abcdefghijkl", -7405302416993488311),
        (9223372036854775807, "abcdefghijklm", -4348500005650857607),
        (9223372036854775807, "lobby", -705094917204947098),
        (9223372036854775807, "é", 293217945758331634),
        (9223372036854775807, "room:2b190304-9788-4dfb-be16-723cdcf6bb51", 2843741196795340315),
        (4611686018427387905, "", 1194648945487219751),
        (4611686018427387905, "ab", 4424613077343587864),
        (4611686018427387905, "abcde", 1479704420130965997),
        (4611686018427387905, "abcdefgh", -2819008880507328279),
        (4611686018427387905, "abcdefghijk", 8610091289578122321),
        (4611686018427387905, "abcdefghijkl", 6101470296411707364),
        (4611686018427387905, "abcdefghijklm", 9081410928780584184),
        (4611686018427387905, "lobby", 7638605557685769569),
        (4611686018427387905, "é", -213373724334512821),
        (4611686018427387905, "room:2b190304-9788-4dfb-be16-723cdcf6bb51", 5344242799440503833),
    ]

    @Test func `the hash is PostgreSQL's hashtextextended`() {
        for vector in Self.golden {
            let hash = RingHash(seed: vector.seed).hash(RoomID(vector.room))

            #expect(hash == vector.hash, "room \(vector.room) with seed \(vector.seed)")
        }
        #expect(Self.golden.count >= 40)
    }

    @Test func `a long room id hashes as in PostgreSQL`() {
        let hash = RingHash(seed: 7).hash(RoomID(String(repeating: "x", count: 10_000)))

        #expect(hash == 460764115235482061)
    }

    @Test func `canonically equal strings are two rooms`() {
        let (composed, decomposed) = (RoomID("\u{e9}"), RoomID("e\u{301}"))

        #expect(composed.text == decomposed.text)
        #expect(composed != decomposed)
        #expect(Set([composed, decomposed]).count == 2)
        #expect(RingHash(seed: 1).hash(composed) != RingHash(seed: 1).hash(decomposed))
    }

    @Test func `the slot is the top fourteen bits`() {
        let ring = RingHash(seed: 42)

        for number in 0..<1_000 {
            let room = RoomID("room-\(number)")
            #expect(ring.slot(of: room).number == Int(UInt64(bitPattern: ring.hash(room)) >> 50))
        }
    }
}

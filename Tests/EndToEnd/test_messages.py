"""Messages: relayed to everybody on all servers, stored once, on the right shard."""

import asyncio
from datetime import datetime, timezone

from chat_client import Socket, message, new_id, timestamp


async def test_people_on_two_servers_see_the_same_messages_in_the_same_order(
    cluster, room, join
):
    ada, bo = await join("ada", 0), await join("bo", 1)

    acks = []
    for number in range(10):
        acks.append(await ada.say(f"from ada {number}"))
        acks.append(await bo.say(f"from bo {number}"))

    for socket in (ada, bo):
        for ack in acks:
            await socket.expect("message", id=ack["id"], seq=ack["seq"])
    assert sorted(ack["seq"] for ack in acks) == list(range(1, 21))
    assert by_seq(ada) == by_seq(bo)
    cluster.assert_stored_once(room, {ack["id"]: ack["seq"] for ack in acks})


def by_seq(socket):
    fields = ("seq", "id", "from", "text", "sentAt", "receivedAt")
    frames = sorted(socket.of_type("message"), key=lambda frame: frame["seq"])
    return [tuple(frame[field] for field in fields) for frame in frames]


async def test_messages_of_many_people_at_once_are_each_stored_once(cluster, room, join):
    people = [await join(f"user-{number}", number % 2) for number in range(8)]

    acks = await asyncio.gather(
        *(person.say(f"{index} {number}") for index, person in enumerate(people)
          for number in range(10)))

    assert sorted(ack["seq"] for ack in acks) == list(range(1, 81))
    cluster.assert_stored_once(room, {ack["id"]: ack["seq"] for ack in acks})


async def test_a_message_says_who_wrote_it_and_when(room, join):
    ada = await join("ada")
    frame = message("hello", **{"from": "mallory", "seq": 99, "receivedAt": timestamp()})

    await ada.send(frame)
    ack = await ada.expect("ack", id=frame["id"])
    got = await ada.expect("message", id=frame["id"])

    assert (ack["level"], ack["seq"]) == ("stored", 1)
    assert (got["from"], got["seq"], got["text"]) == ("ada", 1, "hello")
    assert got["sentAt"] == frame["sentAt"]
    assert "skewed" not in got


async def test_a_clock_that_is_far_off_is_marked(join):
    ada = await join("ada")
    frame = message("from the past", sentAt="2001-02-03T04:05:06.789Z")

    await ada.send(frame)
    got = await ada.expect("message", id=frame["id"])

    assert got["skewed"] is True
    assert got["sentAt"] == frame["sentAt"]


async def test_any_text_comes_back_as_it_was_sent(join):
    ada, bo = await join("ada", 0), await join("bo", 1)
    texts = [
        "Zürich, 東京, مرحبا, 👩‍👩‍👧", "e\u0301 and \u00e9", "\" \\ / \b \f \n \r \t",
        "\u0001\u007f\u2028\u2029\ufeff", "<b>no</b> &amp; '; drop table messages --", " x ",
        "ä" * 8192,
    ]

    for text in texts:
        ack = await ada.say(text)
        assert (await bo.expect("message", id=ack["id"]))["text"] == text


async def test_the_same_id_again_gives_the_same_ack_on_any_server(cluster, room, join):
    ada, other = await join("ada", 0), await join("ada", 1)
    first = await ada.say("one")
    second = await ada.say("two")

    for socket in (other, ada, other):
        await socket.send(message("one", first["id"]))
        again = await socket.expect("ack", id=first["id"])
        assert (again["level"], again["seq"]) == ("stored", first["seq"])

    cluster.assert_stored_once(room, {ack["id"]: ack["seq"] for ack in (first, second)})
    await other.expect("message", id=second["id"])
    assert sum(frame["id"] == first["id"] for frame in other.of_type("message")) == 1


async def test_one_new_id_sent_to_both_servers_at_once_is_stored_once(cluster, room, join):
    ada, other = await join("ada", 0), await join("ada", 1)
    ids = [new_id() for _ in range(15)]

    acks = await asyncio.gather(
        *(socket.say("twice", one) for one in ids for socket in (ada, other)))

    seqs = {}
    for ack in acks:
        assert seqs.setdefault(ack["id"], ack["seq"]) == ack["seq"]
    assert sorted(seqs.values()) == list(range(1, 16))
    cluster.assert_stored_once(room, seqs)


async def test_an_id_that_holds_another_message_is_refused(cluster, room, join):
    ada, bo = await join("ada", 0), await join("bo", 1)
    ack = await ada.say("mine")

    await ada.send(message("changed", ack["id"]))
    await bo.send(message("mine", ack["id"]))

    for socket in (ada, bo):
        error = await socket.expect("error", id=ack["id"])
        assert error["code"] == "idConflict"
        assert error["temporary"] is False
    cluster.assert_stored_once(room, {ack["id"]: ack["seq"]})


async def test_rooms_do_not_hear_each_other(cluster, servers, join):
    ada = await join("ada")
    async with await Socket.join(servers[0].url, cluster.new_room(), "bo") as bo:
        there = await bo.say("only there")
        here = await ada.say("only here")

        await ada.expect("message", id=here["id"])
        assert (there["seq"], here["seq"]) == (1, 1)
        assert [frame["text"] for frame in ada.of_type("message")] == ["only here"]


async def test_rooms_are_spread_over_all_shards(cluster, servers):
    rooms = {shard: cluster.room_on(shard) for shard in cluster.shards}

    for shard, room in rooms.items():
        async with await Socket.join(servers[0].url, room, "ada") as ada:
            ack = await ada.say("here")
        assert cluster.stored(room) == {shard: [(1, ack["id"])]}


async def test_hello_says_what_the_client_must_know(servers, room, join):
    ada = await join("ada", 1)

    hello = ada.hello
    assert ada.frames[0] == hello
    assert ada.connection.subprotocol == "chat.v1"
    assert hello["protocol"] == 1
    assert (hello["server"], hello["room"], hello["user"]) == ("chatd-b", room, "ada")
    assert hello["head"] == 0
    assert hello["heartbeat"] == {"min": 3500, "max": 7000}
    assert hello["limits"] == {
        "textBytes": 16384, "frameBytes": 65536, "messagesPerSecond": 20}
    assert hello["reconnect"] == {"min": 200, "max": 5000}
    assert hello["warm"] is True
    assert abs_seconds(hello["time"]) < 60


def abs_seconds(time):
    assert time.endswith("Z") and time[-5] == ".", time
    return abs((datetime.now(timezone.utc) - datetime.fromisoformat(time)).total_seconds())


async def test_a_client_without_a_subprotocol_is_served_too(servers, room):
    async with await Socket.join(servers[0].url, room, "ada", subprotocols=None) as ada:
        assert ada.connection.subprotocol is None
        assert (await ada.say("plain"))["seq"] == 1


async def test_typing_is_told_to_the_others_on_all_servers(join):
    ada, bo, cy = await join("ada", 0), await join("bo", 0), await join("cy", 1)
    # Nobody repeats what was typed, so the other server has to listen by then: it has heard of all.
    await cy.expect("presence", count=3)

    await ada.send({"type": "typing"})

    for socket in (bo, cy):
        await socket.expect("typing", **{"from": "ada"})
    assert ada.of_type("typing") == []

"""Messages that a shard has acknowledged and lost come back from the clients that saw them.

A failover to a standby that lacked the last commits, or a restored backup, winds a shard back: the
last rows of its rooms are gone, and so is what their counters had counted.
"""

import asyncio
import json
import time

import pytest

from chat_client import ChatClient, Socket, digest, eventually, heartbeat
from cluster import ChatServer

KEYS = ["0" * 63 + digit for digit in "123"]


def wind_back(cluster, room, last):
    """The room's shard loses whatever came after `last`."""
    cluster.sql(
        cluster.owner(room),
        f"""
        delete from messages where room_id = '{room}' and seq > {last};
        update rooms set head = {last} where room_id = '{room}'
        """)


def write_keys(path, *keys):
    path.write_text("".join(key + "\n" for key in keys))
    return str(path)


@pytest.fixture
def key_file(cluster, request):
    return cluster.folder / f"{request.node.name}.keys"


@pytest.fixture
def pair(cluster):
    """Two servers that a test may restart."""
    servers = [cluster.chatd(f"want-{letter}") for letter in "ab"]
    yield servers
    for server in servers:
        server.stop()


def restart(servers, meanwhile=lambda: None):
    """The windows are empty afterwards."""
    for server in servers:
        server.kill()
    meanwhile()
    for server in servers:
        server.start()


async def crowd(servers, room, count):
    """So many clients of the room, on the servers in turn."""
    urls = [server.url for server in servers]
    return [
        ChatClient(urls[number % len(urls):] + urls[:number % len(urls)], room,
                   f"person-{number}", seed=number, may_lose=True).start()
        for number in range(count)
    ]


async def chat(clients, count):
    """Clients write in turn until all of them have `count` messages."""
    before = len(clients[0].messages)
    for number in range(before, count):
        await clients[number % len(clients)].send(f"text {number + 1}")
    await eventually(
        lambda: all(client.up_to == count for client in clients), 20, "all have everything")


async def eventually_stored(cluster, room, is_right, within, what):
    """Waits until the rows of the room are right; clients go on meanwhile."""
    deadline = time.monotonic() + within
    while True:
        stored = await asyncio.to_thread(cluster.stored, room)
        if is_right(stored):
            return stored
        assert time.monotonic() < deadline, f"not within {within} s: {what}: {stored}"
        await asyncio.sleep(0.2)


async def test_what_a_failover_lost_comes_back(cluster, pair, room):
    clients = await crowd(pair, room, 4)
    await chat(clients, 20)
    before = cluster.stored(room)

    restart(pair, meanwhile=lambda: wind_back(cluster, room, 12))
    assert cluster.stored(room) != before

    await eventually_stored(
        cluster, room, lambda stored: stored == before, 40, "everything is there as it was")
    newcomer = ChatClient([pair[0].url], room, "newcomer").start()
    await eventually(lambda: newcomer.up_to == 20, 10, "the newcomer has everything")
    assert sorted(newcomer.texts) == sorted(f"text {number}" for number in range(1, 21))
    for client in clients:
        assert client.up_to == 20
        for seq, frame in newcomer.messages.items():
            assert client.messages[seq] == frame
    for client in [*clients, newcomer]:
        await client.stop()


async def test_lost_messages_whose_numbers_are_taken_get_new_ones(cluster, pair, room):
    clients = await crowd(pair, room, 3)
    await chat(clients, 10)
    lost = clients[0].ids[6:]

    def wind_back_and_go_on():
        wind_back(cluster, room, 6)
        cluster.fill(room, 2)

    restart(pair, meanwhile=wind_back_and_go_on)

    stored = await eventually_stored(
        cluster, room, lambda stored: [len(rows) for rows in stored.values()] == [12], 60,
        "the lost ones are stored behind the new ones")
    [rows] = stored.values()
    assert [seq for seq, _ in rows] == list(range(1, 13))
    assert [one for _, one in rows[8:]] == lost, "in their old order"
    await eventually(
        lambda: all(client.ids == [one for _, one in rows] for client in clients), 30,
        "all clients have the same list")
    for client in clients:
        await client.stop()


async def test_a_shard_may_be_wound_back_under_servers_that_run(cluster, pair, room):
    clients = await crowd(pair, room, 4)
    await chat(clients, 12)
    lost = clients[0].ids[7:]

    wind_back(cluster, room, 7)
    await clients[0].send("the first one after it")

    stored = await eventually_stored(
        cluster, room, lambda stored: [len(rows) for rows in stored.values()] == [13], 60,
        "everything is there")
    [rows] = stored.values()
    assert [seq for seq, _ in rows] == list(range(1, 14))
    assert [one for _, one in rows[8:]] == lost, "behind the new one, in their old order"
    await eventually(
        lambda: all(client.ids == [one for _, one in rows] for client in clients), 30,
        "all clients have the same list")
    assert not any(client.unsequenced for client in clients)
    for client in clients:
        await client.stop()


async def test_a_lost_row_gets_its_old_number_back(cluster, pair, room):
    async with await Socket.join(pair[0].url, room, "ada") as ada:
        acks = [await ada.say(f"text {number}") for number in range(1, 6)]
        frames = [await ada.expect("message", seq=seq) for seq in range(1, 6)]
        assert [ack["receipt"] for ack in acks] == [frame["receipt"] for frame in frames]
    before = cluster.stored(room)
    restart(pair, meanwhile=lambda: cluster.sql(
        cluster.owner(room), f"delete from messages where room_id = '{room}' and seq = 3"))

    async with await Socket.join(pair[1].url, room, "bo") as bo:
        await bo.send({"amhere": True, "msgSeen": [frame["id"] for frame in frames]})
        want = await bo.expect("want")
        assert want["ids"] == [frames[2]["id"]]
        await bo.send(frames[2])
        assert await bo.expect("message") == frames[2]

    assert cluster.stored(room) == before


async def test_one_client_is_asked_and_the_next_one_when_it_is_silent(cluster, pair, room):
    async with await Socket.join(pair[0].url, room, "ada") as ada:
        await ada.say("text 1")
        frame = await ada.expect("message")
    restart(pair, meanwhile=lambda: wind_back(cluster, room, 0))

    async with (
        await Socket.join(pair[0].url, room, "silent") as silent,
        await Socket.join(pair[0].url, room, "bo") as bo,
    ):
        await silent.send({"amhere": True, "msgSeen": [frame["id"]]})
        await silent.expect("want", ids=[frame["id"]])
        asked = time.monotonic()
        await bo.send({"amhere": True, "msgSeen": [frame["id"]]})
        await bo.history()
        assert not bo.of_type("want")
        await bo.expect("want", within=12, ids=[frame["id"]])
        assert time.monotonic() - asked > 6.5
        await silent.send(frame)
        assert (await silent.expect("error"))["code"] == "forbidden"
        assert not cluster.stored(room)
        await bo.send(frame)
        assert (await silent.expect("message"))["from"] == "ada"
    assert [list(rows) for rows in cluster.stored(room).values()] == [[(1, frame["id"])]]


async def test_forged_and_unasked_answers_are_refused(cluster, pair, room):
    async with await Socket.join(pair[0].url, room, "ada") as ada:
        await ada.say("text 1")
        frame = await ada.expect("message")
        # Unasked: it is not lost.
        await ada.send(frame)
        error = await ada.expect("error")
        assert (error["code"], error["id"], error["temporary"]) == (
            "forbidden", frame["id"], False)
    restart(pair, meanwhile=lambda: wind_back(cluster, room, 0))

    forgeries = [
        {"text": "text 2"}, {"from": "bo"}, {"sentAt": "2026-01-01T00:00:00.000Z"},
        {"receipt": "A" * 43}, {"receipt": ""},
    ]
    for number, forgery in enumerate(forgeries):
        async with await Socket.join(pair[0].url, room, f"forger-{number}") as forger:
            await forger.send({"amhere": True, "msgSeen": [frame["id"]]})
            await forger.expect("want", ids=[frame["id"]])
            await forger.send(frame | forgery)
            assert (await forger.expect("error"))["code"] == "forbidden", forgery
    assert not cluster.stored(room)


async def test_a_receipt_of_another_room_is_no_good(cluster, pair, room):
    other = cluster.new_room()
    async with await Socket.join(pair[0].url, other, "ada") as ada:
        await ada.say("text 1")
        frame = await ada.expect("message")
    async with await Socket.join(pair[0].url, room, "bo") as bo:
        await bo.send({"amhere": True, "msgSeen": [frame["id"]]})
        await bo.expect("want")
        await bo.send(frame)
        assert (await bo.expect("error"))["code"] == "forbidden"


async def test_keys_are_exchanged_while_servers_run(cluster, room, key_file):
    server = cluster.chatd("want-keys", CHATD_RECEIPT_KEYS=write_keys(key_file, KEYS[0]))

    async def receipt(text):
        async with await Socket.join(server.url, room, "ada") as ada:
            return (await ada.say(text))["receipt"], ada.frames

    async def same_message_signed():
        async with await Socket.join(server.url, room, "bo") as bo:
            return (await bo.history(limit=1))["messages"][0]["receipt"]

    try:
        old, _ = await receipt("text 1")
        write_keys(key_file, KEYS[1], KEYS[0])
        deadline = time.monotonic() + 10
        while (new := await same_message_signed()) == old:
            assert time.monotonic() < deadline, "the new key is not used"
            await asyncio.sleep(0.1)

        async with await Socket.join(server.url, room, "bo") as bo:
            frame = (await bo.history())["messages"][0]
        server.kill()
        wind_back(cluster, room, 0)
        server.start()
        async with await Socket.join(server.url, room, "bo") as bo:
            await bo.send({"amhere": True, "msgSeen": [frame["id"]]})
            await bo.expect("want")
            await bo.send(frame | {"receipt": old})
            assert (await bo.expect("message"))["receipt"] == new, "signed anew by the first key"
    finally:
        server.stop()


@pytest.mark.parametrize("content", [None, "", "abc\n", "\n".join(KEYS)])
async def test_a_file_without_good_keys_is_refused(cluster, key_file, content):
    if content is not None:
        key_file.write_text(content)
    server = ChatServer(cluster, "want-bad-keys", {"CHATD_RECEIPT_KEYS": str(key_file)})

    code, output = server.run_to_end()

    assert code == 64, output
    assert str(key_file) in output
    assert KEYS[0] not in output


async def test_servers_share_the_key_of_the_catalog(cluster, servers, room, join):
    ada, bo = await join("ada", 0), await join("bo", 1)
    receipt = (await ada.say("text 1"))["receipt"]

    assert (await bo.expect("message"))["receipt"] == receipt
    assert (await bo.history())["messages"][0]["receipt"] == receipt
    assert len(cluster.sql("catalog", "select place from catalog.receipt_keys")) == 1


async def test_what_servers_know_is_not_asked_for(cluster, room, join):
    cluster.fill(room, 300)
    ada = await join("ada")
    old = [frame["id"] for frame in (await ada.history(before=100))["messages"]]

    for _ in range(3):
        await ada.send({"amhere": True, "msgSeen": old})
    await asyncio.sleep(0)
    await ada.say("still here")

    await ada.history(limit=1)
    assert not ada.of_type("want")


def test_the_compact_form_has_at_most_64_bytes():
    for up_to in (0, 4_711, 2**53 - 1):
        assert len(json.dumps(heartbeat(up_to), separators=(",", ":"))) <= 64
    seen = heartbeat(2**53 - 1, ["2b190304-9788-4dfb-be16-723cdcf6bb51"] * 9)["seen"]
    assert len(json.dumps(seen, separators=(",", ":"))) <= 64
    assert digest(["2b190304-9788-4dfb-be16-723cdcf6bb51"]) == "950f71384b7ef6aa"

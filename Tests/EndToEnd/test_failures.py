"""What breaks: a server, a shard, Redis. Nothing that was acknowledged is lost, doubled or moved."""

import asyncio
import socket
import time

import pytest

from chat_client import ChatClient, Socket, eventually, message

PEOPLE = 10
MESSAGES_EACH = 40


@pytest.fixture
def own_servers(cluster):
    """Two servers that a test may kill."""
    servers = [cluster.chatd("chatd-one"), cluster.chatd("chatd-two")]
    yield servers
    for server in servers:
        server.stop()
        cluster.servers.remove(server)


async def test_a_killed_server_loses_nothing(cluster, room, own_servers):
    urls = [server.url for server in own_servers]
    ledger = {}
    clients = [
        ChatClient(urls if number % 2 == 0 else urls[::-1], room, f"user-{number}", ledger, number)
        .start() for number in range(PEOPLE)
    ]
    sent = set()

    async def write(client):
        for number in range(MESSAGES_EACH):
            sent.add(await client.send(f"{client.user} {number}"))
            await asyncio.sleep(0.1)

    try:
        writers = [asyncio.create_task(write(client)) for client in clients]
        await eventually(lambda: len(ledger) > PEOPLE * MESSAGES_EACH / 4, 30, "traffic flows")
        own_servers[0].kill()
        await asyncio.gather(*writers)
        await eventually(lambda: len(ledger) == len(sent), 60, "everything is acknowledged")
        total = len(sent)
        await eventually(
            lambda: all(client.up_to == total for client in clients), 60,
            "everybody has everything")
    finally:
        for client in clients:
            await client.stop()

    assert len(sent) == PEOPLE * MESSAGES_EACH
    assert set(ledger) == sent
    cluster.assert_stored_once(room, ledger)
    assert sorted(ledger.values()) == list(range(1, total + 1))
    for client in clients:
        assert client.ids == clients[0].ids
        assert {one: ledger[one] for one in client.ids} == {
            one: seq for seq, one in enumerate(client.ids, start=1)}
    moved = [client for number, client in enumerate(clients) if number % 2 == 0]
    assert all(client.connections >= 2 for client in moved)


async def test_a_stopped_server_says_goodbye(cluster, room, own_servers):
    ada = await Socket.join(own_servers[0].url, room, "ada")
    ack = await ada.say("before")

    await asyncio.to_thread(own_servers[0].stop)

    bye = await ada.expect("bye")
    assert (bye["code"], bye["reason"]) == (4001, "draining")
    assert 200 <= bye["reconnectAfter"] <= 5000
    assert await ada.expect_close() == 4001
    assert own_servers[0].process.returncode == 0
    cluster.assert_stored_once(room, {ack["id"]: 1})


async def test_a_shard_that_is_away_harms_only_its_own_rooms(cluster, servers):
    away, there = cluster.shards[:2]
    lost_room, other_room = cluster.room_on(away), cluster.room_on(there)
    ada = await Socket.join(servers[0].url, lost_room, "ada")
    bo = await Socket.join(servers[1].url, other_room, "bo")
    first = await ada.say("before")
    frames = [message(f"meanwhile {number}") for number in range(5)]

    cluster.kill(away)
    try:
        for frame in frames:
            await ada.send(frame)
        started = time.monotonic()
        other = [await bo.say(f"elsewhere {number}") for number in range(5)]
        assert time.monotonic() - started < 4, "a room on another shard had to wait"
        for frame in frames:
            assert (await ada.expect("ack", id=frame["id"], within=20))["level"] == "queued"
        await ada.send({"type": "history"})
        assert (await ada.expect("error", within=20))["code"] == "unavailable"
    finally:
        cluster.start()

    acks = [first] + [await sent_until_stored(ada, frame) for frame in frames]
    cluster.assert_stored_once(lost_room, {ack["id"]: ack["seq"] for ack in acks})
    cluster.assert_stored_once(other_room, {ack["id"]: ack["seq"] for ack in other})
    assert sorted(ack["seq"] for ack in acks) == list(range(1, 7))
    await ada.close()
    await bo.close()


async def sent_until_stored(socket, frame, within=30):
    """Sends a message again and again until a shard has it, as clients do."""
    async with asyncio.timeout(within):
        while True:
            await socket.send(frame)
            waits = [
                asyncio.create_task(socket.expect(type, within=within, id=frame["id"]))
                for type in ("ack", "error")
            ]
            done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            answer = done.pop().result()
            if answer["type"] == "ack" and answer["level"] == "stored":
                return answer
            await asyncio.sleep(answer.get("retryAfter", 200) / 1000)


async def test_without_redis_the_shard_brings_the_others_messages(cluster, room, servers):
    ada = ChatClient([servers[0].url], room, "ada").start()
    bo = ChatClient([servers[1].url], room, "bo").start()
    try:
        await ada.send("before")
        await eventually(lambda: bo.texts == ["before"], 10, "the servers hear each other")

        cluster.kill("redis")
        try:
            await ada.send("without")
            # A beat of at most 7 s.
            await eventually(lambda: bo.texts == ["before", "without"], 9, "healed by the shard")
            await bo.send("and back")
            await eventually(lambda: len(ada.texts) == 3, 9, "healed by the shard")
            assert (ada.connections, bo.connections) == (1, 1), "somebody was disconnected"
        finally:
            cluster.start()

        await ada.send("after")
        await eventually(lambda: bo.texts[-1:] == ["after"], 15, "the servers hear each other")
        assert ada.texts == bo.texts == ["before", "without", "and back", "after"]
    finally:
        await ada.stop()
        await bo.stop()
    cluster.assert_stored_once(room, ada.ledger | bo.ledger)


async def test_chat_goes_on_without_the_catalog(cluster, room, servers, join):
    ada, bo = await join("ada", 0), await join("bo", 1)
    acks = [await ada.say("before")]

    cluster.kill("catalog")
    try:
        acks.append(await ada.say("without a catalog"))
        await bo.expect("message", id=acks[1]["id"])
    finally:
        cluster.start()

    cluster.assert_stored_once(room, {ack["id"]: ack["seq"] for ack in acks})


async def test_a_reader_that_reads_nothing_does_not_hold_up_the_others(room, servers, join):
    ada, bo = await join("ada"), await join("bo")
    stalled = await Socket.join(servers[0].url, room, "stalled")
    stalled.connection.transport.pause_reading()

    for number in range(15):
        ack = await ada.say(f"{number} " + "x" * 16_000)
        await bo.expect("message", id=ack["id"], within=5)

    stalled.connection.transport.resume_reading()
    await stalled.expect("message", seq=15, within=20)
    await stalled.close()


@pytest.mark.parametrize("sent", [
    b"", b"GET / HT", b"POST /v1/rooms/a/messages?user=a HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 500\r\n\r\nabc",
])
async def test_an_unfinished_connection_does_not_spoil_a_stop(cluster, sent):
    server = cluster.chatd("chatd-stopped")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(sent)
        # Answered after the connection above was accepted.
        assert await asyncio.to_thread(server.status, "/healthz") == 200

        server.process.terminate()

        assert await asyncio.to_thread(server.process.wait, 20) == 0
    cluster.servers.remove(server)

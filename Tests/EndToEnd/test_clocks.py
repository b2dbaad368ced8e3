"""Clocks that are a day off, of clients and of servers: order, healing, presence, tokens and
receipts hold. Only the wall clock is off; nobody can set the other one."""

import asyncio
import time
from datetime import datetime, timedelta, timezone

import pytest

from chat_client import ChatClient, Socket, eventually, message
from clocks import off_by
from test_auth import KEYS, KeyFile, bearer, everywhere, make_token
from test_want import wind_back
from traffic import write_while

@pytest.fixture
def pair(start):
    """A server a day ahead, and one a day behind."""
    return [
        start(f"chatd-{name}", CHATD_DRAIN_TIME="1", **off_by(days))
        for name, days in (("ahead", 1), ("behind", -1))]


def days_off(text):
    """How many days a time of the protocol is from now."""
    then = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round((then - datetime.now(timezone.utc)) / timedelta(days=1))


#: How far the clocks of six people are off.
DAYS = [0, 1, -1, 0, 1, -1]


async def test_clients_whose_clocks_are_off_are_marked_and_nothing_else(cluster, room, start):
    server = start("chatd-right", CHATD_DRAIN_TIME="0")
    ledger = {}
    clients = [
        ChatClient([server.url], room, f"user-{n}", ledger, n, days_off=days).start()
        for n, days in enumerate(DAYS)]
    try:
        for number in range(5):
            for client in clients:
                await client.send(f"{client.user} {number}")
        await eventually(lambda: len(ledger) == 30, 20, "all is stored")
        await eventually(lambda: all(one.up_to == 30 for one in clients), 20, "all have all")
        last = clients[0].ids[25:]

        # Lost messages come back with the time that their author said, and its mark.
        server.kill()
        wind_back(cluster, room, 25)
        server.start()
        await eventually(
            lambda: [one for rows in cluster.stored(room).values() for _, one in rows][25:] == last,
            60, "what was lost is stored again")
    finally:
        for client in clients:
            await client.stop()

    cluster.assert_stored_once(room, ledger)
    assert all(client.ids == clients[0].ids for client in clients)
    async with await Socket.join(server.url, room, "reader") as reader:
        page = (await reader.history())["messages"]
    assert [one["id"] for one in page] == clients[0].ids
    for one in page:
        days = DAYS[int(one["from"].removeprefix("user-"))]
        assert days_off(one["sentAt"]) == days and days_off(one["receivedAt"]) == 0
        assert one.get("skewed", False) == (days != 0)


async def test_servers_whose_clocks_are_off_keep_one_order(cluster, room, pair):
    ahead, behind = pair

    async def disturb():
        cluster.kill("redis")
        await asyncio.sleep(4)
        cluster.start()
        ahead.process.terminate()
        assert await asyncio.to_thread(ahead.process.wait, 30) == 0
        await asyncio.to_thread(ahead.start)
        behind.kill()
        await asyncio.sleep(1)
        await asyncio.to_thread(behind.start)

    await write_while(cluster, room, [server.url for server in pair], disturb)

    pages = []
    for server in pair:
        async with await Socket.join(server.url, room, "reader") as reader:
            pages.append((await reader.history(limit=500))["messages"])
            assert days_off(reader.hello["time"]) == (1 if server is ahead else -1)
    assert pages[0] == pages[1], "the same messages, receipts and marks"
    assert {days_off(one["receivedAt"]) for one in pages[0]} == {1, -1}
    assert all(one["skewed"] for one in pages[0])


async def test_a_hole_is_healed_between_servers_days_apart(cluster, room, pair):
    ahead, behind = pair
    ada = await Socket.join(ahead.url, room, "ada")
    bo = await Socket.join(behind.url, room, "bo")
    acks = [await ada.say(f"text {number}") for number in range(3)]
    await bo.expect("message", id=acks[2]["id"])

    # Whoever says that he has nothing gets all, from either server's window.
    for socket in (ada, bo):
        await asyncio.sleep(1.1)
        await socket.send({"amhere": True, "seen": {"upTo": 0}})
        sync = await socket.expect("sync")
        assert [one["id"] for one in sync["messages"]] == [ack["id"] for ack in acks]
    # The same id again, through the other server: the same answer.
    again = message("text 1", acks[1]["id"])
    async with await Socket.join(behind.url, room, "ada") as other:
        await other.send(again)
        assert await other.expect("ack", id=again["id"]) == acks[1]
    await ada.close()
    await bo.close()


async def test_people_of_a_killed_server_leave_in_time_whatever_its_clock_says(room, pair):
    ahead, behind = pair
    ada = await Socket.join(behind.url, room, "ada")
    ghost = await Socket.join(ahead.url, room, "ghost")
    await ada.expect("presence", joined=["ghost"])
    await ghost.send({"amhere": True})
    beating = asyncio.create_task(beat(ada))

    ahead.kill()
    since = time.monotonic()
    await ada.expect("presence", left=["ghost"], within=40)
    took = time.monotonic() - since

    beating.cancel()
    assert 5 < took < 30, f"{took:.1f} s"
    await ada.close()


async def beat(socket):
    while True:
        await socket.send({"amhere": True})
        await asyncio.sleep(4)


async def test_tokens_live_by_the_clock_of_the_server_that_is_asked(cluster, room, start):
    keys = KeyFile(cluster.folder / "clock-keys.json")
    keys.write(KEYS)
    settings = {"CHATD_AUTH": "jwt", "CHATD_JWT_KEYS": str(keys.path), "CHATD_DRAIN_TIME": "0"}
    ahead = start("guarded-ahead", **settings, **off_by(1))
    behind = start("guarded-behind", **settings, **off_by(-1))
    long = make_token("ada", everywhere("read", "write"), lasting=3 * 86_400)
    short = make_token("ada", everywhere("read", "write"), lasting=600)
    fresh = make_token("ada", everywhere("read", "write"), lasting=3 * 86_400, iat=time.time())

    async def close_code(server, token):
        socket = await Socket.open(server.url, room, additional_headers=bearer(token))
        try:
            await socket.expect("hello", within=5)
            return None
        except AssertionError:
            return socket.close_code
        finally:
            await socket.close()

    assert [await close_code(server, long) for server in (ahead, behind)] == [None, None]
    assert [await close_code(server, short) for server in (ahead, behind)] == [4401, None]
    assert [await close_code(server, fresh) for server in (ahead, behind)] == [None, 4401]
    # A socket whose token lasts is not closed, and what it says is stored.
    for server in (ahead, behind):
        socket = await Socket.open(server.url, room, additional_headers=bearer(long))
        await socket.expect("hello")
        assert (await socket.say(f"by {server.name}"))["level"] == "stored"
        assert not socket.of_type("bye")
        await socket.close()

"""Limits of users, rooms and addresses, as the settings say them."""

import asyncio
import json

from chat_client import ChatClient, Socket, eventually, message


async def test_a_user_and_a_room_have_so_many_sockets(cluster, room, start):
    server = start(
        "chatd-places", CHATD_USER_SOCKETS="2", CHATD_ROOM_SOCKETS="3", CHATD_DRAIN_TIME="0")
    sockets = [await Socket.join(server.url, room, "ada") for _ in range(2)]

    async def refused(user, room):
        socket = await Socket.open(server.url, room, user)
        bye = await socket.expect("bye")
        assert await socket.expect_close() == bye["code"] == 4429
        assert bye["reconnectAfter"] >= bye["retryAfter"] > 0
        assert not socket.of_type("hello")
        return bye["reason"]

    assert await refused("ada", cluster.new_room()) == "too many sockets of this user"
    sockets.append(await Socket.join(server.url, room, "bo"))
    assert await refused("cy", room) == "too many sockets in this room"
    assert (await sockets[0].say("still here"))["level"] == "stored"
    await sockets[0].close()
    async with asyncio.timeout(20):
        while True:  # Until the server has seen the end of that socket.
            async with await Socket.open(server.url, room, "ada") as socket:
                if not await is_refused(socket):
                    break
    for socket in sockets[1:]:
        await socket.close()


async def is_refused(socket):
    """Whether the first frame is a goodbye."""
    async with asyncio.timeout(10):
        while not socket.frames:
            await asyncio.sleep(0.01)
    return socket.frames[0]["type"] == "bye"


async def test_who_writes_too_fast_loses_nothing(cluster, room, start):
    server = start(
        "chatd-rates", CHATD_USER_RATE="5", CHATD_ROOM_RATE="8", CHATD_DRAIN_TIME="0")
    ledger = {}
    clients = [
        ChatClient([server.url], room, user, ledger, n).start()
        for n, user in enumerate(["ada", "ada", "bo"])]
    try:
        await eventually(lambda: all(one.connections for one in clients), 20, "all are in")
        for number in range(10):
            for client in clients:
                await client.send(f"{client.user} {number}")
        await eventually(lambda: len(ledger) == 30, 60, "all is stored in the end")
        await eventually(lambda: all(one.up_to == 30 for one in clients), 20, "all have all")
    finally:
        for client in clients:
            await client.stop()
    cluster.assert_stored_once(room, ledger)


async def test_posts_and_pages_count(room, start, http):
    server = start(
        "chatd-posted", CHATD_USER_RATE="1", CHATD_USER_PAGES="1", CHATD_ADDRESS_PAGES="1",
        CHATD_TRUSTED_PROXIES="127.0.0.1", CHATD_DRAIN_TIME="0")
    url = f"{server.url}/v1/rooms/{room}/messages"

    async def is_refused(request):
        async with request as answer:
            if answer.status == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                assert json.loads(await answer.text())["code"] == "rateLimited"
            else:
                assert answer.ok
            return answer.status == 429

    async def at_once(make):
        """How many of thirty are refused."""
        return sum(await asyncio.gather(*(is_refused(make()) for _ in range(30))))

    assert 0 < await at_once(lambda: http.post(
        url, params={"user": "ada"}, json=message("hello"))) < 30
    assert not await is_refused(http.post(url, params={"user": "bo"}, json=message("hello")))
    assert 0 < await at_once(lambda: http.get(url, params={"user": "ada"})) < 30
    assert not await is_refused(http.get(url, params={"user": "bo"}))
    by = {"X-Forwarded-For": "203.0.113.7"}
    assert 0 < await at_once(lambda: http.get(url, headers=by)) < 30
    assert not await is_refused(http.get(url, headers={"X-Forwarded-For": "203.0.113.8"}))

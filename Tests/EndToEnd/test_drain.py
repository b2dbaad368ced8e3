"""A server that is told to stop lets its clients go one by one, and nothing is lost with it."""

import asyncio
import json
import signal

import aiohttp
import pytest

from chat_client import Socket, eventually, socket_url
from traffic import write_while


async def test_a_draining_server_takes_nobody_new_and_serves_who_is_there(
    cluster, room, start, http
):
    # So long that nobody is let go before the test is done.
    server = start("chatd-draining", CHATD_DRAIN_TIME="600")
    ada = await Socket.join(server.url, room, "ada")

    server.process.terminate()
    await eventually(lambda: b"draining" in server.log.read_bytes(), 20, "it drains")

    async with http.get(server.url + "/readyz") as answer:
        assert answer.status == 503
        ready = json.loads(await answer.text())
        assert (ready["ready"], ready["draining"]) == (False, True)
        assert any(part["state"] == "up" for part in ready["dependencies"])
    async with http.get(server.url + "/healthz") as answer:
        assert answer.status == 200
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await http.ws_connect(socket_url(server.url, room, "late"))
    assert refusal.value.status == 503
    assert int(refusal.value.headers["Retry-After"]) >= 1
    ack = await ada.say("while it drains")
    assert ack["level"] == "stored"
    assert not ada.of_type("bye")
    cluster.assert_stored_once(room, {ack["id"]: 1})

    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, 20) == 128 + signal.SIGTERM


async def test_each_client_gets_a_goodbye_of_its_own(cluster, room, start):
    server = start("chatd-leaving", CHATD_DRAIN_TIME="2")
    sockets = [await Socket.join(server.url, room, f"user-{one}") for one in range(100)]
    gone, staying = sockets[:20], sockets[20:]

    server.process.terminate()
    await eventually(lambda: b"draining" in server.log.read_bytes(), 20, "it drains")
    for one in gone:
        await one.close()
    code = await asyncio.to_thread(server.process.wait, 30)

    assert code == 0
    byes = [await one.expect("bye") for one in staying]
    assert [await one.expect_close() for one in staying] == [4001] * len(staying)
    assert {(bye["code"], bye["reason"]) for bye in byes} == {(4001, "draining")}
    delays = {bye["reconnectAfter"] for bye in byes}
    assert len(delays) > len(byes) * 0.9 and 200 <= min(delays) and max(delays) <= 1000
    # Nobody is told twice, and who went by himself is at most told once.
    assert all(len(one.of_type("bye")) <= 1 for one in sockets)


async def test_without_a_drain_all_are_closed_at_once(room, start):
    server = start("chatd-stopping", CHATD_DRAIN_TIME="0")
    sockets = [await Socket.join(server.url, room, f"user-{one}") for one in range(100)]

    await asyncio.to_thread(server.stop)

    assert server.process.returncode == 0
    assert {(await one.expect("bye"))["code"] for one in sockets} == {1001}
    assert {await one.expect_close() for one in sockets} == {1001}


async def test_a_rolling_restart_loses_nothing(cluster, room, start):
    servers = [start(f"chatd-rolled-{one}", CHATD_DRAIN_TIME="2") for one in ("a", "b")]
    urls = [server.url for server in servers]

    async def roll():
        for server in servers:
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, 30) == 0
            await asyncio.to_thread(server.start)

    await write_while(cluster, room, urls, roll)

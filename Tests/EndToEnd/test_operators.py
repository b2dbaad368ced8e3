"""What operators see and do: settings before a start, and rooms, sockets and queues inside."""

import asyncio
import json
import socket
import subprocess

import pytest

from chat_client import Socket, message
from cluster import BUILD, ChatServer, free_ports


def check(*words, **settings):
    """`chatd config check`: its exit code, and what it printed."""
    environment = {"PATH": "/usr/bin", "HOME": "/home/ada"} | settings
    process = subprocess.run(
        [BUILD / "chatd", "config", "check", *words], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return process.returncode, process.stdout


def test_a_check_shows_each_setting_with_its_source_and_no_secret(tmp_path):
    file = tmp_path / "chatd.json"
    file.write_text(json.dumps({"serverName": "from-file", "drainTime": 3}))

    code, output = check(
        "--json", "--bind", "127.0.0.1:81", "--config", str(file),
        SHARD_CATALOG="host=127.0.0.1 dbname=catalog user=ada password=hidden-one",
        CHATD_REDIS_URL="redis://ada:hidden-two@127.0.0.1:6379",
        CHATD_TRUSTED_PROXIES="10.0.0.0/8")

    assert code == 0, output
    settings = json.loads(output)
    assert settings["bind"] == {"value": "127.0.0.1:81", "source": "--bind"}
    assert settings["serverName"]["value"] == "from-file"
    assert str(file) in settings["serverName"]["source"]
    assert settings["trustedProxies"] == {
        "value": "10.0.0.0/8", "source": "CHATD_TRUSTED_PROXIES"}
    assert settings["drainTime"]["value"].startswith("3")
    assert settings["logLevel"] == {"value": "info", "source": "default"}
    assert "127.0.0.1" in settings["catalog"]["value"]
    assert "hidden" not in output
    text = check(SHARD_CATALOG="host=127.0.0.1 password=hidden-one")[1]
    assert "hidden" not in text
    assert {line.split()[0] for line in text.splitlines()} == set(settings)


@pytest.mark.parametrize("settings, code, word", [
    ({}, 64, "SHARD_CATALOG"),
    ({"SHARD_CATALOG": "host=a", "CHATD_BIND": "nowhere:at:all"}, 64, "CHATD_BIND"),
    ({"SHARD_CATALOG": "host=a", "CHATD_BIND": "0.0.0.0:80"}, 2, "CHATD_ALLOW_OPEN"),
    ({"SHARD_CATALOG": "host=a", "CHATD_ADMIN_BIND": "0.0.0.0:80"}, 2, "CHATD_ADMIN_BIND"),
    ({"SHARD_CATALOG": "host=a", "CHATD_TLS_CERT": "/nowhere"}, 64, "CHATD_TLS_KEY"),
    ({"SHARD_CATALOG": "host=a", "CHATD_TLS_CERT": "/nowhere", "CHATD_TLS_KEY": "/nowhere"}, 64,
     "/nowhere"),
])
def test_a_check_says_what_a_server_would_refuse(settings, code, word):
    answer, output = check(**settings)

    assert answer == code
    assert word in output


@pytest.fixture
def observed(start):
    port = free_ports(1)
    server = start(
        "chatd-observed", CHATD_ADMIN_BIND=f"127.0.0.1:{port}", CHATD_DRAIN_TIME="0",
        CHATD_TRUSTED_PROXIES="127.0.0.1")
    server.admin = f"http://127.0.0.1:{port}"
    return server


async def ask(http, server, path, method="GET", status=200, **headers):
    async with http.request(method, server.admin + path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return json.loads(await answer.text())


async def test_operators_see_rooms_sockets_and_queues(observed, cluster, room, http):
    other = cluster.new_room()
    ada = await Socket.join(
        observed.url, room, "ada", additional_headers={"X-Forwarded-For": "203.0.113.7"})
    bo = await Socket.join(observed.url, room, "bo")
    cy = await Socket.join(observed.url, other, "cy")
    ack = await ada.say("hello")
    await bo.expect("message", id=ack["id"])

    rooms = await ask(http, observed, "/rooms")
    sockets = await ask(http, observed, f"/sockets?room={room}")
    queues = await ask(http, observed, "/queues")

    assert rooms["total"] == 2
    assert rooms["rooms"][0] == {
        "name": room, "sockets": 2, "head": 1,
        "window": {"messages": 1, "bytes": rooms["rooms"][0]["window"]["bytes"]}}
    assert rooms["rooms"][0]["window"]["bytes"] > 0
    people = {one["user"]: one for one in sockets["sockets"]}
    assert set(people) == {"ada", "bo"} and sockets["total"] == 2
    assert people["ada"]["address"] == "203.0.113.7"
    assert people["bo"]["address"] == "127.0.0.1"
    assert people["ada"]["waitingBytes"] == 0 and people["ada"]["since"].endswith("Z")
    assert set(queues["writeRows"]) == set(cluster.shards)
    assert queues["spoolRows"] == {"all": 0} and queues["pubsubConnected"] == {"all": 1}
    assert (await ask(http, observed, "/sockets?user=cy"))["total"] == 1
    for one in (ada, bo, cy):
        await one.close()


async def test_only_operators_are_told_where_the_dependencies_are(observed, cluster, http):
    shard = cluster.shards[0]
    cluster.kill(shard)
    try:
        async def down(url):
            async with http.get(url) as answer:
                parts = json.loads(await answer.text())["dependencies"]
            return [part["reason"] for part in parts if part["state"] == "down"]

        while await down(observed.url + "/readyz") not in (["refused"], ["connection lost"]):
            await asyncio.sleep(0.2)
        assert "127.0.0.1" in (await down(observed.admin + "/dependencies"))[0]
        assert "a dependency cannot be reached" in observed.log.read_text()
    finally:
        await asyncio.to_thread(cluster.start)


async def test_operators_throw_out_a_user_or_a_socket(observed, room, http):
    first, second = [await Socket.join(observed.url, room, "ada") for _ in range(2)]
    bo, other_bo = [await Socket.join(observed.url, room, "bo") for _ in range(2)]

    assert await ask(http, observed, "/kick?user=ada", "POST") == {"kicked": 2}

    for one in (first, second):
        assert (await one.expect("bye"))["code"] == 4403
        assert await one.expect_close() == 4403
    [number, _] = [
        one["id"] for one in (await ask(http, observed, "/sockets?user=bo"))["sockets"]]
    assert await ask(http, observed, f"/kick?socket={number}", "POST") == {"kicked": 1}
    assert await bo.expect_close() == 4403
    assert (await other_bo.say("still here"))["level"] == "stored"
    assert await ask(http, observed, "/kick?user=nobody", "POST") == {"kicked": 0}
    for path in ("/kick", f"/kick?room={room}", "/kick?socket=x"):
        await ask(http, observed, path, "POST", status=400)
    await other_bo.close()


async def test_a_socket_with_many_rooms_is_seen_and_thrown_out_as_one(
    observed, cluster, http
):
    rooms = [cluster.new_room() for _ in range(3)]
    ada = await Socket.open_rooms(
        observed.url, "ada", additional_headers={"X-Forwarded-For": "203.0.113.7"})
    idle = await Socket.open_rooms(observed.url, "idle")
    other = await Socket.join(observed.url, rooms[0], "ada")
    for room in rooms:
        await ada.enter(room)

    async def seen(query):
        sockets = await ask(http, observed, "/sockets?" + query)
        assert sockets["total"] == len(sockets["sockets"])
        return sockets["sockets"]

    # Once, in however many rooms, and in none.
    assert len(await seen("")) == 3
    [one] = [one for one in await seen("user=ada") if "rooms" in one]
    assert (one["rooms"], one["address"]) == (3, "203.0.113.7") and "room" not in one
    assert one["since"].endswith("Z") and one["waitingBytes"] == 0
    assert [one["rooms"] for one in await seen("user=idle")] == [0]
    [by_room] = await seen(f"room={rooms[1]}")
    assert by_room == one | {"room": rooms[1]}
    assert len(await seen(f"room={rooms[0]}&user=ada")) == 2

    # Out of one room: the socket lives on in the others.
    out = f"/kick?socket={one['id']}&room={rooms[1]}"
    assert await ask(http, observed, out, "POST") == {"kicked": 1}
    assert (await ada.expect("bye", room=rooms[1]))["code"] == 4403
    assert await ask(http, observed, out, "POST") == {"kicked": 0}
    await ada.send({"room": rooms[2]} | message("still here"))
    assert (await ada.expect("ack", room=rooms[2]))["level"] == "stored"
    assert [one["rooms"] for one in await seen(f"room={rooms[2]}")] == [2]

    # Out of all: one goodbye for the socket, and it is closed.
    assert await ask(http, observed, "/kick?user=ada", "POST") == {"kicked": 2}
    assert await ask(http, observed, "/kick?user=idle", "POST") == {"kicked": 1}
    for one in (ada, idle, other):
        assert await one.expect_close() == 4403
        [bye] = [frame for frame in one.of_type("bye") if "room" not in frame]
        assert bye["code"] == 4403


def test_an_admin_port_that_is_taken_is_named(cluster):
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        first.listen()
        address = "127.0.0.1:{}".format(first.getsockname()[1])
        server = ChatServer(cluster, "chatd-unseen", {"CHATD_ADMIN_BIND": address})

        code, output = server.run_to_end()

    assert code == 1
    assert "admin" in output and address in output


async def test_pages_do_not_reach_the_admin_listener(observed, http):
    await ask(http, observed, "/kick?user=ada", "POST", 403, Origin="http://127.0.0.1")
    await ask(http, observed, "/rooms", status=403, Host="evil.example")
    await ask(http, observed, "/kick?user=ada", status=405)
    await ask(http, observed, "/nothing", status=404)
    # And there is nothing of it on the port of the chat.
    async with http.get(observed.url + "/rooms") as answer:
        assert answer.status == 404

"""The spool: what waits on a server's disk while a shard is away, whatever breaks meanwhile."""

import asyncio
import json
import os
import random
import subprocess
import urllib.request

import pytest
from websockets.exceptions import WebSocketException

from chat_client import ChatClient, Socket, eventually, message
from cluster import BUILD, ChatServer, wait_until


@pytest.fixture
def spooled(cluster, request):
    """A server with a spool of its own, that a test may kill."""
    name = f"spooled-{random.randrange(10**6)}"
    server = cluster.chatd(name, CHATD_SPOOL_DIR=str(cluster.folder / f"{name}.spool"))
    yield server
    server.stop()
    cluster.servers.remove(server)


def spool_command(server, command, *words):
    """Runs `chatd spool …` as an operator of this server would."""
    return subprocess.run(
        [BUILD / "chatd", "spool", command, *words], env=server.environment, text=True,
        capture_output=True, timeout=120)


def status(server):
    process = spool_command(server, "status", "--json")
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def metrics(server):
    """`{line without its value: value}` of `/metrics`."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in samples}


async def queue(socket, texts):
    """Sends messages and returns their ids once they are acknowledged as queued."""
    frames = [message(text) for text in texts]
    for frame in frames:
        await socket.send(frame)
    for frame in frames:
        ack = await socket.expect("ack", id=frame["id"], within=30)
        assert ack["level"] == "queued" and "seq" not in ack, ack
    return [frame["id"] for frame in frames]


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_messages_are_queued_while_their_shard_is_away_and_stored_in_order(
        cluster, spooled, servers, how):
    shard = cluster.shards[0]
    room = cluster.room_on(shard)
    ada = await Socket.join(spooled.url, room, "ada")
    bo = await Socket.join(servers[0].url, room, "bo")
    first = await ada.say("before")
    await bo.expect("message", id=first["id"])

    # A frozen server commits what it had when it goes on: after the spool has taken it.
    cluster.kill(shard) if how == "killed" else cluster.freeze(shard)
    try:
        ids = await queue(ada, [f"away {number}" for number in range(15)])
        # The same id again is the same answer, from the same place.
        await ada.send(message("away 0", ids[0]))
        assert (await ada.expect("ack", id=ids[0]))["level"] == "queued"
        report = status(spooled)
        assert (report["rows"], report["rooms"]) == (15, 1)
        assert report["heldBy"] == spooled.process.pid
        assert "away" not in json.dumps(report), "a text was shown"
        measured = metrics(spooled)
        assert measured["chatd_spool_taken_total"] == 15
        assert measured["chatd_spool_pending_rows"] == 15
        assert measured[f'router_circuit_open{{shard="{shard}"}}'] == 1
    finally:
        cluster.start() if how == "killed" else cluster.thaw(shard)

    for number, one in enumerate(ids):
        for reader in (ada, bo):
            stored = await reader.expect("message", id=one, within=30)
            assert stored["seq"] == number + 2
    again = message("away 5", ids[5])
    await ada.send(again)
    assert (await ada.expect("ack", id=ids[5], level="stored"))["seq"] == 7
    cluster.assert_stored_once(room, {one: seq for seq, one in enumerate([first["id"], *ids], 1)})
    wait_until(lambda: status(spooled)["rows"] == 0, 10, "the spool is empty")
    measured = metrics(spooled)
    assert measured["chatd_spool_drained_total"] == 15
    assert measured["chatd_spool_pending_rows"] == 0
    assert measured[f'router_circuit_open{{shard="{shard}"}}'] == 0
    await ada.close()
    await bo.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_server_killed_again_and_again_keeps_what_it_has_queued(cluster, spooled, seed):
    chance = random.Random(seed)
    shard = cluster.shards[seed % len(cluster.shards)]
    rooms = [cluster.room_on(shard) for _ in range(3)]
    queued = {room: [] for room in rooms}

    async def write(room, user):
        """Sends one message after the other, and remembers each that was acknowledged."""
        try:
            socket = await Socket.join(spooled.url, room, user)
            for number in range(10_000):
                frame = message(f"{user} {number}")
                await socket.send(frame)
                ack = await socket.expect("ack", id=frame["id"], within=30)
                assert ack["level"] == "queued"
                queued[room].append(frame["id"])
        except (OSError, WebSocketException):
            pass  # The server was killed.
        except AssertionError as error:
            assert "closed with" in str(error), error

    cluster.kill(shard)
    try:
        for round in range(3):
            writers = [asyncio.create_task(write(room, "ada")) for room in rooms]
            before = sum(map(len, queued.values()))
            await eventually(
                lambda: sum(map(len, queued.values())) > before + 30, 30, "messages are queued")
            await asyncio.sleep(chance.uniform(0, 0.1))
            await asyncio.to_thread(spooled.kill)
            await asyncio.gather(*writers)
            await asyncio.to_thread(spooled.launch)
            await eventually(lambda: spooled.status("/healthz") == 200, 30, "it is back")
    finally:
        cluster.start()

    wait_until(lambda: status(spooled)["rows"] == 0, 30, f"it is drained, seed {seed}")
    for room in rooms:
        [rows] = cluster.stored(room).values()
        ids = [one for _, one in rows]
        assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1)), f"seed {seed}"
        assert len(ids) == len(set(ids)), f"seed {seed}"
        # What was on the disk but not answered may be there, too.
        assert [one for one in ids if one in set(queued[room])] == queued[room], f"seed {seed}"


async def test_nothing_overtakes_what_is_queued(cluster, spooled, servers):
    """A shard that comes and goes: the author's order is the room's order."""
    shard = cluster.shards[1]
    room = cluster.room_on(shard)
    ada = ChatClient([spooled.url], room, "ada").start()
    try:
        await eventually(lambda: ada.connections == 1, 10, "it is connected")
        texts = []

        async def write(count):
            for _ in range(count):
                texts.append(f"text {len(texts)}")
                await ada.send(texts[-1])
                await asyncio.sleep(0.06)  # Below the limit: what is refused comes again later.

        for _ in range(2):
            await write(10)
            cluster.kill(shard)
            writing = asyncio.create_task(write(80))
            await eventually(lambda: status(spooled)["rows"] > 0, 20, "messages are queued")
            await asyncio.to_thread(cluster.start)
            await writing
        await eventually(lambda: ada.up_to == len(texts), 60, "everything is stored")
    finally:
        await ada.stop()
    assert ada.texts == texts


async def test_a_spool_that_nobody_has_is_drained_by_hand(cluster, spooled):
    shard = cluster.shards[2]
    room = cluster.room_on(shard)
    ada = await Socket.join(spooled.url, room, "ada")
    cluster.kill(shard)
    try:
        ids = await queue(ada, ["one", "two", "three"])
        held = spool_command(spooled, "drain")
        assert held.returncode == 2 and "nothing to do" in held.stderr, held.stderr
        await asyncio.to_thread(spooled.kill)
        waiting = spool_command(spooled, "drain", "--patience", "3")
        assert waiting.returncode == 3, waiting.stdout + waiting.stderr
        assert status(spooled)["rows"] == 3
        assert status(spooled)["next"].startswith("chatd spool drain")
    finally:
        cluster.start()

    drained = spool_command(spooled, "drain")

    assert drained.returncode == 0, drained.stderr
    assert "stored     3" in drained.stdout
    assert drained.stdout.splitlines()[-1] == "next: nothing to do"
    cluster.assert_stored_once(room, {one: seq for seq, one in enumerate(ids, 1)})


def test_two_servers_cannot_have_one_spool(cluster, spooled):
    second = ChatServer(
        cluster, "second", {"CHATD_SPOOL_DIR": spooled.environment["CHATD_SPOOL_DIR"]})

    code, output = second.run_to_end()

    assert code == 2
    assert str(spooled.process.pid) in output and "spool" in output


def test_status_of_what_is_no_spool_is_refused(cluster, spooled, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        for command in ("status", "drain"):
            process = spool_command(spooled, command, "--spool-dir", str(folder))
            assert process.returncode == 1, process.stdout
            assert str(folder) in process.stderr and "--spool-dir" in process.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="changes the user")
def test_another_user_is_not_told_that_the_spool_is_empty(spooled):
    process = subprocess.run(
        ["setpriv", "--reuid=nobody", "--clear-groups", BUILD / "chatd", "spool", "status"],
        env=spooled.environment, text=True, capture_output=True)

    assert process.returncode != 0


async def test_a_damaged_spool_is_set_aside_and_reported(cluster, spooled):
    shard = cluster.shards[0]
    room = cluster.room_on(shard)
    ada = await Socket.join(spooled.url, room, "ada")
    folder = spooled.environment["CHATD_SPOOL_DIR"]
    cluster.kill(shard)
    try:
        for number in range(15):  # Each a commit of its own.
            await queue(ada, [f"text {number}"])
        await asyncio.to_thread(spooled.kill)
        with open(f"{folder}/spool.sqlite-wal", "r+b") as log:
            log.seek(20_000)
            log.write(b"damage")
        await asyncio.to_thread(spooled.launch)
        await eventually(lambda: spooled.status("/healthz") == 200, 30, "it is back")
        report = status(spooled)
        assert len(report["setAside"]) == 1 and os.path.isdir(report["setAside"][0])
        assert "damaged" in spooled.log.read_text()
    finally:
        cluster.start()
    wait_until(lambda: status(spooled)["rows"] == 0, 30, "what is whole is drained")

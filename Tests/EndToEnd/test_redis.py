"""Redis is away, hangs, is a cluster, refuses, or encrypts: whatever it does, nothing is lost."""

import asyncio
import json
import os
import urllib.error
import urllib.request

import pytest

from chat_client import ChatClient, Socket, eventually
from cluster import ChatServer, free_ports
from redis_server import Certificates, RedisCluster, RedisServer
from test_presence import Crowd, beat

PEOPLE = 8
#: How long Redis is away, in seconds: longer than presence lasts without it.
OUTAGE = float(os.environ.get("REDIS_OUTAGE", 20))


@pytest.fixture
def parts():
    """What is stopped after the test, the last one first."""
    parts = []
    yield parts
    for part in reversed(parts):
        part.stop()


@pytest.fixture
def two_servers(cluster, parts):
    """Makes two servers that share a Redis of the test's own."""
    def make(url, other_url=None, **settings):
        servers = [
            cluster.chatd(f"chatd-{name}", CHATD_REDIS_URL=redis, **settings)
            for name, redis in (("here", url), ("there", other_url or url))]
        parts.extend(servers)
        for server in servers:
            cluster.servers.remove(server)
        return servers
    return make


def pubsub(server):
    """What `/readyz` says about pub/sub; it must call the server fit for traffic."""
    with urllib.request.urlopen(f"{server.url}/readyz", timeout=5) as answer:
        state = json.load(answer)
    assert answer.status == 200 and state["ready"], state
    [part] = [part for part in state["dependencies"] if part["name"] == "pubsub"]
    return part["state"]


async def readiness_becomes(state, servers, within=30):
    await eventually(
        lambda: all(pubsub(server) == state for server in servers), within,
        f"the readiness says that pub/sub is {state}")


class Traffic:
    """People on both servers who write all the time."""

    def __init__(self, servers, room, people=PEOPLE):
        self.ledger, self.sent = {}, set()
        # Others in each room: what one user may write is bounded over all his sockets.
        self.clients = [
            ChatClient(
                [servers[n % len(servers)].url], room, f"user-{n} of {room}", self.ledger, n)
            for n in range(people)]
        self.writers = []

    async def __aenter__(self):
        for client in self.clients:
            client.start()
        await eventually(
            lambda: all(client.connections for client in self.clients), 20, "all have come")
        self.writers = [asyncio.create_task(self._write(client)) for client in self.clients]
        return self

    async def _write(self, client):
        number = 0
        while True:
            number += 1
            self.sent.add(await client.send(f"{client.user} {number}"))
            await asyncio.sleep(0.25)

    async def flows(self):
        """Returns when each has got something of everybody that is written from now on."""
        before = max(self.ledger.values(), default=0)
        await eventually(
            lambda: all(
                {message["from"] for seq, message in client.messages.items() if seq > before}
                == {other.user for other in self.clients} for client in self.clients),
            30, "everybody reads everybody")

    async def settle(self, last=None):
        """Ends the writing; everybody then has the same list, and it is all that was sent.

        `last` writes once more when all others are done.
        """
        for writer in self.writers:
            writer.cancel()
        await asyncio.gather(*self.writers, return_exceptions=True)
        # One who was interrupted in between may have written what he did not note.
        self.sent |= {id for client in self.clients for id in client.outbox}
        await eventually(
            lambda: self.sent <= set(self.ledger), 30, "everything is acknowledged")
        if last:
            self.sent.add(await last.send("the last"))
            await eventually(
                lambda: self.sent <= set(self.ledger), 30, "the last is acknowledged")
        total = max(self.ledger.values())
        await eventually(
            lambda: all(client.up_to == total for client in self.clients), 30,
            "everybody has everything")
        for client in self.clients:
            assert client.ids == self.clients[0].ids
            assert client.connections == 1, f"disconnected: {client.ends} {client.byes}"
        assert set(self.clients[0].ids) == set(self.ledger)

    async def __aexit__(self, *_):
        for writer in self.writers:
            writer.cancel()
        for client in self.clients:
            await client.stop()


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_redis_away_under_traffic(how, cluster, room, two_servers, parts):
    redis = RedisServer().start()
    parts.append(redis)
    servers = two_servers(redis.url)
    async with Traffic(servers, room) as traffic:
        reader = await Socket.join(servers[0].url, room, "reader")
        beats = asyncio.create_task(beat(reader))
        crowd = Crowd(reader)
        everybody = ["reader", *(client.user for client in traffic.clients)]
        await crowd.becomes(*everybody)
        await traffic.flows()

        redis.kill() if how == "killed" else redis.freeze()
        await readiness_becomes("down", servers)
        end = asyncio.get_running_loop().time() + OUTAGE
        await traffic.flows()
        # People of the other server are known for a while, and then no longer.
        await crowd.becomes(*everybody[:1], *everybody[1::2], within=40)
        while asyncio.get_running_loop().time() < end:
            await traffic.flows()
            assert all(pubsub(server) == "down" for server in servers)
        await traffic.flows()

        redis.start() if how == "killed" else redis.thaw()
        await readiness_becomes("up", servers)
        await crowd.becomes(*everybody)
        await traffic.flows()
        await traffic.settle()
        assert reader.close_code is None
        beats.cancel()
        await reader.close()
    cluster.assert_stored_once(room, traffic.ledger)


async def test_a_redis_cluster_that_loses_a_node(cluster, two_servers, parts):
    redis = RedisCluster()
    parts.append(redis)
    redis.start()
    # Each server is told of another node, and finds the rest.
    servers = two_servers(redis.nodes[0].url, redis.nodes[1].url)
    rooms = [cluster.new_room() for _ in range(24)]
    crowds = [Traffic(servers, room, people=2) for room in rooms]
    async with asyncio.TaskGroup() as group:
        for crowd in crowds:
            group.create_task(crowd.__aenter__())
    try:
        await asyncio.gather(*(crowd.flows() for crowd in crowds))
        by_node = redis.rooms_by_node()
        assert sum(by_node) == len(rooms) and all(by_node), by_node
        assert [node.cli("PUBSUB", "CHANNELS").split() for node in redis.nodes] == [[], [], []]

        redis.nodes[2].kill()
        await readiness_becomes("down", servers)
        await asyncio.gather(*(crowd.flows() for crowd in crowds))
        redis.nodes[2].start()
        await readiness_becomes("up", servers)
        await asyncio.gather(*(crowd.flows() for crowd in crowds))
        await asyncio.gather(*(crowd.settle() for crowd in crowds))
        assert sum(redis.rooms_by_node()) == len(rooms)
    finally:
        for crowd in crowds:
            await crowd.__aexit__()
    for room, crowd in list(zip(rooms, crowds))[:4]:
        cluster.assert_stored_once(room, crowd.ledger)


async def test_a_wrong_password_harms_no_more_than_no_redis(cluster, room, two_servers, parts):
    redis = RedisServer("--user", "ada", "on", ">secret", "+@all", "&*").start()
    parts.append(redis)
    address = redis.url.removeprefix("redis://")
    servers = two_servers(f"redis://ada:secret@{address}", f"redis://ada:wr0ng@{address}")
    await readiness_becomes("up", servers[:1])
    await readiness_becomes("down", servers[1:])
    async with Traffic(servers, room) as traffic:
        # The first server hears nothing of the second one, whose heads do not come either: a
        # message of its own shows the hole.
        await traffic.flows()
        await traffic.settle(last=traffic.clients[0])
    cluster.assert_stored_once(room, traffic.ledger)
    log = servers[1].log.read_text()
    assert "refused AUTH: WRONGPASS" in log
    assert "wr0ng" not in log


async def test_servers_hear_each_other_over_tls(cluster, room, two_servers, parts):
    certificates = Certificates("DNS:localhost", "DNS:redis.example")
    parts.append(certificates)
    port = free_ports(1)
    redis = RedisServer(*certificates.options(port)).start()
    parts.append(redis)
    servers = two_servers(
        f"rediss://localhost:{port}", CHATD_REDIS_CA=str(certificates.authority))
    await readiness_becomes("up", servers)
    async with Traffic(servers, room) as traffic:
        await traffic.flows()
        redis.kill()
        await readiness_becomes("down", servers)
        await traffic.flows()
        redis.start()
        await readiness_becomes("up", servers)
        await traffic.flows()
        await traffic.settle()


async def test_a_certificate_for_another_name_is_refused(cluster, two_servers, parts):
    certificates = Certificates("DNS:localhost")
    parts.append(certificates)
    port = free_ports(1)
    redis = RedisServer(*certificates.options(port)).start()
    parts.append(redis)
    servers = two_servers(
        f"rediss://127.0.0.1:{port}", CHATD_REDIS_CA=str(certificates.authority))

    await eventually(
        lambda: all("cannot be reached" in server.log.read_text() for server in servers), 20,
        "the log says why")
    assert [pubsub(server) for server in servers] == ["down", "down"]
    assert "name=chatd" not in redis.cli("CLIENT", "LIST")


@pytest.mark.parametrize("settings, words", [
    ({"CHATD_REDIS_URL": "rediss://localhost", "CHATD_REDIS_CA": "/nowhere"}, "CHATD_REDIS_CA"),
    ({"CHATD_REDIS_URL": "redis://localhost", "CHATD_REDIS_CA": "/nowhere"}, "rediss://"),
])
def test_authorities_that_cannot_be_used_are_told_at_the_start(cluster, settings, words):
    code, output = ChatServer(cluster, "chatd-misconfigured", settings).run_to_end()

    assert code == 64
    assert words in output

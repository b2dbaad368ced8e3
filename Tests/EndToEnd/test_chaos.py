"""Everything that can fail does, in an order that is drawn, under traffic: the ledger of
acknowledgements holds, and all people end with the same list.

By hand for minutes: `pytest Tests/EndToEnd/test_chaos.py --outage 180`, and `--chaos-seed N` for
the order of a run before.
"""

import asyncio
import json
import random
import time

import pytest

from chat_client import ChatClient, eventually
from raw_socket import TEXT, frame, request
from redis_server import RedisServer
from test_proxies import Proxy
from test_slow_clients import stalled_connection

PEOPLE_IN_A_ROOM = 12
#: Of some forty people: more than one of a hundred.
STALLED = 2


class Person(ChatClient):
    """Takes a message out of the outbox when it comes back by any way, as the protocol says."""

    async def _keep(self, messages):
        await super()._keep(messages)
        for one in messages:
            if one["id"] in self.outbox:
                self._acknowledged(one)


class Crowd:
    """People in some rooms, who write all the time, and what they were told."""

    def __init__(self, url, rooms, seed):
        self.random = random.Random(seed)
        self.ledgers = {room: {} for room in rooms}
        self.sent = {room: set() for room in rooms}
        self.people = [
            Person([url], room, f"user-{number}", self.ledgers[room], self.random.random())
            for room in rooms for number in range(PEOPLE_IN_A_ROOM)]
        self.is_over = False
        self.writers = []

    async def __aenter__(self):
        for person in self.people:
            person.start()
        await eventually(lambda: all(one.connections for one in self.people), 60, "all are in")
        self.writers = [asyncio.create_task(self._write(one)) for one in self.people]
        return self

    async def _write(self, person):
        pauses = random.Random(self.random.random())
        number = 0
        while not self.is_over:
            number += 1
            text = f"{person.user} {number} " + "x" * pauses.choice([0, 0, 0, 100, 4_000])
            self.sent[person.room].add(await person.send(text))
            await asyncio.sleep(pauses.uniform(0.3, 1.2))

    @property
    def acknowledged(self):
        return {room: len(ledger) for room, ledger in self.ledgers.items()}

    def check(self):
        for one in self.people:
            one.check()
        for one in self.writers:
            if one.done():
                one.result()

    async def flows(self, within=60):
        """Waits until people in every room are answered."""
        before = self.acknowledged

        def is_flowing():
            self.check()
            return all(count >= before[room] + 5 for room, count in self.acknowledged.items())

        await eventually(is_flowing, within, f"traffic flows in all rooms: {before}")

    async def settle(self, within=120):
        """Ends the writing, and waits until all is stored and all have all."""
        self.is_over = True
        await asyncio.gather(*self.writers)

        def is_settled():
            self.check()
            return all(
                len(self.ledgers[one.room]) == len(self.sent[one.room]) == one.up_to
                for one in self.people)

        try:
            await eventually(is_settled, within, "all is stored, and all have all")
        except AssertionError as error:
            missing = {
                room: len(self.sent[room] - set(ledger)) for room, ledger in self.ledgers.items()}
            ups = {(one.room, one.user): one.up_to for one in self.people}
            raise AssertionError(f"{error}; not acknowledged: {missing}; up to: {ups}") from None

    async def __aexit__(self, *_):
        for task in self.writers:
            task.cancel()
        for person in self.people:
            await person.stop()


class Stalled:
    """Somebody who joins, beats, asks for pages, and reads nothing. He comes back when he is cut."""

    def __init__(self, url, room, number):
        self.url, self.room, self.user = url, room, f"stalled-{number}"
        self.joins = 0

    async def run(self):
        while True:
            try:
                await self._stay()
            except OSError:
                pass  # He was cut, or nobody answers: that is the server's right.
            await asyncio.sleep(1)

    async def _stay(self):
        socket = await stalled_connection(self.url)
        try:
            socket.write(request(self.url, self.room, self.user))
            self.joins += 1
            while not socket.writer.transport.is_closing():
                socket.write(frame(TEXT, json.dumps({"amhere": True, "seen": {"upTo": 0}})))
                socket.write(frame(TEXT, json.dumps({"type": "history", "limit": 500})))
                await asyncio.sleep(1)
        finally:
            socket.writer.transport.abort()


class Disorder:
    """What can fail, each for `outage` seconds."""

    def __init__(self, cluster, redis, servers, outage):
        self.cluster, self.redis, self.servers, self.outage = cluster, redis, servers, outage
        self.random = random.Random()

    @property
    def all(self):
        return [
            self.redis_is_killed, self.redis_is_frozen, self.a_shard_is_killed,
            self.a_shard_is_frozen, self.servers_are_restarted, self.a_server_is_killed]

    @property
    def pairs(self):
        """Two at once, of different parts."""
        redis = self.random.sample([self.redis_is_killed, self.redis_is_frozen], 2)
        shard = self.random.choice([self.a_shard_is_killed, self.a_shard_is_frozen])
        server = self.random.choice([self.servers_are_restarted, self.a_server_is_killed])
        return [[redis[0], shard], [redis[1], server], [shard, server]]

    async def redis_is_killed(self):
        self.redis.kill()
        await asyncio.sleep(self.outage)
        await asyncio.to_thread(self.redis.start)

    async def redis_is_frozen(self):
        self.redis.freeze()
        await asyncio.sleep(self.outage)
        self.redis.thaw()

    async def a_shard_is_killed(self):
        await asyncio.to_thread(self.cluster.kill, self.random.choice(self.cluster.shards))
        await asyncio.sleep(self.outage)
        await asyncio.to_thread(self.cluster.start)

    async def a_shard_is_frozen(self):
        shard = self.random.choice(self.cluster.shards)
        await asyncio.to_thread(self.cluster.freeze, shard)
        try:
            await asyncio.sleep(self.outage)
        finally:
            await asyncio.to_thread(self.cluster.thaw, shard)

    async def servers_are_restarted(self):
        for server in self.servers:
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, 30) == 0
            await asyncio.to_thread(server.start)

    async def a_server_is_killed(self):
        server = self.random.choice(self.servers)
        server.kill()
        await asyncio.sleep(self.outage)
        await asyncio.to_thread(server.start)


@pytest.fixture
def redis():
    redis = RedisServer().start()
    yield redis
    redis.stop()


@pytest.fixture
def stage(cluster, redis, start):
    """Two servers behind HAProxy, with a Redis of their own."""
    servers = [
        start(f"chatd-chaos-{name}", CHATD_REDIS_URL=redis.url, CHATD_TRUSTED_PROXIES="127.0.0.1",
              CHATD_DRAIN_TIME="2")
        for name in ("a", "b")]
    proxy = Proxy("haproxy", servers)
    yield proxy.url, servers
    proxy.stop()


async def test_whatever_fails_the_ledger_holds(cluster, redis, stage, request):
    outage = request.config.getoption("--outage")
    seed = request.config.getoption("--chaos-seed")
    seed = random.randrange(1_000_000) if seed is None else seed
    print(f"seed {seed}, outages of {outage} s")
    url, servers = stage
    rooms = [cluster.room_on(shard) for shard in cluster.shards]
    disorder = Disorder(cluster, redis, servers, outage)
    disorder.random = random.Random(seed)
    order = disorder.random.sample(disorder.all, k=len(disorder.all))
    stalled = [Stalled(url, rooms[n % len(rooms)], n) for n in range(STALLED)]
    stalling = [asyncio.create_task(one.run()) for one in stalled]
    start = time.monotonic()

    try:
        async with Crowd(url, rooms, seed) as crowd:
            await crowd.flows()
            for troubles in [*([one] for one in order), *disorder.pairs]:
                # Two at once are about their meeting, not about their length.
                disorder.outage = outage if len(troubles) == 1 else min(outage, 5)
                names = " and ".join(one.__name__ for one in troubles)
                print(f"{time.monotonic() - start:6.1f} s: {names}", flush=True)
                await asyncio.gather(*(trouble() for trouble in troubles))
                await crowd.flows(60 + outage)
            print(f"{time.monotonic() - start:6.1f} s: calm", flush=True)
            await crowd.settle(120 + outage)
            people = crowd.people
            total = sum(len(sent) for sent in crowd.sent.values())
            print(f"{time.monotonic() - start:6.1f} s: {total} messages, all acknowledged")
    finally:
        for task in stalling:
            task.cancel()
        await asyncio.gather(*stalling, return_exceptions=True)

    for room in rooms:
        ledger = crowd.ledgers[room]
        assert set(ledger) == crowd.sent[room]
        cluster.assert_stored_once(room, ledger)
        assert sorted(ledger.values()) == list(range(1, len(ledger) + 1)), f"seed {seed}"
        lists = [one.ids for one in people if one.room == room]
        assert all(one == lists[0] for one in lists), f"seed {seed}: lists differ"
    assert all(one.joins for one in stalled)
    assert all(one.connections >= 2 for one in people), "everybody has met the restarts"

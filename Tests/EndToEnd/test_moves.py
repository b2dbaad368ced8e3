"""Rooms that move to another shard while people write in them."""

import asyncio
import os
import signal

import pytest

from chat_client import ChatClient, eventually
from cluster import Cluster


@pytest.fixture(scope="module")
def own_cluster():
    """Two shards, one of which is drained."""
    cluster = Cluster(shards=2)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


async def test_a_server_that_stood_still_while_all_its_rooms_moved_loses_nothing(own_cluster):
    cluster = own_cluster
    leaving = cluster.shards[0]
    rooms = [cluster.room_on(leaving) for _ in range(4)]
    servers = [cluster.chatd("chatd-frozen"), cluster.chatd("chatd-awake")]
    ledgers = {room: {} for room in rooms}
    # Two people in each room, one at each server.
    clients = [
        ChatClient([server.url], room, f"user-{number}-{place}", ledgers[room],
                   2 * number + place).start()
        for number, room in enumerate(rooms) for place, server in enumerate(servers)
    ]
    sent, is_over = {room: set() for room in rooms}, asyncio.Event()

    async def write(client):
        while not is_over.is_set():
            sent[client.room].add(await client.send("text"))
            await asyncio.sleep(0.1)

    def stored_more(count):
        goals = {room: len(ledger) + count for room, ledger in ledgers.items()}
        return eventually(
            lambda: all(len(ledgers[room]) >= goal for room, goal in goals.items()), 60,
            "everybody writes")

    writers = [asyncio.create_task(write(client)) for client in clients]
    try:
        await stored_more(10)
        os.kill(servers[0].process.pid, signal.SIGSTOP)
        try:
            plan = (await asyncio.to_thread(cluster.shardctl, "plan", "--drain", leaving))["plan"]
            done = await asyncio.to_thread(cluster.run, "rebalance", str(plan))
            assert done.returncode == 0, done.stdout + done.stderr
        finally:
            os.kill(servers[0].process.pid, signal.SIGCONT)
        assert all(cluster.owner(room) != leaving for room in rooms)
        await stored_more(10)
        is_over.set()
        await asyncio.gather(*writers)
        await eventually(
            lambda: all(set(ledgers[room]) == sent[room] for room in rooms), 60,
            "everything is acknowledged")
    finally:
        is_over.set()
        for writer in writers:
            writer.cancel()
        for client in clients:
            await client.stop()

    for room in rooms:
        cluster.assert_stored_once(room, ledgers[room], old_copies=[leaving])

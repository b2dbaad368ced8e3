"""Heartbeats: `sync` exactly when something is missing, and only what is missing."""

import asyncio

import pytest_asyncio

from chat_client import Socket, digest, message


@pytest_asyncio.fixture
async def room_of_six(cluster, room, join):
    """A room with six messages, and a reader who came later, on the other server."""
    ada = await join("ada", 0)
    acks = [await ada.say(f"number {number}") for number in range(1, 7)]
    bo = await join("bo", 1)
    assert bo.hello["head"] == 6
    return bo, [ack["id"] for ack in acks]


def compact(up_to):
    return {"amhere": True, "seen": {"upTo": up_to, "count": 0, "digest": digest([])}}


async def test_the_compact_form_gets_what_is_above_upto(room_of_six):
    bo, ids = room_of_six

    await bo.send(compact(2))
    sync = await bo.expect("sync")

    assert [frame["seq"] for frame in sync["messages"]] == [3, 4, 5, 6]
    assert [frame["id"] for frame in sync["messages"]] == ids[2:]
    assert sync["complete"] is True
    assert all(frame["from"] == "ada" for frame in sync["messages"])


async def test_the_compact_form_gets_everything_when_it_has_nothing(room_of_six):
    bo, ids = room_of_six

    await bo.send(compact(0))
    sync = await bo.expect("sync")

    assert [frame["id"] for frame in sync["messages"]] == ids
    assert sync["complete"] is True


async def test_the_founding_form_gets_what_it_does_not_list(room_of_six):
    bo, ids = room_of_six

    await bo.send({"amhere": True, "msgSeen": [ids[0], ids[1], ids[3], ids[5]]})
    sync = await bo.expect("sync")

    assert [frame["id"] for frame in sync["messages"]] == [ids[2], ids[4]]
    assert sync["complete"] is True


async def test_ids_with_upto_get_what_is_above_and_not_listed(room_of_six):
    bo, ids = room_of_six

    await bo.send({"amhere": True, "msgSeen": [ids[4]], "upTo": 3})
    sync = await bo.expect("sync")

    assert [frame["id"] for frame in sync["messages"]] == [ids[3], ids[5]]


async def test_whoever_has_everything_gets_no_sync(room_of_six):
    bo, ids = room_of_six

    for frame in (
        compact(6), {"amhere": True, "msgSeen": ids}, {"amhere": True, "msgSeen": ids, "upTo": 6},
        {"amhere": True, "msgSeen": [], "upTo": 6}, {"amhere": True},
        {"amhere": True, "seen": {"upTo": 6}, "idle": True},
    ):
        await bo.send(frame)
    await bo.no_sync()


async def test_what_was_written_to_a_socket_is_repeated_when_it_does_not_show(join):
    ada, bo = await join("ada", 0), await join("bo", 1)
    await ada.say("one")
    await ada.say("two")
    await bo.expect("message", seq=2)

    # At first the two may still be on their way to bo; once they cannot be, they are missing.
    await eventually_synced(bo, up_to=1)

    assert [frame["seq"] for frame in bo.of_type("sync")[0]["messages"]] == [2]


async def eventually_synced(socket, up_to):
    async with asyncio.timeout(10):
        while not socket.of_type("sync"):
            await socket.send(compact(up_to))
            await asyncio.sleep(0.1)


async def test_a_missing_message_is_not_missing_after_its_sync(room_of_six):
    bo, ids = room_of_six

    await bo.send(compact(5))
    await bo.expect("sync")
    await bo.send(compact(6))

    await bo.no_sync()


async def test_a_client_that_is_far_behind_is_told_to_page(cluster, room, join):
    cluster.fill(room, 1_200)
    ada = await join("ada")
    assert ada.hello["head"] == 1_200

    await ada.send(compact(3))
    sync = await ada.expect("sync")

    seqs = [frame["seq"] for frame in sync["messages"]]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert sync["complete"] is False
    up_to, complete = 3, False
    while not complete:
        page = await ada.history(after=up_to, limit=500)
        assert page["messages"][0]["seq"] == up_to + 1
        up_to, complete = page["messages"][-1]["seq"], page["complete"]
    assert up_to == 1_200


async def test_messages_that_a_client_reports_and_the_server_lacks_do_no_harm(join):
    ada = await join("ada")

    await ada.send(compact(1_000_000))
    await ada.send({"amhere": True, "seen": {"upTo": 0, "count": 2, "digest": "ff" * 8}})
    await ada.no_sync()

    assert (await ada.say("still here"))["seq"] == 1


class LongWay:
    """Between a client and a server: every byte takes `delay` seconds more, in each direction."""

    def __init__(self, port):
        self.port, self.delay, self.tasks = port, 0.0, set()

    async def __aenter__(self):
        self.door = await asyncio.start_server(self.let_in, "127.0.0.1", 0)
        port = self.door.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *error):
        self.door.close()
        for task in self.tasks:
            task.cancel()

    async def let_in(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", self.port)
        for source, target in ((reader, there[1]), (there[0], writer)):
            queue = asyncio.Queue()
            for work in (self.take(source, queue), self.give(queue, target)):
                task = asyncio.create_task(work)
                self.tasks.add(task)

    async def take(self, source, queue):
        while data := await source.read(65_536):
            queue.put_nowait((asyncio.get_running_loop().time() + self.delay, data))

    async def give(self, queue, target):
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            target.write(data)
            await target.drain()


async def test_a_way_that_becomes_longer_is_taken_for_a_loss_once_at_most(servers, room, join):
    async with LongWay(servers[0].port) as way:
        async with await Socket.join(way.url, room, "far") as far, await join("bo") as bo:

            async def write():
                while True:
                    await bo.send(message("x"))
                    await asyncio.sleep(0.15)

            writing = asyncio.create_task(write())
            await far.expect("message")
            way.delay = 0.5
            # Until what is on its way is all as late as it will be.
            await asyncio.sleep(1.5)
            for _ in range(6):
                seen = max(frame["seq"] for frame in far.of_type("message"))
                await far.send({"amhere": True, "seen": {"upTo": seen}})
                await asyncio.sleep(1.2)
            writing.cancel()

            assert len(far.of_type("sync")) <= 1

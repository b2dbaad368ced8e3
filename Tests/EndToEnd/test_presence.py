"""Who is here, on all servers."""

import asyncio

from chat_client import PATIENCE, Socket


class Crowd:
    """What the `presence` frames of a socket add up to."""

    def __init__(self, socket):
        self.socket = socket

    @property
    def names(self):
        names = set()
        for frame in self.socket.of_type("presence"):
            names |= set(frame["joined"])
            names -= set(frame["left"])
        return names

    @property
    def count(self):
        return self.socket.of_type("presence")[-1]["count"]

    async def becomes(self, *names, within=PATIENCE):
        async with asyncio.timeout(within):
            while self.names != set(names) or self.count != len(names):
                await asyncio.sleep(0.02)


async def test_people_on_both_servers_are_seen_and_leave(join):
    ada = await join("ada", 0)
    crowd = Crowd(ada)
    assert ada.people == {"type": "presence", "count": 1, "joined": ["ada"], "left": []}

    bo = await join("bo", 1)
    cy = await join("cy", 0)
    await crowd.becomes("ada", "bo", "cy")
    await Crowd(bo).becomes("ada", "bo", "cy")

    await bo.close()
    await crowd.becomes("ada", "cy")
    await cy.close()
    await crowd.becomes("ada")


async def test_a_newcomer_gets_the_whole_list(join):
    ada = await join("ada", 0)
    await join("bo", 1)
    await Crowd(ada).becomes("ada", "bo")

    dee = await join("dee", 0)

    assert dee.people["joined"] == ["ada", "bo", "dee"]
    assert dee.people["count"] == 3


async def test_a_person_with_two_sockets_counts_once_and_stays_until_the_last(join):
    ada, phone, desk = await join("ada", 0), await join("bo", 0), await join("bo", 1)
    crowd = Crowd(ada)
    await crowd.becomes("ada", "bo")

    await phone.close()
    dee = await join("dee", 1)
    await crowd.becomes("ada", "bo", "dee")
    await desk.close()
    await crowd.becomes("ada", "dee")
    await dee.close()


async def test_somebody_who_vanishes_is_gone_after_a_while(cluster, servers, room, join):
    """Nobody says goodbye when a server is killed: the time after the last heartbeat runs out."""
    other = cluster.chatd("chatd-doomed")
    ada = await join("ada", 0)
    crowd = Crowd(ada)
    bo = await Socket.join(other.url, room, "bo")
    await crowd.becomes("ada", "bo")

    other.kill()
    beating = asyncio.create_task(beat(ada))
    # 2.5 of the longest beats, and what the frames may wait.
    await crowd.becomes("ada", within=17.5 + 7 + 5)

    beating.cancel()
    await bo.expect_close()


async def test_a_crowd_is_a_number_and_a_killed_server_takes_its_part_along(cluster, room):
    """Above 200 nobody is named, between servers either; the names come back with fewer."""
    doomed, other = cluster.chatd("chatd-crowd-doomed"), cluster.chatd("chatd-crowd")
    beats, sockets = [], []
    try:
        for number in range(120):
            for server in (doomed, other):
                socket = await Socket.join(server.url, room, f"{server.name}-{number}")
                sockets.append(socket)
                beats.append(asyncio.create_task(beat(socket)))
        crowds = [Crowd(socket) for socket in sockets[:2]]
        async with asyncio.timeout(PATIENCE):
            while any(crowd.count != 240 for crowd in crowds):
                await asyncio.sleep(0.05)
        late = await Socket.join(other.url, room, "late")
        assert late.people == {"type": "presence", "count": 241, "joined": [], "left": []}
        await late.close()

        doomed.kill()
        left = sockets[1]
        whole = await left.expect("presence", within=17.5 + 7 + 7 + 5, count=120)
        while not whole["joined"]:
            whole = await left.expect("presence", within=17.5, count=120)
        assert set(whole["joined"]) == {f"{other.name}-{number}" for number in range(120)}
    finally:
        for task in beats:
            task.cancel()
        await asyncio.gather(*beats, return_exceptions=True)
        await asyncio.gather(*(socket.close() for socket in sockets), return_exceptions=True)
        other.stop()
        for server in (doomed, other):
            cluster.servers.remove(server)


async def beat(socket):
    while True:
        await socket.send({"amhere": True})
        await asyncio.sleep(3.5)

"""Many rooms on one socket, beside sockets of one room."""

import asyncio

from chat_client import Socket, heartbeat, message


def tagged(room, frame):
    return {"room": room} | frame


async def test_one_socket_talks_in_many_rooms_with_people_on_another_server(
    cluster, servers
):
    rooms = [cluster.new_room() for _ in range(20)]
    async with await Socket.open_rooms(servers[0].url, "ada") as ada:
        for room in rooms:
            assert (await ada.enter(room))["user"] == "ada"
        others = [await Socket.join(servers[1].url, room, "bo") for room in rooms]

        said = [message(f"to {room}") for room in rooms]
        for room, frame in zip(rooms, said):
            await ada.send(tagged(room, frame))
        for room, frame, bo in zip(rooms, said, others):
            ack = await ada.expect("ack", room=room, id=frame["id"])
            assert (ack["level"], ack["seq"]) == ("stored", 1)
            assert (await bo.expect("message", id=frame["id"]))["text"] == f"to {room}"
            answer = await bo.say("heard")
            assert (await ada.expect("message", id=answer["id"]))["room"] == room

        for room, frame, bo in zip(rooms, said, others):
            cluster.assert_stored_once(room, {frame["id"]: 1, bo.of_type("ack")[0]["id"]: 2})
            await bo.close()


async def test_each_room_is_healed_by_its_own_heartbeat(cluster, servers):
    rooms = [cluster.new_room(), cluster.new_room()]
    async with await Socket.join(servers[1].url, rooms[0], "bo") as bo:
        ids = [(await bo.say(f"before {number}"))["id"] for number in range(3)]
        async with await Socket.open_rooms(servers[0].url, "ada") as ada:
            for room in rooms:
                await ada.enter(room)

            await ada.send(tagged(rooms[1], heartbeat(0)))
            await ada.send(tagged(rooms[0], heartbeat(1)))
            sync = await ada.expect("sync", room=rooms[0])

            assert [one["id"] for one in sync["messages"]] == ids[1:]
            await ada.send(tagged(rooms[1], {"type": "history", "limit": 1}))
            assert (await ada.expect("history"))["room"] == rooms[1]
            assert len(ada.of_type("sync")) == 1


async def test_a_room_that_is_left_is_silent_and_can_be_joined_again(cluster, servers):
    room = cluster.new_room()
    async with await Socket.open_rooms(servers[0].url, "ada") as ada:
        await ada.enter(room)
        frame = message("on its way")
        await ada.send(tagged(room, frame))
        await ada.send({"type": "leave", "room": room})

        assert (await ada.expect("bye", room=room))["code"] == 1000
        async with await Socket.join(servers[0].url, room, "bo") as bo:
            await bo.say("nobody hears me")
        assert (await ada.enter(room))["head"] == 2
        await ada.send(tagged(room, heartbeat(0)))
        sync = await ada.expect("sync", room=room)

        assert [one["text"] for one in sync["messages"]] == ["on its way", "nobody hears me"]
        # It was acknowledged all the same.
        await ada.expect("ack", id=frame["id"])
        assert [one["text"] for one in ada.of_type("message")] in ([], ["on its way"])


async def test_nothing_of_a_large_room_follows_its_bye(cluster, servers):
    room, url = cluster.new_room(), servers[0].url
    crowd = [await Socket.join(url, room, f"crowd {number % 4}") for number in range(300)]
    writer, mod = await Socket.join(url, room, "writer"), await Socket.join(url, room, "mod")

    async def write():
        while True:
            await writer.send(message("x"))
            await asyncio.sleep(0.055)

    writing = asyncio.create_task(write())
    try:
        for turn in range(12):
            async with await Socket.open_rooms(url, f"guest {turn}") as guest:
                await guest.enter(room)
                await guest.expect("message")
                if turn % 2:
                    await guest.send({"type": "leave", "room": room})
                    await guest.expect("bye", room=room)
                else:
                    await mod.moderate(kick=f"guest {turn}")
                    assert (await guest.expect("bye", room=room))["code"] == 4403
                    kick = [one for one in guest.of_type("message") if "event" in one][-1]
                    assert kick["event"]["user"] == f"guest {turn}"
                # Whoever is there hears of it: what was on its way to the guest would have come.
                await mod.say("and on")
                await guest.send({"amhere": True, "room": "nowhere"})
                await guest.expect("error")
                types = [frame["type"] for frame in guest.frames]
                assert types[types.index("bye") + 1:] == ["error"]
    finally:
        writing.cancel()
        for one in [*crowd, writer, mod]:
            await one.close()


async def test_what_is_wrong_is_said_with_the_room_that_it_is_about(cluster, servers):
    room = cluster.new_room()
    async with await Socket.open_rooms(servers[0].url, "ada") as ada:
        frame = message("to nobody")
        await ada.send(frame)
        roomless = await ada.expect("error", code="badRoom", id=frame["id"])
        await ada.send(tagged(room, frame))
        stranger = await ada.expect("error", code="badRoom", room=room)
        await ada.enter(room)
        await ada.send(tagged(room, {"type": "message", "text": "no id"}))
        wordless = await ada.expect("error", code="badMessage")
        await ada.send({"type": "join", "room": "../etc"})
        misnamed = await ada.expect("error", code="badRoom")

        assert "room" not in roomless and stranger["room"] == room
        assert wordless["room"] == room and "room" not in misnamed
        assert (await ada.say_in(room, "all the same"))["seq"] == 1


async def test_a_draining_server_says_goodbye_once_to_a_socket_with_many_rooms(
    cluster, start
):
    server = start("chatd-many", CHATD_DRAIN_TIME="2")
    busy = await Socket.open_rooms(server.url, "ada")
    idle = await Socket.open_rooms(server.url, "bo")
    for _ in range(5):
        await busy.enter(cluster.new_room())

    server.process.terminate()

    for socket in (busy, idle):
        assert await socket.expect_close() == 4001
        assert [one["code"] for one in socket.of_type("bye")] == [4001]
        assert "room" not in socket.of_type("bye")[0]
    assert server.process.wait(timeout=20) == 0

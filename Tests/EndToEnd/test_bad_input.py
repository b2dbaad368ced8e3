"""Bad input gets a clear answer, costs nobody else anything, and loses nothing."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from chat_client import Socket, message, socket_url, timestamp

BAD_FRAMES = [
    ("no json", "badFrame", None),
    ("[]", "badFrame", None),
    ("{\"type\":\"message\"", "badFrame", None),
    ("{\"type\":\"typing\"} {}", "badFrame", None),
    ("", "badFrame", None),
    ("{}", "badFrame", "type"),
    ({"type": 7}, "badFrame", "type"),
    ({"type": "want"}, "unknownType", "type"),
    ({"type": "join"}, "unknownType", "type"),
    ({"type": "message", "sentAt": timestamp(), "text": "x"}, "badMessage", "id"),
    (message("x", id="2b190304"), "badMessage", "id"),
    (message("x", id="2b190304-9788-1dfb-be16-723cdcf6bb51"), "badMessage", "id"),
    (message("x", sentAt="yesterday"), "badMessage", "sentAt"),
    (message("x", sentAt=None), "badMessage", "sentAt"),
    (message(7), "badMessage", "text"),
    (message(""), "badMessage", "text"),
    (message("a\u0000b"), "badMessage", "text"),
    (message("x" * 16_385), "tooLong", "text"),
    (message("ä" * 8_193), "tooLong", "text"),
    ({"amhere": False}, "badFrame", "amhere"),
    ({"amhere": True, "msgSeen": "all"}, "badFrame", "msgSeen"),
    ({"amhere": True, "msgSeen": ["x"]}, "badFrame", "msgSeen[0]"),
    ({"amhere": True, "seen": {}}, "badFrame", "seen.upTo"),
    ({"amhere": True, "seen": {"upTo": -1}}, "badFrame", "seen.upTo"),
    ({"amhere": True, "seen": {"upTo": 1.5}}, "badFrame", "seen.upTo"),
    ({"amhere": True, "seen": {"upTo": 0, "count": 1, "digest": "xyz"}}, "badFrame", "seen.digest"),
    ({"type": "history", "before": "x"}, "badFrame", "before"),
    ({"type": "history", "after": -1}, "badFrame", "after"),
    ({"type": "history", "limit": 0}, "badFrame", "limit"),
]


@pytest.mark.parametrize("frame, code, field", BAD_FRAMES)
async def test_a_bad_frame_is_answered_with_what_is_wrong(cluster, room, join, frame, code, field):
    ada = await join("ada")

    await ada.send(frame)
    error = await ada.expect("error")

    assert error["code"] == code
    assert error["temporary"] is False
    assert field is None or error["message"].startswith(f"{field}:"), error
    if isinstance(frame, dict) and "id" in frame and len(frame["id"]) == 36 and field != "id":
        assert error["id"] == frame["id"]
    # The socket lives on, and nothing was stored.
    assert (await ada.say("still here"))["seq"] == 1


async def test_unknown_fields_are_ignored(join):
    ada = await join("ada")
    frame = message("hello", colour="blue", receipt={"deep": [1, 2, {"er": None}]})

    await ada.send(frame)

    assert (await ada.expect("ack", id=frame["id"]))["seq"] == 1


async def test_ten_bad_frames_in_a_minute_cost_the_connection(join):
    ada, bo = await join("ada"), await join("bo")

    for _ in range(10):
        await ada.send("no json")

    bye = await ada.expect("bye")
    assert bye["code"] == 4429
    assert bye["retryAfter"] > 0
    assert bye["reconnectAfter"] >= bye["retryAfter"]
    assert await ada.expect_close() == 4429
    assert len(ada.of_type("error")) == 10
    assert (await bo.say("not my fault"))["seq"] == 1


@pytest.mark.parametrize("payload, as_text, code", [
    (b"{\"type\":\"typing\"}", False, 1003),
    (b"{\"type\":\"\xff\xfe\"}", True, 1007),
    (b"{\"type\":\"\xed\xa0\x80\"}", True, 1007),
    (b"{\"type\":\"" + b"x" * 65_536 + b"\"}", True, 1009),
])
async def test_a_frame_that_is_not_the_protocols_ends_the_connection(join, payload, as_text, code):
    ada, bo = await join("ada"), await join("bo")

    await ada.connection.send(payload, text=as_text)

    assert await ada.expect_close() == code
    assert (await bo.say("not my fault"))["seq"] == 1


async def test_a_message_in_fragments_is_one_message(join):
    ada = await join("ada")
    frame = message("in three parts")
    text = json.dumps(frame)

    await ada.connection.send(iter([text[:10], text[10:40], text[40:]]))

    assert (await ada.expect("ack", id=frame["id"]))["seq"] == 1


async def test_fragments_are_too_big_together(join):
    ada = await join("ada")

    await ada.connection.send(iter(["{\"type\":\"" + "x" * 40_000, "x" * 40_000 + "\"}"]))

    assert await ada.expect_close() == 1009


async def test_too_many_messages_are_refused_for_a_while(cluster, room, join):
    ada = await join("ada")
    frames = [message(f"number {number}") for number in range(60)]

    for frame in frames:
        await ada.send(frame)
    answers = await asyncio.gather(*(first_answer(ada, frame["id"]) for frame in frames))

    acks = [answer for answer in answers if answer["type"] == "ack"]
    errors = [answer for answer in answers if answer["type"] == "error"]
    assert len(acks) >= 20 and len(errors) >= 1
    assert {error["code"] for error in errors} == {"rateLimited"}
    assert all(error["temporary"] and error["retryAfter"] > 0 for error in errors)
    cluster.assert_stored_once(room, {ack["id"]: ack["seq"] for ack in acks})
    assert len(cluster.stored(room)[cluster.owner(room)]) == len(acks)


async def first_answer(socket, id):
    async with asyncio.timeout(20):
        while True:
            for frame in socket.frames:
                if frame["type"] in ("ack", "error") and frame.get("id") == id:
                    return frame
            await asyncio.sleep(0.02)


async def test_a_refused_message_is_taken_after_retryafter(join):
    ada = await join("ada")
    for number in range(40):
        await ada.send(message(f"number {number}"))
    error = await ada.expect("error", code="rateLimited")

    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(error["retryAfter"] / 1000)
            await ada.send(message("patience", error["id"]))
            answer = await one_of(ada, error["id"])
            if answer["type"] == "ack":
                return
            error = answer


async def one_of(socket, id):
    waits = [asyncio.create_task(socket.expect(type, id=id)) for type in ("ack", "error")]
    done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done.pop().result()


BAD_ROOMS = [".hidden", "-dash", "a b", "a/b", "ä", "x" * 129, "a%00b", "room\n"]


@pytest.mark.parametrize("room_name", BAD_ROOMS)
async def test_a_bad_room_is_refused_before_the_socket_opens(servers, http, room_name):
    with pytest.raises(InvalidStatus) as refusal:
        await connect(socket_url(servers[0].url, room_name, "ada"), subprotocols=["chat.v1"])

    answer = refusal.value.response
    assert answer.status_code == 400
    assert json.loads(answer.body)["code"] == "badRoom"


@pytest.mark.parametrize("room_name", ["a", "0", "x" * 128, "A.b_c~d:e-f"])
async def test_a_good_room_is_served(servers, room_name):
    async with await Socket.join(servers[0].url, room_name, "ada") as ada:
        assert ada.hello["room"] == room_name


async def test_a_bad_room_is_refused_over_http(servers, http):
    url = f"{servers[0].url}/v1/rooms/.hidden/messages?user=ada"
    for request in (http.get(url), http.post(url, json=message("x"))):
        async with request as answer:
            assert answer.status == 400
            assert (await answer.json())["code"] == "badRoom"


@pytest.mark.parametrize("user", [None, "", " ", "a" * 65, "a\nb", "a\u202eb"])
async def test_whoever_has_no_good_name_is_asked_for_one(servers, room, user):
    socket = await Socket.open(servers[0].url, room, user)

    assert await socket.expect_close() == 4401
    assert [(frame["type"], frame["code"]) for frame in socket.frames] == [("bye", 4401)]


async def test_a_page_of_another_origin_is_refused(servers, room):
    url = socket_url(servers[0].url, room, "ada")
    with pytest.raises(InvalidStatus) as refusal:
        await connect(url, origin="http://evil.example", subprotocols=["chat.v1"])
    assert refusal.value.response.status_code == 403

    async with await Socket.join(servers[0].url, room, "ada", origin=servers[0].url) as ada:
        assert ada.hello["user"] == "ada"


async def test_unknown_paths_and_methods_are_refused(servers, http):
    for method, path, status in [
        ("GET", "/nothing", 404), ("GET", "/v1/rooms/lobby", 404),
        ("DELETE", "/v1/rooms/lobby/messages", 405), ("GET", "/../etc/passwd", 404),
        ("GET", "/%2e%2e/Package.swift", 404),
    ]:
        async with http.request(method, servers[0].url + path) as answer:
            assert answer.status in (status, 404), (method, path)


async def test_the_pages_forbid_foreign_scripts(servers, http):
    async with http.get(servers[0].url + "/") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


async def test_a_server_says_that_it_is_alive_and_ready(servers, http):
    async with http.get(servers[0].url + "/healthz") as answer:
        assert answer.status == 200
    async with http.get(servers[0].url + "/readyz") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"

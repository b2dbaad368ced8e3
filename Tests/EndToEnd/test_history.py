"""History: the same pages over the socket and over HTTP; and messages posted over HTTP."""

import pytest

from chat_client import message, new_id


@pytest.fixture
def long_room(cluster, room):
    """A room with 120 messages."""
    cluster.fill(room, 120)
    return room


CASES = [
    ({}, range(71, 121), False),
    ({"limit": 50}, range(71, 121), False),
    ({"before": 71, "limit": 50}, range(21, 71), False),
    ({"before": 21, "limit": 50}, range(1, 21), True),
    ({"before": 21, "limit": 20}, range(1, 21), True),
    ({"before": 1}, range(0), True),
    ({"after": 100, "limit": 50}, range(101, 121), True),
    ({"after": 100, "limit": 20}, range(101, 121), True),
    ({"after": 0, "limit": 10}, range(1, 11), False),
    ({"after": 120}, range(0), True),
    ({"after": 1_000_000}, range(0), True),
    ({"limit": 500}, range(1, 121), True),
]


async def test_pages_over_the_socket(long_room, join):
    ada = await join("ada", 1)

    for fields, seqs, complete in CASES:
        page = await ada.history(**fields)
        assert [frame["seq"] for frame in page["messages"]] == list(seqs), fields
        assert page["complete"] is complete, fields
        assert all(frame["text"] == f"text {frame['seq']}" for frame in page["messages"])


async def test_a_wish_for_too_many_messages_gets_what_one_page_holds(cluster, room, join):
    cluster.fill(room, 501)
    ada = await join("ada")

    page = await ada.history(limit=100_000)

    assert [frame["seq"] for frame in page["messages"]] == list(range(2, 502))
    assert page["complete"] is False


async def test_pages_over_http(long_room, servers, http):
    for fields, seqs, complete in CASES:
        async with http.get(
            f"{servers[1].url}/v1/rooms/{long_room}/messages", params=fields | {"user": "ada"}
        ) as answer:
            assert answer.status == 200
            assert answer.content_type == "application/json"
            page = await answer.json()
        assert [frame["seq"] for frame in page["messages"]] == list(seqs), fields
        assert page["complete"] is complete, fields


async def test_a_message_looks_the_same_wherever_it_is_read(servers, room, join, http):
    ada, bo = await join("ada", 0), await join("bo", 1)
    ack = await ada.say("look")

    live = await bo.expect("message", id=ack["id"])
    page = await bo.history()
    async with http.get(
        f"{servers[0].url}/v1/rooms/{room}/messages", params={"user": "bo"}
    ) as answer:
        over_http = await answer.json()

    assert page["messages"] == [live]
    assert over_http["messages"] == [live]


async def test_an_unknown_room_is_empty(servers, room, http):
    async with http.get(
        f"{servers[0].url}/v1/rooms/{room}/messages", params={"user": "ada"}
    ) as answer:
        assert answer.status == 200
        assert await answer.json() == {"messages": [], "complete": True}


@pytest.mark.parametrize("fields", [
    {"limit": "0"}, {"limit": "-1"}, {"limit": "501"}, {"after": "1", "before": "9"}, {"limit": "ten"}, {"before": "-5"}, {"before": "x"},
    {"after": "1.5"}, {"after": "99999999999999999999"},
])
async def test_a_page_that_cannot_be_is_refused(servers, room, http, fields):
    async with http.get(
        f"{servers[0].url}/v1/rooms/{room}/messages", params=fields | {"user": "ada"}
    ) as answer:
        assert answer.status == 400
        error = await answer.json()
    assert error["code"] == "badFrame"
    assert next(iter(fields)) in error["message"]


async def post(http, server, room, body, user="bot"):
    url = f"{server.url}/v1/rooms/{room}/messages"
    options = {"data": body} if isinstance(body, (str, bytes)) else {"json": body}
    async with http.post(url, params={"user": user}, **options) as answer:
        return answer.status, await answer.json()


async def test_a_posted_message_is_stored_and_relayed(cluster, servers, room, join, http):
    ada, bo = await join("ada", 0), await join("bo", 1)
    body = message("from a bot")

    status, answer = await post(http, servers[0], room, body)

    assert status == 201
    assert (answer["id"], answer["level"], answer["seq"]) == (body["id"], "stored", 1)
    for socket in (ada, bo):
        got = await socket.expect("message", id=body["id"])
        assert (got["from"], got["seq"], got["text"]) == ("bot", 1, "from a bot")
    cluster.assert_stored_once(room, {body["id"]: 1})


async def test_a_message_that_is_posted_again_was_stored_before(cluster, servers, room, http):
    body = message("from a bot")
    first = await post(http, servers[0], room, body)

    again = await post(http, servers[1], room, body)

    assert (first[0], again[0]) == (201, 200)
    assert first[1]["seq"] == again[1]["seq"] == 1
    cluster.assert_stored_once(room, {body["id"]: 1})


async def test_a_post_without_a_type_is_a_message(servers, room, http):
    body = message("no type")
    del body["type"]

    assert (await post(http, servers[0], room, body))[0] == 201


async def test_a_posted_id_that_holds_another_message_is_a_conflict(servers, room, http):
    body = message("one")
    await post(http, servers[0], room, body)

    for other in (body | {"text": "two"}, body):
        user = "bot" if other != body else "somebody"
        status, error = await post(http, servers[1], room, other, user)
        assert status == 409
        assert error["code"] == "idConflict"
        assert error["id"] == body["id"]


@pytest.mark.parametrize("body, code", [
    ("no json", "badFrame"),
    ("[]", "badFrame"),
    ({"type": "typing"}, "unknownType"),
    ({"sentAt": "2026-11-23T10:15:02.113Z", "text": "x"}, "badMessage"),
    ({"id": "x", "sentAt": "2026-11-23T10:15:02.113Z", "text": "x"}, "badMessage"),
    ({"id": new_id(), "sentAt": "yesterday", "text": "x"}, "badMessage"),
    ({"id": new_id(), "sentAt": "2026-11-23T10:15:02.113Z"}, "badMessage"),
    ({"id": new_id(), "sentAt": "2026-11-23T10:15:02.113Z", "text": "x" * 16_385}, "tooLong"),
])
async def test_a_bad_post_is_refused(cluster, servers, room, http, body, code):
    status, error = await post(http, servers[0], room, body)

    assert status == (413 if code == "tooLong" else 400)
    assert error["code"] == code
    assert cluster.stored(room) == {}

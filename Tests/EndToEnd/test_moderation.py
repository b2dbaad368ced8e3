"""What moderators do: it is an event in the room's order, and reaches everybody like any message."""

import asyncio
import json
import re
import time

import pytest
from websockets.asyncio.client import connect

from chat_client import ChatClient, Socket, emptied, eventually, message, moderate, socket_url
from cluster import Cluster
from test_auth import KEYS, KeyFile, bearer, everywhere, make_token
from test_want import restart, wind_back

SECRET = "what nobody should read any more"


@pytest.fixture
def pair(cluster):
    """Two servers that a test may restart."""
    servers = [cluster.chatd(f"moderated-{letter}") for letter in "ab"]
    yield servers
    for one in servers:
        one.stop()
        cluster.servers.remove(one)


@pytest.fixture
def guarded(cluster, start):
    """A server that asks for tokens."""
    path = cluster.folder / "moderation-keys.json"
    KeyFile(path).write(KEYS)
    return start("moderation-guarded", CHATD_AUTH="jwt", CHATD_JWT_KEYS=str(path))


def bodies(cluster, room):
    """What the shard has of a room: `(seq, body, deleted_by)`."""
    rows = cluster.sql(
        cluster.owner(room),
        f"select seq, body, deleted_by from messages where room_id = '{room}' order by seq")
    return [tuple(row) for row in rows]


async def pages(server, room, http):
    async with http.get(f"{server.url}/v1/rooms/{room}/messages?user=reader") as answer:
        return (await answer.json())["messages"]


async def post(server, room, http, frame, user="mod", path="moderation", **options):
    async with http.post(
        f"{server.url}/v1/rooms/{room}/{path}", params={"user": user}, json=frame, **options
    ) as answer:
        return answer.status, await answer.json(), answer.headers


# Deleting


async def test_a_deletion_reaches_everybody_and_leaves_no_text(
    cluster, servers, room, join, http
):
    mod, bo = await join("mod", 0), await join("bo", 1)
    assert mod.hello["rights"] == ["read", "write", "moderate"]
    ack = await bo.say(SECRET)
    original = await mod.expect("message")

    done = await mod.moderate(delete=ack["id"])

    assert (done["level"], done["seq"]) == ("stored", 2)
    for socket in (mod, bo):
        event = await socket.expect("message", seq=2)
        assert event["from"] == "mod"
        assert event["text"] == ""
        assert event["event"] == {"kind": "delete", "id": ack["id"]}
        assert event["receipt"] == done["receipt"]
    for place in (0, 1):
        late = await join("late", place)
        assert late.hello["head"] == 2
        await late.send({"amhere": True, "upTo": 0})
        synced = (await late.expect("sync"))["messages"]
        assert synced == [emptied(original, 2), event]
        assert (await late.history())["messages"] == synced
        assert await pages(servers[place], room, http) == synced
        assert SECRET not in json.dumps(late.frames)
    assert bodies(cluster, room) == [("1", "", "2"), ("2", "", "")]


async def test_the_original_and_the_act_may_be_sent_again(cluster, servers, room, join):
    mod, bo = await join("mod", 0), await join("bo", 1)
    original = message(SECRET)
    await bo.send(original)
    first = await bo.expect("ack")
    act = moderate(delete=original["id"])
    await mod.send(act)
    done = await mod.expect("ack")

    for socket in (bo, await join("bo", 0)):
        await socket.send(original)
        again = await socket.expect("ack", id=original["id"])
        assert again["seq"] == first["seq"]
    other = await join("mod", 1)
    await other.send(act)
    assert (await other.expect("ack", id=act["id"])) == done
    await bo.send(message("other", original["id"]) | {"text": SECRET + "!"})
    assert (await bo.expect("ack", id=original["id"]))["seq"] == 1, "nobody can tell any more"
    await other.send(act | {"delete": act["id"]})
    assert (await other.expect("error", id=act["id"]))["code"] == "idConflict"
    await other.send(message("text", act["id"]))
    assert (await other.expect("error", id=act["id"]))["code"] == "idConflict"
    assert bodies(cluster, room) == [("1", "", "2"), ("2", "", "")]


async def test_what_cannot_be_deleted_is_said_to_be_so(servers, room, join):
    mod = await join("mod")
    done = await mod.moderate(unmute="bo")
    for one in (done["id"], "2b190304-9788-4dfb-be16-723cdcf6bb51"):
        act = moderate(delete=one)
        await mod.send(act)
        error = await mod.expect("error", id=act["id"])
        assert (error["code"], error["temporary"]) == ("badMessage", False)
    assert (await mod.moderate(mute="bo"))["seq"] == 2, "nothing took a number"


async def test_who_was_away_learns_of_it_by_sync_and_by_history(cluster, pair, room):
    urls = [one.url for one in pair]
    async with await Socket.join(urls[0], room, "mod") as mod:
        clients = [ChatClient(urls[::step], room, f"reader-{step}") for step in (1, -1)]
        for client in clients:
            client.start()
        secret = await mod.say(SECRET)
        await eventually(lambda: all(one.up_to == 1 for one in clients), 10, "all have it")
        for client in clients:
            await client.stop()
        await mod.moderate(delete=secret["id"])
        for client in clients:
            client.start()
        await eventually(lambda: all(one.up_to == 2 for one in clients), 10, "all are back")
    restart(pair)
    newcomer = ChatClient(urls, room, "newcomer").start()
    await eventually(
        lambda: all(one.up_to == 2 for one in [*clients, newcomer]), 20, "all are back again")
    for client in [*clients, newcomer]:
        assert client.texts == ["", ""]
        assert client.messages[1]["deletedBy"] == 2
        await client.stop()


async def test_without_redis_it_takes_a_beat(cluster, room):
    # Nobody listens at this address.
    pair = [
        cluster.chatd(f"deaf-{letter}", CHATD_REDIS_URL="redis://127.0.0.1:1") for letter in "ab"]
    try:
        async with (
            await Socket.join(pair[0].url, room, "mod") as mod,
            await Socket.join(pair[1].url, room, "bo") as bo,
        ):
            secret = await bo.say(SECRET)
            await mod.expect("message", within=7)
            await mod.moderate(delete=secret["id"])
            assert (await bo.expect("message", seq=2, within=7))["event"]["kind"] == "delete"
            await mod.moderate(mute="bo")
            await bo.expect("message", seq=3, within=7)
            refused = message("still here")
            await bo.send(refused)
            assert (await bo.expect("error", id=refused["id"]))["code"] == "forbidden"
            await mod.moderate(kick="bo")
            assert (await bo.expect("bye", within=7))["code"] == 4403
            async with await Socket.join(pair[1].url, room, "late") as late:
                await late.send({"amhere": True, "upTo": 0})
                assert SECRET not in json.dumps((await late.expect("sync"))["messages"])
    finally:
        for one in pair:
            one.stop()
            cluster.servers.remove(one)


# A room that moves, a shard that forgets


async def test_events_move_with_their_room(http):
    cluster = Cluster(shards=2)
    try:
        cluster.start()
        leaving = cluster.shards[0]
        room = cluster.room_on(leaving)
        pair = [cluster.chatd(f"moving-{letter}") for letter in "ab"]
        ledger, moving = {}, None
        writer = ChatClient([pair[1].url], room, "writer", ledger).start()
        async with await Socket.join(pair[0].url, room, "mod") as mod:
            await mod.moderate(kick="out", seconds=3_600)
            await mod.moderate(mute="quiet")
            early = await mod.say(SECRET)
            await mod.moderate(delete=early["id"])
            plan = cluster.shardctl("plan", "--drain", leaving)["plan"]
            moving = asyncio.create_task(
                asyncio.to_thread(cluster.run, "rebalance", str(plan)))
            acts = 0
            while not moving.done() or acts < 3:
                sent = await writer.send(SECRET)
                await eventually(lambda: sent in ledger, 20, "it is stored")
                await mod.moderate(delete=sent)
                acts += 1
                await mod.send({"amhere": True})
                # As fast as the server takes them.
                await asyncio.sleep(1 / mod.hello["limits"]["messagesPerSecond"])
            done = await moving
            assert done.returncode == 0, done.stdout + done.stderr
            assert cluster.owner(room) != leaving
            sent = await writer.send(SECRET)
            await eventually(lambda: sent in ledger, 20, "it is stored")
            last = await mod.moderate(delete=sent)
            again = await mod.moderate(delete=early["id"])
            assert again["seq"] == last["seq"] + 1
        await eventually(lambda: writer.up_to == again["seq"], 20, "the writer has everything")
        assert set(writer.texts) == {""}
        await writer.stop()
        restart(pair)
        rows = bodies(cluster, room)
        assert [int(seq) for seq, _, _ in rows] == list(range(1, len(rows) + 1))
        assert {body for _, body, _ in rows} == {""}
        cluster.assert_stored_once(room, ledger, old_copies=[leaving])
        async with await Socket.open(pair[1].url, room, "out") as out:
            assert await out.expect_close() == 4403
        async with await Socket.join(pair[1].url, room, "quiet") as quiet:
            refused = message("text")
            await quiet.send(refused)
            assert (await quiet.expect("error", id=refused["id"]))["code"] == "forbidden"
    finally:
        cluster.stop()


async def test_a_lost_event_is_given_back_and_forged_ones_are_not(cluster, pair, room):
    async with await Socket.join(pair[0].url, room, "ada") as ada:
        secret = await ada.say(SECRET)
        original = await ada.expect("message")
        await ada.say("text 2")
    async with await Socket.join(pair[0].url, room, "mod") as mod:
        await mod.moderate(delete=secret["id"])
        deletion = await mod.expect("message", seq=3)
        await mod.moderate(mute="bo", seconds=3_600)
        mute = await mod.expect("message", seq=4)
    before = cluster.stored(room)

    def wind_back_to_the_original():
        wind_back(cluster, room, 2)
        # As it was before the deletion, which was lost with it.
        cluster.sql(cluster.owner(room), f"""
            update messages set body = '{SECRET}', deleted_by = null
            where room_id = '{room}' and seq = 1;
            delete from moderation where room_id = '{room}'
            """)

    restart(pair, meanwhile=wind_back_to_the_original)

    forgeries = [
        {"event": {"kind": "kick", "user": "bo"}},
        {"event": mute["event"] | {"user": "ada"}},
        {"event": mute["event"] | {"until": "2099-01-01T00:00:00.000Z"}},
        {"from": "bo"}, {"event": None, "text": json.dumps(mute["event"])},
    ]
    for number, forgery in enumerate(forgeries):
        async with await Socket.join(pair[0].url, room, f"forger-{number}") as forger:
            await forger.send({"amhere": True, "msgSeen": [mute["id"]]})
            await forger.expect("want", ids=[mute["id"]])
            await forger.send(mute | forgery)
            assert (await forger.expect("error"))["code"] == "forbidden", forgery
    assert len(bodies(cluster, room)) == 2

    async with (
        await Socket.join(pair[1].url, room, "ada") as ada,
        await Socket.join(pair[0].url, room, "bo") as bo,
    ):
        assert (await bo.history())["messages"][0]["text"] == SECRET
        await ada.send({"amhere": True, "msgSeen": [deletion["id"], mute["id"]]})
        await ada.expect("want", ids=[deletion["id"], mute["id"]])
        await ada.send(deletion)
        await ada.send(mute)
        assert await bo.expect("message", seq=3) == deletion
        assert await bo.expect("message", seq=4) == mute
        refused = message("text")
        await bo.send(refused)
        assert (await bo.expect("error", id=refused["id"]))["code"] == "forbidden"
        assert (await bo.history())["messages"][0] == emptied(original, 3)
    assert cluster.stored(room) == before
    assert bodies(cluster, room)[0] == ("1", "", "3")


async def test_a_deleted_message_that_was_lost_comes_back_without_its_text(
    cluster, pair, room
):
    async with await Socket.join(pair[0].url, room, "ada") as ada:
        await ada.say("text 1")
        secret = await ada.say(SECRET)
        original = await ada.expect("message", seq=2)
    async with await Socket.join(pair[0].url, room, "mod") as mod:
        await mod.moderate(delete=secret["id"])
    restart(pair, meanwhile=lambda: cluster.sql(
        cluster.owner(room), f"delete from messages where room_id = '{room}' and seq = 2"))

    async with (
        await Socket.join(pair[0].url, room, "bo") as bo,
        await Socket.join(pair[1].url, room, "cy") as cy,
    ):
        # He was away all the time, and has the text.
        await bo.send({"amhere": True, "msgSeen": [original["id"]]})
        await bo.expect("want", ids=[original["id"]])
        await bo.send(original)
        for socket in (bo, cy):
            assert await socket.expect("message", seq=2) == emptied(original, 3)
    assert bodies(cluster, room)[1] == ("2", "", "3")


# Muting


async def test_who_is_muted_is_refused_by_every_server_until_the_end(
    servers, room, join, http
):
    mod, bo = await join("mod", 0), await join("bo", 1)
    await mod.moderate(mute="bo", seconds=4)
    end = time.monotonic() + 4
    event = await bo.expect("message")
    assert event["event"]["user"] == "bo"

    refused = message("text")
    for socket in (bo, await join("bo", 0)):
        await socket.send(refused)
        error = await socket.expect("error", id=refused["id"])
        assert (error["code"], error["temporary"]) == ("forbidden", False)
        assert 0 < error["retryAfter"] <= 4_000
        assert error["message"] == f"muted until {event['event']['until']}"
        await socket.send({"type": "typing"})
    for one in servers:
        status, error, headers = await post(one, room, http, refused, "bo", "messages")
        assert (status, error["code"]) == (403, "forbidden")
        assert 1 <= int(headers["Retry-After"]) <= 4
    await mod.say("text 2")
    assert not mod.of_type("typing")
    await asyncio.sleep(max(0, end - time.monotonic()))
    assert (await bo.say("text 3", refused["id"]))["seq"] == 3

    await mod.moderate(mute="bo")
    await bo.expect("message", seq=4)
    await bo.send(message("text"))
    error = await bo.expect("error")
    assert "retryAfter" not in error
    await mod.moderate(unmute="bo")
    await bo.expect("message", seq=5)
    assert (await bo.say("text 6"))["seq"] == 6


async def test_who_was_muted_meanwhile_gets_the_ack_of_what_he_repeats_from_every_server(
    servers, room, join, http
):
    mod, bo = await join("mod", 0), await join("bo", 1)
    stored = message("text")
    await bo.send(stored)
    ack = await bo.expect("ack", id=stored["id"])
    await mod.moderate(mute="bo")
    await bo.expect("message", seq=2)

    for socket in (bo, await join("bo", 0)):
        await socket.send(stored)
        assert await socket.expect("ack", id=stored["id"]) == ack
        await socket.send({**stored, "text": "another text"})
        assert (await socket.expect("error", id=stored["id"]))["code"] == "idConflict"
    for one in servers:
        status, answer, _ = await post(one, room, http, stored, "bo", "messages")
        assert (status, answer) == (200, ack)
        status, error, _ = await post(one, room, http, message("new"), "bo", "messages")
        assert (status, error["code"]) == (403, "forbidden")


async def test_a_server_that_opens_the_room_later_knows_who_is_muted(
    servers, room, join, http
):
    mod = await join("mod", 0)
    await mod.moderate(mute="bo")

    status, error, _ = await post(servers[1], room, http, message("text"), "bo", "messages")
    assert (status, error["message"]) == (403, "muted")
    bo = await join("bo", 1)
    await bo.send(message("text"))
    assert (await bo.expect("error"))["code"] == "forbidden"


async def test_a_name_in_two_forms_of_unicode_is_one_person_for_servers_and_shards(
    servers, cluster, room, join, http
):
    decomposed, composed = "Jose\u0301", "Jos\u00e9"
    mod, jose = await join("mod", 0), await join(decomposed, 1)
    assert jose.hello["user"] == composed
    said = message("text")
    await jose.send(said)
    ack = await jose.expect("ack", id=said["id"])
    assert (await mod.expect("message", id=said["id"]))["from"] == composed

    # The same id again, by the other form.
    for place, user in ((0, composed), (1, decomposed)):
        assert (await post(servers[place], room, http, said, user, "messages"))[:2] == (200, ack)

    # Muted by one form, and let write again by the other: for servers that read it later, too.
    await mod.moderate(mute=decomposed)
    assert (await jose.expect("message", seq=2))["event"]["user"] == composed
    for one, user in ((servers[0], composed), (servers[1], decomposed)):
        status, error, _ = await post(one, room, http, message("new"), user, "messages")
        assert (status, error["message"]) == (403, "muted")
    await mod.moderate(unmute=composed)
    await jose.expect("message", seq=3)
    for one, user in ((servers[0], composed), (servers[1], decomposed)):
        assert (await post(one, room, http, message("new"), user, "messages"))[0] in (200, 201)
    subjects = cluster.sql(
        cluster.owner(room), f"select subject from moderation where room_id = '{room}'")
    assert [one[0] for one in subjects] == [composed]


# Kicking


async def test_who_is_kicked_may_come_back_unless_he_is_barred(servers, room, join, http):
    mod = await join("mod", 0)
    sockets = [await join("bo", place) for place in (0, 1, 1)]
    await mod.expect("presence", joined=["bo"])

    await mod.moderate(kick="bo")
    for socket in sockets:
        assert (await socket.expect("message"))["event"] == {"kind": "kick", "user": "bo"}
        bye = await socket.expect("bye")
        assert (bye["code"], bye["reason"]) == (4403, "sent out by a moderator")
        assert await socket.expect_close() == 4403
    await mod.expect("presence", left=["bo"])
    back = await join("bo", 1)
    assert back.hello["head"] == 1

    await mod.moderate(kick="bo", seconds=3_600)
    assert await back.expect_close() == 4403
    for one in servers:
        async with await Socket.open(one.url, room, "bo") as barred:
            bye = await barred.expect("bye")
            assert bye["code"] == 4403
            assert bye["reason"].startswith("barred by a moderator, until 2")
            assert not barred.of_type("hello")
        pages = f"{one.url}/v1/rooms/{room}/messages"
        async with http.get(pages, params={"user": "bo"}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (403, "forbidden")
        async with http.get(pages, params={"user": "cy"}) as answer:
            assert answer.status == 200
        status, error, _ = await post(one, room, http, message("text"), "bo", "messages")
        assert (status, error["message"]) == (403, bye["reason"].replace(
            "barred by a moderator,", "barred"))
    watcher = await join("watcher", 1)
    await mod.moderate(unbar="bo")
    await watcher.expect("message", seq=3)
    await join("bo", 1)
    await join("bo", 0)


async def test_a_bar_outlives_the_servers(pair, room):
    async with await Socket.join(pair[0].url, room, "mod") as mod:
        await mod.moderate(kick="bo", seconds=3_600)
    restart(pair)

    async with await Socket.open(pair[1].url, room, "bo") as bo:
        assert await bo.expect_close() == 4403


# Who may, and how


async def test_only_who_has_the_right_moderates(guarded, room, http):
    writer = make_token("ada", everywhere("read", "write"))
    mod = make_token("mod", everywhere("read", "moderate"))
    async with await Socket.open(guarded.url, room, additional_headers=bearer(writer)) as ada:
        assert (await ada.expect("hello"))["rights"] == ["read", "write"]
        secret = await ada.say(SECRET)
        act = moderate(delete=secret["id"])
        await ada.send(act)
        error = await ada.expect("error", id=act["id"])
        assert (error["code"], error["message"]) == ("forbidden", "no right to moderate here")
        status, error, _ = await post(guarded, room, http, act, headers=bearer(writer))
        assert (status, error["code"]) == (403, "forbidden")
        status, _, _ = await post(guarded, room, http, act)
        assert status == 401

        status, ack, _ = await post(guarded, room, http, act, headers=bearer(mod))
        assert (status, ack["seq"]) == (201, 2)
        assert (await ada.expect("message", seq=2))["from"] == "mod"
        status, again, _ = await post(guarded, room, http, act, headers=bearer(mod))
        assert (status, again) == (200, ack)
    async with connect(
        socket_url(guarded.url, room), subprotocols=["chat.v1", f"bearer.{mod}"]
    ) as socket:
        hello = json.loads(await socket.recv())
        assert hello["rights"] == ["read", "moderate"]


@pytest.mark.parametrize("act, status", [
    ({"mute": "mod"}, 400), ({"mute": "bo", "kick": "bo"}, 400), ({}, 400),
    ({"delete": "2b190304-9788-4dfb-be16-723cdcf6bb51"}, 400), ({"type": "message"}, 400),
    ({"mute": "bo", "for": 0}, 400), ({"unbar": "bo"}, 201),
])
async def test_acts_are_posted_and_judged(servers, room, http, act, status):
    answered, body, _ = await post(servers[0], room, http, moderate() | act)

    assert answered == status, body


async def test_in_a_server_that_is_open_to_others_nobody_moderates(start, room):
    server = start("wide-open", CHATD_ALLOW_OPEN="1")

    async with await Socket.join(server.url, room, "ada") as ada:
        assert ada.hello["rights"] == ["read", "write"]
        await ada.send(moderate(mute="bo"))
        assert (await ada.expect("error"))["code"] == "forbidden"


async def test_the_log_tells_who_did_what_and_no_text(start, room):
    server = start("telling")
    async with await Socket.join(server.url, room, "mod") as mod:
        secret = await mod.say(SECRET)
        await mod.moderate(delete=secret["id"])

    [line] = [line for line in server.log.read_text().splitlines() if "moderated" in line]
    assert room in line and "mod" in line and "delete" in line
    assert SECRET not in server.log.read_text()


# One line of logfmt: a value is plain, or a string as in JSON.
FIELD = re.compile(r'([\w.-]+)=([\w.:/+-]+|"(?:[^"\\]|\\.)*")(?: |$)', re.ASCII)


def log_fields(line):
    fields, place = {}, 0
    while place < len(line):
        found = FIELD.match(line, place)
        assert found, f"no field at {line[place:]!r}"
        key, value = found.groups()
        assert key not in fields, f"{key} twice: {line}"
        fields[key] = json.loads(value) if value.startswith('"') else value
        place = found.end()
    return fields


async def test_a_name_cannot_forge_a_line_of_the_log(start, room):
    server = start("not-forged")
    name = 'ada level=error user=bo "kind=x" \\'
    async with await Socket.join(server.url, room, name) as mod:
        said = await mod.say("soon gone")
        await mod.moderate(delete=said["id"])

    # What a server says when it listens is no line of the log.
    lines = [
        log_fields(line) for line in server.log.read_text().splitlines()
        if line != f"chatd {server.name} listening on {server.url}"]
    assert all({"time", "level", "source", "message"} <= line.keys() for line in lines)
    [told] = [line for line in lines if "moderated" in line["message"]]
    assert (told["level"], told["user"], told["kind"]) == ("info", name, "delete")
    assert told["room.id"] == room

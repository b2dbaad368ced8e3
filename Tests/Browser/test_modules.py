"""The modules of the web client, one by one, in the browser that runs them."""

import re

import pytest
import pytest_asyncio


@pytest_asyncio.fixture
async def run(open_page):
    """`await run("timeline.js", body)` runs a function body with a module's exports as `it`."""
    page = await open_page("/")

    async def run(module, body):
        return await page.evaluate(
            f"async () => {{ const it = await import('/{module}'); {body} }}")

    return run


async def test_ids_are_random_with_and_without_a_secure_context(run):
    ids = await run("identifiers.js", """
        const ids = [it.newMessageID()];
        Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
        ids.push(it.newMessageID(), it.newMessageID());
        delete crypto.randomUUID;
        return ids;
        """)

    pattern = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    for one in ids:
        assert re.fullmatch(pattern, one), one
    assert len(set(ids)) == 3


async def test_the_digest_is_the_protocols(run):
    digests = await run("identifiers.js", """
        const one = "2b190304-9788-4dfb-be16-723cdcf6bb51";
        return [it.digestOfIDs([]), it.digestOfIDs([one]), it.digestOfIDs([one, one])];
        """)

    assert digests == ["0" * 16, "950f71384b7ef6aa", "0" * 16]


@pytest.mark.parametrize("name, is_good", [
    ("lobby", True), ("A.b_c~d:e-9", True), ("9", True), ("x" * 128, True), ("", False),
    ("x" * 129, False), (".hidden", False), ("a b", False), ("a/b", False), ("Zürich", False),
])
async def test_names_of_rooms_are_judged_as_the_server_does(run, name, is_good):
    problem = await run("identifiers.js", f"return it.roomNameProblem({name!r})")

    assert (problem is None) is is_good, problem


async def test_texts_become_what_the_protocol_takes(run):
    text = await run("identifiers.js", """
        return it.sendableText("a\\ud800b\\udc00c\\u0000 \\ud83d\\ude42 \\n ")
        """)

    assert text == "a\ufffdb\ufffdc \U0001f642"


TIMELINE = """
    const message = (seq) => ({ id: "id-" + seq, seq, receivedAt: String(seq), text: "" });
    const seqs = (messages) => messages.map(({ seq }) => seq);
    const line = new it.Timeline();
    """


async def test_heartbeats_are_short_and_name_what_lies_above_a_hole(run):
    result = await run("timeline.js", TIMELINE + """
        const empty = line.heartbeat();
        line.reset([3, 4].map(message), false);
        const whole = line.heartbeat();
        line.add(message(7));
        return [empty, whole, line.heartbeat()];
        """)

    assert result == [
        {"amhere": True}, {"amhere": True, "seen": {"upTo": 4}},
        {"amhere": True, "msgSeen": ["id-7"], "upTo": 4}]


async def test_messages_that_the_server_has_lost_wait_for_new_numbers(run):
    result = await run("timeline.js", TIMELINE + """
        const real = (seq) => ({ ...message(seq), id: `00000000-0000-4000-8000-00000000000${seq}` });
        line.reset([3, 4, 5, 6].map(real), false);
        line.lose(5);
        const beat = line.heartbeat();
        const kept = line.get(real(6).id);
        const report = line.report(3);
        const back = line.add({ ...real(5), seq: 6 }).concat(line.add({ id: "new", seq: 5 }));
        return [line.upTo, beat, kept, report.msgSeen, report.upTo, seqs(back), line.heartbeat()];
        """)

    up_to, beat, kept, reported, above, back, after = result
    assert beat["seen"] == {"upTo": 4, "count": 2, "digest": f"{5 ^ 6:016x}"}
    assert kept["seq"] == 6
    assert [one[-1] for one in reported] == ["4", "5", "6"]
    assert above == 3
    assert back == [5, 6]
    assert up_to == 6
    assert after["seen"]["count"] == 1


async def test_messages_beyond_a_hole_wait_until_it_is_filled(run):
    result = await run("timeline.js", TIMELINE + """
        line.reset([3, 4].map(message), false);
        const early = [line.add(message(7)), line.add(message(6))].flat();
        const before = [line.upTo, line.hasGap];
        const late = seqs(line.add(message(5)));
        return [early, before, late, line.upTo, line.hasGap, seqs(line.messages)];
        """)

    assert result == [[], [4, True], [5, 6, 7], 7, False, [3, 4, 5, 6, 7]]


async def test_known_messages_are_dropped(run):
    result = await run("timeline.js", TIMELINE + """
        line.reset([3, 4].map(message), false);
        return [3, 4, 1].flatMap((seq) => line.add(message(seq))).length + line.messages.length;
        """)

    assert result == 2


async def test_what_arrives_before_the_first_page_is_kept(run):
    result = await run("timeline.js", TIMELINE + """
        line.add(message(5)); line.add(message(4));
        line.reset([2, 3, 4].map(message), true);
        return [seqs(line.messages), line.upTo, line.hasGap];
        """)

    assert result == [[2, 3, 4, 5], 5, False]


async def test_what_a_whole_page_lacks_was_lost_by_the_server(run):
    result = await run("timeline.js", TIMELINE + """
        line.reset([1].map(message), true);
        line.add(message(3)); line.add(message(9));
        const shown = seqs(line.appendPage([], 3));
        return [shown, line.upTo, line.unsequenced.map(({ id }) => id), line.hasGap];
        """)

    assert result == [[], 1, ["id-3"], True]


async def test_older_pages_go_before_and_the_oldest_can_be_dropped(run):
    result = await run("timeline.js", TIMELINE + """
        line.reset([5, 6].map(message), false);
        const older = seqs(line.prependPage([3, 4, 5].map(message), true));
        const wasWhole = line.isWhole;
        const dropped = seqs(line.trim(1));
        return [older, wasWhole, dropped, line.low, line.upTo, line.isWhole];
        """)

    assert result == [[3, 4], True, [3, 4, 5], 6, 6, False]


async def test_messages_without_a_seq_wait_for_it(run):
    result = await run("timeline.js", TIMELINE + """
        line.reset([1].map(message), true);
        line.add({ id: "late", receivedAt: "2" }); line.add({ id: "early", receivedAt: "1" });
        const waiting = line.unsequenced.map(({ id }) => id);
        const shown = seqs(line.sequence("late", 2));
        return [waiting, shown, line.unsequenced.map(({ id }) => id)];
        """)

    assert result == [["early", "late"], [2], ["early"]]


async def test_the_outbox_survives_the_page_and_keeps_its_order(run):
    result = await run("outbox.js", """
        localStorage.clear();
        const box = new it.Outbox("a:b", "c", localStorage);
        for (const id of ["z", "y", "x"]) box.add(id, "2026-01-01T00:00:00.000Z", "text " + id);
        box.fail("z", "too long");
        new it.Outbox("a", "b:c", localStorage).add("other", "2026-01-01T00:00:00.000Z", "no");
        const again = new it.Outbox("a:b", "c", localStorage);
        const order = again.entries.map(({ id, state }) => id + " " + state);
        const next = again.next().id;
        again.remove("y");
        return [order, next, new it.Outbox("a:b", "c", localStorage).next().id];
        """)

    assert result == [["z failed", "y sending", "x sending"], "y", "x"]


async def test_delays_keep_to_their_bounds_and_differ(run):
    result = await run("delays.js", """
        const bounds = { min: 200, max: 5000 };
        const many = (draw) => Array.from({ length: 500 }, draw);
        const comeBacks = many((_, index) => it.reconnectDelay(bounds, index % 20));
        const beats = many(() => it.beatDelay({ min: 3500, max: 7000 }));
        const retries = many((_, index) => it.retryDelay(index % 20));
        return [comeBacks, beats, retries].map(
            (all) => [Math.min(...all), Math.max(...all), new Set(all).size]);
        """)

    for (least, most, different), (lower, upper) in zip(
        result, [(200, 5000), (3500, 7000), (250, 5000)], strict=True
    ):
        assert lower <= least and most <= upper
        assert different > 450


async def test_a_client_that_is_let_go_comes_back_when_it_was_told_to(run):
    state, delays = await run("client.js", """
        class Socket {
            static last;
            constructor() { Socket.last = this; }
            send() {}
            close() {}
        }
        globalThis.WebSocket = Socket;
        const delays = [];
        const later = globalThis.setTimeout;
        globalThis.setTimeout = (handler, delay) => { delays.push(delay); return later(() => {}); };
        const client = new it.ChatClient({ room: "a", user: "ada" });
        client.connect();
        Socket.last.onopen();
        const say = (frame) => Socket.last.onmessage({ data: JSON.stringify(frame) });
        say({ type: "hello", protocol: 1, head: 0, warm: true });
        say({ type: "bye", code: 4001, reason: "draining", reconnectAfter: 3217 });
        delays.length = 0;
        Socket.last.onclose({ code: 4001, reason: "draining" });
        globalThis.setTimeout = later;
        return [client.state, delays];
        """)

    assert (state["name"], state["code"]) == ("offline", 4001)
    assert delays == [3217]

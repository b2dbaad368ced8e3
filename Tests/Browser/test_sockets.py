"""Chromium's own WebSocket, without the web client: what a page of anybody sees."""

import json

import pytest

TALK = """async ([path, protocols, lines, code]) => {
    const socket = new WebSocket(path.replace("http", "ws"), protocols);
    const frames = [];
    const seen = {frames, protocol: null, extensions: null};
    return await new Promise((resolve) => {
        socket.onmessage = ({data}) => {
            const frame = JSON.parse(data);
            frames.push(frame);
            if (frame.type === "hello") {
                Object.assign(seen, {protocol: socket.protocol, extensions: socket.extensions});
                for (const line of lines) {
                    socket.send(line.bytes ? new Uint8Array(line.bytes) : line);
                }
            }
            const isAnswered = frame.type === "ack" || frame.type === "error";
            if (code && isAnswered) socket.close(code, "good bye €");
        };
        socket.onclose = (event) =>
            resolve({...seen, code: event.code, clean: event.wasClean, reason: event.reason});
        setTimeout(() => resolve({...seen, code: null}), 10000);
    });
}"""


@pytest.fixture
def talk(open_page, server, room):
    """`await talk(lines)` opens a socket, sends these, and tells how it ended."""

    async def talk(lines=(), user="ada", protocols=("chat.v1",), code=None):
        page = await open_page("/")
        query = f"?user={user}" if user else ""
        path = f"{server.url}/v1/rooms/{room}/socket{query}"
        return await page.evaluate(TALK, [path, list(protocols), list(lines), code])

    return talk


def text(content):
    return json.dumps({
        "type": "message", "id": "2b190304-9788-4dfb-be16-723cdcf6bb51",
        "sentAt": "2026-11-23T10:15:02.113Z", "text": content}, ensure_ascii=False)


@pytest.mark.parametrize("code", [1000, 3000, 4999])
async def test_a_page_talks_and_closes(talk, code):
    seen = await talk([text("κόσμε 😀" * 900)], code=code)

    assert (seen["code"], seen["clean"]) == (code, True)
    # Chromium offers compression, and does without.
    assert (seen["protocol"], seen["extensions"]) == ("chat.v1", "")
    assert [one["seq"] for one in seen["frames"] if one["type"] == "ack"] == [1]


@pytest.mark.parametrize("line, code", [({"bytes": [1, 2]}, 1003), ("x" * 65_537, 1009)])
async def test_a_page_is_told_why_it_was_closed(talk, line, code):
    seen = await talk([line])

    assert (seen["code"], seen["clean"]) == (code, True)
    assert seen["reason"]


async def test_a_page_without_a_name_is_asked_for_one(talk):
    assert (await talk(user=None))["code"] == 4401


async def test_a_page_that_speaks_something_else_is_refused(talk):
    assert (await talk(protocols=["chat.v2"]))["code"] == 1006

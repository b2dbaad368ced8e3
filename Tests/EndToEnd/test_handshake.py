"""How a socket is asked for: each request is sent as it stands, and answered or refused."""

import asyncio
import json

import pytest

from raw_socket import PONG, PING, TEXT, RawSocket, frame, request

PROBE = frame(TEXT, "{\"type\":\"probe\"}")

#: What is changed in a good request, and the status of the answer.
VARIANTS = [
    ("4.1", "as it should be", {}, 101),
    ("4.2.1", "an upgrade in other letters", {"Upgrade": "WebSocket"}, 101),
    ("4.2.1", "an upgrade in capitals", {"Upgrade": "WEBSOCKET"}, 101),
    ("4.2.1", "several upgrades", {"Upgrade": "h2c, websocket"}, 101),
    ("4.2.1", "another upgrade", {"Upgrade": "h2c"}, 426),
    ("4.2.1", "no upgrade", {"Upgrade": None}, 426),
    ("4.2.1", "names in small letters",
     {"leave_out": ("Upgrade", "Connection"), "upgrade": "websocket", "connection": "upgrade"}, 101),
    ("4.2.1", "several words in Connection", {"Connection": "keep-alive, Upgrade"}, 101),
    ("4.2.1", "Connection twice", {"Connection": ["keep-alive", "upgrade"]}, 101),
    ("4.2.1", "Connection without upgrade", {"Connection": "keep-alive"}, 426),
    ("4.2.1", "no Connection", {"Connection": None}, 426),
    ("4.2.1", "HTTP/1.0", {"version": "1.0"}, (400, 426)),
    ("4.2.1", "POST", {"method": "POST", "Content_Length": "0"}, 405),
    ("4.2.1", "HEAD", {"method": "HEAD"}, 405),
    ("4.2.1", "no Host", {"Host": None}, 400),
    ("4.2.1", "Host twice", {"Host": ["127.0.0.1", "evil.example"]}, 400),
    # The version.
    ("4.4", "version 8", {"Sec_WebSocket_Version": "8"}, 426),
    ("4.4", "version 0", {"Sec_WebSocket_Version": "0"}, 426),
    ("4.4", "version 13 and 8", {"Sec_WebSocket_Version": ["13", "8"]}, 426),
    ("4.4", "version 13 twice", {"Sec_WebSocket_Version": ["13", "13"]}, 426),
    ("4.4", "a version that is no number", {"Sec_WebSocket_Version": "x"}, 426),
    ("4.4", "no version", {"Sec_WebSocket_Version": None}, 426),
    # The key: 16 bytes in base64.
    ("4.2.1", "no key", {"Sec_WebSocket_Key": None}, 400),
    ("4.2.1", "an empty key", {"Sec_WebSocket_Key": ""}, 400),
    ("4.2.1", "a key of 15 bytes", {"Sec_WebSocket_Key": "MTIzNDU2Nzg5MDEyMzQ1"}, 400),
    ("4.2.1", "a key of 17 bytes", {"Sec_WebSocket_Key": "MTIzNDU2Nzg5MDEyMzQ1Njc="}, 400),
    ("4.2.1", "a key that is no base64", {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ**"}, 400),
    ("4.2.1", "a key without padding", {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
    ("4.2.1", "two keys", {"Sec_WebSocket_Key": ["dGhlIHNhbXBsZSBub25jZQ=="] * 2}, 400),
    # Subprotocols and extensions.
    ("4.2.2", "our subprotocol", {"Sec_WebSocket_Protocol": "chat.v1"}, 101),
    ("4.2.2", "our subprotocol among others", {"Sec_WebSocket_Protocol": "v9, chat.v1,other"}, 101),
    ("4.2.2", "our subprotocol in the second header",
     {"Sec_WebSocket_Protocol": ["v9", "chat.v1"]}, 101),
    ("4.2.2", "only another subprotocol", {"Sec_WebSocket_Protocol": "chat.v2"}, 400),
    ("4.2.2", "our subprotocol in capitals", {"Sec_WebSocket_Protocol": "CHAT.V1"}, 400),
    ("9.1", "an extension, which is declined",
     {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}, 101),
    ("9.1", "extensions that are no words", {"Sec_WebSocket_Extensions": ";;=,"}, 101),
    # Where from.
    ("10.2", "a page of another origin", {"Origin": "http://evil.example"}, 403),
    ("10.2", "an origin of nowhere", {"Origin": "null"}, 403),
    ("10.2", "two origins", {"Origin": ["http://evil.example", "http://127.0.0.1"]}, 403),
    # The target.
    ("RFC 9112 3.2.2", "a whole address", {"target": "http://localhost/v1/rooms/a/socket?user=a"},
     101),
    ("RFC 9112 3.2.2", "a whole address of wss", {"target": "wss://h/v1/rooms/a/socket?user=a"},
     101),
    ("RFC 9112 3.2.3", "an authority", {"target": "127.0.0.1:80"}, 400),
    ("RFC 9112 3.2.4", "an asterisk", {"target": "*"}, 400),
    ("3", "a fragment", {"target": "/v1/rooms/a/socket?user=a#x"}, (101, 400)),
    ("3", "a broken escape", {"target": "/v1/rooms/%zz/socket?user=a"}, 400),
    ("3", "an address that there is not", {"target": "/v1/nothing"}, 404),
    # Sizes.
    ("10.4", "a header of 16 KiB", {"X_Long": "x" * 16_000}, 101),
    ("10.4", "a header of 20 KiB", {"X_Long": "x" * 20_000}, 431),
    ("10.4", "a header of a megabyte", {"X_Long": "x" * 1_000_000}, 431),
    ("10.4", "headers of 40 KiB", {"X_Long": ["x" * 8_000] * 5}, 431),
    ("10.4", "80 headers", {"X_Many": ["x"] * 80}, 101),
    ("10.4", "200 headers", {"X_Many": ["x"] * 200}, 431),
    ("10.4", "an address of 30 KiB", {"target": "/" + "x" * 30_000}, (414, 431)),
]

GARBAGE = {
    "a TLS hello": bytes.fromhex("16030100c8010000c403033b") + b"\x00" * 60,
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "zeros": b"\x00" * 100,
    "a space before a colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n",
    "a zero in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
}


@pytest.mark.parametrize("section, name, changes, status", VARIANTS, ids=lambda one: str(one)[:40])
async def test_variants_of_the_handshake(servers, room, section, name, changes, status):
    socket = await RawSocket.connect(servers[0].url)

    socket.write(request(servers[0].url, room, **changes))
    got, headers = await socket.answer()

    assert got in (status if isinstance(status, tuple) else (status,)), (got, headers)
    if got == 101:
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert headers["upgrade"].lower() == "websocket"
        assert headers["connection"].lower() == "upgrade"
        assert "sec-websocket-extensions" not in headers
        wished = "chat.v1" if "Sec_WebSocket_Protocol" in changes else None
        assert headers.get("sec-websocket-protocol") == wished
        assert (await socket.chat())["type"] == "hello"
    if got == 426:
        assert headers["upgrade"] == "websocket"
        if "Sec_WebSocket_Version" in changes:
            assert headers["sec-websocket-version"] == "13"
    await socket.close()


@pytest.mark.parametrize("name", GARBAGE)
async def test_what_is_not_http_is_refused_and_ended(servers, name):
    socket = await RawSocket.connect(servers[0].url)

    socket.write(GARBAGE[name])
    got, headers = await socket.answer()

    assert got in (400, 404, 405, 505), headers
    async with asyncio.timeout(10):
        assert len(await socket.reader.read()) < 4_096
    await socket.close()


async def test_frames_in_the_segment_of_the_request_are_done(servers, room):
    socket = await RawSocket.connect(servers[0].url)

    socket.write(request(servers[0].url, room) + PROBE + frame(PING, b"early"))

    assert (await socket.answer())[0] == 101
    answers = [await socket.read() for _ in range(4)]
    assert (PONG, b"early") in answers
    types = [json.loads(payload)["type"] for opcode, payload in answers if opcode == TEXT]
    assert types == ["hello", "presence", "error"]
    await socket.close()


@pytest.mark.parametrize("headers, body", [
    ({"Content_Length": "5"}, b"hello"), ({"Content_Length": str(len(PROBE))}, PROBE),
    ({"Transfer_Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n"),
])
async def test_a_body_of_the_request_is_never_taken_for_frames(servers, room, headers, body):
    socket = await RawSocket.connect(servers[0].url)

    socket.write(request(servers[0].url, room, **headers) + body + PROBE)
    got, answer = await socket.answer()

    assert got in (101, 400), answer
    if got == 101:
        types = [(await socket.chat())["type"] for _ in range(3)]
        assert types == ["hello", "presence", "error"]
        socket.write(frame(PING, b"alive"))
        assert await socket.read() == (PONG, b"alive")
    await socket.close()


async def test_a_second_request_behind_another_one_is_no_upgrade(servers, room):
    socket = await RawSocket.connect(servers[0].url)

    socket.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + request(servers[0].url, room))
    assert (await socket.answer())[0] == 200
    assert await socket.reader.readexactly(3) == b"ok\n"

    assert (await socket.answer())[0] == 426
    await socket.close()


async def test_a_request_that_comes_byte_by_byte_is_served(servers, room):
    socket = await RawSocket.connect(servers[0].url)

    for byte in request(servers[0].url, room):
        socket.write(bytes([byte]))
        await socket.writer.drain()
        await asyncio.sleep(0)

    assert (await socket.answer())[0] == 101
    await socket.close()

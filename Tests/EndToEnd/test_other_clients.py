"""Clients made with WebSocket libraries that nobody here wrote are served alike."""

import asyncio
import json

import aiohttp
import pytest
import websocket
from websockets.asyncio.client import connect

from chat_client import message, socket_url

#: The longest text, each byte of it escaped: a frame near its limit.
BIG = "\"" * 16_384


class AIOHTTP:
    """`aiohttp`."""

    def __init__(self, http, socket):
        self.http, self.socket = http, socket

    @classmethod
    async def open(cls, url):
        http = aiohttp.ClientSession()
        # It offers compression, and must do without.
        return cls(http, await http.ws_connect(url, protocols=["chat.v1"], compress=15))

    @property
    def agreed(self):
        return self.socket.protocol, self.socket.compress

    async def send(self, text):
        await self.socket.send_str(text)

    async def send_binary(self, data):
        await self.socket.send_bytes(data)

    async def ping(self):
        await self.socket.ping(b"aiohttp")

    async def receive(self):
        received = await self.socket.receive(timeout=10)
        return received.data if received.type == aiohttp.WSMsgType.TEXT else None

    async def end(self, code=1000):
        await self.socket.close(code=code)
        await self.http.close()
        return self.socket.close_code


class WebSockets:
    """`websockets`."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def open(cls, url):
        return cls(await connect(url, subprotocols=["chat.v1"], compression="deflate"))

    @property
    def agreed(self):
        return self.socket.subprotocol, len(self.socket.protocol.extensions)

    async def send(self, text):
        await self.socket.send(text)

    async def send_parts(self, parts):
        await self.socket.send(iter(parts))

    async def send_binary(self, data):
        await self.socket.send(data)

    async def ping(self):
        await asyncio.wait_for(await self.socket.ping(b"websockets"), 10)

    async def receive(self):
        try:
            return await asyncio.wait_for(self.socket.recv(), 10)
        except Exception:  # Closed, however.
            return None

    async def end(self, code=1000):
        await self.socket.close(code)
        return self.socket.close_code


class WebSocketClient:
    """`websocket-client`, whose calls block."""

    def __init__(self, socket):
        self.socket = socket
        self.close_code = None

    @classmethod
    async def open(cls, url):
        return cls(await asyncio.to_thread(
            websocket.create_connection, url, timeout=10, subprotocols=["chat.v1"],
            header=["Sec-WebSocket-Extensions: permessage-deflate"]))

    @property
    def agreed(self):
        extensions = self.socket.headers.get("sec-websocket-extensions")
        return self.socket.getsubprotocol(), 0 if extensions is None else extensions

    async def send(self, text):
        await asyncio.to_thread(self.socket.send, text)

    async def send_parts(self, parts):
        for index, part in enumerate(parts):
            frame = websocket.ABNF.create_frame(
                part, websocket.ABNF.OPCODE_TEXT if index == 0 else websocket.ABNF.OPCODE_CONT,
                1 if index == len(parts) - 1 else 0)
            await asyncio.to_thread(self.socket.send_frame, frame)

    async def send_binary(self, data):
        await asyncio.to_thread(self.socket.send_binary, data)

    async def ping(self):
        await asyncio.to_thread(self.socket.ping, b"websocket-client")

    async def receive(self):
        opcode, data = await asyncio.to_thread(self.socket.recv_data, True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close_code = int.from_bytes(data[:2])
            return None
        if opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
            return await self.receive()
        return data.decode()

    async def end(self, code=1000):
        if self.close_code is None and self.socket.connected:
            await asyncio.to_thread(self.socket.send_close, code)
            while await self.receive() is not None:
                pass
        self.socket.shutdown()
        return self.close_code


LIBRARIES = [WebSockets, AIOHTTP, WebSocketClient]


@pytest.fixture(params=LIBRARIES, ids=[one.__doc__.split("`")[1] for one in LIBRARIES])
def library(request):
    return request.param


async def until(client, type, **fields):
    while True:
        text = await client.receive()
        assert text is not None, f"closed before {type}"
        frame = json.loads(text)
        if frame["type"] == type and all(frame.get(key) == fields[key] for key in fields):
            return frame


async def test_a_library_talks_to_the_chat(library, servers, room, join):
    bo = await join("bo", 1)
    client = await library.open(socket_url(servers[0].url, room, "ada"))
    frame = message("from a library: κόσμε 😀")

    # The subprotocol is taken, the compression that was offered is not.
    assert client.agreed == ("chat.v1", 0)
    assert (await until(client, "hello"))["user"] == "ada"
    await client.send(json.dumps(frame))
    ack = await until(client, "ack")
    await client.ping()
    await client.send(json.dumps({"amhere": True, "seen": {"upTo": 0}}))
    await client.send(json.dumps({"type": "history"}))
    page = await until(client, "history")

    assert (ack["id"], ack["seq"]) == (frame["id"], 1)
    assert [one["id"] for one in page["messages"]] == [frame["id"]]
    assert (await bo.expect("message", id=frame["id"]))["text"] == frame["text"]
    assert await client.end() == 1000


async def test_a_library_sends_and_gets_big_messages(library, servers, room):
    client = await library.open(socket_url(servers[0].url, room, "ada"))
    frames = [message(BIG), message("€" * 5_461)]

    for frame in frames:
        await client.send(json.dumps(frame, ensure_ascii=False))
        await until(client, "ack", id=frame["id"])
    await client.send(json.dumps({"type": "history"}))

    page = await until(client, "history")
    assert [one["text"] for one in page["messages"]] == [one["text"] for one in frames]
    await client.end()


@pytest.mark.parametrize("library", [WebSockets, WebSocketClient])  # aiohttp sends none.
async def test_a_library_sends_fragments(library, servers, room):
    client = await library.open(socket_url(servers[0].url, room, "ada"))
    frame = message("in parts")
    text = json.dumps(frame)

    await client.send_parts([text[:7], "", text[7:50], text[50:]])

    assert (await until(client, "ack", id=frame["id"]))["seq"] == 1
    await client.end()


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_the_code_of_a_library_is_repeated(library, servers, room, code):
    client = await library.open(socket_url(servers[0].url, room, "ada"))
    await until(client, "hello")

    assert await client.end(code) == code


@pytest.mark.parametrize("send, code", [
    (lambda client: client.send_binary(b"x"), 1003),
    (lambda client: client.send("x" * 65_537), 1009),
])
async def test_a_library_is_told_why_it_was_closed(library, servers, room, send, code):
    client = await library.open(socket_url(servers[0].url, room, "ada"))
    await until(client, "hello")

    await send(client)
    while await client.receive() is not None:
        pass

    assert await client.end() == code


async def test_a_library_without_a_name_is_asked_for_one(library, servers, room):
    client = await library.open(socket_url(servers[0].url, room, None))

    assert json.loads(await client.receive())["code"] == 4401
    assert await client.receive() is None
    assert await client.end() == 4401

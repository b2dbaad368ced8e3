"""A WebSocket client that writes bytes as it is told, right or wrong. Made without a library."""

import asyncio
import json
import os
import struct
from urllib.parse import quote, urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = bytes.fromhex("37fa213d")


def head(first, length, masked=True, size=None):
    """A header. `size` (0, 2 or 8 bytes) forces the form of the length."""
    if size is None:
        size = 0 if length < 126 else 2 if length < 65_536 else 8
    bit = 0x80 if masked else 0
    match size:
        case 0: rest = bytes([bit | length])
        case 2: rest = bytes([bit | 126]) + struct.pack("!H", length)
        case 8: rest = bytes([bit | 127]) + struct.pack("!Q", length)
    return bytes([first]) + rest + (MASK if masked else b"")


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, size=None):
    payload = payload.encode() if isinstance(payload, str) else payload
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    body = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload)) if masked else payload
    return head(first, len(payload), masked, size) + body


def closing(code=None, reason=b""):
    reason = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def fragments(*parts, opcode=TEXT):
    """One message, a frame for each part."""
    last = len(parts) - 1
    return b"".join(
        frame(opcode if index == 0 else 0, part, fin=index == last)
        for index, part in enumerate(parts))


def request(server, room, user="ada", target=None, version="1.1", leave_out=(), method="GET",
            **changes):
    """The request that opens a socket, as a list of lines changed by name.

    A change is a value, a list of values for a header given several times, or None.
    """
    url = urlsplit(server)
    headers = {
        "Host": url.netloc, "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    target = target or f"/v1/rooms/{quote(room, safe='')}/socket?user={quote(user)}"
    lines = [f"{method} {target} HTTP/{version}"]
    for name, values in headers.items():
        if values is None or name in leave_out:
            continue
        for value in [values] if isinstance(values, str) else values:
            lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class RawSocket:
    """One TCP connection; its answers are read frame by frame."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server):
        url = urlsplit(server)
        return cls(*await asyncio.open_connection(url.hostname, url.port))

    @classmethod
    async def join(cls, server, room, user="ada"):
        """Opens a socket and returns after its `hello` and `presence`."""
        self = await cls.connect(server)
        self.write(request(server, room, user))
        status, headers = await self.answer()
        assert status == 101, headers
        assert [(await self.chat())["type"] for _ in range(2)] == ["hello", "presence"]
        return self

    def write(self, data):
        self.writer.write(data)

    async def answer(self, within=10):
        """The status and the headers (names in lower case) of an HTTP answer."""
        async with asyncio.timeout(within):
            text = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = text.decode().split("\r\n")
        pairs = (line.split(":", 1) for line in lines if line)
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}

    async def read(self, within=10):
        """The next frame that is no ping of the server: `(opcode, payload)`; None at the end."""
        async with asyncio.timeout(within):
            while True:
                try:
                    first, second = await self.reader.readexactly(2)
                    length = second & 0x7F
                    assert second & 0x80 == 0 and first & 0x70 == 0 and first & 0x80, (first, second)
                    if length >= 126:
                        raw = await self.reader.readexactly(2 if length == 126 else 8)
                        length = int.from_bytes(raw)
                    payload = await self.reader.readexactly(length)
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    return None
                if first & 0x0F != PING:
                    return first & 0x0F, payload

    async def chat(self, within=10):
        """The next frame of the chat; anything else fails."""
        got = await self.read(within)
        assert got is not None and got[0] == TEXT, got
        return json.loads(got[1])

    async def ends(self, within=10):
        """Reads up to the end of the connection: the payloads of close frames."""
        closes = []
        while (got := await self.read(within)) is not None:
            if got[0] == CLOSE:
                closes.append(got[1])
        return closes

    async def close(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass  # The server was faster.


def random_ping():
    return frame(PING, os.urandom(16))

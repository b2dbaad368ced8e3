"""A server that says what a script tells it to, and nothing else."""

import asyncio
import json
import time
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


class Connection:
    """One socket of the client under test."""

    def __init__(self, socket, server):
        self.socket = socket
        self.server = server
        self.opened_at = time.monotonic()
        self.ended_at = None
        self.close_code = None
        request = socket.request
        self.path = urlsplit(request.path).path
        query = parse_qs(urlsplit(request.path).query)
        self.query = {name: values[0] for name, values in query.items()}
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
        self.offered = [one.strip() for one in offered.split(",") if one.strip()]
        #: `(time, bytes, frame)` of what was not looked at yet.
        self.frames = []
        self.news = asyncio.Event()

    @property
    def token(self):
        header = self.socket.request.headers.get("Authorization", "")
        if header.startswith("Bearer "):
            return header.removeprefix("Bearer ")
        bearers = [one for one in self.offered if one.startswith("bearer.")]
        return bearers[0].removeprefix("bearer.") if bearers else None

    async def read(self):
        """Keeps what comes, until the end."""
        try:
            async for text in self.socket:
                self.frames.append((time.monotonic(), len(text.encode()), json.loads(text)))
                self.news.set()
        except ConnectionClosed:
            pass  # The code says why.
        self.close_code = self.socket.close_code
        self.ended_at = self.ended_at or time.monotonic()
        self.news.set()

    async def send(self, frame):
        text = frame if isinstance(frame, str) else json.dumps(frame, ensure_ascii=False)
        try:
            await self.socket.send(text)
        except ConnectionClosed:
            raise AssertionError(f"the client has left with {self.socket.close_code}") from None

    async def close(self, code, reason=""):
        self.ended_at = time.monotonic()
        await self.socket.close(code, reason)

    def cut(self):
        self.ended_at = time.monotonic()
        self.socket.transport.abort()


class FakeServer:
    """Takes connections, and hands them out in the order of their coming."""

    def __init__(self, number):
        self.number = number
        self.arrivals = asyncio.Queue()
        #: Answers to the next requests for a socket: `(status, seconds or None)`.
        self.refusals = []
        self.refused = []
        self.url = None
        self._server = None

    async def start(self):
        self._server = await serve(
            self._take, "127.0.0.1", 0, process_request=self._judge, max_size=None,
            select_subprotocol=self._choose, ping_interval=None, close_timeout=2)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def stop(self):
        self._server.close(close_connections=False)
        for connection in list(self._server.connections):
            connection.transport.abort()
        await self._server.wait_closed()

    def _judge(self, socket, request):
        if "upgrade" not in request.headers.get("Connection", "").lower():
            return socket.respond(404, "this server plays sockets only\n")
        if not self.refusals:
            return None
        status, seconds = self.refusals.pop(0)
        self.refused.append(time.monotonic())
        answer = socket.respond(status, "no\n")
        if seconds is not None:
            answer.headers["Retry-After"] = str(seconds)
        return answer

    @staticmethod
    def _choose(_, offered):
        return "chat.v1" if "chat.v1" in offered else None

    async def _take(self, socket):
        connection = Connection(socket, self.number)
        self.arrivals.put_nowait(connection)
        await connection.read()

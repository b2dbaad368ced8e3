"""Plays a script: the steps of a server, and of the user of the client under test."""

import asyncio
import json
import time

from fake_server import FakeServer
from patterns import brief, expand, matches, mismatch

#: Seconds that a client has for what it should do, unless the step says otherwise.
PATIENCE = 5.0
#: Clocks of two programs: so much earlier than allowed is not too early.
GRACE = 0.01

HELLO = {
    "type": "hello", "protocol": 1, "server": "script", "room": "lobby", "user": "ada",
    "time": "2026-11-23T10:15:00.000Z", "head": 0, "heartbeat": {"min": 200, "max": 400},
    "limits": {"textBytes": 16384, "frameBytes": 65536, "messagesPerSecond": 20},
    "reconnect": {"min": 20, "max": 60}, "warm": True,
}


class Player:
    """One run of one script against one driver."""

    def __init__(self, script, driver):
        self.script = script
        self.driver = driver
        self.servers = []
        self.connection = None
        self.variables = {}
        #: When the last connection ended, or was refused.
        self.ended_at = None

    async def play(self):
        """Raises AssertionError, with the step, when the client does not conform."""
        for number in range(self.script.get("servers", 1)):
            self.servers.append(await FakeServer(number).start())
        try:
            for number, step in enumerate(self.script["steps"], 1):
                try:
                    await self._step(step)
                except AssertionError as error:
                    raise AssertionError(f"step {number}, {brief(step)}: {error}") from None
        finally:
            for server in self.servers:
                await server.stop()

    async def _step(self, step):
        name, *_ = step  # The first field says what to do, the others how.
        options = {key: value for key, value in step.items() if key != name}
        await getattr(self, f"do_{name}")(step[name], **options)

    # The user

    async def do_start(self, options):
        """A new client, in place of the one before."""
        await self.driver.ask({
            "do": "start", "servers": [server.url for server in self.servers], "room": "lobby",
            "user": "ada"} | options)

    async def do_user(self, command):
        await self.driver.ask(expand(command, self.variables))

    async def do_view(self, pattern, within=PATIENCE):
        """What the client shows becomes like this."""
        deadline = time.monotonic() + within
        while True:
            view = await self.driver.ask({"do": "view"})
            if matches(pattern, view, self.variables):
                return
            if time.monotonic() > deadline:
                reason = mismatch(pattern, view, dict(self.variables))
                raise AssertionError(f"{reason}; the view: {brief(view)}")
            await asyncio.sleep(0.02)

    # Connections

    async def do_accept(self, wanted, within=PATIENCE, after=0):
        """The client connects, not earlier than `after` milliseconds after the last end."""
        connection = await self._arrival(wanted.get("server"), within)
        if after:
            waited = connection.opened_at - self.ended_at
            assert waited > after / 1000 - GRACE, f"came back after {waited * 1000:.0f} ms"
        assert connection.path == "/v1/rooms/lobby/socket", connection.path
        for name, value in wanted.get("query", {}).items():
            assert connection.query.get(name) == value, f"the query: {connection.query}"
        if "token" in wanted:
            assert connection.token == wanted["token"], "not the token that it was given"
        if "subprotocol" in wanted:
            assert wanted["subprotocol"] in connection.offered, f"offered {connection.offered}"
        self.connection = connection

    async def _arrival(self, number, within):
        servers = self.servers if number is None else [self.servers[number]]
        waits = [asyncio.ensure_future(server.arrivals.get()) for server in servers]
        done, rest = await asyncio.wait(
            waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for wait in rest:
            wait.cancel()
        assert done, f"no connection within {within} s"
        return done.pop().result()

    async def do_noConnection(self, milliseconds):
        await asyncio.sleep(milliseconds / 1000)
        for server in self.servers:
            assert server.arrivals.empty(), "the client came back"

    async def do_refuse(self, status, retryAfter=None, times=1):
        """The next requests for a socket are answered like that."""
        self.servers[0].refusals += [(status, retryAfter)] * times

    async def do_refused(self, count, within=PATIENCE):
        """So many were answered like that."""
        deadline = time.monotonic() + within
        while len(self.servers[0].refused) < count:
            assert time.monotonic() < deadline, "it did not ask"
            await asyncio.sleep(0.01)
        self.ended_at = self.servers[0].refused[count - 1]

    async def do_close(self, code, reason="by the script"):
        await self.connection.close(code, reason)
        self.ended_at = self.connection.ended_at

    async def do_cut(self, _):
        self.connection.cut()
        self.ended_at = self.connection.ended_at

    async def do_left(self, codes, within=PATIENCE):
        """The client closes the connection."""
        deadline = time.monotonic() + within
        while self.connection.close_code is None:
            assert time.monotonic() < deadline, "it stays"
            await asyncio.sleep(0.01)
        assert self.connection.close_code in codes, f"with {self.connection.close_code}"
        self.ended_at = self.connection.ended_at

    # Frames

    async def do_join(self, page, hello=None, after=0, within=PATIENCE):
        """Accepts, greets, and gives the newest page to a client that has nothing."""
        await self.do_accept({}, after=after, within=within)
        await self._greet(page, hello)
        await self.do_expect({"type": "history", "after": {"$absent": True}})
        await self.do_send({"type": "history", "messages": page, "complete": True})

    async def do_hello(self, hello, page=None):
        """Greets, and leaves it to the client what to ask."""
        await self._greet(page or [], hello)

    async def _greet(self, page, hello):
        messages = expand(page, self.variables)
        head = {"head": messages[-1]["seq"], "headID": messages[-1]["id"]} if messages else {}
        await self.connection.send(HELLO | head | expand(hello or {}, self.variables))
        await self.connection.send(
            {"type": "presence", "count": 1, "joined": ["ada"], "left": []})

    async def do_send(self, frame):
        await self.connection.send(expand(frame, self.variables))

    async def do_sendText(self, text):
        await self.connection.send(text)

    async def do_sendFragments(self, frame, parts=4):
        text = json.dumps(expand(frame, self.variables))
        size = len(text) // parts + 1
        await self.connection.socket.send(
            [text[start:start + size] for start in range(0, len(text), size)])

    async def do_ping(self, _, within=PATIENCE):
        pong = await self.connection.socket.ping()
        try:
            await asyncio.wait_for(pong, within)
        except TimeoutError:
            raise AssertionError("no pong") from None

    async def do_expect(self, pattern, within=PATIENCE, after=0, bytes=None):
        """The client sends such a frame; others before it are passed over."""
        begun = time.monotonic()
        time_of, size, frame = await self._next(pattern, within)
        if after:
            waited = time_of - begun
            assert waited > after / 1000 - GRACE, f"after {waited * 1000:.0f} ms"
        if bytes is not None:
            assert size <= bytes, f"{size} bytes: {brief(frame)}"

    async def _next(self, pattern, within):
        deadline = time.monotonic() + within
        passed = []
        while True:
            while self.connection.frames:
                entry = self.connection.frames.pop(0)
                if matches(pattern, entry[2], self.variables):
                    return entry
                passed.append(entry[2])
            self.connection.news.clear()
            rest = deadline - time.monotonic()
            assert self.connection.close_code is None, (
                f"it left with {self.connection.close_code}; it sent {brief(passed[-5:])}")
            try:
                await asyncio.wait_for(self.connection.news.wait(), max(0, rest))
            except TimeoutError:
                raise AssertionError(
                    f"nothing like that; it sent {brief(passed[-5:])}") from None

    async def do_expectNone(self, pattern, during=400):
        """The client sends no such frame for so many milliseconds."""
        await asyncio.sleep(during / 1000)
        for _, _, frame in self.connection.frames:
            assert not matches(pattern, frame, dict(self.variables)), f"it sent {brief(frame)}"

    async def do_serve(self, count):
        """Stores so many messages of the client, one after the other, as texts in their order."""
        self.variables["$texts"] = texts = []
        for seq in range(1, count + 1):
            _, _, frame = await self._next({"type": "message", "text": {"$any": True}}, PATIENCE)
            texts.append(frame["text"])
            await self.connection.send(
                {"type": "ack", "id": frame["id"], "level": "stored", "seq": seq})

    async def do_same(self, pattern):
        """Variables are like this."""
        reason = mismatch(pattern, self.variables, dict(self.variables))
        assert reason is None, reason

    # Heartbeats

    async def do_beat(self, wanted, within=PATIENCE):
        """The next heartbeat that claims this `upTo`; it must be short if it is compact."""
        pattern = {"$either": [
            {"amhere": True, "seen": {"upTo": wanted["upTo"]}},
            {"amhere": True, "upTo": wanted["upTo"]}]}
        _, size, frame = await self._next(pattern, within)
        if "seen" in frame:
            assert size <= 64, f"{size} bytes: {brief(frame)}"

    async def do_beatsAtMost(self, up_to, during):
        """No heartbeat claims more for so many milliseconds, and at least one comes."""
        deadline = time.monotonic() + during / 1000
        count = 0
        while time.monotonic() < deadline or count == 0:
            _, _, frame = await self._next({"amhere": True}, PATIENCE)
            claimed = frame.get("seen", frame).get("upTo", 0)
            assert claimed <= up_to, f"it claims {claimed}"
            count += 1

    async def do_intervals(self, count, least, spread=0):
        """So many times between heartbeats: their mean, and how much they differ, at least."""
        times = []
        for _ in range(count + 1):
            time_of, _, _ = await self._next({"amhere": True}, PATIENCE)
            times.append(time_of)
        between = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        shown = [round(one * 1000) for one in between]
        # The mean, since one late arrival makes the next time short.
        assert sum(between) > (count * least - 100) / 1000, f"{shown} ms"
        assert max(between) - min(between) > spread / 1000, f"all alike: {shown} ms"

    async def do_firstBeats(self, times, least):
        """The first heartbeats of so many connections do not all wait for the lower bound."""
        waited = []
        for turn in range(times):
            if turn == 0:
                await self.do_start({})
            await self.do_accept({})
            await self._greet([], {"heartbeat": {"min": least, "max": least * 5 // 4}})
            greeted = time.monotonic()
            time_of, _, _ = await self._next({"amhere": True}, PATIENCE)
            waited.append(time_of - greeted)
            await self.connection.close(4001)
        shown = [round(one * 1000) for one in waited]
        assert min(waited) < least / 1000, f"after {shown} ms"
        assert max(waited) - min(waited) > 0.02, f"all alike: {shown} ms"

"""The chat protocol for Python, on the `websockets` library.

`Socket` is one connection, frame by frame. `ChatClient` is a whole client: it keeps an outbox,
sends heartbeats, repairs holes, and comes back, to any of its servers.
"""

import asyncio
import json
import random
import uuid
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

PATIENCE = 10.0


def new_id():
    return str(uuid.uuid4())


def timestamp(days_off=0):
    now = datetime.now(timezone.utc) + timedelta(days=days_off)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message(text, id=None, **fields):
    return {"type": "message", "id": id or new_id(), "sentAt": timestamp(), "text": text} | fields


def moderate(id=None, **act):
    """`moderate(mute="bo", seconds=60)`: what a moderator sends."""
    if "seconds" in act:
        act["for"] = act.pop("seconds")
    return {"type": "moderate", "id": id or new_id(), "sentAt": timestamp()} | act


def emptied(frame, by):
    """A message as it is once the event with the `seq` `by` has deleted it."""
    kept = {key: value for key, value in frame.items() if key != "receipt"}
    return kept | {"text": "", "deleted": True, "deletedBy": by}


def digest(ids):
    """The XOR over ids of (upper 64 bits XOR lower 64 bits), as 16 hexadecimal digits."""
    total = 0
    for one in ids:
        number = uuid.UUID(one).int
        total ^= (number >> 64) ^ (number & (1 << 64) - 1)
    return f"{total:016x}"


def heartbeat(up_to, unsequenced=()):
    """The compact form: at most 64 bytes while nothing lacks a `seq`."""
    seen = {"upTo": up_to}
    if unsequenced:
        seen |= {"count": len(unsequenced), "digest": digest(unsequenced)}
    return {"amhere": True, "seen": seen}


def socket_url(server, room, user=None):
    query = "?" + urlencode({"user": user}) if user is not None else ""
    path = f"/v1/rooms/{quote(room, safe='')}/socket"
    return server.replace("http", "ws", 1) + path + query


class Socket:
    """One connection to one room. Everything that arrives is kept in `frames`."""

    def __init__(self, connection):
        self.connection = connection
        self.frames = []
        self.close_code = None
        self._taken = set()
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, server, room, user=None, **options):
        options.setdefault("subprotocols", ["chat.v1"])
        return cls(await connect(socket_url(server, room, user), max_size=None, **options))

    @classmethod
    async def join(cls, server, room, user, **options):
        """Opens, and returns after `hello` and the first `presence`."""
        socket = await cls.open(server, room, user, **options)
        socket.hello = await socket.expect("hello")
        socket.people = await socket.expect("presence")
        return socket

    @classmethod
    async def open_rooms(cls, server, user, **options):
        """A socket for many rooms, in none yet."""
        url = server.replace("http", "ws", 1) + "/v1/socket?" + urlencode({"user": user})
        options.setdefault("subprotocols", ["chat.v1"])
        return cls(await connect(url, max_size=None, **options))

    async def enter(self, room):
        """Joins one of many rooms, and returns its `hello`."""
        await self.send({"type": "join", "room": room})
        hello = await self.expect("hello", room=room)
        await self.expect("presence", room=room)
        return hello

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self, code=1000):
        await self.connection.close(code)
        await self._reader

    async def _read(self):
        try:
            async for text in self.connection:
                await self._note(json.loads(text))
        except ConnectionClosed:
            pass  # The code says why, whichever way it ended.
        self.close_code = self.connection.close_code
        async with self._news:
            self._news.notify_all()

    async def _note(self, frame):
        async with self._news:
            self.frames.append(frame)
            self._news.notify_all()

    async def send(self, frame):
        """Sends a frame: a dictionary, or a text or bytes as they are."""
        await self.connection.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def expect(self, type, within=PATIENCE, **fields):
        """The first frame of this type with these fields that was not taken before."""
        async with self._news:
            try:
                async with asyncio.timeout(within):
                    while True:
                        index = self._find(type, fields)
                        if index is not None:
                            self._taken.add(index)
                            return self.frames[index]
                        if self._reader.done() or self.close_code is not None:
                            raise AssertionError(
                                f"closed with {self.close_code}, no {type} {fields}; errors: "
                                f"{self.of_type('error')}; acks: {self.of_type('ack')}")
                        await self._news.wait()
            except TimeoutError:
                raise AssertionError(
                    f"no {type} {fields} within {within} s; the last: {self.frames[-3:]}") from None

    def _find(self, type, fields):
        for index, frame in enumerate(self.frames):
            if index in self._taken or frame["type"] != type:
                continue
            if all(frame.get(key) == value for key, value in fields.items()):
                return index
        return None

    async def expect_close(self, within=PATIENCE):
        """The close code, once the server has closed the connection."""
        async with asyncio.timeout(within):
            await asyncio.shield(self._reader)
        return self.close_code

    def of_type(self, type):
        return [frame for frame in self.frames if frame["type"] == type]

    async def say(self, text, id=None):
        """Sends a message and returns its ack."""
        frame = message(text, id)
        await self.send(frame)
        return await self.expect("ack", id=frame["id"])

    async def say_in(self, room, text):
        """Sends a message on a socket with many rooms, and returns its ack."""
        frame = message(text)
        await self.send({"room": room} | frame)
        return await self.expect("ack", id=frame["id"])

    async def moderate(self, id=None, **act):
        """Does what a moderator does, and returns the ack."""
        frame = moderate(id, **act)
        await self.send(frame)
        return await self.expect("ack", id=frame["id"])

    async def history(self, **fields):
        await self.send({"type": "history"} | fields)
        return await self.expect("history")

    async def no_sync(self):
        """Makes sure that everything sent so far was answered without a `sync`."""
        before = len(self.of_type("sync"))
        # A heartbeat is answered at once, a page of history comes later.
        await self.history(limit=1)
        assert len(self.of_type("sync")) == before, self.of_type("sync")[-1]


class ChatClient:
    """One person in one room, for as long as it takes."""

    #: Ids in one report of the founding form.
    REPORTED = 250

    def __init__(
        self, servers, room, user, ledger=None, seed=None, may_lose=False, days_off=0
    ):
        self.servers = list(servers)
        self.room = room
        self.user = user
        #: Stored messages, by their place in the room; without holes up to `up_to`.
        self.messages = {}
        #: Up to here nothing is missing, and perhaps further.
        self._whole = 0
        #: Messages that the server has lost, as far as this client knows: their `seq` is another's.
        self.unsequenced = {}
        #: Whether shards may lose what they have acknowledged; if not, that is a failure.
        self.may_lose = may_lose
        #: `{id: seq of the event}` of messages that events have deleted.
        self.deletions = {}
        #: Ids that servers asked for, question by question.
        self.wanted = []
        #: What is not acknowledged as stored, in the order of writing.
        self.outbox = {}
        #: `{id: seq}` of all that was ever acknowledged; may be shared by clients.
        self.ledger = ledger if ledger is not None else {}
        #: How far the clock of this client is off.
        self.days_off = days_off
        self.connections = 0
        #: Why connections ended, or did not come about.
        self.ends = []
        #: The `bye` frames that came, in order.
        self.byes = []
        self._random = random.Random(seed)
        self._socket = None
        self._is_asking = False
        self._task = None

    @property
    def up_to(self):
        while self._whole + 1 in self.messages:
            self._whole += 1
        return self._whole

    @property
    def texts(self):
        return [self.messages[seq]["text"] for seq in sorted(self.messages)]

    @property
    def ids(self):
        return [self.messages[seq]["id"] for seq in sorted(self.messages)]

    def start(self):
        self._task = asyncio.create_task(self._live())
        return self

    def check(self):
        """Fails when this client has met something that cannot be."""
        if self._task.done():
            self._task.result()

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def send(self, text):
        """Puts a message into the outbox; it stays there until it is stored."""
        frame = message(text, sentAt=timestamp(self.days_off))
        self.outbox[frame["id"]] = frame
        await self._write(frame)
        return frame["id"]

    async def _write(self, frame):
        if self._socket is None:
            return
        try:
            await self._socket.send(json.dumps(frame, separators=(",", ":")))
        except ConnectionClosed:
            pass  # It is in the outbox; the next connection sends it again.

    async def _live(self):
        attempt = 0
        while True:
            server = self.servers[attempt % len(self.servers)]
            said_goodbye = len(self.byes)
            try:
                async with connect(
                    socket_url(server, self.room, self.user), subprotocols=["chat.v1"],
                    max_size=None, open_timeout=5
                ) as socket:
                    await self._converse(socket)
                self.ends.append(f"{socket.close_code} {socket.close_reason}")
            except (OSError, WebSocketException, TimeoutError) as end:
                # Whatever it was: come back, to the next server.
                self.ends.append(f"{type(end).__name__}: {end}")
            finally:
                self._socket = None
                self._is_asking = False
            attempt += 1
            delay = self._random.uniform(0.05, 0.3)
            if len(self.byes) > said_goodbye:
                delay = self.byes[-1]["reconnectAfter"] / 1000
            await asyncio.sleep(delay)

    async def _converse(self, socket):
        heartbeats = None
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "hello":
                    self.connections += 1
                    self._socket = socket
                    heartbeats = asyncio.create_task(self._beat(frame["heartbeat"]))
                    known = self.messages.get(frame["head"])
                    if known and known["id"] != frame.get("headID", known["id"]):
                        self._lose(frame["head"])
                    if frame["head"] > self.up_to:
                        # With the last that is here: is it still the shard's?
                        await self._ask(overlap=1)
                    for waiting in list(self.outbox.values()):
                        await self._write(waiting)
                else:
                    await self._take(frame)
        finally:
            if heartbeats:
                heartbeats.cancel()

    async def _beat(self, bounds):
        interval = self._random.uniform(bounds["min"], bounds["max"]) / 1000
        await asyncio.sleep(self._random.random() * interval)
        while True:
            await self._write(self._report())
            await asyncio.sleep(self._random.uniform(bounds["min"], bounds["max"]) / 1000)

    def _report(self):
        """What the next heartbeat says: above a hole the ids, so that they are not repeated."""
        above = [self.messages[seq]["id"] for seq in sorted(self.messages) if seq > self.up_to]
        if above and len(above) <= self.REPORTED and not self.unsequenced:
            return {"amhere": True, "msgSeen": above, "upTo": self.up_to}
        return heartbeat(self.up_to, list(self.unsequenced))

    async def _give_back(self, frame):
        """Answers `want`: with the messages, or with their ids when the server cannot name them."""
        self.wanted.append(frame["ids"])
        here = {one["id"]: one for one in self.messages.values()} | self.unsequenced
        if "above" in frame:
            above = min(frame["above"], self.up_to)
            told = list(self.unsequenced.values()) + [
                self.messages[seq] for seq in self.messages if seq > above]
            ids = [one["id"] for one in sorted(told, key=lambda one: one["seq"])]
            await self._write({"amhere": True, "msgSeen": ids[:self.REPORTED], "upTo": above})
        for one in frame["ids"]:
            if "receipt" in here.get(one, {}):
                await self._write(here[one])

    async def _take(self, frame):
        match frame["type"]:
            case "want":
                await self._give_back(frame)
            case "message":
                await self._keep([frame])
            case "sync":
                await self._keep(frame["messages"])
                if not frame["complete"]:
                    await self._ask()
            case "history":
                self._is_asking = False
                await self._keep(frame["messages"])
                if not frame["complete"]:
                    await self._ask()
            case "ack" if frame["level"] == "stored":
                self._acknowledged(frame)
            case "error":
                await self._refused(frame)
            case "bye":
                self.byes.append(frame)

    def _lose(self, first):
        """The shard has lost this one, and all that came after it."""
        self._whole = min(self._whole, first - 1)
        for seq in sorted(seq for seq in self.messages if seq >= first):
            lost = self.messages.pop(seq)
            self.unsequenced[lost["id"]] = lost

    async def _keep(self, messages):
        for frame in messages:
            known = self.messages.get(frame["seq"], frame)
            if known["id"] != frame["id"]:
                assert self.may_lose, f"two messages have one seq: {known} {frame}"
                self._lose(frame["seq"])
            self.unsequenced.pop(frame["id"], None)
            if self.may_lose:
                for seq in [
                    seq for seq, one in self.messages.items()
                    if one["id"] == frame["id"] and seq != frame["seq"]
                ]:
                    del self.messages[seq]
                    self._whole = min(self._whole, seq - 1)
            self.messages[frame["seq"]] = self._obey(frame)
        if len(self.messages) > self.up_to:
            await self._ask()

    def _obey(self, frame):
        """Does what an event says, and answers a message as it may be shown."""
        event = frame.get("event", {})
        if event.get("kind") == "delete":
            self.deletions[event["id"]] = max(
                frame["seq"], self.deletions.get(event["id"], 0))
            for seq, one in self.messages.items():
                if one["id"] == event["id"]:
                    self.messages[seq] = emptied(one, frame["seq"])
        if frame["id"] in self.deletions and not frame.get("deleted"):
            return emptied(frame, self.deletions[frame["id"]])
        return frame

    def _acknowledged(self, frame):
        self.outbox.pop(frame["id"], None)
        seq = self.ledger.setdefault(frame["id"], frame["seq"])
        if self.may_lose:
            return
        assert seq == frame["seq"], f"two acks differ: {seq} and {frame}"

    async def _refused(self, frame):
        if self.may_lose and frame["code"] == "forbidden":
            return  # Given back too late: somebody else was faster.
        assert frame["temporary"], frame
        waiting = self.outbox.get(frame.get("id"))
        if frame.get("id") is None:
            self._is_asking = False
        await asyncio.sleep(frame.get("retryAfter", 200) / 1000)
        if waiting and frame["id"] in self.outbox:
            await self._write(waiting)

    async def _ask(self, overlap=0):
        """Reads what follows the first hole."""
        if self._is_asking:
            return
        self._is_asking = True
        await self._write({"type": "history", "after": max(0, self.up_to - overlap), "limit": 500})


async def eventually(condition, within, what):
    """Waits until `condition` holds."""
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within} s: {what}") from None

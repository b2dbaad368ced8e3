"""Clients that write slowly, not at all, or do not read: each has a bound, and nobody else pays."""

import asyncio
import json
import re
import socket as sockets
import time
import urllib.request
from pathlib import Path

import pytest

from chat_client import message
from cluster import free_ports
from raw_socket import CLOSE, PING, PONG, TEXT, RawSocket, closing, frame, head, request

#: Seconds that a loaded machine may take on top of a bound.
SLACK = 6


async def trickle(socket, data, pause):
    """Writes a byte at a time until the server ends the connection."""
    try:
        for byte in data:
            socket.write(bytes([byte]))
            await socket.writer.drain()
            await asyncio.sleep(pause)
    except ConnectionError:
        pass  # That is what is waited for.


async def seconds_until_end(socket, data=b"", first=b"", pause=0.2):
    start = time.monotonic()
    socket.write(first)
    writing = asyncio.create_task(trickle(socket, data, pause))
    try:
        async with asyncio.timeout(100):
            while await socket.reader.read(65_536):
                pass
    except ConnectionResetError:
        pass  # An end as well.
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await socket.close()
    return time.monotonic() - start


#: The metric of heartbeats that a server has looked into.
BEATS = "chatd_frames_received_total{type=\"heartbeat\"}"
ENDLESS = b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"x" * 100_000
POST = b"POST /v1/rooms/a/messages?user=a HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_whoever_is_slow_is_cut_in_time(servers, room):
    """All at once, because each takes its time: the first byte to the end, in seconds."""
    server = servers[0].url
    await fill(server, room, 20)

    async def plain(first=b"", data=b""):
        return await seconds_until_end(await RawSocket.connect(server), data, first)

    async def upgraded(data):
        return await seconds_until_end(await RawSocket.join(server, room), data)

    bounds = {
        "nothing at all": (10, plain()),
        "a head that does not end": (10, plain(data=ENDLESS)),
        "a head that stands still": (10, plain(first=ENDLESS[:40])),
        "a body that does not end": (15, plain(first=POST, data=b"x" * 60_000)),
        "a body that does not come": (15, plain(first=POST)),
        "nothing after an answer": (60, plain(first=GET)),
        "a second head that does not end": (60, plain(first=GET, data=ENDLESS)),
        "answers that are not read": (60, seconds_unread(server, room)),
        "a socket without a beat": (30, upgraded(b"")),
        "a frame that does not end": (30, upgraded(frame(TEXT, "x" * 60_000))),
        "fragments without an end": (30, upgraded(
            frame(TEXT, "x", fin=False) + frame(0, b"", fin=False) * 500)),
        "a header of a frame": (30, upgraded(head(0x81, 65_000)[:3])),
    }
    seconds = await asyncio.gather(*(wait for _, wait in bounds.values()))

    for (name, (bound, _)), took in zip(bounds.items(), seconds):
        assert bound - 1 <= took <= bound + SLACK, f"{name}: {took:.1f} s, not {bound} s"


async def seconds_unread(server, room):
    """Asks for pages and does not read them."""
    socket = await stalled_connection(server)
    page = f"GET /v1/rooms/{room}/messages HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    start = time.monotonic()
    socket.write(page * 40)
    await until_let_go(socket, 60 + SLACK)
    return time.monotonic() - start


async def fill(server, room, count):
    """Stores the longest messages that there are."""
    author = await RawSocket.join(server, room, "filler")
    for _ in range(count):
        author.write(frame(TEXT, json.dumps(message("x" * 16_000))))
    acks = 0
    while acks < count:
        acks += (await author.chat())["type"] == "ack"
    await author.close()


async def stalled_connection(server):
    """A connection with a small buffer, whose answers nobody reads."""
    raw = sockets.socket(sockets.AF_INET)
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    raw.setblocking(False)
    host, port = server.removeprefix("http://").split(":")
    await asyncio.get_running_loop().sock_connect(raw, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1_024)
    return RawSocket(reader, writer)


async def until_let_go(socket, within):
    """Waits until the server has closed its end. The client cannot see it without reading: what
    it has not read comes first."""
    server = socket.writer.get_extra_info("peername")[1]
    client = socket.writer.get_extra_info("sockname")[1]
    line = re.compile(rf"[0-9A-F]{{8}}:{server:04X} [0-9A-F]{{8}}:{client:04X} 01 ")
    async with asyncio.timeout(within):
        while line.search(Path("/proc/net/tcp").read_text()):
            await asyncio.sleep(0.1)
    socket.writer.transport.abort()


# One reader of a hundred does not read.

READERS = 300
STALLED = 3
RECOVERING = 3
ROUNDS = 60
#: What the server may grow by: 1 MiB waits for each of six readers before they are skipped, and
#: answers to what they ask themselves; the rest is slack of the allocator.
GROWTH_BYTES = 64 * 1024 * 1024
SENT = "chatd_bytes_sent_total"


class Reader:
    """A reader that keeps what it gets, in the order in which it comes."""

    def __init__(self, socket):
        self.socket = socket
        self.seqs = []
        self.syncs = 0
        self.head = 0
        self.close_code = None

    @classmethod
    async def join(cls, server, room, user, is_stalled=False):
        socket = await (stalled_connection(server) if is_stalled else RawSocket.connect(server))
        socket.write(request(server, room, user))
        assert (await socket.answer(30))[0] == 101
        reader = cls(socket)
        reader.head = (await socket.chat(30))["head"]
        return reader

    @property
    def up_to(self):
        seq, known = self.head, set(self.seqs)
        while seq + 1 in known:
            seq += 1
        return seq

    def beat(self):
        self.socket.write(frame(TEXT, json.dumps({"amhere": True, "seen": {"upTo": self.up_to}})))

    async def read(self):
        while (got := await self.socket.read(60)) is not None:
            opcode, payload = got
            if opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2])
                self.socket.write(closing(self.close_code))
                continue
            chat = json.loads(payload)
            if chat["type"] == "message":
                self.seqs.append(chat["seq"])
            if chat["type"] == "sync":
                self.syncs += 1
                self.seqs += [one["seq"] for one in chat["messages"]]
                self.beat()


def rss_bytes(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) * 1024


def metric(server, name):
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0


def closed_as(server, code):
    return metric(server, f'chatd_sockets_closed_total{{code="{code}"}}')


@pytest.fixture
def own_server(cluster):
    server = cluster.chatd("chatd-slow")
    yield server
    server.stop()


async def test_stalled_readers_cost_nobody_else_anything(cluster, own_server):
    server, room = own_server, cluster.new_room()
    author = await Reader.join(server.url, room, "author")
    writing = asyncio.create_task(author.read())
    for _ in range(35):
        author.socket.write(frame(TEXT, json.dumps(message("x" * 16_000))))
        await asyncio.sleep(0.06)
    await wait_for(lambda: author.up_to == 35, 20)
    healthy = await asyncio.gather(*(
        Reader.join(server.url, room, f"reader-{n}") for n in range(READERS)))
    stalled = await asyncio.gather(*(
        Reader.join(server.url, room, f"stalled-{n}", True) for n in range(STALLED + RECOVERING)))
    reading = [asyncio.create_task(one.read()) for one in healthy]
    before, peak = rss_bytes(server), 0

    # They ask for more than the kernel holds (4 MiB at most), and do not read it.
    for _ in range(12):
        sent = metric(server, SENT) + len(stalled) * 480 * 1024
        for one in stalled:
            one.socket.write(frame(TEXT, "{\"type\":\"history\"}"))
        await wait_for(lambda: metric(server, SENT) > sent, 10)
    resumed = []
    slowest = 0.0
    for number in range(ROUNDS):
        start = time.monotonic()
        author.socket.write(frame(TEXT, json.dumps(message(f"round {number}"))))
        await wait_for(lambda: all(one.seqs[-1:] == [36 + number] for one in healthy), 10)
        slowest = max(slowest, time.monotonic() - start)
        peak = max(peak, rss_bytes(server))
        if number == ROUNDS // 2:
            for one in stalled[STALLED:]:
                resumed.append(asyncio.create_task(one.read()))
        await asyncio.sleep(0.1)

    # Everybody else has everything, in order and once, without being told again.
    wanted = list(range(36, 36 + ROUNDS))
    assert all(one.seqs == wanted and one.syncs == 0 for one in healthy)
    assert slowest < 2
    assert peak - before < GROWTH_BYTES
    # Those that read again in time are whole with their next heartbeat.
    for one in stalled[STALLED:]:
        assert one.seqs != wanted
        one.beat()
    await wait_for(lambda: all(sorted(set(one.seqs)) == wanted for one in stalled[STALLED:]), 20)
    assert all(one.syncs > 0 for one in stalled[STALLED:])
    # The rest is closed as too slow, by a server that did not wait for them.
    await wait_for(lambda: closed_as(server, 4002) == STALLED, 30)
    assert all(one.close_code is None for one in healthy + stalled[STALLED:])
    print(f"RSS grew by {(peak - before) / 2**20:.1f} MiB, slowest round {slowest * 1000:.0f} ms")

    for task in [*reading, *resumed, writing]:
        task.cancel()
    for one in [*healthy, *stalled, author]:
        one.socket.writer.transport.abort()


async def wait_for(condition, within):
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


async def test_whoever_asks_for_more_than_he_reads_is_closed_as_too_slow(cluster, own_server):
    room = cluster.new_room()
    await fill(own_server.url, room, 20)
    socket = await RawSocket.join(own_server.url, room)
    socket.writer.transport.pause_reading()
    before = rss_bytes(own_server)

    async def asked_once_more():
        sent = metric(own_server, SENT) + 300 * 1024
        socket.write(frame(TEXT, "{\"type\":\"history\"}"))
        try:
            await wait_for(lambda: metric(own_server, SENT) > sent, 0.5)
        except TimeoutError:
            return False
        return True

    pages = 0
    while await asked_once_more():
        pages += 1
        assert pages < 200, "it may ask for ever"
    grown = rss_bytes(own_server) - before
    socket.writer.transport.resume_reading()

    frames = []
    while (got := await socket.read())[0] == TEXT:
        frames.append(json.loads(got[1]))
    assert (got[0], got[1][:2]) == (CLOSE, (4002).to_bytes(2))
    assert (frames[-1]["type"], frames[-1]["code"]) == ("bye", 4002)
    assert grown < GROWTH_BYTES
    await socket.close()


async def test_a_flood_of_control_frames_costs_the_connection_and_nobody_else(cluster, own_server):
    room = cluster.new_room()
    floods = [await RawSocket.join(own_server.url, room, f"flood-{n}") for n in range(3)]
    ada = await RawSocket.join(own_server.url, cluster.new_room())
    bytes_ = (frame(PING, b"x") + frame(PONG, b"y")) * 1_000

    async def flood(socket):
        try:
            while True:
                socket.write(bytes_)
                await socket.writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass  # That is what a flood must come to.

    flooding = [asyncio.create_task(flood(socket)) for socket in floods]
    waits = []
    for number in range(30):
        start = time.monotonic()
        ada.write(frame(TEXT, json.dumps(message(f"number {number}"))))
        while (await ada.chat())["type"] != "ack":
            pass
        waits.append(time.monotonic() - start)
        await asyncio.sleep(0.06)

    assert max(waits) < 2
    async with asyncio.timeout(10):
        await asyncio.gather(*flooding)
    assert closed_as(own_server, 4429) == len(floods)
    for one in [*floods, ada]:
        one.writer.transport.abort()


async def test_answers_to_many_frames_at_once_are_bounded_before_they_are_written(
    start, cluster, http
):
    port = free_ports(1)
    server = start("chatd-burst", CHATD_ADMIN_BIND=f"127.0.0.1:{port}", CHATD_DRAIN_TIME="0")
    room = cluster.new_room()
    for _ in range(2):
        await fill(server.url, room, 18)
    lazy = await stalled_connection(server.url)
    lazy.write(request(server.url, room, "lazy"))
    assert (await lazy.answer())[0] == 101

    # The server reads larger pieces from whoever sends large ones.
    for _ in range(8):
        lazy.write(frame(TEXT, json.dumps({"amhere": True, "padding": "x" * 60_000})))
    await wait_for(lambda: metric(server, BEATS) >= 8, 20)
    # Each would be answered with half a MiB.
    count = 40
    lazy.write(frame(TEXT, json.dumps({"amhere": True, "msgSeen": []})) * count)
    await wait_for(lambda: metric(server, BEATS) >= 8 + count, 20)
    async with http.get(f"http://127.0.0.1:{port}/sockets?user=lazy") as answer:
        waiting = [one["waitingBytes"] for one in (await answer.json())["sockets"]]

    assert all(bytes <= 4 * 1024 * 1024 for bytes in waiting), waiting
    await lazy.close()

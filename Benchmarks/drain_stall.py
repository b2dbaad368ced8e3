"""How long event loops stand still while a chatd lets 5,000 sockets go at once.

    .venv/bin/python Benchmarks/drain_stall.py [sockets] [drain seconds]

Starts a cluster of its own and one chatd. Another process has a few sockets on every event loop and
pings one of them every 2.5 ms, in turn: a server takes at most 100 pings a second from a socket. Event
loops answer pings themselves, so the longest round trip bounds the longest stall. The same is
measured before the stop, for comparison: what the machine does to everybody is in both numbers.
`BUILD_DIR` says where chatd and shardctl are.
"""

import base64
import itertools
import json
import multiprocessing
import os
import re
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Tests" / "EndToEnd"))

from cluster import Cluster  # noqa: E402

OBSERVERS = 8
#: A close frame of the server, with 1001 or 4001, somewhere behind the `bye`.
CLOSE = re.compile(b"\x88.(\x03\xe9|\x0f\xa1)", re.DOTALL)


def upgraded(port, room, user):
    """A socket that speaks WebSocket, without a library that costs time."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall((
        f"GET /v1/rooms/{room}/socket?user={user} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\n\r\n").encode())
    return connection


def frame(opcode, payload):
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def observe(port, pipe):
    """Pings until the sockets are closed; tells the longest round trip up to `mark` and after."""
    connections = [upgraded(port, f"observer-{one}", f"observer{one}") for one in range(OBSERVERS)]
    longest, phase, sent, open_ones = {"before": 0.0, "after": 0.0}, "before", {}, set(connections)
    for one in connections:
        one.setblocking(False)
    numbers = {one.fileno(): one for one in connections}
    poll = select.poll()
    for number in [*numbers, pipe.fileno()]:
        poll.register(number, select.POLLIN)
    pipe.send("ready")
    turns = itertools.cycle(connections)
    while open_ones:
        time.sleep(0.0025)
        now = time.monotonic()
        one = next(turns)
        if one in open_ones and one not in sent:
            try:
                one.send(frame(9, b"now"))
                sent[one] = now
            except OSError:
                open_ones.discard(one)
        ready = poll.poll(0)
        now = time.monotonic()
        for number, _ in ready:
            if number == pipe.fileno():
                pipe.recv()
                phase = "after"
                continue
            one = numbers[number]
            try:
                data = one.recv(65536)
            except OSError:
                data = b""
            if not data or CLOSE.search(data):
                open_ones.discard(one)
                poll.unregister(number)
                continue
            if b"\x8a\x03now" in data and one in sent:
                longest[phase] = max(longest[phase], now - sent.pop(one))
        # What has not come back by now is a stall, too.
        for one, at in sent.items():
            if one in open_ones:
                longest[phase] = max(longest[phase], now - at)
    pipe.send(longest)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    drain = sys.argv[2] if len(sys.argv) > 2 else "0"
    cluster = Cluster(shards=1).start()
    try:
        server = cluster.chatd("chatd-measured", CHATD_DRAIN_TIME=drain)
        crowd = []
        for number in range(count):
            crowd.append(upgraded(server.port, f"room-{number % 50}", f"user{number}"))
            if number % 200 == 199:
                for one in crowd[-200:]:
                    one.recv(4096)
        ours, theirs = multiprocessing.Pipe()
        observer = multiprocessing.Process(target=observe, args=(server.port, theirs))
        observer.start()
        ours.recv()
        os.nice(5)  # The crowd must not take the server's time.
        time.sleep(3)
        ours.send("mark")
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        closed, waiting = 0, {one.fileno(): one for one in crowd}
        poll = select.epoll()
        for number, one in waiting.items():
            one.setblocking(False)
            poll.register(number, select.EPOLLIN)
        first = None
        while waiting:
            for number, _ in poll.poll(30):
                one = waiting[number]
                try:
                    data = one.recv(65536)
                except OSError:
                    data = b""
                if CLOSE.search(data):  # It is answered.
                    first = first or time.monotonic()
                    try:
                        one.send(frame(8, struct.pack(">H", 1000)))
                    except OSError:
                        pass
                if not data:
                    poll.unregister(number)
                    del waiting[number]
                    one.close()
                    closed += 1
        last = time.monotonic()
        longest = ours.recv()
        observer.join()
        code = server.process.wait(60)
        print(json.dumps({
            "sockets": count, "drainSeconds": float(drain), "closed": closed, "exitCode": code,
            "firstCloseSeconds": round((first or last) - started, 3),
            "lastCloseSeconds": round(last - started, 3),
            "exitSeconds": round(time.monotonic() - started, 3),
            "longestStallBeforeMilliseconds": round(longest["before"] * 1000, 1),
            "longestStallMilliseconds": round(longest["after"] * 1000, 1),
        }))
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()

"""A chat room of the Python library websockets, as the rival of `scripts/bench chat`.

`broadcast_rival.py PORT` relays what it gets to everybody in the room, in frames of the same form
and length as chatd's; it stores nothing, signs nothing, and heals nobody.
"""

import asyncio
import json
import secrets
import sys
from datetime import datetime, timezone
from urllib.parse import parse_qs, urlparse

from websockets.asyncio.server import broadcast, serve

#: As long as a receipt.
RECEIPT = secrets.token_urlsafe(32)
HELLO = (
    '{"type":"hello","protocol":1,"server":"rival","head":%d,'
    '"heartbeat":{"min":3500,"max":7000},"reconnect":{"min":200,"max":5000},"warm":true}')


class Room:
    def __init__(self):
        self.members, self.head = set(), 0


rooms = {}


async def chat(socket):
    address = urlparse(socket.request.path)
    room = rooms.setdefault(address.path, Room())
    user = parse_qs(address.query)["user"][0]
    await socket.send(HELLO % room.head)
    room.members.add(socket)
    try:
        async for text in socket:
            frame = json.loads(text)
            if frame.get("type") != "message":
                continue
            room.head += 1
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")[:23] + "Z"
            end = f'"seq":{room.head},"receipt":"{RECEIPT}"}}'
            await socket.send(
                f'{{"type":"ack","id":"{frame["id"]}","level":"stored",{end}')
            broadcast(room.members, (
                f'{{"type":"message","id":"{frame["id"]}","from":"{user}",'
                f'"sentAt":"{frame["sentAt"]}","receivedAt":"{now}",'
                f'"text":{json.dumps(frame["text"])},{end}'))
    finally:
        room.members.discard(socket)


async def main():
    async with serve(
            chat, "127.0.0.1", int(sys.argv[1]), compression=None, ping_interval=None,
            subprotocols=["chat.v1"], backlog=4096):
        print("ready", flush=True)
        await asyncio.Future()


asyncio.run(main())

"""Clients made with another WebSocket library are served alike."""

import json

import aiohttp

from chat_client import message, socket_url


async def test_aiohttp_talks_to_the_chat(servers, room, join, http):
    bo = await join("bo", 1)
    frame = message("from aiohttp")

    async with http.ws_connect(
        socket_url(servers[0].url, room, "ada"), protocols=["chat.v1"]
    ) as socket:
        assert socket.protocol == "chat.v1"
        hello = await socket.receive_json(timeout=10)
        assert (hello["type"], hello["user"]) == ("hello", "ada")
        await socket.send_json(frame)
        ack = await receive(socket, "ack")
        await socket.ping()
        await socket.send_json({"amhere": True, "seen": {"upTo": 0}})
        await socket.send_json({"type": "history"})
        page = await receive(socket, "history")

    assert (ack["id"], ack["seq"]) == (frame["id"], 1)
    assert [one["id"] for one in page["messages"]] == [frame["id"]]
    assert (await bo.expect("message", id=frame["id"]))["text"] == "from aiohttp"


async def test_aiohttp_with_compression_offered_is_served(servers, room, http):
    async with http.ws_connect(socket_url(servers[0].url, room, "ada"), compress=15) as socket:
        hello = await receive(socket, "hello")

    assert hello["room"] == room


async def receive(socket, type):
    while True:
        received = await socket.receive(timeout=10)
        assert received.type == aiohttp.WSMsgType.TEXT, received
        frame = json.loads(received.data)
        if frame["type"] == type:
            return frame

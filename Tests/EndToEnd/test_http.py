"""What any HTTP server owes its clients, and which web pages may talk to this one."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from chat_client import message
from raw_socket import RawSocket, request


async def ask(socket, line, *fields, body=b""):
    """The answer to one request: status, headers, body."""
    socket.write("\r\n".join([line, *fields, "", ""]).encode() + body)
    status, headers = await socket.answer()
    return status, headers, await socket.reader.readexactly(int(headers["content-length"]))


async def ends(socket):
    """Whether the server ends the connection."""
    async with asyncio.timeout(10):
        return await socket.reader.read() == b""


# Connections


@pytest.mark.parametrize("line, fields", [
    ("GET /healthz HTTP/1.0", []),
    ("GET /healthz HTTP/1.0", ["Host: a"]),
    ("GET /healthz HTTP/1.0", ["Host: a", "Connection: Keep-Alive"]),
    ("GET /healthz HTTP/1.1", ["Host: a", "Connection: close"]),
    ("GET /healthz HTTP/1.1", ["Host: a", "Connection: TE, Close"]),
    ("GET /nothing HTTP/1.0", []),
])
async def test_who_does_not_keep_a_connection_gets_its_end(servers, line, fields):
    socket = await RawSocket.connect(servers[0].url)

    status, headers, _ = await ask(socket, line, *fields)

    assert status == (404 if "nothing" in line else 200)
    assert headers["connection"] == "close"
    assert await ends(socket)
    await socket.close()


async def test_others_keep_it(servers):
    socket = await RawSocket.connect(servers[0].url)

    for _ in range(3):
        status, headers, body = await ask(socket, "GET /healthz HTTP/1.1", "Host: a")
        assert (status, body) == (200, b"ok\n") and "connection" not in headers
    await socket.close()


@pytest.mark.parametrize("line, fields", [
    ("GET /healthz HTTP/1.1", []),
    ("GET /healthz HTTP/1.1", ["Host: a", "Host: b"]),
    ("GET /healthz HTTP/1.1", ["Host: a", "host: a"]),
    ("GET /healthz HTTP/1.0", ["Host: a", "Host: b"]),
    ("POST /v1/rooms/a/messages?user=a HTTP/1.1", ["Content-Length: 2"]),
])
async def test_a_request_names_one_host(servers, line, fields):
    socket = await RawSocket.connect(servers[0].url)

    body = b"{}" if "POST" in line else b""
    status, headers, answer = await ask(socket, line, *fields, body=body)

    assert status == 400
    assert "Host" in json.loads(answer)["message"]
    assert headers["connection"] == "close"
    assert await ends(socket)
    await socket.close()


async def test_a_later_request_names_one_host_too(servers):
    socket = await RawSocket.connect(servers[0].url)

    assert (await ask(socket, "GET /healthz HTTP/1.1", "Host: a"))[0] == 200
    assert (await ask(socket, "GET /healthz HTTP/1.1"))[0] == 400
    assert await ends(socket)
    await socket.close()


# Pages


def post(room, *fields):
    """A message, as a page or a program posts it: arguments of `ask`."""
    body = json.dumps(message("x")).encode()
    line = f"POST /v1/rooms/{room}/messages?user=ada HTTP/1.1"
    return line, body, [*fields, f"Content-Length: {len(body)}"]


async def statuses(server, room, host, *origin):
    """What a socket, a post and a page of history are answered."""
    socket = await RawSocket.connect(server.url)
    changes = {"Origin": origin[0]} if origin else {}
    socket.write(request(server.url, room, Host=host, **changes))
    got = [(await socket.answer())[0]]
    await socket.close()
    fields = [f"Host: {host}", *(f"Origin: {one}" for one in origin)]
    socket = await RawSocket.connect(server.url)
    line, body, posted = post(room, *fields)
    got.append((await ask(socket, line, *posted, body=body))[0])
    line = f"GET /v1/rooms/{room}/messages HTTP/1.1"
    got.append((await ask(socket, line, *fields))[0])
    await socket.close()
    return got


async def test_a_page_of_another_origin_neither_writes_nor_reads(servers, room):
    host = urlsplit(servers[0].url).netloc

    assert await statuses(servers[0], room, host, "http://evil.example") == [403, 403, 403]
    assert await statuses(servers[0], room, host, servers[0].url) == [101, 201, 200]
    assert await statuses(servers[0], room, host) == [101, 201, 200]


# A page whose host was made to lead to this machine (DNS rebinding) is of the server's own origin.
@pytest.mark.parametrize("settings, own", [
    ({}, [403, 403, 403]),
    ({"CHATD_ALLOWED_ORIGINS": "http://evil.example"}, [101, 201, 200]),
    ({"CHATD_ALLOW_OPEN": "1"}, [101, 201, 200]),
    ({"CHATD_TRUSTED_PROXIES": "127.0.0.1"}, [101, 201, 200]),
])
async def test_where_identity_is_open_only_pages_of_this_machine_come_in(
    start, room, settings, own
):
    server = start("chatd-rebound", **settings)

    assert await statuses(server, room, "evil.example", "http://evil.example") == own
    for host in ("localhost", "127.8.9.1", "[::1]"):
        host += f":{server.port}"
        assert await statuses(server, room, host, f"http://{host}") == [101, 201, 200]


async def test_a_page_that_reads_and_names_no_origin_is_told_by_its_host(start, room):
    """Browsers leave `Origin` out when a page reads from what it takes for its own server."""
    server, forced = start("chatd-read"), start("chatd-read-forced", CHATD_ALLOW_OPEN="1")
    # Programs name no origin either; browsers always do for sockets and posts.
    assert await statuses(server, room, "evil.example") == [101, 201, 403]
    assert await statuses(forced, room, "evil.example") == [101, 201, 200]

    socket = await RawSocket.connect(server.url)
    line = f"GET /v1/rooms/{room}/messages HTTP/1.0"
    assert (await ask(socket, line))[0] == 200
    await socket.close()

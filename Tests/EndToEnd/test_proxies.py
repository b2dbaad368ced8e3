"""Behind HAProxy and nginx, with the configurations of docs/; and whom servers believe."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import aiohttp
import pytest

from chat_client import Socket, socket_url
from cluster import ROOT, free_ports, is_free, wait_until
from traffic import write_while


class Proxy:
    """A proxy in the foreground, on a free port, with one of the sample configurations."""

    def __init__(self, name, servers):
        self.folder = Path(tempfile.mkdtemp(prefix="chat-proxy-", dir="/tmp"))
        self.port = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        sample = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[name]
        text = (ROOT / "docs" / sample).read_text()
        for word, value in [
            ("listen BIND", f"listen 127.0.0.1:{self.port}"),
            ("bind BIND", f"bind 127.0.0.1:{self.port}"),
            ("SERVER_A", f"127.0.0.1:{servers[0].port}"),
            ("SERVER_B", f"127.0.0.1:{servers[1].port}"),
        ]:
            text = text.replace(word, value)
        file = self.folder / sample
        if name == "nginx":
            # Where an unprivileged process may write; one that is root keeps its user.
            paths = "".join(
                f"    {kind}_temp_path {self.folder}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            text = text.replace("http {\n", "http {\n" + paths)
            text = f"daemon off;\nmaster_process off;\npid {self.folder}/pid;\n{text}"
            command = ["/usr/sbin/nginx", "-p", self.folder, "-e", "stderr", "-c", file]
        else:
            command = ["/usr/sbin/haproxy", "-db", "-f", file]
        file.write_text(text)
        self.log = self.folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self.is_listening, 20, f"{name} listens")
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}: {self.log.read_text()}") from None

    def is_listening(self):
        assert self.process.poll() is None, self.log.read_text()
        return not is_free(self.port)

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        shutil.rmtree(self.folder)


@pytest.fixture(params=["haproxy", "nginx"])
def proxy(request, start):
    servers = [
        start(f"chatd-behind-{name}", CHATD_TRUSTED_PROXIES="127.0.0.1", CHATD_DRAIN_TIME="3")
        for name in ("a", "b")
    ]
    proxy = Proxy(request.param, servers)
    proxy.servers = servers
    yield proxy
    proxy.stop()


async def test_a_rolling_restart_behind_a_proxy_loses_nothing(cluster, room, proxy):
    first, second = proxy.servers

    async def restart():
        # Somebody is on each of the servers, and they hear each other.
        sockets = []
        while {one.hello["server"] for one in sockets} < {first.name, second.name}:
            sockets.append(await Socket.join(proxy.url, room, "guest"))
        for server in proxy.servers:
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, 30) == 0
            await asyncio.to_thread(server.start)
            # The others are let go only when this one gets clients again.
            while True:
                async with await Socket.join(proxy.url, room, "guest") as guest:
                    if guest.hello["server"] == server.name:
                        break
        for one in sockets:
            assert await one.expect_close() == 4001

    clients = await write_while(cluster, room, [proxy.url], restart)

    assert all(one.connections >= 2 for one in clients)


@pytest.mark.parametrize("trusted, forwarded, is_refused", [
    ("127.0.0.1", "203.0.113.7", True),
    # Whatever a client writes before what its proxy appends does not help it.
    ("127.0.0.0/8, 10.0.0.0/8", "198.51.100.1, 203.0.113.7, 10.0.0.3", True),
    # Nobody is believed unless he is listed; the machine's own programs are not counted.
    ("10.0.0.0/8", "203.0.113.7", False),
    ("", "203.0.113.7", False),
])
async def test_sockets_are_counted_by_the_address_that_a_trusted_proxy_names(
    room, start, http, trusted, forwarded, is_refused
):
    server = start(
        "chatd-counting", CHATD_TRUSTED_PROXIES=trusted, CHATD_ADDRESS_SOCKETS="3",
        CHATD_DRAIN_TIME="0")
    headers = {"X-Forwarded-For": forwarded}

    async def open_one(headers=headers):
        return await http.ws_connect(socket_url(server.url, room, "ada"), headers=headers)

    sockets = [await open_one() for _ in range(3)]

    if not is_refused:
        sockets.append(await open_one())
        return
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await open_one()
    assert refusal.value.status == 429
    assert int(refusal.value.headers["Retry-After"]) >= 1
    # Others are not turned away, and who closes one may open one.
    await open_one({"X-Forwarded-For": "203.0.113.8"})
    await sockets[0].close()
    async with asyncio.timeout(20):
        while True:
            try:
                await open_one()
                break
            except aiohttp.WSServerHandshakeError as error:
                assert error.status == 429


async def test_sockets_of_one_address_are_opened_at_a_bounded_rate(room, start, http):
    server = start(
        "chatd-slowing", CHATD_TRUSTED_PROXIES="127.0.0.1", CHATD_ADDRESS_RATE="1",
        CHATD_DRAIN_TIME="0")
    headers = {"X-Forwarded-For": "2001:db8::1"}

    async def refuse(address):
        async with http.get(
            server.url + f"/v1/rooms/{room}/socket?user=ada", headers={
                "X-Forwarded-For": address, "Connection": "Upgrade", "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        ) as answer:
            assert answer.status == 429
            error = json.loads(await answer.text())
            assert error["code"] == "rateLimited" and error["retryAfter"] > 0

    first = await http.ws_connect(socket_url(server.url, room, "ada"), headers=headers)

    # 64 bits of IPv6 are one customer's.
    await refuse("2001:db8::2")
    await first.close()


def own_address():
    """An address of this machine that is not loopback; None when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent.
        except OSError:
            return None
        address = probe.getsockname()[0]
        return None if address.startswith("127.") else address


@pytest.mark.skipif(own_address() is None, reason="this machine has only loopback")
async def test_connections_without_a_proxy_are_bounded_and_others_are_served(room, start):
    address = own_address()
    server = start(
        "chatd-bounded", host="0.0.0.0", CHATD_ALLOW_OPEN="1",
        CHATD_ADDRESS_SOCKETS="2", CHATD_DRAIN_TIME="0")

    with contextlib.ExitStack() as stack:
        allowed = [
            stack.enter_context(socket.create_connection((address, server.port), timeout=10))
            for _ in range(4)]
        # Answered, and so counted: several loops take connections, not in the order they are made.
        for one in allowed:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.to_thread(one.recv, 4096)).startswith(b"HTTP/1.1 200")
        refused = stack.enter_context(socket.create_connection((address, server.port), timeout=10))
        try:
            assert await asyncio.to_thread(refused.recv, 1) == b""
        except ConnectionResetError:
            pass
        async with await Socket.join(server.url, room, "ada") as ada:
            assert (await ada.say("by loopback"))["level"] == "stored"

    def is_served_again():
        with socket.create_connection((address, server.port), timeout=10) as one:
            try:
                one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                return one.recv(4096).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False

    await asyncio.to_thread(wait_until, is_served_again, 20, "who closed may come again")

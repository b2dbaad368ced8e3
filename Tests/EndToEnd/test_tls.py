"""TLS by the server itself, with certificates that are renewed under it."""

import asyncio
import socket
import ssl

import pytest

from chat_client import Socket
from cluster import wait_until
from secure_server import Certificates, SecureServer


@pytest.fixture
def certificates(cluster):
    return Certificates(cluster.folder / "tls")


@pytest.fixture
def server(cluster, certificates):
    server = SecureServer(
        cluster, "chatd-secure", certificates.settings | {"CHATD_DRAIN_TIME": "0"})
    yield server.start()
    server.stop()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_people_chat_over_tls_and_nothing_else(cluster, room, servers, server, certificates):
    ada = await Socket.join(server.url, room, "ada", ssl=certificates.context())
    bo = await Socket.join(servers[0].url, room, "bo")

    ack = await ada.say("secret")

    await bo.expect("message", id=ack["id"])
    await ada.expect("message", id=(await bo.say("and back"))["id"])
    cluster.assert_stored_once(room, {ack["id"]: ack["seq"]})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        try:
            while more := plain.recv(4096):
                answer += more
        except ConnectionResetError:
            pass
    assert b"HTTP" not in answer
    with pytest.raises((ssl.SSLError, ConnectionError)):
        server.presented(maximum_version=ssl.TLSVersion.TLSv1_1)
    await ada.close()
    await bo.close()


async def test_a_certificate_is_renewed_while_people_chat(room, server, certificates):
    ada = await Socket.join(server.url, room, "ada", ssl=certificates.context())
    old = certificates.der
    assert server.presented() == old

    certificates.renew()

    assert certificates.der != old
    await asyncio.to_thread(
        wait_until, lambda: server.presented() == certificates.der, 20, "the new one is shown")
    assert (await ada.say("still here"))["level"] == "stored"
    async with await Socket.join(server.url, room, "bo", ssl=certificates.context()) as bo:
        assert bo.hello["user"] == "bo"
    await ada.close()


async def test_a_broken_certificate_changes_nothing(server, certificates):
    good = certificates.der

    certificates.certificate.write_text("no certificate")

    await asyncio.to_thread(
        wait_until, lambda: b"the old one is kept" in server.log.read_bytes(), 20, "a warning")
    assert server.presented() == good
    certificates.renew()
    await asyncio.to_thread(
        wait_until, lambda: server.presented() == certificates.der, 20, "the new one is shown")


def test_a_server_does_not_start_with_a_broken_certificate(cluster, certificates):
    server = SecureServer(cluster, "chatd-broken", certificates.settings)
    certificates.key.write_text("no key")

    code, output = server.run_to_end()

    assert code == 64
    assert str(certificates.key) in output and "private key" in output

"""TLS by the server itself, with certificates that are renewed under it."""

import asyncio
import socket
import ssl
import subprocess

import pytest

from chat_client import Socket
from cluster import ChatServer, wait_until
from test_drain import start  # noqa: F401


class Certificates:
    """A certificate for 127.0.0.1 that can be replaced."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.certificate = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.renew()

    def renew(self):
        fresh = [file.with_suffix(".new") for file in (self.certificate, self.key)]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=chatd", "-addext",
             "subjectAltName=IP:127.0.0.1", "-out", fresh[0], "-keyout", fresh[1]],
            check=True, capture_output=True)
        # The key first: in between the two do not fit, and the server must bear it.
        for file, new in reversed(list(zip((self.certificate, self.key), fresh))):
            new.replace(file)

    @property
    def settings(self):
        return {"CHATD_TLS_CERT": str(self.certificate), "CHATD_TLS_KEY": str(self.key)}

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def context(self):
        return ssl.create_default_context(cafile=str(self.certificate))


class SecureServer(ChatServer):
    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def status(self, path):
        return 200 if self.presented() else None

    def presented(self, **versions):
        """The certificate that a new connection gets; None when nobody answers."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for name, version in versions.items():
            setattr(context, name, version)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                with context.wrap_socket(connection) as secure:
                    return secure.getpeercert(binary_form=True)
        except ConnectionRefusedError:
            return None


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

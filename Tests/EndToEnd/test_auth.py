"""Tokens made by a library that is not ours, against a server that checks them."""

import asyncio
import hashlib
import hmac
import json
import os
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from chat_client import Socket, eventually, message, socket_url
from cluster import ChatServer

SECRET = "a-secret-that-must-never-be-logged-0123456789-abcdef"
OLD, NEW = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
KEYS = {
    "HS256": SECRET,
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": OLD,
}


def web_key(kid, key):
    """The public part of a key as JSON, with a name."""
    match key:
        case str():
            fields = json.loads(jwt.algorithms.HMACAlgorithm.to_jwk(key))
        case rsa.RSAPrivateKey():
            fields = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
        case ec.EllipticCurvePrivateKey():
            fields = json.loads(ECAlgorithm.to_jwk(key.public_key()))
        case _:
            fields = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    return fields | {"kid": kid}


def make_token(
    user="ada", rooms=None, lasting=600, algorithm="EdDSA", key=None, kid=None, **claims
):
    payload = {"sub": user, "exp": time.time() + lasting} | claims
    if rooms is not None:
        payload["rooms"] = rooms
    return jwt.encode(
        payload, key or KEYS[algorithm], algorithm, headers={"kid": kid or algorithm})


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def everywhere(*rights):
    return {"*": list(rights)}


class KeyFile:
    """The file that the servers of these tests have their keys from."""

    def __init__(self, path):
        self.path = path

    def write(self, keys):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"keys": [web_key(*item) for item in keys.items()]}))
        new.chmod(0o600)
        os.replace(new, self.path)


@pytest.fixture(scope="module")
def keys(cluster):
    file = KeyFile(cluster.folder / "keys.json")
    file.write(KEYS)
    return file


@pytest.fixture(scope="module")
def server(cluster, keys):
    return cluster.chatd("guarded", CHATD_AUTH="jwt", CHATD_JWT_KEYS=str(keys.path),
                         CHATD_LOG_LEVEL="trace")


def open_socket(server, room, token, **options):
    return Socket.open(server.url, room, additional_headers=bearer(token), **options)


async def expect_refusal(server, room, token, code):
    socket = await open_socket(server, room, token)
    assert await socket.expect_close() == code
    assert [(frame["type"], frame["code"]) for frame in socket.frames] == [("bye", code)]


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_token_opens_a_socket(server, room, algorithm):
    token = make_token("ada", everywhere("read", "write"), algorithm=algorithm)

    async with await open_socket(server, room, token) as ada:
        hello = await ada.expect("hello")
        assert hello["user"] == "ada"
        assert (await ada.say("hello"))["seq"] == 1


async def test_a_page_sends_its_token_beside_the_subprotocol(server, room):
    token = make_token("bo", everywhere("read"))

    socket = await Socket.open(
        server.url, room, subprotocols=["chat.v1", f"bearer.{token}"], origin=server.url)

    async with socket as bo:
        assert (await bo.expect("hello"))["user"] == "bo"
        assert bo.connection.subprotocol == "chat.v1"


async def test_the_token_alone_says_who_it_is(server, room):
    token = make_token("ada", everywhere("read"))
    url = socket_url(server.url, room, "eve")

    connection = await connect(url, subprotocols=["chat.v1"], additional_headers=bearer(token))

    async with Socket(connection) as ada:
        assert (await ada.expect("hello"))["user"] == "ada"


async def test_a_name_is_no_token(server, room):
    socket = await Socket.open(server.url, room, "ada")

    assert await socket.expect_close() == 4401


def forged():
    wrong = {
        "expired": make_token(rooms=everywhere("read"), lasting=-1),
        "not yet valid": make_token(rooms=everywhere("read"), nbf=time.time() + 3_600),
        "another key": make_token(rooms=everywhere("read"), key=NEW),
        "unknown kid": make_token(rooms=everywhere("read"), kid="unknown"),
        "no name": make_token(user=" ", rooms=everywhere("read")),
        "not a token": "a.b.c",
        "none": jwt.encode(
            {"sub": "ada", "exp": time.time() + 60, "rooms": everywhere("read")}, None, "none"),
        "other algorithm": jwt.encode(
            {"sub": "ada", "exp": time.time() + 60, "rooms": everywhere("read")}, SECRET, "HS384",
            headers={"kid": "HS256"}),
        "no end": jwt.encode(
            {"sub": "ada", "rooms": everywhere("read")}, OLD, "EdDSA", headers={"kid": "EdDSA"}),
    }
    return wrong.items()


@pytest.mark.parametrize("name, token", forged(), ids=[name for name, _ in forged()])
async def test_a_bad_token_is_refused(server, room, http, name, token):
    await expect_refusal(server, room, token, 4401)
    url = f"{server.url}/v1/rooms/{room}/messages"
    async with http.get(url, headers=bearer(token)) as answer:
        assert answer.status == 401, name
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert (await answer.json())["code"] == "unauthorized"


async def test_a_public_key_makes_no_tokens(server, room):
    """The oldest trick: the public key as the secret of an HMAC."""
    public = KEYS["RS256"].public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, claims, _ = make_token(rooms=everywhere("read"), algorithm="HS256", kid="RS256").split(
        ".")
    signature = hmac.digest(public, f"{head}.{claims}".encode(), hashlib.sha256)

    forged = f"{head}.{claims}.{jwt.utils.base64url_encode(signature).decode()}"

    await expect_refusal(server, room, forged, 4401)


async def test_rights_are_per_room(server, cluster, http):
    team, other = cluster.new_room("team"), cluster.new_room("other")
    token = make_token("ada", {"team-*": ["read", "write"], "other-*": ["read"]})
    writer = make_token("bot", {"other-*": ["write"]})

    async with await open_socket(server, team, token) as ada:
        assert (await ada.say("hello"))["seq"] == 1
    async with await open_socket(server, other, token) as ada:
        await ada.expect("hello")
        frame = message("not here")
        await ada.send(frame)
        refusal = await ada.expect("error", id=frame["id"])
        assert (refusal["code"], refusal["temporary"]) == ("forbidden", False)
        await ada.send({"type": "typing"})
        assert (await ada.expect("error"))["code"] == "forbidden"
        assert (await ada.history())["messages"] == []
    await expect_refusal(server, "third", token, 4403)
    await expect_refusal(server, other, writer, 4403)
    await expect_refusal(server, other, make_token("ada"), 4403)

    def url(room):
        return f"{server.url}/v1/rooms/{room}/messages"

    for room, one, reading, writing in [
        (team, token, 200, 201), (other, token, 200, 403), (other, writer, 403, 201),
        ("third", token, 403, 403),
    ]:
        async with http.get(url(room), headers=bearer(one)) as answer:
            assert answer.status == reading, room
        async with http.post(url(room), headers=bearer(one), json=message("x")) as answer:
            assert answer.status == writing, room
    async with http.get(url(team)) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="chat"'


async def test_a_socket_ends_with_its_token(server, room):
    token = make_token(rooms=everywhere("read"), lasting=3)
    start = time.monotonic()

    async with await open_socket(server, room, token) as ada:
        await ada.expect("hello")
        bye = await ada.expect("bye")
        assert bye["code"] == 4401
        assert await ada.expect_close() == 4401
        assert 2.5 < time.monotonic() - start < 6
    await expect_refusal(server, room, token, 4401)


async def test_a_fresh_token_keeps_the_socket(server, room):
    first = make_token("ada", everywhere("read"), lasting=3)

    async with await open_socket(server, room, first) as ada:
        await ada.expect("hello")
        await ada.send({"type": "token", "token": make_token("bo", everywhere("read"))})
        assert (await ada.expect("error"))["code"] == "forbidden"
        fresh = make_token("ada", everywhere("read", "write"), algorithm="ES256")
        await ada.send({"type": "token", "token": fresh})
        assert (await ada.expect("token"))["expiresAt"].endswith("Z")
        # Longer than the first token lasts, with a look at the clock to spare.
        await asyncio.sleep(5)
        assert (await ada.say("still here"))["level"] == "stored"


async def test_keys_change_while_the_server_runs(server, keys, room):
    old = make_token("ada", everywhere("read"), kid="EdDSA")
    new = make_token("ada", everywhere("read"), key=NEW, kid="new")

    async def is_taken(token):
        async with await open_socket(server, room, token) as socket:
            try:
                return bool(await socket.expect("hello"))
            except AssertionError:
                return False

    async def becomes(token, wish):
        async with asyncio.timeout(15):
            while await is_taken(token) != wish:
                await asyncio.sleep(0.2)

    assert await is_taken(old) and not await is_taken(new)
    try:
        async with await open_socket(server, room, old) as ada:
            await ada.expect("hello")
            keys.write(KEYS | {"new": NEW})
            await becomes(new, True)
            assert await is_taken(old)

            keys.write({name: key for name, key in KEYS.items() if key is not OLD} | {"new": NEW})
            await becomes(old, False)
            assert await is_taken(new)

            keys.path.write_text("{ half a file")
            await eventually(
                lambda: "the keys from before stay" in server.log.read_text(), 15, "a warning")
            assert await is_taken(new)
            # A socket lives as long as its token, whatever became of the key.
            assert (await ada.history())["messages"] == []
    finally:
        keys.write(KEYS)
        await becomes(old, True)


async def test_the_audience_and_the_issuer_must_be_right(cluster, keys, room):
    server = cluster.chatd(
        "choosy", CHATD_AUTH="jwt", CHATD_JWT_KEYS=str(keys.path), CHATD_JWT_AUDIENCE="chat",
        CHATD_JWT_ISSUER="https://id.example")
    try:
        good = {"aud": ["chat", "mail"], "iss": "https://id.example"}
        token = make_token(rooms=everywhere("read"), **good)
        async with await open_socket(server, room, token) as ada:
            await ada.expect("hello")
        for claims in ({}, good | {"aud": "mail"}, good | {"iss": "https://evil.example"}):
            await expect_refusal(
                server, room, make_token(rooms=everywhere("read"), **claims), 4401)
    finally:
        server.stop()


async def test_an_open_server_does_not_know_tokens(servers, room):
    async with await Socket.join(servers[0].url, room, "ada") as ada:
        await ada.send({"type": "token", "token": make_token()})
        assert (await ada.expect("error"))["code"] == "unknownType"


async def test_a_token_without_the_subprotocol_is_refused(server, room):
    with pytest.raises(InvalidStatus) as refusal:
        await connect(
            socket_url(server.url, room), subprotocols=[f"bearer.{make_token()}"])
    assert refusal.value.response.status_code == 400


@pytest.mark.parametrize("text, words", [
    ("hs256:short", "32 bytes"), ("", "no key"), ("{}", "JSON"),
    ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "private"),
])
def test_a_server_does_not_start_with_bad_keys(cluster, text, words):
    path = cluster.folder / "bad.keys"
    path.write_text(text)

    code, output = ChatServer(cluster, "keyless", {
        "CHATD_AUTH": "jwt", "CHATD_JWT_KEYS": str(path)}).run_to_end()

    assert code == 1
    assert str(path) in output and words in output
    assert "hs256:" not in output


def test_a_secret_that_everybody_can_read_is_told(cluster):
    path = cluster.folder / "public.keys"
    path.write_text(f"hs256:{SECRET}\n")
    path.chmod(0o644)
    server = cluster.chatd("careless", CHATD_AUTH="jwt", CHATD_JWT_KEYS=str(path))

    server.stop()

    assert "chmod 600" in server.log.read_text()
    assert SECRET not in server.log.read_text()


# Last: everything above has gone through this server, which logs all there is.
async def test_nothing_secret_is_in_the_log(server, room, http):
    token = make_token("ada", everywhere("read", "write"))
    async with await open_socket(server, room, token) as ada:
        await ada.expect("hello")
        await ada.send({"type": "token", "token": token})
        await ada.expect("token")
        await ada.send({"type": "token", "token": token[:-2]})
        await ada.expect("error")
    await Socket.open(server.url, room, subprotocols=["chat.v1", f"bearer.{token}x"])
    url = f"{server.url}/v1/rooms/{room}/messages"
    async with http.post(url, headers=bearer(token), json=message("x")) as answer:
        assert answer.status == 201

    log = server.log.read_text()
    assert "eyJ" not in log, "every token begins like that"
    assert token.split(".")[2] not in log
    assert SECRET not in log and web_key("", SECRET)["k"] not in log

"""RFC 6455 by a table of hand-made frames: each row is sent as it stands to a real server.

A row names its section of the RFC, what is sent, and what must happen: a list of answers after
which the socket lives on, or the payload of the server's close frame after which TCP ends.
"""

import asyncio
import json
import struct

import pytest

from raw_socket import (
    BINARY, CLOSE, MASK, PING, PONG, TEXT, RawSocket, closing, fragments, frame, head, random_ping)

#: A whole text that is answered at once, by an error that tells that it was delivered.
PROBE = "{\"type\":\"probe\"}"
DELIVERED = "unknownType"
LIMIT = 65_536


def text(content, fin=True, **options):
    return frame(TEXT, content, fin, **options)


def more(content=b"", fin=False):
    return frame(0, content, fin)


def padded(bytes_):
    """A probe of exactly this size."""
    return PROBE + " " * (bytes_ - len(PROBE))


def quoted(content):
    """A probe with these bytes inside."""
    return b"{\"type\":\"probe\",\"x\":\"" + content + b"\"}"


def pong(payload=b""):
    return ("pong", payload)


FRAMING = [
    # Sizes, and the one form that each length has.
    ("5.2", "an empty text", text(""), ["badFrame"]),
    ("5.2", "125 bytes", text(padded(125)), [DELIVERED]),
    ("5.2", "126 bytes", text(padded(126)), [DELIVERED]),
    ("5.2", "127 bytes", text(padded(127)), [DELIVERED]),
    ("5.2", "65,535 bytes", text(padded(65_535)), [DELIVERED]),
    ("5.2", "65,536 bytes, the limit", text(padded(LIMIT)), [DELIVERED]),
    ("7.4.1", "a byte over the limit", text(padded(LIMIT + 1)), 1009),
    ("7.4.1", "over the limit, the header alone", head(0x81, LIMIT + 1), 1009),
    ("7.4.1", "a gigabyte, the header alone", head(0x81, 1 << 30), 1009),
    ("7.4.1", "the longest length there is", head(0x81, (1 << 63) - 1), 1009),
    ("5.2", "16 bits for a length of 7", text(PROBE, size=2), 1002),
    ("5.2", "16 bits for 125", text(padded(125), size=2), 1002),
    ("5.2", "64 bits for a length of 7", text(PROBE, size=8), 1002),
    ("5.2", "64 bits for 65,535", text(padded(65_535), size=8), 1002),
    ("5.2", "64 bits for 0", head(0x81, 0, size=8), 1002),
    ("5.2", "the top bit of 64", head(0x81, 1 << 63, size=8), 1002),
    ("5.2", "all bits of 64", head(0x81, (1 << 64) - 1, size=8), 1002),
    # Masks.
    ("5.1", "an unmasked text", frame(TEXT, PROBE, masked=False), 1002),
    ("5.1", "an unmasked ping", frame(PING, b"x", masked=False), 1002),
    ("5.1", "an unmasked close", frame(CLOSE, b"\x03\xe8", masked=False), 1002),
    ("5.1", "an unmasked empty text", frame(TEXT, b"", masked=False), 1002),
    ("5.3", "a mask of zeros", bytes([0x81, 0x80 | len(PROBE), 0, 0, 0, 0]) + PROBE.encode(),
     [DELIVERED]),
    # Reserved bits, reserved opcodes, binary.
    *[("5.2", f"reserved bits {bits:03b} of a text", text(PROBE, rsv=bits), 1002)
      for bits in range(1, 8)],
    ("5.2", "a reserved bit of a ping", frame(PING, b"x", rsv=4), 1002),
    ("5.2", "a reserved bit of a pong", frame(PONG, b"x", rsv=2), 1002),
    ("5.2", "a reserved bit of a close", frame(CLOSE, b"\x03\xe8", rsv=1), 1002),
    ("5.2", "a reserved bit of a fragment", text("{", False) + frame(0, "}", rsv=4), 1002),
    *[("5.2", f"opcode {opcode}", frame(opcode, b"x"), 1002)
      for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    ("5.2", "opcode 3 without payload", frame(3), 1002),
    ("7.4.1", "binary", frame(BINARY, PROBE), 1003),
    ("7.4.1", "empty binary", frame(BINARY), 1003),
    ("7.4.1", "binary in fragments", fragments(b"a", b"b", opcode=BINARY), 1003),
    # What comes before a fault counts.
    ("7.1.7", "a text before a fault", text(PROBE) + frame(3), 1002),
    ("7.1.7", "a text after a fault", frame(3) + text(PROBE), 1002),
]

FRAGMENTS = [
    ("5.4", "two fragments", fragments(PROBE[:5], PROBE[5:]), [DELIVERED]),
    ("5.4", "a byte in each", fragments(*PROBE), [DELIVERED]),
    ("5.4", "empty fragments around", fragments("", PROBE, "", ""), [DELIVERED]),
    ("5.4", "only empty fragments", fragments("", "", ""), ["badFrame"]),
    ("5.4", "two messages, each in fragments", fragments(PROBE, "") + fragments("", PROBE),
     [DELIVERED, DELIVERED]),
    ("5.4", "a ping between", text(PROBE[:5], False) + frame(PING, b"between")
     + more(PROBE[5:], True), [pong(b"between"), DELIVERED]),
    ("5.4", "an unasked pong between", text(PROBE[:5], False) + frame(PONG, b"x")
     + more(PROBE[5:], True), [DELIVERED]),
    ("5.4", "a close between", text(PROBE[:5], False) + closing(1000), 1000),
    ("5.4", "a text between", text(PROBE[:5], False) + text(PROBE), 1002),
    ("5.4", "the first fragment twice", text(PROBE[:5], False) + text(PROBE[5:], False), 1002),
    ("5.4", "binary between", text(PROBE[:5], False) + frame(BINARY, b"x"), (1002, 1003)),
    ("5.4", "a last fragment without a first", more(PROBE, True), 1002),
    ("5.4", "a fragment without a first", more(PROBE), 1002),
    ("5.4", "a fragment after the last", fragments("{", "}") + more("x"), 1002),
    ("5.4", "1,024 fragments, the limit", fragments(PROBE, *[" "] * 1_023), [DELIVERED]),
    ("7.4.1", "1,025 fragments", fragments(PROBE, *[" "] * 1_024), 1009),
    ("7.4.1", "1,025 empty fragments", fragments(PROBE, *[""] * 1_024), 1009),
    ("5.4", "the limit in fragments", fragments(padded(60_000), " " * (LIMIT - 60_000)),
     [DELIVERED]),
    ("7.4.1", "a byte over the limit in fragments",
     fragments(padded(60_000), " " * (LIMIT - 59_999)), 1009),
    ("7.4.1", "over the limit, and not at its end",
     text(padded(40_000), False) + more(" " * 40_000), 1009),
]

CONTROL = [
    ("5.5.2", "a ping", frame(PING, b"hello"), [pong(b"hello")]),
    ("5.5.2", "an empty ping", frame(PING), [pong()]),
    ("5.5.2", "a ping that is no text", frame(PING, b"\x00\xff\xfe\x80"),
     [pong(b"\x00\xff\xfe\x80")]),
    ("5.5.2", "a ping of 125 bytes", frame(PING, b"p" * 125), [pong(b"p" * 125)]),
    ("5.5.2", "many pings: the last is answered",
     b"".join(frame(PING, bytes([n])) for n in range(50)), [pong(bytes([49]))]),
    ("5.5.3", "a pong that nobody asked for", frame(PONG, b"x"), []),
    ("5.5.3", "an empty pong", frame(PONG), []),
    ("5.5.3", "a pong of 125 bytes", frame(PONG, b"p" * 125), []),
    *[(section, f"{name} of {size} bytes", frame(opcode, b"\x03\xe8" + b"p" * (size - 2)), 1002)
      for section, name, opcode in
      [("5.5", "a ping", PING), ("5.5", "a pong", PONG), ("5.5", "a close", CLOSE)]
      for size in (126, 65_536)],
    *[("5.5", f"{name} in fragments", frame(opcode, b"", fin=False), 1002)
      for name, opcode in [("a ping", PING), ("a pong", PONG), ("a close", CLOSE)]],
    ("5.5", "a control frame beyond all sizes, the header alone", head(0x89, 1 << 40), 1002),
    ("5.2", "a ping of 5 bytes with 16 bits of length", frame(PING, b"hello", size=2), 1002),
]

CLOSES = [
    ("5.5.1", "without payload", closing(), b""),
    ("5.5.1", "a payload of 1 byte", frame(CLOSE, b"\x03"), 1002),
    *[("7.4", f"code {code}", closing(code), code)
      for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)],
    *[("7.4", f"code {code}, which must not be sent", closing(code), 1002)
      for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)],
    ("5.5.1", "a reason", closing(1000, "good bye €"), 1000),
    ("5.5.1", "a reason of 123 bytes", closing(1000, "x" * 123), 1000),
    ("5.5.1", "a reason of 124 bytes", closing(1000, "x" * 124), 1002),
    *[("8.1", f"a reason that is not UTF-8: {reason.hex()}", closing(1000, reason), 1007)
      for reason in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"ok \xf4\x90\x80\x80")],
    ("7.1.5", "texts after the close", closing(1000) + text(PROBE) * 3, 1000),
    ("7.1.5", "a ping after the close", closing(1000) + frame(PING, b"x"), 1000),
    ("7.1.5", "a second close after the close", closing(1001) + closing(4000), 1001),
    ("7.1.5", "what is no frame after the close", closing(1000) + b"\xff" * 40, 1000),
    ("7.1.5", "a text before the close", text(PROBE) + closing(1000), 1000),
]

VALID_TEXTS = {
    "two bytes": "é".encode(), "three bytes": "€".encode(), "four bytes": "😀".encode(),
    "Greek": "κόσμε".encode(), "the lowest of two": b"\xc2\x80", "the highest of two": b"\xdf\xbf",
    "the lowest of three": b"\xe0\xa0\x80", "before the surrogates": b"\xed\x9f\xbf",
    "after the surrogates": b"\xee\x80\x80", "a noncharacter": b"\xef\xbf\xbf",
    "a byte order mark": b"\xef\xbb\xbf", "the lowest of four": b"\xf0\x90\x80\x80",
    "the highest there is": b"\xf4\x8f\xbf\xbf", "the replacement character": b"\xef\xbf\xbd",
}

INVALID_TEXTS = {
    "a continuation alone": b"\x80", "two continuations alone": b"\x80\xbf",
    "cut after one of two": b"\xc3", "cut after two of three": b"\xe2\x82",
    "cut after three of four": b"\xf0\x9f\x98", "the byte fe": b"\xfe", "the byte ff": b"\xff",
    "overlong slash of two": b"\xc0\xaf", "overlong slash of three": b"\xe0\x80\xaf",
    "overlong slash of four": b"\xf0\x80\x80\xaf", "overlong zero": b"\xc0\x80",
    "overlong 7f": b"\xc1\xbf", "overlong 7ff": b"\xe0\x9f\xbf", "overlong ffff": b"\xf0\x8f\xbf\xbf",
    "the lowest surrogate": b"\xed\xa0\x80", "the highest surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80", "above the highest": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80", "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "Latin-1": "naïve".encode("latin-1"), "two instead of a continuation": b"\xc3\xc3",
}


def in_bytes(content):
    return fragments(*(content[i:i + 1] for i in range(len(content))))


UTF8 = [
    *[("8.1", name, text(quoted(raw)), [DELIVERED]) for name, raw in VALID_TEXTS.items()],
    *[("8.1", f"{name}, a byte in each fragment", in_bytes(quoted(raw)), [DELIVERED])
      for name, raw in VALID_TEXTS.items()],
    *[("8.1", name, text(quoted(raw)), 1007) for name, raw in INVALID_TEXTS.items()],
    *[("8.1", f"{name}, a byte in each fragment", in_bytes(quoted(raw)), 1007)
      for name, raw in INVALID_TEXTS.items()],
    ("8.1", "a text that ends within a character", text(PROBE.encode() + b"\xe2\x82"), 1007),
    ("8.1", "a ping within a character", text(quoted(b"\xe2")[:-2], False) + frame(PING, b"x")
     + more(b"\x82\xac\"}", True), [pong(b"x"), DELIVERED]),
    ("8.1", "what is not UTF-8 where no field is", text(b"\xff"), 1007),
]

ROWS = FRAMING + FRAGMENTS + CONTROL + CLOSES + UTF8


async def judge(socket, expected):
    if isinstance(expected, list):
        await assert_answers(socket, expected)
    else:
        await assert_close(socket, expected)


async def assert_answers(socket, expected):
    """These answers, in any order, and nothing else; then the socket lives on."""
    answers = [plain(await socket.read()) for _ in expected]
    for _ in range(2):
        ping = random_ping()
        socket.write(ping)
        payload = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(ping[6:]))
        answers.append(plain(await socket.read()))
        assert answers.pop() == pong(payload)
    assert sorted(map(repr, answers)) == sorted(map(repr, expected))


def plain(got):
    assert got is not None and got[0] in (TEXT, PONG), got
    if got[0] == PONG:
        return pong(got[1])
    fields = json.loads(got[1])
    return fields["code"] if fields["type"] == "error" else fields["type"]


async def assert_close(socket, expected):
    """One close frame; and once it is answered TCP ends, sooner than patience would end it."""
    while (got := await socket.read()) is not None and got[0] != CLOSE:
        assert got[0] in (TEXT, PONG), got
    assert got is not None, "the connection ended without a close frame"
    if isinstance(expected, bytes):
        assert got[1] == expected
    else:
        codes = expected if isinstance(expected, tuple) else (expected,)
        assert struct.unpack("!H", got[1][:2])[0] in codes, got
        got[1][2:].decode()
    socket.write(closing(1000))
    assert await socket.ends(within=1.5) == []


def row_id(row):
    return f"{row[0]} {row[1]}"


@pytest.mark.parametrize("row", ROWS, ids=row_id)
async def test_frames_in_one_piece(servers, room, row):
    socket = await RawSocket.join(servers[0].url, room)

    socket.write(row[2])

    await judge(socket, row[3])
    await socket.close()


async def write_bytes(socket, data):
    try:
        for index in range(len(data)):
            socket.write(data[index:index + 1])
            await socket.writer.drain()
            await asyncio.sleep(0)
    except ConnectionError:
        pass  # The server has closed, and need not wait for the rest.


async def test_every_row_gives_the_same_a_byte_at_a_time(servers, cluster):
    # How many of many pings are answered depends on how they come.
    rows = [row for row in ROWS if len(row[2]) <= 300 and "many pings" not in row[1]]
    gate = asyncio.Semaphore(20)

    async def check(row):
        async with gate:
            socket = await RawSocket.join(servers[1].url, cluster.new_room())
            try:
                await write_bytes(socket, row[2])
                await judge(socket, row[3])
            except (AssertionError, TimeoutError) as error:
                return f"{row_id(row)}: {error!r}"
            finally:
                await socket.close()

    failures = [one for one in await asyncio.gather(*map(check, rows)) if one]

    assert len(rows) > 100
    assert failures == []


async def test_many_frames_in_one_segment_are_done_in_their_order(servers, room):
    socket = await RawSocket.join(servers[0].url, room)
    broken = [text("no json"), text(PROBE), text("{}")] * 3

    socket.write(b"".join(broken))

    assert [plain(await socket.read()) for _ in broken] == ["badFrame", DELIVERED, "badFrame"] * 3
    await socket.close()


async def test_a_close_of_the_server_that_is_not_answered_ends_tcp(servers, room):
    socket = await RawSocket.join(servers[0].url, room)

    socket.write(frame(3))

    assert [one[:2] for one in await socket.ends(within=5)] == [struct.pack("!H", 1002)]


async def test_a_connection_that_ends_within_a_frame_leaves_nothing(servers, room):
    socket = await RawSocket.join(servers[0].url, room)

    socket.write(text(PROBE)[:-3])
    socket.writer.write_eof()

    assert await socket.ends(within=5) == []
    again = await RawSocket.join(servers[0].url, room, "bo")
    await again.close()

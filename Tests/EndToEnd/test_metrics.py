"""`/metrics`: valid for Prometheus' own judge, and true about what happened."""

import re
import subprocess
import urllib.request

import pytest

from chat_client import Socket, message, new_id, timestamp
from cluster import wait_until

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")


@pytest.fixture
def server(cluster):
    """A server that nobody else talks to."""
    server = cluster.chatd("chatd-metrics")
    yield server
    server.stop()


def scrape(server):
    with urllib.request.urlopen(server.url + "/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return answer.read().decode()


def values(server):
    """`{(name, labels): value}` of every sample."""
    samples = {}
    for line in scrape(server).splitlines():
        if not line.startswith("#"):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert (name, labels) not in samples
            samples[name, labels] = float(value)
    return samples


async def traffic(server, room, http):
    """Two people talk, one of them badly; a program posts and reads."""
    async with await Socket.join(server.url, room, "ada") as ada:
        async with await Socket.join(server.url, room, "bo") as bo:
            frame = message("hello")
            await ada.send(frame)
            await ada.expect("ack", id=frame["id"])
            await bo.expect("message", id=frame["id"])
            await ada.send(frame)
            await ada.expect("ack", id=frame["id"])
            await bo.send("nonsense")
            await bo.expect("error")
            await bo.send({"type": "history", "limit": 5})
            await bo.expect("history")
            await bo.send({"amhere": True, "msgSeen": [new_id()]})
            await bo.expect("sync")
    messages = f"{server.url}/v1/rooms/{room}/messages"
    body = {"id": new_id(), "sentAt": timestamp(), "text": "posted"}
    async with http.post(messages, params={"user": "cy"}, json=body) as answer:
        assert answer.status == 201
    async with http.get(messages) as answer:
        assert answer.status == 200
    async with http.get(server.url + "/nothing/here") as answer:
        assert answer.status == 404


async def test_metrics_pass_the_check_of_prometheus(server, room, http):
    await traffic(server, room, http)

    check = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape(server), text=True, capture_output=True,
        timeout=30)

    assert check.returncode == 0, check.stdout + check.stderr
    assert check.stdout + check.stderr == ""


async def test_metrics_tell_what_happened(server, room, http):
    await traffic(server, room, http)
    wait_until(
        lambda: values(server)["chatd_sockets_closed_total", 'code="1000"'] == 2, 5,
        "both sockets are closed")

    found = values(server)

    expected = {
        ("chatd_frames_received_total", 'type="message"'): 2,
        ("chatd_frames_received_total", 'type="bad"'): 1,
        ("chatd_frames_received_total", 'type="history"'): 1,
        ("chatd_frames_received_total", 'type="heartbeat"'): 1,
        ("chatd_messages_total", 'outcome="stored"'): 2,
        ("chatd_messages_total", 'outcome="duplicate"'): 1,
        ("chatd_messages_total", 'outcome="unknown"'): 0,
        ("chatd_store_seconds_count", None): 3,
        ("chatd_store_seconds_bucket", 'le="+Inf"'): 3,
        ("chatd_syncs_total", None): 1,
        ("chatd_sockets", None): 0,
        ("chatd_rooms", None): 1,
        ("chatd_pubsub_connected", None): 1,
        ("chatd_pubsub_dropped_total", None): 0,
        ("chatd_http_requests_total", 'code="1xx",route="socket"'): 2,
        ("chatd_http_requests_total", 'code="2xx",route="messages"'): 2,
        ("chatd_http_requests_total", 'code="4xx",route="unknown"'): 1,
        ("router_topology_epoch", None): found["router_topology_epoch", None],
    }
    assert {key: found[key] for key in expected} == expected
    for name in (
            "chatd_deliveries_total", "chatd_window_reads_total", "chatd_bytes_sent_total",
            "chatd_pubsub_published_total", "process_start_time_seconds",
            "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
            "process_max_fds"):
        assert found[name, None] > 0, name
    writes = [
        value for (name, labels), value in found.items()
        if name == "router_writes_total" and 'outcome="stored"' in labels]
    assert sum(writes) == 2


async def test_another_server_is_counted_as_heard(server, servers, room):
    async with await Socket.join(server.url, room, "ada"):
        async with await Socket.join(servers[0].url, room, "bo") as bo:
            await bo.say("hello")

            wait_until(
                lambda: values(server)["chatd_pubsub_received_total", None] > 0, 5,
                "what bo said is heard")


async def test_only_reading_is_allowed(server, http):
    async with http.head(server.url + "/metrics") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 1000
    async with http.post(server.url + "/metrics") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"

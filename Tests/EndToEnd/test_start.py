"""A program that cannot start says what is wrong, where, and ends with a code."""

import json
import socket

import pytest

from cluster import ChatServer, Cluster, free_ports


@pytest.fixture(scope="module")
def small_cluster():
    """A cluster that may be broken, with one message in it."""
    cluster = Cluster(shards=2)
    try:
        cluster.start()
        cluster.fill("lobby", 1)
        yield cluster
    finally:
        cluster.stop()


def test_chatd_says_that_its_port_is_in_use(small_cluster):
    server = ChatServer(small_cluster, "second")
    with socket.socket() as first:
        first.bind(("127.0.0.1", server.port))
        first.listen()

        code, output = server.run_to_end()

    assert code == 1
    assert f"127.0.0.1:{server.port}" in output
    assert "in use" in output


def test_chatd_says_that_the_catalog_is_out_of_reach(small_cluster):
    port = free_ports(1)
    server = ChatServer(small_cluster, "lost", {
        "SHARD_CATALOG": f"host=127.0.0.1 port={port} user=chatd dbname=catalog"})

    code, output = server.run_to_end()

    assert code == 1
    assert "catalog" in output and str(port) in output


def test_chatd_starts_without_the_catalog_from_what_it_knew(small_cluster):
    server = small_cluster.chatd("knowing")
    server.stop()
    small_cluster.kill("catalog")
    try:
        server.start()
        server.stop()
    finally:
        small_cluster.start()


@pytest.mark.parametrize("settings, words", [
    ({"CHATD_AUTH": "maybe"}, ["CHATD_AUTH", "maybe"]),
    ({"CHATD_AUTH": "open", "CHATD_BIND": "0.0.0.0:0"}, ["CHATD_AUTH", "CHATD_ALLOW_OPEN"]),
    ({"CHATD_BIND": "127.0.0.1:99999"}, ["CHATD_BIND", "99999"]),
    ({"CHATD_JWT_KEYS": "keys.json"}, ["CHATD_JWT_KEYS", "CHATD_AUTH"]),
    ({"CHATD_AUTH": "jwt"}, ["CHATD_JWT_KEYS"]),
    ({"CHATD_REDIS_URL": "http://127.0.0.1"}, ["CHATD_REDIS_URL"]),
    ({"SHARD_CATALOG": "port=none of these"}, ["SHARD_CATALOG"]),
])
def test_chatd_names_the_setting_that_is_wrong(small_cluster, settings, words):
    code, output = ChatServer(small_cluster, "wrong", settings).run_to_end()

    assert code in (2, 64)
    for word in words:
        assert word.lower() in output.lower(), output


@pytest.fixture
def swapped(small_cluster):
    """The endpoints of the two shards are exchanged in the catalog."""
    # Two endpoints must never be equal, not even in between.
    swap = """
        update catalog.shards set endpoint = endpoint || ' ';
        update catalog.shards s set endpoint = rtrim(o.endpoint) from catalog.shards o
        where o.name <> s.name
        """
    small_cluster.sql("catalog", swap)
    yield small_cluster
    small_cluster.sql("catalog", swap)


def test_chatd_says_that_another_database_is_behind_an_endpoint(swapped):
    code, output = ChatServer(swapped, "misled").run_to_end()

    assert code == 1
    assert "endpoint" in output, output
    assert "shard-a" in output or "shard-b" in output, output


def test_shardctl_says_that_another_database_is_behind_an_endpoint(swapped):
    process = swapped.run("status", "--json")

    assert process.returncode == 3
    problems = [shard["problem"] for shard in json.loads(process.stdout)["shards"]]
    assert all(problems), problems


def test_shardctl_says_that_the_catalog_is_out_of_reach(small_cluster):
    port = free_ports(1)

    process = small_cluster.run(
        "shard", "list", catalog=f"host=127.0.0.1 port={port} user=postgres dbname=catalog")

    assert process.returncode == 1
    assert "catalog" in process.stderr and str(port) in process.stderr
    assert process.stderr.splitlines()[-1].startswith("next: ")


def test_shardctl_says_that_a_port_is_in_use(small_cluster):
    cluster = Cluster(shards=1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", cluster.port_base + 1))
        other.listen()

        process = cluster.run(
            "dev", "up", "--dir", str(cluster.folder / "dev"), "--shards", "1",
            "--port-base", str(cluster.port_base), "--redis-port", str(cluster.redis_port))

    cluster.stop()
    assert process.returncode == 2
    assert str(cluster.port_base + 1) in process.stderr
    assert process.stderr.splitlines()[-1].startswith("next: ")


def test_a_shard_is_added_while_rooms_are_stored_and_owns_nothing_yet(small_cluster):
    endpoint = f"host=127.0.0.1 port={small_cluster.port_base} dbname=postgres"

    process = small_cluster.run("shard", "add", "shard-z", "--endpoint", endpoint)

    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "next: shardctl plan"
    shown = small_cluster.run("shard", "show", "shard-z", "--json")
    assert json.loads(shown.stdout)["slots"] == 0
    assert small_cluster.run("shard", "remove", "shard-z", "--yes").returncode == 0


@pytest.mark.parametrize("words", [["shard"], ["room", "locate"], ["no-such-command"]])
def test_shardctl_explains_how_it_is_used(small_cluster, words):
    process = small_cluster.run(*words)

    assert process.returncode in (0, 64)
    assert "USAGE" in (process.stdout + process.stderr).upper()

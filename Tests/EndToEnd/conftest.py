"""One cluster with two chatd for all tests; tests that break things take their own servers."""

import aiohttp
import pytest
import pytest_asyncio

from chat_client import Socket
from cluster import Cluster
from migrate_fleet import Fleet


def pytest_addoption(parser):
    parser.addoption(
        "--outage", type=float, default=3.0, metavar="SECONDS",
        help="how long each outage of test_chaos.py lasts; by hand for minutes")
    parser.addoption(
        "--chaos-seed", type=int, default=None, help="repeats a run of test_chaos.py")


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster()
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def servers(cluster):
    """Two servers of one cluster."""
    return [cluster.chatd("chatd-a"), cluster.chatd("chatd-b")]


@pytest.fixture(scope="session")
def shard_fleet():
    """Eight shards on one server, for migrations."""
    fleet = Fleet()
    try:
        yield fleet.start()
    finally:
        fleet.stop()


@pytest.fixture
def start(cluster):
    """`start("name", CHATD_DRAIN_TIME="3")` starts a server that the test may stop."""
    servers = []

    def start(name, **settings):
        servers.append(cluster.chatd(name, **settings))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()
        cluster.servers.remove(server)


@pytest.fixture
def room(cluster):
    return cluster.new_room()


@pytest_asyncio.fixture
async def join(servers, room):
    """`await join("ada", 1)` joins the test's room on the second server."""
    sockets = []

    async def join(user, server=0, **options):
        sockets.append(await Socket.join(servers[server].url, room, user, **options))
        return sockets[-1]

    yield join
    for socket in sockets:
        await socket.close()


@pytest_asyncio.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session

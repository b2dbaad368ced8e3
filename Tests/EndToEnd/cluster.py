"""A cluster of its own for the tests: real PostgreSQL servers, Redis, and chatd processes."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD_DIR", ROOT / ".build" / "debug")).resolve()


def wait_until(condition, within, what):
    """Returns what `condition` gives as soon as it is true; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.02)


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_ports(count):
    """The first of `count` ports in a row that nobody uses.

    Test processes beside each other draw from ranges of their own: between the look and the use
    of a port another one could take it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + worker % 4 * 3_000
    for _ in range(200):
        base = random.randrange(first, first + 3_000 - count)
        if all(is_free(port) for port in range(base, base + count)):
            return base
    raise AssertionError(f"no {count} free ports in a row")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # A killed child of somebody who does not wait for it is dead, too.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Cluster:
    """A catalog, shards and Redis below a temporary folder, by `shardctl dev up`."""

    def __init__(self, shards=3):
        self.shard_count = shards
        self.folder = Path(tempfile.mkdtemp(prefix="chat-tests-", dir="/tmp"))
        self.folder.chmod(0o755)  # The user postgres has to enter it.
        self.port_base = free_ports(shards + 2)
        self.redis_port = self.port_base + shards + 1
        self.servers = []
        self.catalog = self.chatd_catalog = self.redis = None

    def start(self):
        """Starts whatever does not run."""
        answer = self.dev("up")
        self.catalog = answer["catalog"]
        self.chatd_catalog = answer["chatdCatalog"]
        self.redis = answer["redis"]
        return self

    def stop(self):
        for server in self.servers:
            server.stop()
        self.dev("down")
        shutil.rmtree(self.folder)

    def chatd(self, name, host=None, **settings):
        """A new chatd of this cluster that is ready; it listens on loopback unless told where."""
        server = ChatServer(self, name, settings, host)
        self.servers.append(server)
        return server.start()

    # shardctl

    def run(self, *words, catalog=None):
        """Runs shardctl and returns the finished process."""
        environment = os.environ | {"SHARDCTL_MIGRATIONS": str(ROOT / "migrations")}
        catalog = catalog or self.catalog
        if catalog:
            environment["SHARD_CATALOG"] = catalog
        return subprocess.run(
            [BUILD / "shardctl", *words], env=environment, cwd=self.folder, text=True,
            capture_output=True, timeout=120)

    def shardctl(self, *words):
        """The JSON that a command prints; it must succeed."""
        process = self.run(*words, "--json")
        assert process.returncode == 0, f"shardctl {words}: {process.stdout}{process.stderr}"
        return json.loads(process.stdout)

    def dev(self, command, *words):
        process = self.run(
            "dev", command, "--dir", str(self.folder / "dev"), "--port-base", str(self.port_base),
            "--redis-port", str(self.redis_port), "--shards", str(self.shard_count), *words,
            "--json")
        expected = (0, 3) if command == "status" else (0,)
        assert process.returncode in expected, f"dev {command}: {process.stdout}{process.stderr}"
        return json.loads(process.stdout)

    def kill(self, name):
        """Ends one server at once, without a clean shutdown."""
        [server] = [one for one in self.dev("status")["servers"] if one["name"] == name]
        # SIGQUIT is PostgreSQL's immediate shutdown; SIGKILL would leave its children behind.
        os.kill(server["pid"], signal.SIGKILL if name == "redis" else signal.SIGQUIT)
        wait_until(lambda: not is_alive(server["pid"]), 20, f"{name} ends")

    def freeze(self, name, signal_number=signal.SIGSTOP):
        """All processes of a server stand still until `thaw`."""
        [server] = [one for one in self.dev("status")["servers"] if one["name"] == name]
        children = Path(f"/proc/{server['pid']}/task/{server['pid']}/children").read_text()
        for pid in [server["pid"], *map(int, children.split())]:
            os.kill(pid, signal_number)

    def thaw(self, name):
        self.freeze(name, signal.SIGCONT)

    # What is stored

    @property
    def shards(self):
        return [shard["name"] for shard in self.shardctl("shard", "list")["shards"]]

    def sql(self, database, statement):
        """Rows of a statement on a shard, or on `catalog`, as lists of texts."""
        process = self.run("psql", database, "--", "-XAtqc", statement, "-v", "ON_ERROR_STOP=1")
        assert process.returncode == 0, process.stderr
        return [line.split("|") for line in process.stdout.splitlines()]

    def owner(self, room):
        """The shard that `room locate` names."""
        location = self.shardctl("room", "locate", room)
        assert location["agrees"], location
        return location["shard"]

    def stored(self, room):
        """`{shard: [(seq, id)]}` of a room, for every shard that has any of it."""
        statement = f"select seq, id from messages where room_id = '{room}' order by seq"
        found = {shard: self.sql(shard, statement) for shard in self.shards}
        return {
            shard: [(int(seq), one) for seq, one in rows] for shard, rows in found.items() if rows
        }

    def assert_stored_once(self, room, acknowledged, old_copies=()):
        """Every message of `{id: seq}` is on the room's shard, once, and nowhere else.

        Shards in `old_copies` may have a copy that waits for its purge.
        """
        stored = {
            shard: rows for shard, rows in self.stored(room).items() if shard not in old_copies}
        assert list(stored) == [self.owner(room)]
        [rows] = stored.values()
        assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1)), "seq has a hole"
        ids = [one for _, one in rows]
        assert len(ids) == len(set(ids)), "an id is stored twice"
        lost = {one: seq for one, seq in acknowledged.items() if (seq, one) not in set(rows)}
        assert not lost, f"acknowledged, but not stored like that: {lost}"

    def fill(self, room, count):
        """Stores `count` messages without chatd: `text 1`, `text 2` …"""
        self.sql(
            self.owner(room),
            f"""
            select count(*) from (select
                array_agg('{room}'::text) as rooms, array_agg(gen_random_uuid()) as ids,
                array_agg('filler'::text) as authors, array_agg(now()) as times,
                array_agg('text ' || n order by n) as texts
            from generate_series(1, {count}) as n) as s,
            shard.append_messages(rooms, ids, authors, times, times, texts) as a
            where a.outcome <> 'stored' or a.seq is null
            """)

    def new_room(self, prefix="room"):
        return f"{prefix}-{uuid.uuid4().hex[:12]}"

    def room_on(self, shard):
        """A new room that lives on `shard`."""
        for _ in range(200):
            room = self.new_room()
            if self.owner(room) == shard:
                return room
        raise AssertionError(f"no room is on {shard}")


class ChatServer:
    """One chatd process."""

    def __init__(self, cluster, name, settings=None, host=None):
        self.cluster = cluster
        self.name = name
        self.port = free_ports(1)
        self.process = None
        self.log = cluster.folder / f"{name}.log"
        self.environment = os.environ | {
            "SHARD_CATALOG": cluster.chatd_catalog,
            "CHATD_REDIS_URL": cluster.redis,
            "CHATD_BIND": f"127.0.0.1:{self.port}",
            "CHATD_SERVER_NAME": name,
            "CHATD_TOPOLOGY_FILE": str(cluster.folder / f"{name}.topology"),
            "CHATD_SPOOL_DIR": str(cluster.folder / f"{name}.spool"),
            "CHATD_AUTH": "open",
            "CHATD_DRAIN_TIME": "1",
        } | (settings or {})
        if host is not None:
            self.environment["CHATD_BIND"] = f"{host}:{self.port}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def launch(self):
        """Starts the process without waiting for it."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BUILD / "chatd"], env=self.environment, cwd=self.cluster.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        return self

    def start(self):
        """Starts the process, and returns when it is fit for traffic."""
        self.launch()
        try:
            wait_until(self.is_ready, 30, f"{self.name} is ready")
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}; its log:\n{self.log.read_text()}") from None
        return self

    def is_ready(self):
        code = self.process.poll()
        assert code is None, f"{self.name} ended with {code}"
        return self.status("/readyz") == 200

    def status(self, path):
        """The HTTP status of a GET; None when nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def run_to_end(self, within=60):
        """For a start that must fail: the exit code, and what was printed."""
        process = subprocess.run(
            [BUILD / "chatd"], env=self.environment, cwd=self.cluster.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=within)
        return process.returncode, process.stdout

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop when asked to") from None

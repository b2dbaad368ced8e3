"""Redis servers of a test's own, that it may kill, freeze and misconfigure."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from cluster import free_ports, wait_until


class RedisServer:
    """One Redis, on 127.0.0.1 and with nothing on disk."""

    def __init__(self, *options):
        self.folder = Path(tempfile.mkdtemp(prefix="redis-tests-", dir="/tmp"))
        self.port = free_ports(2)
        self.options = options
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
             self.folder, "--save", "", "--appendonly", "no", "--logfile", "redis.log",
             *map(str, self.options)], stdin=subprocess.DEVNULL)
        # "NOAUTH" from one that wants a password.
        wait_until(
            lambda: self.cli("PING").strip().startswith(("PONG", "NOAUTH")), 20, "Redis answers")
        return self

    def cli(self, *words):
        """What redis-cli prints."""
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *map(str, words)], text=True,
            capture_output=True, timeout=60).stdout

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)


class RedisCluster:
    """Three nodes without replicas, made by `redis-cli --cluster create`."""

    def __init__(self):
        self.nodes = []

    def start(self):
        for _ in range(3):
            node = RedisServer(
                "--cluster-enabled", "yes", "--cluster-node-timeout", 3000,
                "--cluster-require-full-coverage", "no")
            # The second of its two free ports is the bus.
            node.options += ("--cluster-port", node.port + 1)
            self.nodes.append(node.start())
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        self.nodes[0].cli("--cluster", "create", *addresses, "--cluster-yes")
        wait_until(self.is_whole, 30, "the nodes of Redis find each other")
        return self

    def is_whole(self):
        infos = [node.cli("CLUSTER", "INFO") for node in self.nodes]
        return all(
            "cluster_state:ok" in info and "cluster_slots_ok:16384" in info for info in infos)

    def rooms_by_node(self):
        """How many channels are subscribed to at each node."""
        return [
            len(node.cli("PUBSUB", "SHARDCHANNELS").split()) for node in self.nodes]

    def stop(self):
        for node in self.nodes:
            node.stop()


class Certificates:
    """A certificate authority, and a certificate for some names."""

    def __init__(self, *names):
        self.folder = Path(tempfile.mkdtemp(prefix="redis-tests-", dir="/tmp"))
        self.authority = self.folder / "ca.crt"
        (self.folder / "names").write_text(f"subjectAltName={','.join(names)}\n")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        self._openssl(
            "req", "-x509", *key, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key",
            "-out", "ca.crt")
        self._openssl(
            "req", *key, "-subj", "/CN=server", "-keyout", "key.pem", "-out", "request.pem")
        self._openssl(
            "x509", "-req", "-in", "request.pem", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "certificate.pem")

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def options(self, port):
        """What makes a Redis encrypt on `port`."""
        return (
            "--tls-port", port, "--tls-cert-file", self.folder / "certificate.pem",
            "--tls-key-file", self.folder / "key.pem", "--tls-ca-cert-file", self.authority,
            "--tls-auth-clients", "no")

    def stop(self):
        shutil.rmtree(self.folder)

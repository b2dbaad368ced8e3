"""A fleet of eight shards whose databases, and the catalog, are all on one throw-away server."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from cluster import BUILD, ROOT, free_ports, wait_until

BINARIES = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name)) / "bin"
AS_POSTGRES = (
    ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    if os.getuid() == 0 else [])
SETTINGS = [
    "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "wal_level=logical",
    "max_connections=200", "shared_buffers=64MB", "logging_collector=off", "autovacuum=off",
    "max_slot_wal_keep_size=4GB", "max_replication_slots=32", "max_wal_senders=32",
    "max_worker_processes=32", "max_logical_replication_workers=16", "dynamic_shared_memory_type=mmap",
]

# Everything that files of these tests make, by the server's own words. Not the program's own verify.
FINGERPRINT = """
select md5(string_agg(line, e'\\n' order by line)) from (
    select 'column ' || c.oid::regclass || ' ' || a.attname || ' '
        || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' '
        || coalesce(pg_get_expr(d.adbin, d.adrelid), '') as line
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relkind in ('r', 'p', 'v', 'S') and a.attnum > 0 and not a.attisdropped
        and c.relnamespace::regnamespace::text in ('app', 'public', 'shard')
    union all
    select 'index ' || pg_get_indexdef(indexrelid) || ' ' || indisvalid || ' ' || indisready
    from pg_index where indrelid::regclass::text not like 'pg_%'
    union all
    select 'constraint ' || conrelid::regclass || ' ' || conname || ' '
        || pg_get_constraintdef(oid) || ' ' || convalidated
    from pg_constraint where connamespace::regnamespace::text in ('app', 'public', 'shard')
    union all
    select 'function ' || oid::regprocedure || ' ' || pg_get_functiondef(oid)
    from pg_proc
    where pronamespace::regnamespace::text in ('app', 'public', 'shard') and prokind in ('f', 'p')
    union all
    select 'label ' || enumtypid::regtype || ' ' || enumlabel || ' '
        || row_number() over (partition by enumtypid order by enumsortorder)
    from pg_enum
    union all
    select 'registered ' || table_name from shard.tables
    union all
    select 'history ' || version || ' ' || title || ' ' || checksum || ' ' || origin
    from shard.migrations
) all_lines
"""
INVALID = "select count(*) from pg_index where not (indisvalid and indisready and indislive)"


class Fleet:
    """The server, the folder with the migrations, and the program that applies them."""

    def __init__(self, count=8):
        self.shards = [f"s{number}" for number in range(1, count + 1)]
        self.databases = ["catalog"] + self.shards
        self.folder = Path(tempfile.mkdtemp(prefix="chat-fleet-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port = free_ports(1)
        self.migrations = self.folder / "migrations"
        self.log = self.folder / "server.log"
        self.server = None
        shutil.copytree(ROOT / "migrations", self.migrations)

    # The server

    def start(self):
        data = self.folder / "data"
        data.mkdir()
        if AS_POSTGRES:
            shutil.chown(data, "postgres", "postgres")
        subprocess.run(
            [*AS_POSTGRES, BINARIES / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
             "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"], check=True, capture_output=True)
        self.launch()
        for name in self.databases:
            self.sql("postgres", f"create database {name}")
        self.must("init")
        for name in self.shards:
            self.must("shard", "add", name, "--endpoint", self.endpoint(name))
        self.untouched = self.fingerprints()
        return self

    def launch(self):
        options = [word for one in SETTINGS for word in ("-c", one)]
        with open(self.log, "ab") as log:
            self.server = subprocess.Popen(
                [*AS_POSTGRES, BINARIES / "postgres", "-D", self.folder / "data",
                 "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, 30, "the server answers")

    def crash(self):
        """All databases end at once, and come back."""
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait(20)
        self.launch()

    def answers(self):
        ready = [BINARIES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self):
        self.server.send_signal(signal.SIGQUIT)  # Nothing of it is kept.
        self.server.wait(20)
        shutil.rmtree(self.folder)

    def endpoint(self, name):
        return f"host=127.0.0.1 port={self.port} dbname={name}"

    @property
    def environment(self):
        return os.environ | {
            "SHARDCTL_MIGRATIONS": str(self.migrations), "PGUSER": "postgres",
            "SHARD_CATALOG": f"{self.endpoint('catalog')} user=postgres",
        }

    # SQL

    def psql(self, database):
        return [BINARIES / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d",
                f"{self.endpoint(database)} user=postgres"]

    def sql(self, database, statement):
        """The rows of the last statement, as lists of texts."""
        process = subprocess.run(
            self.psql(database), input=statement, text=True, capture_output=True, timeout=60)
        assert process.returncode == 0, f"{statement}: {process.stderr}"
        return [line.split("|") for line in process.stdout.splitlines()]

    def value(self, database, statement):
        return self.sql(database, statement)[0][0]

    def everywhere(self, statement):
        """`{shard: rows}`; one psql for all."""
        script = "".join(
            f"\\connect {name}\n\\echo -- {name}\n{statement};\n" for name in self.shards)
        answer, rows = {}, None
        for line in self.sql(self.shards[0], script):
            if line[0].startswith("-- "):
                rows = answer.setdefault(line[0][3:], [])
            else:
                rows.append(line)
        assert list(answer) == self.shards
        return answer

    def fingerprints(self):
        return {name: rows[0][0] for name, rows in self.everywhere(FINGERPRINT).items()}

    def session(self, database):
        return Session(self.psql(database))

    # Files

    def write(self, **files):
        """Exactly these application files: `_1001_title="sql"`, `_1001_title_down="sql"`."""
        for path in (self.migrations / "catalog").glob("[!0]*.sql"):
            path.unlink()
        folder = self.migrations / "shard"
        for path in folder.glob("[!0]*.sql"):
            path.unlink()
        for name, text in files.items():
            name = name.removeprefix("_")
            is_down = name.endswith("_down")
            title = name.removesuffix("_down")
            (folder / f"{title}.{'down' if is_down else 'up'}.sql").write_text(text)
            if not is_down and f"_{title}_down" not in files:
                (folder / f"{title}.down.sql").write_text("")
        self.must("migrate", "new", "--refresh")

    def write_for_catalog(self, title, text):
        """One more file, of the catalog; the next ``write`` removes it."""
        for direction, sql in (("up", text), ("down", "")):
            (self.migrations / "catalog" / f"{title}.{direction}.sql").write_text(sql)
        self.must("migrate", "new", "--refresh")

    def reset(self):
        """All shards as if no application file had ever been applied."""
        found = self.everywhere("""
            set client_min_messages = warning;
            drop schema if exists app cascade;
            delete from shard.tables where table_name like 'app.%';
            delete from shard.migrations where version > 1000;
            delete from shard.migration_steps;""" + FINGERPRINT)
        self.sql("catalog", """
            delete from catalog.migration_runs;
            delete from catalog.migrations where version > 1000;
            set client_min_messages = warning;
            drop schema if exists app cascade""")
        assert {name: rows[-1][0] for name, rows in found.items()} == self.untouched

    # The program

    def start_program(self, *words, die_at=None):
        environment = self.environment | ({"SHARDCTL_DIE_AT": die_at} if die_at else {})
        return subprocess.Popen(
            [BUILD / "shardctl", *words], env=environment, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words, die_at=None, within=60):
        process = self.start_program(*words, die_at=die_at)
        try:
            out, err = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"shardctl {words} does not end:\n{out}{err}") from None
        return Answer(process.returncode, out, err)

    def must(self, *words):
        answer = self.run(*words, "--json")
        assert answer.code == 0, f"shardctl {words}: {answer}"
        return answer.json

    def status(self):
        """`{database: its object}`, and the exit code."""
        answer = self.run("migrate", "status", "--json")
        return {one["name"]: one for one in answer.json["databases"]}, answer.code

    def states(self):
        found, _ = self.status()
        return {name: found[name]["state"] for name in self.shards}


class Answer:
    """What a program that has ended said."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def all(self):
        return self.out + self.err

    def __str__(self):
        return f"exit code {self.code}\n{self.out}{self.err}"


class Session:
    """One psql that stays, for locks and transactions that are held."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, statement):
        """Returns when the statement is done."""
        self.process.stdin.write(f"{statement};\n\\echo over\n")
        self.process.stdin.flush()
        lines = []
        while (line := self.process.stdout.readline()) != "over\n":
            assert line, f"psql ended at {statement}"
            lines.append(line.rstrip("\n"))
        return lines

    def close(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

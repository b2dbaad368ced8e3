"""`shardctl migrate up` that is killed anywhere, with files of both kinds, over eight shards."""

import os
import random
import signal
import time

import pytest

from cluster import is_alive, wait_until
from migrate_fleet import FINGERPRINT, INVALID

# Each statement leaves a trace that tells how often it ran.
FILES = {
    "_1001_notes": """\
        create schema app;
        create type app.mood as enum ('good', 'bad');
        create table app.notes (
            room_id text collate "C" not null, n int4 not null, mood app.mood default 'good',
            "odd; name" text, primary key (room_id, n));
        create table app.counters (name text primary key, n int4 not null default 0);
        create table app.audit (what text not null);
        copy app.counters (name) from stdin;
        updates
        doing
        \\.
        select shard.register_table('app.notes');
        create function app.touch(t text) returns void language plpgsql as $body$
        begin
            -- A semicolon; and a 'quote.
            update app.counters set n = n + 1 where name = t;
        end
        $body$;
        insert into app.notes (room_id, n) select 'room-' || i % 10, i from generate_series(1, 200) i;
        insert into app.audit values ('1001');
        """.replace("        ", "").replace("    ", "  "),
    "_1002_online": """\
-- shardctl: transaction=off
create index concurrently notes_by_n on app.notes using btree (n desc) where n > 3;
alter type app.mood add value 'so-so' after 'good';
alter table app.notes add constraint n_is_positive check (n > 0) not valid;
alter table app.notes validate constraint n_is_positive;
update app.counters set n = n + 1 where name = 'updates';
create unique index concurrently "Notes; quoted" on app.notes (lower("odd; name"), room_id, n)
    include (mood) with (fillfactor = 80);
drop index concurrently app.notes_by_n;
create index concurrently notes_by_n on app.notes (n, room_id);
vacuum app.notes;
insert into app.audit values ('1002');
""",
    "_1003_loops": """\
-- shardctl: transaction=off repeatable=on
do $$
begin
    for i in 1 .. 3 loop
        update app.notes set mood = 'bad' where n % 3 = i - 1;
        commit;
    end loop;
end
$$;
insert into app.audit values ('1003');
""",
    "_1004_end": """\
alter table app.notes add column size int4 not null default 7;
select app.touch('doing');
insert into app.audit values ('1004');
""",
}
COUNTS = {1001: 9, 1002: 10, 1003: 2, 1004: 3}
PLACES = [
    (version, str(number)) for version, count in COUNTS.items() for number in range(1, count + 1)
] + [(version, "applied") for version in COUNTS]
TRACES = """
select (select string_agg(what, ' ' order by what) from app.audit),
    (select string_agg(name || '=' || n, ' ' order by name) from app.counters),
    (select count(*) || ' ' || sum(n) || ' ' || count(distinct size) from app.notes),
    (select string_agg(version::text, ' ' order by version) from shard.migrations
     where version > 1000),
    (select count(*) from shard.migration_steps),
    (""" + INVALID + "), (" + FINGERPRINT + ")"
EXPECTED = [
    "1001 1002 1003 1004", "doing=1 updates=1", "200 20100 1", "1001 1002 1003 1004", "0", "0"]


@pytest.fixture(scope="module")
def fleet(shard_fleet):
    shard_fleet.reset()
    shard_fleet.write(**FILES)
    return shard_fleet


@pytest.fixture(scope="module")
def finished(fleet):
    """The traces and fingerprints of all shards after a run that nobody stopped."""
    fleet.must("migrate", "up")
    traces = fleet.everywhere(TRACES)
    [*first, fingerprint] = traces["s1"][0]
    assert first == EXPECTED
    assert traces == {name: [[*EXPECTED, fingerprint]] for name in fleet.shards}
    return {name: [[*EXPECTED, fingerprint]] for name in fleet.shards}


def resume(fleet):
    """What a command needs to go on with a run, if one is begun."""
    is_begun = fleet.value(
        "catalog", "select count(*) from catalog.migration_runs where state = 'open'") == "1"
    return ["--resume"] if is_begun else []


def finish(fleet, finished):
    """One command finishes, and everything was done once."""
    answer = fleet.run("migrate", "up", *resume(fleet), "--json")
    assert answer.code == 0, answer
    assert fleet.everywhere(TRACES) == finished
    journal = fleet.sql(
        "catalog",
        "select distinct r.state, s.state from catalog.migration_runs r "
        "join catalog.migration_run_shards s on s.run_id = r.id")
    assert journal == [["done", "done"]]
    _, code = fleet.status()
    assert code == 0


@pytest.mark.parametrize("version", list(COUNTS))
def test_killed_before_each_statement_one_command_finishes(fleet, finished, version):
    for place in [one for number, one in PLACES if number == version]:
        fleet.reset()

        # On the canary; the command that goes on passes that place, and is killed on another shard.
        for shard in ("s1", "s5"):
            killed = fleet.run(
                "migrate", "up", *resume(fleet), die_at=f"{shard} {version} {place}")
            assert killed.code == -signal.SIGKILL, f"{shard} {place}: {killed}"

        finish(fleet, finished)


def test_killed_at_random_instants_one_command_finishes(fleet, finished):
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    fleet.reset()
    start = time.monotonic()
    assert fleet.run("migrate", "up").code == 0
    whole = time.monotonic() - start
    kills = 0
    while kills < 20:
        fleet.reset()

        # Twice: whoever goes on is killed, too.
        for _ in range(2):
            program = fleet.start_program("migrate", "up", *resume(fleet))
            time.sleep(chance.uniform(0.05, whole))
            program.kill()
            program.communicate()
            kills += program.returncode == -signal.SIGKILL

        finish(fleet, finished)


def test_killed_again_and_again_it_still_ends(fleet, finished):
    fleet.reset()
    for version, place in PLACES:
        fleet.run("migrate", "up", die_at=f"s4 {version} {place}")

    finish(fleet, finished)


def test_killed_while_an_index_waits_the_next_command_leaves_no_invalid_one(fleet, finished):
    fleet.reset()
    fleet.run("migrate", "up", die_at="s3 1002 1")
    with fleet.session("s3") as reader:
        # It has no lock on the table: only its snapshot is old.
        reader.run("begin isolation level repeatable read; select 1")
        program = fleet.start_program("migrate", "up", "--resume")
        wait_until(
            lambda: fleet.value("s3", INVALID) == "1", 20, "the index is there, but not valid")
        program.kill()
        program.communicate()
        assert fleet.value("s3", INVALID) == "1"
        next_one = fleet.start_program("migrate", "up", "--resume")
        time.sleep(0.5)
        assert next_one.poll() is None
        reader.run("commit")

    out, err = next_one.communicate(timeout=60)

    assert next_one.returncode == 0, out + err
    assert fleet.everywhere(TRACES) == finished


@pytest.mark.parametrize("version,step", [(1002, 6), (1002, 7), (1003, 1)])
def test_killed_after_a_statement_before_it_is_written_down(fleet, finished, version, step):
    fleet.reset()
    fleet.sql("s3", f"""
        create function shard.pause() returns trigger language plpgsql as $$
        begin perform pg_sleep(60); return new; end $$;
        create trigger pause before update on shard.migration_steps for each row
            when (new.version = {version} and new.step = {step} and new.state = 'done')
            execute function shard.pause()""")
    program = fleet.start_program("migrate", "up")
    wait_until(
        lambda: fleet.value(
            "s3", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1",
        30, "the statement is done")
    program.kill()
    program.communicate()
    # The server notices that nobody waits for the answer, and gives the row free.
    fleet.sql("s3", "drop function shard.pause cascade")
    state = fleet.value(
        "s3", f"select state from shard.migration_steps where version = {version} and step = {step}")
    assert state == "started"

    # What may be repeated is, and shows in nothing; the others are not.
    finish(fleet, finished)


def test_whoever_waits_takes_over_when_the_runner_is_killed(fleet, finished):
    fleet.reset()
    first = fleet.start_program("migrate", "up", die_at="s4 1002 6")
    second = fleet.start_program("migrate", "up")

    first.communicate(timeout=60)
    out, err = second.communicate(timeout=60)

    assert second.returncode == 0, out + err
    finish(fleet, finished)


def begin_and_wait(fleet, reader, place="s3 1002 1"):
    """A run whose index waits for `reader`, on a shard that is not the canary."""
    fleet.reset()
    fleet.run("migrate", "up", die_at=place)
    reader.run("begin isolation level repeatable read; select 1")
    program = fleet.start_program("migrate", "up", "--resume")
    wait_until(lambda: fleet.value("s3", INVALID) == "1", 20, "the index waits")
    return program


def test_after_ctrl_c_one_command_finishes(fleet, finished):
    with fleet.session("s3") as reader:
        program = begin_and_wait(fleet, reader)
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=10)
    assert program.returncode == 130
    assert "next: shardctl migrate up" in err

    finish(fleet, finished)


def test_a_catalog_that_cuts_its_connections_stops_a_run_that_can_be_resumed(fleet, finished):
    with fleet.session("s3") as reader:
        program = begin_and_wait(fleet, reader)
        fleet.sql(
            "postgres", "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = 'catalog'")
        reader.run("commit")
        out, err = program.communicate(timeout=60)
    assert program.returncode == 1, out + err
    assert "next: " in err

    finish(fleet, finished)


def test_a_server_that_crashes_in_the_middle_leaves_nothing_half_done(fleet, finished):
    reader = fleet.session("s3")
    program = begin_and_wait(fleet, reader)
    fleet.crash()
    out, err = program.communicate(timeout=60)
    reader.process.kill()
    reader.process.wait()
    assert program.returncode == 1, out + err
    assert fleet.value("s3", INVALID) == "1"

    finish(fleet, finished)


def test_sixteen_at_once_take_turns_and_one_applies(fleet, finished):
    fleet.reset()
    begin = len(fleet.log.read_text())

    programs = [fleet.start_program("migrate", "up") for _ in range(16)]
    answers = [program.communicate(timeout=120) for program in programs]

    assert [program.returncode for program in programs] == [0] * 16, answers
    assert sum("applied in" in out for out, _ in answers) == 1
    assert fleet.everywhere(TRACES) == finished
    assert "deadlock" not in fleet.log.read_text()[begin:]

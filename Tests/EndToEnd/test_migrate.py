"""`shardctl migrate` when something is not as it should be, over eight shards."""

import pytest

from cluster import wait_until
from migrate_fleet import INVALID

TABLE = """\
create schema app;
create table app.notes (n int4 not null);
"""
ROW = "insert into app.notes values (1);\n"


@pytest.fixture
def fleet(shard_fleet):
    """The fleet with nothing but this project's own files."""
    shard_fleet.reset()
    shard_fleet.write()
    return shard_fleet


def count(fleet, table="app.notes"):
    """How many rows each shard has; None where the table is not there."""
    found = fleet.everywhere(f"""
        select case when to_regclass('{table}') is null then null
            else (xpath('/row/n/text()', query_to_xml(
                'select count(*) n from {table}', false, true, '')))[1]::text end""")
    return {name: int(rows[0][0]) if rows[0][0] else None for name, rows in found.items()}


# A shard that fails


@pytest.mark.parametrize("allowed", [0, 2])
def test_a_file_that_fails_on_one_shard_is_finished_by_one_command(fleet, allowed):
    fleet.write(_1001_table=TABLE, _1002_row=ROW)
    fleet.must("migrate", "up")
    fleet.sql("s4", ROW)
    fleet.write(
        _1001_table=TABLE, _1002_row=ROW,
        _1003_key="create unique index one_row on app.notes (n);\n" + ROW.replace("(1)", "(2)"),
        _1004_online="-- shardctl: transaction=off\n"
        "create index concurrently notes_again on app.notes (n);\n")

    answer = fleet.run(
        "migrate", "up", "--parallel", "1", "--max-failures", str(allowed), "--json")

    assert answer.code == 1, answer
    outcomes = {one["name"]: one for one in answer.json["databases"]}
    done = [name for name in fleet.shards if outcomes[name]["state"] == "done"]
    assert done == ["s1", "s2", "s3"] + (["s5", "s6", "s7", "s8"] if allowed else [])
    assert outcomes["s4"]["state"] == "failed"
    assert "s4: 1003_key.up.sql, line 1: " in outcomes["s4"]["problem"]
    assert "the file was rolled back" in outcomes["s4"]["problem"]
    assert all(
        outcomes[name]["state"] == "not begun" for name in fleet.shards
        if name not in done + ["s4"])
    found, code = fleet.status()
    assert code == 3
    for name in fleet.shards:
        assert found[name]["state"] == ("current" if name in done else "behind")
        assert found[name]["pending"] == ([] if name in done else [1003, 1004])
        assert found[name]["obstacles"] == [] and found[name]["problem"] is None
    journal = dict(fleet.sql(
        "catalog", "select s.shard, s.state from catalog.migration_run_shards s "
        "join catalog.migration_runs r on r.id = s.run_id where r.state = 'open'"))
    assert [name for name in fleet.shards if journal[name] == "done"] == done
    assert journal["s4"] == "failed"

    again = fleet.run("migrate", "up", "--resume", "--json")
    assert again.code == 1, "nothing was mended"
    fleet.sql("s4", "delete from app.notes where ctid = (select min(ctid) from app.notes)")
    finished = fleet.run("migrate", "up", "--resume", "--json")

    assert finished.code == 0, finished
    assert count(fleet) == {name: 2 for name in fleet.shards}
    assert len(set(fleet.fingerprints().values())) == 1
    assert set(fleet.states().values()) == {"current"}


def test_a_unique_index_that_fails_on_one_shard_leaves_nothing_and_is_finished_later(fleet):
    files = {"_1001_table": TABLE, "_1002_row": ROW}
    fleet.write(**files)
    fleet.must("migrate", "up")
    fleet.sql("s4", ROW)
    fleet.write(**files, _1003_key="""\
-- shardctl: transaction=off
alter table app.notes add column more int4;
create unique index concurrently one_row on app.notes (n);
insert into app.notes values (2);
""")

    answer = fleet.run("migrate", "up", "--max-failures", "1", "--json")

    assert answer.code == 1, answer
    assert "what came before it in the file is done" in answer.all
    assert fleet.everywhere(INVALID) == {name: [["0"]] for name in fleet.shards}
    found, _ = fleet.status()
    assert found["s4"]["state"] == "half-way" and found["s4"]["obstacles"] == []
    assert found["s4"]["steps"] == [
        {"version": 1003, "step": 1, "direction": "up", "done": True}]
    fleet.sql("s4", "delete from app.notes where ctid = (select min(ctid) from app.notes)")
    finished = fleet.run("migrate", "up", "--resume", "--json")
    assert finished.code == 0, finished
    assert count(fleet) == {name: 2 for name in fleet.shards}
    assert len(set(fleet.fingerprints().values())) == 1


def test_what_was_applied_before_a_failure_is_said(fleet):
    fleet.write(_1001_table=TABLE, _1002_row=ROW, _1003_bad="select 1 / 0;\n")

    answer = fleet.run("migrate", "up", "--json")

    assert answer.code == 1
    first = next(one for one in answer.json["databases"] if one["name"] == "s1")
    assert (first["state"], first["versions"]) == ("failed", [1001, 1002])


def test_with_other_files_only_a_new_run_goes_on(fleet):
    files = {"_1001_table": TABLE, "_1002_row": ROW}
    fleet.write(**files, _1003_bad="select 1 / (n - 1) from app.notes;\n")
    assert fleet.run("migrate", "up", "--json").code == 1
    fleet.write(**files, _1003_bad=ROW)

    refused = fleet.run("migrate", "up", "--resume", "--json")
    assert refused.code == 2
    assert "was begun with other files" in refused.all
    assert count(fleet) == {name: 1 if name == "s1" else None for name in fleet.shards}
    goes_on = fleet.run("migrate", "up", "--json")

    assert goes_on.code == 0, goes_on
    assert count(fleet) == {name: 2 for name in fleet.shards}
    assert fleet.sql(
        "catalog", "select state from catalog.migration_runs order by id") == [
            ["replaced"], ["done"]]


def test_a_file_edited_after_the_canary_has_it_is_refused_before_anything_begins(fleet):
    fleet.write(_1001_table=TABLE, _1002_row=ROW)
    fleet.run("migrate", "up", die_at="s1 1002 1")
    fleet.write(_1001_table=TABLE + "-- edited\n", _1002_row=ROW)

    for words in [[], ["--resume"]]:
        answer = fleet.run("migrate", "up", *words, "--json")
        assert answer.code == 2, answer
        assert "s1: migration 1001 (table) was edited after it was applied" in answer.all

    assert count(fleet) == {name: 0 if name == "s1" else None for name in fleet.shards}


def test_nothing_to_resume_is_a_refusal(fleet):
    fleet.write(_1001_table=TABLE)

    answer = fleet.run("migrate", "up", "--resume", "--json")

    assert answer.code == 2 and "no run was stopped half-way" in answer.all
    assert set(count(fleet).values()) == {None}


# The canary


@pytest.mark.parametrize("check,reason", [
    ("select count(*) > 5 from app.notes", "the check query is not true"),
    ("select null::boolean", "the check query is not true"),
    ("select 1 / 0 = 1", "the check query failed"),
    ("select 7", "the check query does not give a boolean"),
    ("select true where false", "the check query found no row"),
])
def test_a_canary_that_does_not_pass_its_check_is_the_only_one(fleet, check, reason):
    fleet.write(_1001_table=TABLE, _1002_row=ROW)

    answer = fleet.run("migrate", "up", "--canary", "s3", "--check", check, "--json")

    assert answer.code == 1, answer
    assert reason in answer.json["problem"]
    assert count(fleet) == {name: 1 if name == "s3" else None for name in fleet.shards}
    assert fleet.run(
        "migrate", "up", "--resume", "--check", "select count(*) = 1 from app.notes",
        "--json").code == 0
    assert count(fleet) == {name: 1 for name in fleet.shards}


def test_a_canary_that_fails_is_the_only_one(fleet):
    fleet.write(_1001_table=TABLE + "select 1 / 0;\n")

    answer = fleet.run("migrate", "up", "--max-failures", "5", "--canary", "s8", "--json")

    assert answer.code == 1, answer
    states = {one["name"]: one["state"] for one in answer.json["databases"]}
    assert states == {"catalog": "current", "s8": "failed"} | {
        name: "not begun" for name in fleet.shards[:-1]}
    assert set(count(fleet).values()) == {None}


def test_a_run_keeps_its_canary_when_it_is_resumed(fleet):
    fleet.write(_1001_table=TABLE, _1002_row=ROW)
    killed = fleet.run("migrate", "up", "--canary", "s5", die_at="s5 1002 1")
    assert killed.code == -9

    answer = fleet.run(
        "migrate", "up", "--resume", "--check", "select count(*) = 2 from app.notes", "--json")

    assert answer.code == 1, answer
    assert count(fleet) == {name: 1 if name == "s5" else None for name in fleet.shards}


def test_a_run_keeps_its_check_when_it_is_resumed(fleet):
    fleet.write(_1001_table=TABLE, _1002_row=ROW)
    check = "select count(*) = 2 from app.notes"
    failed = fleet.run("migrate", "up", "--canary", "s5", "--check", check, "--json")
    assert failed.code == 1

    again = fleet.run("migrate", "up", "--resume", "--json")

    assert again.code == 1 and "not true" in again.json["problem"], again
    assert count(fleet) == {name: 1 if name == "s5" else None for name in fleet.shards}


# The way back


def test_the_way_back_asks_first_and_takes_the_last_one_everywhere(fleet):
    fleet.write(
        _1001_table=TABLE, _1001_table_down="drop schema app cascade;\n",
        _1002_row=ROW, _1002_row_down="delete from app.notes;\n")
    fleet.must("migrate", "up")

    for words, reason in [
        ([], "nobody can be asked"),
        (["--yes", "--version", "1001"], "the last migration is 1002_row, not 1001"),
        (["--yes", "--version", "7"], "the last migration is 1002_row, not 7"),
    ]:
        answer = fleet.run("migrate", "down", *words)
        assert answer.code == 2 and reason in answer.all, answer
    assert count(fleet) == {name: 1 for name in fleet.shards}

    fleet.must("migrate", "down", "--yes", "--version", "1002")
    assert count(fleet) == {name: 0 for name in fleet.shards}
    fleet.must("migrate", "down", "--yes")
    assert fleet.fingerprints() == fleet.untouched


def test_a_way_back_that_was_killed_is_not_taken_for_the_state_of_the_art(fleet):
    fleet.write(
        _1001_table=TABLE, _1001_table_down="-- shardctl: transaction=off\n"
        "alter table app.notes add column going int4;\ndrop table app.notes;\ndrop schema app;\n")
    fleet.must("migrate", "up")
    killed = fleet.run("migrate", "down", "--yes", die_at="s6 1001 3")
    assert killed.code == -9, killed

    forward = fleet.run("migrate", "up", "--json")
    assert forward.code == 2 and "taking migration 1001 (table) back was begun" in forward.all
    back = fleet.run("migrate", "down", "--yes", "--json")

    assert back.code == 0, back
    assert fleet.fingerprints() == fleet.untouched


# Moves


def open_move(fleet):
    source = fleet.value("catalog", "select shard_id from catalog.slots where slot = 0")
    target = fleet.value("catalog", f"select min(id) from catalog.shards where id <> {source}")
    return fleet.value(
        "catalog",
        f"select catalog.open_move({source}, {target}, array[0], 'test', null, null, 1, 2)")


def close_moves(fleet):
    fleet.sql(
        "catalog", "delete from catalog.moving_slots; "
        "update catalog.moves set state = 'aborted', closed_at = now() where state = 'open'")


def test_an_open_move_is_a_refusal_or_waited_for(fleet):
    fleet.write(_1001_table=TABLE)
    move = open_move(fleet)
    try:
        refused = fleet.run("migrate", "up", "--json")
        assert refused.code == 2 and f"move {move} is open" in refused.all, refused
        too_short = fleet.run("migrate", "up", "--wait-for-moves", "500ms", "--json")
        assert too_short.code == 2, too_short
        assert set(count(fleet).values()) == {None}

        waits = fleet.start_program("migrate", "up", "--wait-for-moves", "1min")
        line = waits.stdout.readline()
        assert "is open" in line, line
    finally:
        close_moves(fleet)
    out, err = waits.communicate(timeout=60)

    assert waits.returncode == 0, out + err
    assert count(fleet) == {name: 0 for name in fleet.shards}


def test_no_move_begins_while_a_migration_runs(fleet):
    fleet.write(_1001_table=TABLE)
    fleet.must("migrate", "up")
    fleet.write(_1001_table=TABLE, _1002_more="alter table app.notes add column more int4;\n")
    plan = str(fleet.must("plan", "--drain", "s8")["plan"])
    with fleet.session("s1") as holder:
        holder.run("begin; lock table app.notes in access share mode")
        runner = fleet.start_program("migrate", "up")
        wait_until(lambda: "waits for pid" in runner.stdout.readline(), 30, "the runner waits")

        answer = fleet.run("rebalance", plan, "--json")
        moves = fleet.value("catalog", "select count(*) from catalog.moving_slots")

        holder.run("rollback")
    out, err = runner.communicate(timeout=60)
    assert runner.returncode == 0, out + err
    assert answer.code == 2, answer
    assert "migration" in answer.all and moves == "0"


# Databases that are away, or not the right ones


def test_exchanged_databases_are_not_touched(fleet):
    fleet.write(_1001_table=TABLE)
    exchange = """
        begin;
        update catalog.shards set endpoint = 'x' where name = 's2';
        update catalog.shards set endpoint = '{}' where name = 's7';
        update catalog.shards set endpoint = '{}' where name = 's2';
        commit"""
    fleet.sql("catalog", exchange.format(fleet.endpoint("s2"), fleet.endpoint("s7")))
    try:
        careful = fleet.run("migrate", "up", "--json")
        assert careful.code == 1, careful
        assert "nothing was begun" in careful.all and "another database" in careful.all
        assert set(count(fleet).values()) == {None}

        bold = fleet.run("migrate", "up", "--max-failures", "2", "--json")
        assert bold.code == 1, bold
        untouched = {name: None if name in ("s2", "s7") else 0 for name in fleet.shards}
        assert count(fleet) == untouched
    finally:
        fleet.sql("catalog", exchange.format(fleet.endpoint("s7"), fleet.endpoint("s2")))

    assert fleet.run("migrate", "up", "--resume", "--json").code == 0
    assert count(fleet) == {name: 0 for name in fleet.shards}


@pytest.mark.parametrize("away", ["s1", "s5"])
def test_a_shard_that_is_away_is_named_and_can_be_left_for_later(fleet, away):
    fleet.write(_1001_table=TABLE)
    fleet.sql("postgres", f"alter database {away} rename to elsewhere")
    try:
        careful = fleet.run("migrate", "up", "--json")
        assert careful.code == 1, careful
        assert f"1 of 8 shards do not answer: {away}: " in careful.all
        journal = fleet.value("catalog", "select count(*) from catalog.migration_runs")
        assert journal == "0"

        bold = fleet.run("migrate", "up", "--max-failures", "1", "--json")
        assert bold.code == 1, bold
        states = {one["name"]: one["state"] for one in bold.json["databases"]}
        assert states.pop(away) == "failed" and states.pop("catalog") == "current"
        assert set(states.values()) == {"done"}
    finally:
        fleet.sql("postgres", f"alter database elsewhere rename to {away}")

    assert fleet.run("migrate", "up", "--resume", "--json").code == 0
    assert count(fleet) == {name: 0 for name in fleet.shards}


def test_the_catalog_stays_as_it_is_when_nothing_can_begin_at_the_shards(fleet):
    fleet.write(_1001_table=TABLE)
    fleet.write_for_catalog("1001_table", TABLE)
    fleet.sql("s5", "insert into shard.migrations values (1001, 'table', 'other', now(), 0)")

    answers = {"history": fleet.run("migrate", "up", "--json")}
    fleet.sql("s5", "delete from shard.migrations where version = 1001")
    fleet.sql("postgres", "alter database s5 rename to elsewhere")
    try:
        answers["away"] = fleet.run("migrate", "up", "--json")
        answers["canary"] = fleet.run("migrate", "up", "--canary", "s9", "--json")
    finally:
        fleet.sql("postgres", "alter database elsewhere rename to s5")
    table = fleet.value("catalog", "select to_regclass('app.notes')")

    assert [answer.code for answer in answers.values()] == [2, 1, 1], answers
    assert "nothing was begun" in answers["away"].all
    assert table == ""
    fleet.must("migrate", "up")
    assert fleet.value("catalog", "select to_regclass('app.notes')") == "app.notes"


def test_an_empty_database_is_no_catalog(fleet):
    fleet.sql("postgres", "create database empty")
    try:
        answer = fleet.run(
            "migrate", "up", "--catalog", f"{fleet.endpoint('empty')} user=postgres", "--json")
        schemas = fleet.sql(
            "empty", "select nspname from pg_namespace where nspname in ('catalog', 'shard')")
    finally:
        fleet.sql("postgres", "drop database empty")

    assert answer.code in (1, 2) and "shardctl init" in answer.all, answer
    assert schemas == []


# Files and words that are not in order


@pytest.mark.parametrize("words", [
    ["--parallel", "0"], ["--parallel", "-1"], ["--parallel", "many"], ["--max-failures", "x"],
    ["--to", "last"], ["--wait", "soon"], ["--wait-for-moves", "5"], ["--no-such-option"],
    ["a-word"],
])
def test_words_that_make_no_sense_are_bad_usage(fleet, words):
    fleet.write(_1001_table=TABLE)

    answer = fleet.run("migrate", "up", *words)

    assert answer.code == 64, answer
    assert set(count(fleet).values()) == {None}


def edited(folder):
    (folder / "1001_table.up.sql").write_text(TABLE + "-- edited\n")


def missing(folder):
    (folder / "1001_table.up.sql").unlink()


def renamed(folder):
    (folder / "1001_table.up.sql").rename(folder / "1001_tables.up.sql")


def unknown(folder):
    (folder / "1004_more.up.sql").write_text("select 1;")


def unnumbered(folder):
    (folder / "more.up.sql").write_text("select 1;")


def emptied(folder):
    (folder / "migrations.sum").write_text("")


@pytest.mark.parametrize("harm,names", [
    (edited, "1001_table"), (missing, "1001_table"), (renamed, "1001_table"),
    (unknown, "1004_more"), (unnumbered, "more.up.sql"), (emptied, "is not recorded"),
])
def test_files_that_are_not_what_their_sums_say_are_named(fleet, harm, names):
    fleet.write(_1001_table=TABLE)
    harm(fleet.migrations / "shard")

    answer = fleet.run("migrate", "up", "--json")

    assert answer.code == 2, answer
    assert names in answer.all
    assert set(count(fleet).values()) == {None}


def test_a_file_that_comes_late_is_refused(fleet):
    fleet.write(_1001_table=TABLE, _1003_row=ROW)
    fleet.must("migrate", "up")
    fleet.write(_1001_table=TABLE, _1002_late=ROW, _1003_row=ROW)

    answer = fleet.run("migrate", "up", "--json")

    # By its sum, which is chained, or by its number: it is named and nothing is applied.
    assert answer.code == 2 and "s1: " in answer.all, answer
    assert count(fleet) == {name: 1 for name in fleet.shards}


def test_an_unknown_canary_or_target_is_refused(fleet):
    fleet.write(_1001_table=TABLE)

    for words, reason in [
        (["--canary", "s9"], "there is no shard s9"), (["--to", "1009"], "no migration 1009"),
    ]:
        answer = fleet.run("migrate", "up", *words, "--json")
        assert answer.code == 2 and reason in answer.all, answer

    assert set(count(fleet).values()) == {None}


# Waiting


def test_an_index_that_waits_too_long_names_whom_it_waits_for(fleet):
    fleet.write(_1001_table=TABLE)
    fleet.must("migrate", "up")
    index = "-- shardctl: transaction=off\ncreate index concurrently by_n on app.notes (n);\n"
    fleet.write(_1001_table=TABLE, _1002_index=index)
    with fleet.session("s1") as reader:
        reader.run("begin isolation level repeatable read; select count(*) from app.notes")
        [pid] = reader.run("select pg_backend_pid()")

        answer = fleet.run("migrate", "up", "--wait", "1s", "--json")

        assert answer.code == 1, answer
        assert "no lock within" in answer.all and f"held by pid {pid}" in answer.all, answer
        reader.run("commit")

    finished = fleet.run("migrate", "up", "--resume", "--json")

    assert finished.code == 0, finished
    assert fleet.everywhere(INVALID) == {name: [["0"]] for name in fleet.shards}
    assert len(set(fleet.fingerprints().values())) == 1

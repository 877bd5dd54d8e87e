"""A table is loaded again while everything else is followed, and a writer never stops."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from godwit.errors import DefinitionError, LoadError
from include.demo.servers import Database
from tests.scenarios.migrations import Told, migrating
from tests.scenarios.test_crashes import TABLES, Application, Migration

#: A key with a second unique one and foreign keys to it, none at all, and partitions.
ALL = ("public.account", "public.event", "public.sale")
WORDS = tuple(word for table in ALL for word in ("--table", table))


@pytest.fixture
def migration(tmp_path: Path, source_db: Database, target_db: Database) -> Iterator[Migration]:
    source_db.execute(TABLES)
    made = Migration(tmp_path, source_db, target_db)
    code, out, err = made.caught_up()
    assert code == 0, out + err
    yield made
    code, out, err = made.run("cleanup", str(made.file))
    assert code == 0, out + err


@contextmanager
def following(migration: Migration) -> Iterator[None]:
    """A session elsewhere, as `cdc_poll` has it."""
    process = migration.start("run", str(migration.file), "--follow")
    try:
        wait_for(migration.source, "SELECT active FROM pg_replication_slots WHERE active")
        yield
        assert process.poll() is None, process.communicate()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def wait_for(database: Database, query: str) -> None:
    deadline = time.monotonic() + 30
    while not database.fetch(query):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


def suspend(migration: Migration, *tables: str) -> None:
    """As an error of the target would; and the rows are wrong, so that it shows."""
    for table in tables:
        schema, name = table.split(".")
        migration.target.execute(
            "INSERT INTO godwit.suspended_tables (migration, table_schema, table_name, reason)"
            f" VALUES ('bank', '{schema}', '{name}', 'a test')"
        )


def states(migration: Migration) -> dict[str, str]:
    code, out, err = migration.run("status", str(migration.file))
    assert code == 0, out + err
    return {t["table"]: t["state"] for t in json.loads(out)["tables"]}


def test_nobody_else_is_at_it(migration: Migration) -> None:
    suspend(migration, *ALL)
    with Application(migration.source):
        assert migration.caught_up()[0] == 1, "tables are suspended"
        assert states(migration)["public.event"] == "suspended"
        code, out, err = migration.run("reload", str(migration.file), *WORDS)
        assert code == 0, out + err
        assert {t["state"] for t in json.loads(out)["tables"]} == {"following"}
        assert migration.caught_up()[0] == 0
    assert migration.caught_up()[0] == 0
    migration.assert_equal()


def test_the_session_elsewhere_does_it(migration: Migration) -> None:
    """What is committed between the reload's snapshot and the return of the table is not lost."""
    suspend(migration, *ALL)
    with Application(migration.source), following(migration):
        for _ in range(2):
            # Suspended or not; the second time the session had them itself.
            code, out, err = migration.run("reload", str(migration.file), *WORDS)
            assert code == 0, out + err
    assert set(states(migration).values()) == {"following"}
    assert migration.caught_up()[0] == 0
    migration.assert_equal()


PLACES = ["reload.after_clear:2", "load.before_commit", "load.after_commit", "reload.before_resume"]


@pytest.mark.parametrize("place", PLACES)
def test_killed_at(migration: Migration, place: str) -> None:
    suspend(migration, *ALL)
    words = ("reload", str(migration.file), *WORDS)
    with Application(migration.source):
        code, _, err = migration.run(*words, GODWIT_FAILPOINT=place)
        assert code == -signal.SIGKILL, err
        assert "suspended" in states(migration).values()
        # Whoever applies changes next goes on with it.
        code, out, err = migration.caught_up()
        assert code == 0, out + err
    assert set(states(migration).values()) == {"following"}
    assert migration.caught_up()[0] == 0
    migration.assert_equal()


def test_a_runner_takes_over_in_the_middle(migration: Migration) -> None:
    """The first is fenced; the table comes back when the second has loaded it, not before."""
    suspend(migration, *ALL)
    words = ("reload", str(migration.file), *WORDS)
    with Application(migration.source):
        both = [migration.start(*words), migration.start("run", str(migration.file))]
        for process in both:
            process.communicate(timeout=120)
        code, out, err = migration.run(*words)
        assert code == 0, out + err
    assert migration.caught_up()[0] == 0
    migration.assert_equal()


# -- in this process


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[tuple[Database, Database]]:
    source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v text);"
        "INSERT INTO t SELECT i, i, 'v' FROM generate_series(1, 100) i;"
        "CREATE TABLE other (id int PRIMARY KEY)"
    )
    yield source_db, target_db
    with migrating(source_db, target_db) as migrator:
        migrator.cleanup()


def caught_up(source: Database, target: Database, **changed: object) -> None:
    from godwit.migrator import run_until

    with migrating(source, target, **changed) as migrator:
        run_until(migrator)


def rows(database: Database) -> list[tuple[object, ...]]:
    return database.fetch("SELECT * FROM t ORDER BY id")


NOT_FOLLOWED: dict[str, object] = {
    "task_settings": {"ChangeProcessingDdlHandlingPolicy": {"HandleSourceTableAltered": False}}
}


def test_a_shape_that_changed_and_was_changed_back(ends: tuple[Database, Database]) -> None:
    """Where tables that were altered are not followed."""
    source, target = ends
    caught_up(source, target, **NOT_FOLLOWED)
    source.execute("ALTER TABLE t ADD w int; INSERT INTO t VALUES (101, 101, 'v', 1)")
    caught_up(source, target, **NOT_FOLLOWED)
    told = Told()
    with migrating(source, target, told, **NOT_FOLLOWED) as migrator:
        with pytest.raises(LoadError, match="column w was added"):
            migrator.reload(["public.t"])
        (found,) = told.findings("table-suspended")
        assert "godwit reload FILE --table public.t" in found["hint"]
        assert "column w was added" in next(iter(migrator.control.suspended().values()))
        assert len(rows(target)) == 100
    # The others went on.
    source.execute("INSERT INTO other VALUES (7)")
    caught_up(source, target, **NOT_FOLLOWED)
    assert target.fetch("SELECT id FROM other") == [(7,)]
    source.execute("ALTER TABLE t DROP w; INSERT INTO t VALUES (102, 102, 'v')")
    with migrating(source, target, **NOT_FOLLOWED) as migrator:
        result = migrator.reload(["public.t"])
        assert [(t.state, t.rows) for t in result.tables] == [("following", 102)]
        assert migrator.consistent()
        source.execute("UPDATE t SET v = 'w', u = 1000 + u WHERE id > 95")
        migrator.follow(source_position(migrator))
        assert migrator.validate().equal
    assert rows(target) == rows(source)


def source_position(migrator: object) -> object:
    return migrator.source.position()  # type: ignore[attr-defined]


def test_changes_that_the_rows_have_seen_are_not_applied_again(
    ends: tuple[Database, Database],
) -> None:
    """A unique value that wandered since the checkpoint would be met twice."""
    source, target = ends
    caught_up(source, target)
    source.execute("DELETE FROM t WHERE id = 1; UPDATE t SET u = 1 WHERE id = 2")
    source.execute("UPDATE t SET u = 2 WHERE id = 3; INSERT INTO t VALUES (1, 3, 'again')")
    with migrating(source, target) as migrator:
        migrator.reload(["public.t"])
        assert migrator.status().exceptions == 0
        assert rows(target) == rows(source)


def test_a_target_that_refuses_leaves_the_table_suspended(
    ends: tuple[Database, Database],
) -> None:
    source, target = ends
    caught_up(source, target)
    target.execute("ALTER TABLE t ADD CHECK (id <> 101)")
    source.execute("INSERT INTO t VALUES (101, 101, 'secret')")
    with migrating(source, target) as migrator:
        with pytest.raises(LoadError, match="loading it again failed") as raised:
            migrator.reload(["public.t", "public.other"])
        assert "secret" not in str(raised.value)
        status = {t.table: (t.state, t.reason) for t in migrator.status().tables}
        assert status["public.t"][0] == "suspended"
        assert "check constraint" in status["public.t"][1]
        assert status["public.other"][0] == "following"
        assert migrator.control.reloads() == ()
        target.execute("ALTER TABLE t DROP CONSTRAINT t_id_check")
        migrator.reload(["public.t"])
    assert rows(target) == rows(source)


def test_a_migration_without_changes_to_follow(ends: tuple[Database, Database]) -> None:
    source, target = ends
    full = {"migration_type": "full-load"}
    caught_up(source, target, **full)
    source.execute("DELETE FROM t WHERE id > 50; UPDATE t SET u = 101 - u")
    with migrating(source, target, **full) as migrator:
        result = migrator.reload(["public.t"])
        assert [t.rows for t in result.tables] == [50]
        assert migrator.control.suspended() == {}
    assert rows(target) == rows(source)


def test_what_cannot_be_loaded_again_is_refused(ends: tuple[Database, Database]) -> None:
    source, target = ends
    with migrating(source, target) as migrator, pytest.raises(DefinitionError, match="not begun"):
        migrator.reload(["public.t"])
    with migrating(source, target) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        migrator.plan_chunks()
        with pytest.raises(DefinitionError, match=r"public\.T"):
            migrator.reload(["public.T"])
        with pytest.raises(LoadError, match="nothing to load again yet"):
            migrator.reload(["public.t"])
        assert migrator.control.suspended() == {}


def test_a_request_that_is_stopped_stays(ends: tuple[Database, Database]) -> None:
    source, target = ends
    caught_up(source, target)
    source.execute("DELETE FROM t WHERE id = 1")
    with migrating(source, target) as migrator:
        migrator.control.ask_reload(migrator.mappings[0].source.name)
        stop = threading.Event()
        stop.set()
        summary = migrator.session(stop.is_set)
        assert summary.reason == "stopped"
        assert len(migrator.control.reloads()) == 1
        migrator.session(until=migrator.source.position())
        assert migrator.control.reloads() == ()
    assert rows(target) == rows(source)

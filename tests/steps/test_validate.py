"""Validation finds every difference, ends while the source is busy, and repairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from godwit.errors import FencedError, StoppedError
from godwit.model.catalog import TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, Condition, RowFilter
from godwit.model.report import TableValidation, ValidationReport
from godwit.steps import comparison
from godwit.steps.recheck import recheck
from godwit.steps.validate import validate
from include.demo.servers import Database
from tests.steps.live_migration import LiveMigration, writing

TABLE = """
CREATE TABLE t (id int PRIMARY KEY, x text, y int);
INSERT INTO t SELECT g, 'row ' || g, g FROM generate_series(1, 3000) g;
ANALYZE t
"""


@pytest.fixture
def live(source_db: Database, target_db: Database) -> Iterator[LiveMigration]:
    migration = LiveMigration(source_db, target_db)
    yield migration
    migration.close()


def run(live: LiveMigration, **options: Any) -> ValidationReport:
    return validate(
        live.source, live.target, live.control, live.mappings, report=live.events, **options
    )


def fenced(live: LiveMigration, **options: Any) -> TableValidation:
    """Validate the one table of a quiet source."""
    live.map()
    (table,) = run(live, fenced=True, **options).tables
    return table


def found(table: TableValidation) -> dict[Any, str]:
    return {json.loads(key)[0]: kind for kind, key in table.differences}


def test_equal_tables_are_equal(live: LiveMigration) -> None:
    live.both(TABLE)
    table = fenced(live)
    assert table.equal
    assert table.rows == 3000
    assert not table.difference_count
    assert live.events.of("validation")[0]["table"] == "public.t"
    json.dumps(live.events.of("validation"))


def test_every_kind_of_difference_is_found_by_key(live: LiveMigration) -> None:
    live.both(TABLE)
    live.target_db.execute("DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (-1, 'new', 1)")
    live.target_db.execute("UPDATE t SET x = upper(x) WHERE id = 2999")
    table = fenced(live, rows_per_range=500)
    assert not table.equal
    assert found(table) == {"7": "missing", "-1": "extra", "2999": "differs"}
    assert table.difference_count == 3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE t SET x = x || ' ' WHERE id = 5", id="H3-trailing-blank"),
        pytest.param("UPDATE t SET x = NULL WHERE id = 5", id="null"),
        pytest.param(
            "UPDATE t a SET x = b.x FROM t b WHERE a.id IN (5, 6) AND b.id = 11 - a.id",
            id="H6-swapped-values",
        ),
        pytest.param("UPDATE t SET id = 9999 WHERE id = 5", id="H7-equal-count"),
    ],
)
def test_h7_equal_counts_are_not_equal_content(live: LiveMigration, change: str) -> None:
    live.both(TABLE)
    live.target_db.execute(change)
    table = fenced(live)
    assert table.rows == 3000
    assert not table.equal


def test_h1_h5_keys_of_any_kind_whatever_their_order(live: LiveMigration) -> None:
    live.source_db.execute(
        'CREATE TABLE t (k text COLLATE "C", b bytea, v int, PRIMARY KEY (k, b))'
    )
    live.target_db.execute("CREATE TABLE t (k text, b bytea, v int, PRIMARY KEY (b, k))")
    live.both(
        """INSERT INTO t SELECT chr(64 + g) || 'é"%s', decode(md5(g::text), 'hex'), g
        FROM generate_series(1, 60) g"""
    )
    assert fenced(live).equal
    live.target_db.execute("UPDATE t SET v = 0 WHERE v = 3")
    ((kind, key),) = fenced(live).differences
    assert kind == "differs"
    assert json.loads(key) == ['Cé"%s', "\\xeccbc87e4b5ce2fe28308fd9f2a7baf3"]


def test_rows_without_identity_are_compared_as_a_multiset(live: LiveMigration) -> None:
    live.both("CREATE TABLE t (x text); INSERT INTO t VALUES ('a'), ('a'), ('b'), (NULL)")
    assert fenced(live).equal
    live.target_db.execute("DELETE FROM t WHERE ctid = '(0,1)'; INSERT INTO t VALUES ('c')")
    table = fenced(live)
    assert sorted(kind for kind, _ in table.differences) == ["extra", "missing"]
    assert table.rows == 4
    assert "godwit reload" in fenced(live, repair=True).note


def test_differences_are_counted_but_kept_to_a_limit(live: LiveMigration) -> None:
    live.both(TABLE)
    live.target_db.execute("UPDATE t SET y = y + 1")
    table = fenced(live, table_failure_limit=10)
    assert len(table.differences) == 10
    assert table.difference_count > 10
    assert not table.equal


def test_small_groups_find_the_same(live: LiveMigration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "ROWS_AT_ONCE", 100)
    live.both(TABLE)
    live.target_db.execute("UPDATE t SET y = y + 1 WHERE id % 10 = 0")
    table = fenced(live, table_failure_limit=1000)
    assert table.difference_count == 300
    assert set(found(table)) == {str(n) for n in range(10, 3001, 10)}


def test_a_suspended_table_is_never_equal(live: LiveMigration) -> None:
    live.both(TABLE)
    live.control.suspend(TableName("public", "t"), "a row was refused")
    table = fenced(live)
    assert not table.equal
    assert "a row was refused" in table.note


def test_a_table_that_cannot_be_compared_is_never_equal(live: LiveMigration) -> None:
    live.source_db.execute(TABLE)
    table = fenced(live)
    assert not table.equal
    assert "no table public.t on the target" in table.note
    live.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, x text)")
    table = fenced(live)
    assert not table.equal
    assert "y" in table.note
    assert live.events.of("finding")[-1]["severity"] == "error"


def test_one_broken_table_does_not_hide_the_others(live: LiveMigration) -> None:
    live.both("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    live.target_db.execute("DROP TABLE a")
    live.map()
    report = run(live, fenced=True)
    assert {t.table.name: t.equal for t in report.tables} == {"a": False, "b": True}
    assert not report.equal


def test_renamed_filtered_and_masked_columns(live: LiveMigration) -> None:
    live.source_db.execute(TABLE)
    live.target_db.execute(
        'CREATE SCHEMA other; CREATE TABLE other.u (key bigint PRIMARY KEY, m text, "Y" int)'
    )
    live.target_db.execute("INSERT INTO other.u SELECT g, '***', g FROM generate_series(1, 2000) g")
    live.map()
    (plain,) = live.mappings
    mapping = replace(
        plain,
        target=TableName("other", "u"),
        columns=(
            ColumnMapping("key", "id", type=DataType(Kind.INTEGER, bits=64)),
            ColumnMapping("m", "x", mask="digits-mask:*"),
            ColumnMapping("Y", "y"),
        ),
        identity=("key",),
        row_filter=RowFilter(((Condition("id", "ste", ("2000",)),),)),
    )
    live.mappings = (mapping,)
    (table,) = run(live, fenced=True, rows_per_range=500).tables
    assert table.equal, table.note
    assert table.rows == 2000
    assert "m" in table.note
    live.target_db.execute(
        'UPDATE other.u SET "Y" = -1 WHERE key = 1999; INSERT INTO other.u VALUES (2500)'
    )
    (table,) = run(live, fenced=True, rows_per_range=500).tables
    assert found(table) == {"1999": "differs", "2500": "extra"}


def test_generated_columns_count_where_both_have_them(live: LiveMigration) -> None:
    live.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    live.target_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 3) STORED)"
    )
    live.both("INSERT INTO t VALUES (1)")
    assert found(fenced(live)) == {"1": "differs"}
    live.target_db.execute("ALTER TABLE t DROP COLUMN g")
    assert fenced(live).equal


def test_two_tables_loaded_into_one_are_not_called_equal(live: LiveMigration) -> None:
    live.both("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    live.map()
    live.mappings = tuple(replace(m, target=TableName("public", "a")) for m in live.mappings)
    assert not any(t.equal for t in run(live, fenced=True).tables)


def test_h2_what_is_only_late_is_no_difference(live: LiveMigration) -> None:
    live.both(TABLE)
    live.open()
    live.source_db.execute("UPDATE t SET y = -y WHERE id <= 100; DELETE FROM t WHERE id > 2900")
    with live.following():
        (table,) = run(live).tables
    assert table.equal, table
    assert table.rows == 2900


def test_hot_rows_do_not_keep_validation_from_ending(live: LiveMigration) -> None:
    live.both(TABLE)
    live.open()
    hot = "UPDATE t SET y = y + 1 WHERE id IN (1, 2, 3)"
    with live.following(), writing(live.source_db, hot):
        live.target_db.execute(
            "SET session_replication_role = replica; DELETE FROM t WHERE id = 50"
        )
        (table,) = run(live).tables
    assert found(table) == {"50": "missing"}
    assert not table.equal


def test_a_busy_table_without_identity_is_followed_by_buckets(live: LiveMigration) -> None:
    live.both("CREATE TABLE t (x text); ALTER TABLE t REPLICA IDENTITY FULL")
    live.both("INSERT INTO t SELECT 'x' || g % 500 FROM generate_series(1, 1000) g")
    live.open()
    with live.following(), writing(live.source_db, "INSERT INTO t VALUES (random()::text)"):
        (table,) = run(live).tables
        assert table.equal, table
        live.target_db.execute("DELETE FROM t WHERE ctid = '(0,1)'")
        (table,) = run(live).tables
        assert [kind for kind, _ in table.differences] == ["missing"]


def test_a_session_that_stands_still_is_told(live: LiveMigration) -> None:
    live.both(TABLE)
    live.open()
    live.source_db.execute("UPDATE t SET y = 0 WHERE id = 1")
    (table,) = run(live, patience=0.1).tables
    assert not table.equal
    assert "changes are not being applied" in table.note


def test_a_full_load_without_capture_is_compared_as_it_is(live: LiveMigration) -> None:
    live.both(TABLE)
    live.map()
    assert run(live).equal
    live.target_db.execute("UPDATE t SET y = 0 WHERE id = 1")
    (table,) = run(live).tables
    assert found(table) == {"1": "differs"}


def test_repair_of_a_quiet_source(live: LiveMigration) -> None:
    live.both(TABLE)
    live.target_db.execute("UPDATE t SET x = 'wrong' WHERE id % 2 = 0; DELETE FROM t WHERE id < 9")
    live.target_db.execute("INSERT INTO t VALUES (-5, NULL, NULL)")
    table = fenced(live, repair=True)
    assert table.equal, table
    assert table.repaired == 1496 + 8 + 1
    assert fenced(live).equal


def test_repair_while_the_source_is_written_to(live: LiveMigration) -> None:
    live.both(TABLE)
    live.open()
    live.target_db.execute("UPDATE t SET x = 'wrong' WHERE id % 3 = 0")
    hot = "UPDATE t SET y = y + 1 WHERE id BETWEEN 1 AND 6"
    with live.following(), writing(live.source_db, hot):
        (table,) = run(live, repair=True).tables
        assert table.equal, table
        assert table.repaired > 900
    live.session(until=live.source.position())
    assert run(live, fenced=True).equal


def test_a_second_repair_fences_the_first(live: LiveMigration) -> None:
    live.both(TABLE)
    live.target_db.execute("DELETE FROM t WHERE id = 1")
    live.map()

    class Late:
        """Another repair begins while this one is about to write."""

        def __getattr__(self, name: str) -> Any:
            return getattr(live.source, name)

        def rows_by_key(self, *args: Any) -> Any:
            live.control.take_epoch("repair")
            return live.source.rows_by_key(*args)

    with pytest.raises(FencedError):
        validate(
            Late(),
            live.target,
            live.control,
            live.mappings,
            report=live.events,
            fenced=True,
            repair=True,
        )
    assert not run(live, fenced=True).equal


def test_a_stop_is_heard(live: LiveMigration) -> None:
    live.both(TABLE)
    live.map()
    with pytest.raises(StoppedError):
        run(live, stop=lambda: True)


def test_many_threads_and_ranges(live: LiveMigration) -> None:
    live.both(TABLE)
    live.both("CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 99)")
    live.map()
    live.target_db.execute("UPDATE t SET y = 0 WHERE id IN (1, 1500, 3000)")
    report = run(live, fenced=True, threads=4, rows_per_range=100)
    assert {t.table.name: t.difference_count for t in report.tables} == {"t": 3, "u": 0}
    assert report.rows == 3099


class TestRecheck:
    """The rounds, without a server."""

    def test_a_row_seen_equal_once_is_equal(self) -> None:
        versions = iter(range(100))
        latest = [0]

        def source(keys: Any) -> dict[str, object]:
            latest[0] = next(versions)
            return dict.fromkeys(keys, latest[0])

        outcome = recheck(
            {"a"}, source, lambda keys: dict.fromkeys(keys, latest[0]), catch_up=lambda: None
        )
        assert not outcome.persisting

    def test_a_row_that_never_agrees_persists_and_is_called_busy(self) -> None:
        versions = iter(range(10_000))
        outcome = recheck(
            {"a"},
            lambda keys: {k: next(versions) for k in keys},
            lambda keys: dict.fromkeys(keys, -1),
            catch_up=lambda: None,
        )
        assert outcome.persisting.keys() == {"a"}
        assert outcome.busy == 1

    def test_a_difference_must_be_seen_twice(self) -> None:
        looks = [0]

        def target(keys: Any) -> dict[str, object]:
            looks[0] += 1
            return dict.fromkeys(keys, "old" if looks[0] == 1 else "new")

        outcome = recheck(
            {"a"}, lambda keys: dict.fromkeys(keys, "new"), target, catch_up=lambda: None
        )
        assert not outcome.persisting
        assert looks == [2]

    def test_a_quiet_source_needs_one_look(self) -> None:
        outcome = recheck({"a", "b"}, lambda _: {"a": 1}, lambda _: {"b": 1}, catch_up=None)
        assert outcome.persisting == {"a": (1, None), "b": (None, 1)}


def test_rows_without_columns_are_counted(source_db: Database, target_db: Database) -> None:
    from godwit.steps.validate import validate
    from tests.pair import pair_of

    with pair_of(source_db, target_db) as pair:
        pair.both("CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES")
        pair.open()
        options = {"report": pair.events, "fenced": True}
        ends = pair.source, pair.target, pair.control
        assert validate(*ends, pair.mappings, **options).equal
        pair.target_db.execute("INSERT INTO bare DEFAULT VALUES")
        assert not validate(*ends, pair.mappings, **options).equal

"""Differences that once were hidden from the validation, or could not be repaired."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.model.report import ValidationReport
from godwit.steps import validate
from include.demo.servers import Database
from tests.pair import Pair, pair_of


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair_of(source_db, target_db) as made:
        yield made


def look(pair: Pair, *, repair: bool = False, fenced: bool = True) -> ValidationReport:
    return validate.validate(
        pair.source,
        pair.target,
        pair.control,
        pair.mappings,
        report=pair.events,
        fenced=fenced,
        repair=repair,
        rows_per_range=50,
    )


KEYED = "CREATE TABLE t (id int PRIMARY KEY, v text);"


@pytest.mark.parametrize(
    "extra",
    [
        "INSERT INTO t VALUES (7, 'v')",
        "INSERT INTO t VALUES (7, 'w')",
        "INSERT INTO t VALUES (NULL, 'v')",
        "INSERT INTO t SELECT * FROM t",
    ],
    ids=["the same row twice", "another row of that key", "a row without key", "all twice"],
)
@pytest.mark.parametrize("rows", [20, 500])
def test_rows_that_a_target_without_key_has_too_many(pair: Pair, extra: str, rows: int) -> None:
    pair.both(f"{KEYED} INSERT INTO t SELECT i, 'v' FROM generate_series(1, {rows}) i; ANALYZE t")
    pair.open()
    assert look(pair).equal
    pair.target_db.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    pair.target_db.execute("ALTER TABLE t ALTER id DROP NOT NULL")
    pair.target_db.execute(extra)
    report = look(pair)
    assert not report.equal
    assert report.tables[0].difference_count >= 1


def test_nothing_compared_is_not_equal(pair: Pair) -> None:
    pair.open()
    assert not look(pair).equal


def test_a_column_that_came_later_is_not_passed_over(pair: Pair) -> None:
    """No change has told of it yet."""
    pair.both(f"{KEYED} INSERT INTO t VALUES (1, 'v')")
    pair.open()
    pair.source_db.execute("ALTER TABLE t ADD c int DEFAULT 7")
    report = look(pair)
    assert not report.equal
    assert "column c" in report.tables[0].note


def test_keys_that_are_equal_in_other_bytes_are_repaired(pair: Pair) -> None:
    pair.both("CREATE TABLE t (k numeric PRIMARY KEY, v text); INSERT INTO t VALUES (2.5, 'v')")
    pair.open()
    pair.source_db.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    pair.target_db.execute("UPDATE t SET k = 2.50")
    assert not look(pair).equal
    assert look(pair, repair=True).equal
    pair.assert_equal()

"""Existing target columns that would change values are refused before the first row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.engines.postgres.narrowing import narrows
from godwit.errors import LoadError
from include.demo.servers import Database
from tests.loading import Pair, pair


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair(source_db, target_db) as ends:
        yield ends


@pytest.mark.parametrize(
    ("source", "target", "narrower"),
    [
        ("numeric(10,2)", "numeric(10,2)", False),
        ("numeric(10,2)", "numeric(20,4)", False),
        ("numeric(10,2)", "numeric", False),
        ("numeric(10,2)", "numeric(10,1)", True),
        ("numeric(10,2)[]", "numeric(10,1)[]", True),
        ("numeric", "numeric(10,1)", True),
        ("numeric(10,2)", "numeric(10)", True),
        ("numeric", "integer", False),
        ("integer", "bigint", False),
        ("double precision", "real", True),
        ("timestamp with time zone", "timestamp(3) with time zone", True),
        ("timestamp(0) without time zone", "timestamp(3) without time zone", False),
        ("timestamp with time zone", "timestamp without time zone", True),
        ("timestamp without time zone", "date", True),
        ("character varying(10)", "text", False),
        ("json", "jsonb", True),
        ('public."odd (type"', 'public."odd (type"', False),
    ],
)
def test_which_types_narrow(source: str, target: str, narrower: bool) -> None:
    assert narrows(source, target) is narrower


@pytest.mark.parametrize("mode", ["TRUNCATE_BEFORE_LOAD", "DO_NOTHING"])
def test_a_narrower_table_is_named_and_left_alone(ends: Pair, mode: str) -> None:
    ends.source_db.execute("CREATE TABLE t (id int PRIMARY KEY, v numeric(10,2))")
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v numeric(10,1))")
    epoch = ends.control.take_epoch("prepare")
    with pytest.raises(LoadError, match=r"v \(numeric\(10,2\) → numeric\(10,1\)\)"):
        ends.target.prepare_tables(ends.mappings(), mode, epoch)

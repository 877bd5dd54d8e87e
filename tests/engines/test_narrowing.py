"""Existing target columns that would change values are refused before the first row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.engines.postgres.narrowing import narrows, narrows_kind
from godwit.errors import LoadError
from godwit.model.datatypes import DataType, Kind
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


@pytest.mark.parametrize(
    ("kind", "target", "narrower"),
    [
        (DataType(Kind.DECIMAL, precision=12, scale=4), "numeric(12,2)", True),
        (DataType(Kind.DECIMAL, precision=12, scale=4), "numeric(14,4)", False),
        (DataType(Kind.DECIMAL, precision=12), "numeric(12)", False),
        (DataType(Kind.DECIMAL), "numeric(65,30)", True),
        (DataType(Kind.DECIMAL, precision=5, scale=1), "double precision", True),
        (DataType(Kind.FLOAT, bits=64), "real", True),
        (DataType(Kind.FLOAT, bits=32), "real", False),
        (DataType(Kind.FLOAT, bits=32), "numeric(9,3)", True),
        (DataType(Kind.INTEGER, bits=64, unsigned=True), "double precision", True),
        (DataType(Kind.INTEGER, bits=24), "real", False),
        (DataType(Kind.INTEGER, bits=64, unsigned=True), "numeric(20,0)", False),
        (DataType(Kind.TIMESTAMP, precision=6), "timestamp(0) without time zone", True),
        (DataType(Kind.TIMESTAMP, precision=0), "timestamp(0) without time zone", False),
        (DataType(Kind.TIMESTAMP, precision=3), "timestamp without time zone", False),
        (DataType(Kind.TIMESTAMP, precision=3), "timestamp with time zone", False),
        (DataType(Kind.TIMESTAMP, precision=3, zoned=True), "timestamp without time zone", True),
        (DataType(Kind.TIMESTAMP, precision=0), "date", True),
        (DataType(Kind.INTERVAL, precision=4, fixed=True), "interval(2)", True),
        (DataType(Kind.INTERVAL, precision=4, fixed=True), "interval", False),
        (DataType(Kind.TEXT, length=9), "text", False),
    ],
)
def test_which_types_of_other_engines_narrow(kind: DataType, target: str, narrower: bool) -> None:
    assert narrows_kind(kind, target) is narrower


@pytest.mark.parametrize("mode", ["TRUNCATE_BEFORE_LOAD", "DO_NOTHING"])
def test_a_narrower_table_is_named_and_left_alone(ends: Pair, mode: str) -> None:
    ends.source_db.execute("CREATE TABLE t (id int PRIMARY KEY, v numeric(10,2))")
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, v numeric(10,1))")
    epoch = ends.control.take_epoch("prepare")
    with pytest.raises(LoadError, match=r"v \(numeric\(10,2\) → numeric\(10,1\)\)"):
        ends.target.prepare_tables(ends.mappings(), mode, epoch)

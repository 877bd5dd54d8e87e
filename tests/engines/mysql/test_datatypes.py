"""Native types in logical terms, and logical ones in MySQL's words."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.datatypes import datatype, labels_fit, spelling, text_collation
from godwit.model.catalog import Catalog, Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.schemas import compared, mapped, planned, run, table_of

MARIADB = Version((10, 11, 6), True, "10.11.6-MariaDB")
MYSQL = Version((8, 4, 0), False, "8.4.0")

NATIVE = [
    ("tinyint(1)", DataType(Kind.INTEGER, bits=8)),
    ("int(10) unsigned zerofill", DataType(Kind.INTEGER, bits=32, unsigned=True)),
    ("mediumint", DataType(Kind.INTEGER, bits=24)),
    ("bigint(20) unsigned", DataType(Kind.INTEGER, bits=64, unsigned=True)),
    ("year(4)", DataType(Kind.INTEGER, bits=16)),
    ("decimal(65,30)", DataType(Kind.DECIMAL, precision=65, scale=30)),
    ("decimal(5,0) unsigned", DataType(Kind.DECIMAL, precision=5, scale=0)),
    ("float(7,3)", DataType(Kind.FLOAT, bits=32)),
    ("double", DataType(Kind.FLOAT, bits=64)),
    ("bit(64)", DataType(Kind.BIT, bits=64, fixed=True)),
    ("time(3)", DataType(Kind.INTERVAL, precision=3, fixed=True)),
    ("datetime", DataType(Kind.TIMESTAMP, precision=0)),
    ("timestamp(6)", DataType(Kind.TIMESTAMP, precision=6, zoned=True)),
    ("datetime /* mariadb-5.3 */", DataType(Kind.TIMESTAMP, precision=0)),
    ("char(0)", DataType(Kind.TEXT, length=0, fixed=True)),
    ("varchar(20) /*M!100301 COMPRESSED*/", DataType(Kind.TEXT, length=20)),
    ("longtext", DataType(Kind.TEXT)),
    ("binary(3)", DataType(Kind.BINARY, length=3, fixed=True)),
    ("mediumblob", DataType(Kind.BINARY)),
    ("vector(3)", DataType(Kind.BINARY)),
    (
        "enum('a','b''c','d,e','f\\\\g','')",
        DataType(Kind.ENUM, labels=("a", "b'c", "d,e", "f\\g", "")),
    ),
    ("set('x','y)')", DataType(Kind.SET, labels=("x", "y)"))),
    ("json", DataType(Kind.JSON)),
    ("geomcollection", DataType(Kind.GEOMETRY)),
    ("uuid", DataType(Kind.UUID)),
    ("inet6", DataType(Kind.OPAQUE)),
]


@pytest.mark.parametrize(("native", "logical"), NATIVE, ids=[n for n, _ in NATIVE])
def test_native_to_logical(native: str, logical: DataType) -> None:
    assert datatype(native) == logical


def test_mariadb_json_is_a_checked_longtext() -> None:
    assert datatype("longtext", json=True) == DataType(Kind.JSON)


LOGICAL = [
    (DataType(Kind.BOOLEAN), "tinyint(1)"),
    (DataType(Kind.INTEGER, bits=32, unsigned=True), "int unsigned"),
    (DataType(Kind.DECIMAL), "decimal(65,30)"),
    (DataType(Kind.DECIMAL, precision=3, scale=-2), "decimal(5,0)"),
    (DataType(Kind.DECIMAL, precision=2, scale=5), "decimal(5,5)"),
    (DataType(Kind.DECIMAL, precision=100, scale=2), "decimal(65,2)"),
    (DataType(Kind.TEXT), "longtext"),
    (DataType(Kind.TEXT, length=16383), "varchar(16383)"),
    (DataType(Kind.TEXT, length=16384), "longtext"),
    (DataType(Kind.TEXT, length=300, fixed=True), "varchar(300)"),
    (DataType(Kind.BINARY), "longblob"),
    (DataType(Kind.BIT, bits=65, fixed=True), "varchar(65)"),
    (DataType(Kind.BIT), "longtext"),
    (DataType(Kind.TIME, precision=6), "time(6)"),
    (DataType(Kind.TIME, precision=6, zoned=True), "longtext"),
    (DataType(Kind.TIMESTAMP, precision=0), "datetime"),
    (DataType(Kind.TIMESTAMP, zoned=True), "datetime(6)"),
    (DataType(Kind.INTERVAL, precision=6), "longtext"),
    (DataType(Kind.INTERVAL, precision=2, fixed=True), "time(2)"),
    (DataType(Kind.UUID), "char(36)"),
    (DataType(Kind.ENUM, labels=("a", "b'c", "d\\e")), "enum('a','b''c','d\\\\e')"),
    (DataType(Kind.ENUM, labels=("blank ",)), "longtext"),
    (DataType(Kind.SET, labels=("a,b",)), "longtext"),
    (DataType(Kind.ARRAY, element=DataType(Kind.TEXT)), "longtext"),
    (DataType(Kind.GEOMETRY), "geometry"),
]


@pytest.mark.parametrize(("logical", "native"), LOGICAL, ids=[n for _, n in LOGICAL])
def test_logical_to_native(logical: DataType, native: str) -> None:
    assert spelling(logical) == native


def test_settings_and_keys_choose_spellings() -> None:
    assert spelling(DataType(Kind.DECIMAL), {"numeric": "text"}) == "longtext"
    fits = DataType(Kind.DECIMAL, precision=9, scale=2)
    assert spelling(fits, {"numeric": "text"}) == "decimal(9,2)"
    assert spelling(DataType(Kind.JSON)) == "longtext"
    assert spelling(DataType(Kind.JSON), {"json": "json"}) == "json"
    assert spelling(DataType(Kind.TEXT), key_bytes=3072) == "varchar(768)"
    assert spelling(DataType(Kind.BINARY), key_bytes=3072) == "varbinary(3072)"
    assert spelling(DataType(Kind.OPAQUE), key_bytes=400) == "varchar(100)"


def test_texts_compare_by_their_bytes() -> None:
    text = DataType(Kind.TEXT)
    assert text_collation(text, MARIADB) == ("utf8mb4", "utf8mb4_nopad_bin")
    assert text_collation(text, MYSQL) == ("utf8mb4", "utf8mb4_0900_bin")
    assert text_collation(DataType(Kind.UUID), MYSQL) == ("ascii", "ascii_bin")


_lengths = st.none() | st.integers(1, 20000)
_labels = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0", max_codepoint=0xFFFF), max_size=8
    ),
    min_size=1,
    max_size=6,
    unique=True,
)
_types = st.one_of(
    st.builds(DataType, st.just(Kind.INTEGER), st.sampled_from([8, 16, 24, 32, 64]), st.booleans()),
    st.integers(1, 65).flatmap(
        lambda p: st.builds(
            DataType, st.just(Kind.DECIMAL), precision=st.just(p), scale=st.integers(0, min(p, 30))
        )
    ),
    st.builds(DataType, st.just(Kind.FLOAT), bits=st.sampled_from([32, 64])),
    st.builds(DataType, st.just(Kind.TEXT), length=_lengths),
    st.builds(DataType, st.just(Kind.TEXT), length=st.integers(1, 255), fixed=st.just(True)),
    st.builds(DataType, st.just(Kind.BINARY), length=_lengths),
    st.builds(DataType, st.just(Kind.BIT), bits=st.integers(1, 64), fixed=st.just(True)),
    st.just(DataType(Kind.DATE)),
    st.builds(DataType, st.just(Kind.TIMESTAMP), precision=st.integers(0, 6)),
    st.builds(DataType, st.just(Kind.INTERVAL), precision=st.integers(0, 6), fixed=st.just(True)),
    st.just(DataType(Kind.JSON)),
    st.just(DataType(Kind.GEOMETRY)),
    st.builds(DataType, st.just(Kind.ENUM), labels=_labels.map(tuple)).filter(labels_fit),
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(types=st.lists(_types, min_size=1, max_size=12), null=st.booleans())
def test_random_tables_come_back_as_they_were(
    mysql_target: MySqlDatabase, types: list[DataType], null: bool
) -> None:
    """Logical types → DDL → executed → read again: the same logical types, or the wide text."""
    columns = tuple(Column(f"c{i}", t, "", nullable=null) for i, t in enumerate(types))
    mysql_target.execute("DROP TABLE IF EXISTS t")
    catalog = Catalog("other", "1", (Table(TableName("s", "t"), columns),))
    plan = planned(mysql_target, catalog, mapped(catalog, mysql_target.name))
    outcomes = run(mysql_target, plan)
    assert {o.state for o in outcomes} <= {"equal", "skipped"}, outcomes
    assert {o.state for o in compared(mysql_target, plan).values()} == {"equal"}
    widened = any(f.code == "widened" for f in plan.findings)
    made = table_of(mysql_target, "t")
    for column in columns:
        found = made.column(column.name)
        assert found.nullable == null
        if found.type != column.type:
            too_long = (column.type.length or 0) > 16383
            assert widened or too_long
            assert found.type == DataType(column.type.kind)

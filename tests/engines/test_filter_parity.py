"""A filter means the same in the source's SQL (full load) and on batches (changes)."""

from __future__ import annotations

import pyarrow as pa
import pytest
from psycopg import sql

from godwit.engines.postgres.read import filter_terms
from godwit.model.catalog import Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, Condition, RowFilter, TableMapping
from godwit.steps.transform import filter_mask
from include.demo.servers import Database
from tests.conftest import SOURCE_VERSION

#: Numbers without end are numeric since 14.
INFINITE = ["Infinity"] if SOURCE_VERSION >= 14 else []
#: Type, spelling, values of rows, values of conditions.
CASES = {
    "integer": (DataType(Kind.INTEGER, bits=32), ["-5", "0", "7", "2147483647"], ["0", "7"]),
    "numeric": (
        DataType(Kind.DECIMAL),
        ["-1.5", "1.50", "1.5000000000000000000001", "NaN", *INFINITE, "1" * 80],
        ["1.5", "0"],
    ),
    "numeric(12,2)": (
        DataType(Kind.DECIMAL, precision=12, scale=2),
        ["-1.50", "1.50", "99.99", "NaN"],
        ["1.5", "99.99"],
    ),
    "real": (
        DataType(Kind.FLOAT, bits=32),
        ["0.1", "1e+20", "NaN", "-Infinity", "-0"],
        ["0.1", "0"],
    ),
    "double precision": (
        DataType(Kind.FLOAT, bits=64),
        ["0.1", "0.30000000000000004", "NaN", "Infinity"],
        ["0.1", "0.3"],
    ),
    "text": (DataType(Kind.TEXT), ["", "a", "B", "Z", "é", "z", "a b", "ab"], ["a", "Z", "ab"]),
    "varchar(5)": (DataType(Kind.TEXT, length=5), ["a", "a ", "B"], ["a", "B"]),
    "character(5)": (DataType(Kind.TEXT, length=5, fixed=True), ["a", "ab", "B", ""], ["a", "ab"]),
    "date": (
        DataType(Kind.DATE),
        ["2024-01-01", "2024-12-31", "infinity", "-infinity", "0044-03-15 BC", "20000-01-01"],
        ["2024-01-01", "2024-06-01"],
    ),
    "timestamp": (
        DataType(Kind.TIMESTAMP, precision=6),
        ["2024-01-01 00:00:00", "2024-01-01 00:00:00.000001", "infinity", "0044-03-15 10:00:00 BC"],
        ["2024-01-01", "2024-01-01 00:00:00.000001"],
    ),
    "timestamptz": (
        DataType(Kind.TIMESTAMP, precision=6, zoned=True),
        ["2024-01-01 00:00:00+00", "2024-01-01 12:00:00.5+00", "-infinity"],
        ["2024-01-01", "2024-01-01 13:00:00.5+01"],
    ),
    "time": (DataType(Kind.TIME), ["00:00:00", "08:00:00.5", "24:00:00"], ["08:00:00.5", "00:00"]),
    "boolean": (DataType(Kind.BOOLEAN), ["t", "f"], ["true", "f"]),
    "uuid": (
        DataType(Kind.UUID),
        ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000001"],
        ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "00000000-0000-0000-0000-000000000001"],
    ),
    "mood": (
        DataType(Kind.ENUM, labels=("sad", "ok", "happy")),
        ["sad", "ok", "happy"],
        ["ok", "happy"],
    ),
}
OPERATORS = [
    "eq",
    "noteq",
    "lte",
    "ste",
    "gte",
    "gt",
    "lt",
    "between",
    "notbetween",
    "null",
    "notnull",
]


@pytest.mark.parametrize("native", CASES)
def test_same_rows_by_both_roads(source_db: Database, native: str) -> None:
    type_of, values, wanted = CASES[native]
    source_db.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    source_db.execute(f"CREATE TABLE t (id int, v {native})")
    for number, value in enumerate([*values, None]):
        source_db.execute(f"INSERT INTO t VALUES (%s, %s::text::{native})", [number, value])
    column = Column("v", type_of, native)
    table = Table(TableName("public", "t"), (column,))
    mapping = TableMapping(table, table.name, (ColumnMapping("v", "v"),))
    with source_db.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET extra_float_digits = 1")
        texts = [r[0] for r in connection.execute("SELECT v::text FROM t ORDER BY id").fetchall()]
        if type_of.fixed:  # a cast to text strips the padding that COPY keeps
            texts = [t and t.ljust(5) for t in texts]
        batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], names=["v"])
        for operator in OPERATORS:
            arity = {"null": 0, "notnull": 0, "between": 2, "notbetween": 2}.get(operator, 1)
            for shift in range(2):
                condition = Condition(
                    "v", operator, tuple([*wanted, *wanted][shift : shift + arity])
                )
                row_filter = RowFilter(((condition,),))
                (term,) = filter_terms(table, row_filter)
                query = sql.SQL("SELECT coalesce({}, false) FROM t ORDER BY id").format(term)
                by_server = [r[0] for r in connection.execute(query).fetchall()]
                filtered = TableMapping(table, table.name, mapping.columns, row_filter)
                assert filter_mask(batch, filtered).to_pylist() == by_server, condition

"""Rows are found again by their identity, in the very values they have, thousands at once."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS
from godwit.engines.mysql.source import MySqlSource
from godwit.model.changes import Format, Payload
from godwit.model.mapping import Condition, RowFilter, TableMapping
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.endpoint import fill, mapping_of, source_of

FORMATS = [MYSQL_COLUMNS, COLUMNS]
KEY = (
    "a varchar(20) COLLATE utf8mb4_general_ci, b enum('x', 'y'), d datetime(3), e decimal(10, 2),"
    " t time(2), f float, n varbinary(9), i bit(9), s set('p', 'q')"
)


@pytest.fixture
def source(mysql_source: MySqlDatabase) -> Iterator[MySqlSource]:
    with source_of(mysql_source) as source:
        yield source


def keys_of(mapping: TableMapping, batch: pa.RecordBatch) -> Payload:
    keys = batch.select(list(mapping.source.identity))
    return Payload(tuple(mapping.source.identity), keys.num_rows, keys)


def everything(source: MySqlSource, mapping: TableMapping, format: Format) -> pa.RecordBatch:
    [(chunk, _)] = source.plan(mapping, rows_per_chunk=1 << 30, bytes_per_chunk=1 << 40)
    with source.read(chunk, mapping, format) as rows:
        return pa.Table.from_batches(list(rows)).combine_chunks().to_batches()[0]


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_every_kind_of_key(
    mysql_source: MySqlDatabase, source: MySqlSource, format: Format
) -> None:
    mysql_source.execute(f"CREATE TABLE t ({KEY}, v text, PRIMARY KEY (a, b, d, e, t, f, n, i, s))")
    rows = [
        ("Ab", "x", "2024-01-01 10:00:00.5", "1.50", "-01:00:00.25", 0.1, b"\0\xff", 5, "p,q"),
        ("é 50%", "y", "0000-00-00", "0", "838:00:00", -0.0, b"", 0, ""),
        ("q'\\", "none", "2024-02-30", "-3", "0", 1e-30, b"a", 511, "q"),
    ]
    fill(mysql_source, "t", [(*row, "value") for row in rows])
    mapping = mapping_of(source, "t")
    whole = everything(source, mapping, format)
    found, gone = source.rows_by_key(mapping, keys_of(mapping, whole), format)
    assert (found.rows, gone.rows) == (3, 0)
    assert found.data.equals(whole)


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_a_key_in_other_letters_is_gone_and_its_row_found(
    mysql_source: MySqlDatabase, source: MySqlSource, format: Format
) -> None:
    mysql_source.execute("CREATE TABLE t (id varchar(9) COLLATE utf8mb4_general_ci PRIMARY KEY)")
    fill(mysql_source, "t", [("one",), ("two",)])
    mapping = mapping_of(source, "t")
    batch = pa.RecordBatch.from_pydict({"id": ["ONE", "one", "none"]})
    found, gone = source.rows_by_key(mapping, Payload(("id",), 3, batch), format)
    assert found.data.to_pydict() == {"id": ["one"]}
    assert gone.data.to_pydict() == {"id": ["ONE", "none"]}


def test_thousands_at_once_by_the_index(mysql_source: MySqlDatabase, source: MySqlSource) -> None:
    mysql_source.execute("CREATE TABLE t (a int, b varchar(9), PRIMARY KEY (a, b))")
    fill(mysql_source, "t", [(n, f"k{n}") for n in range(20_000)])
    mapping = mapping_of(source, "t")
    wanted = list(range(5, 50_000, 10))
    batch = pa.RecordBatch.from_pydict({"a": wanted, "b": [f"k{n}" for n in wanted]})
    with source.connector.lease() as session:
        session.run("FLUSH STATUS")
    found, gone = source.rows_by_key(mapping, Payload(("a", "b"), len(wanted), batch), COLUMNS)
    assert (found.rows, gone.rows) == (2000, 3000)
    with source.connector.lease() as session:
        read = session.rows("SHOW SESSION STATUS LIKE 'Handler_read%'")
    assert sum(int(n) for _, n in read) < 20_000


def test_filtered_rows_and_impossible_keys_are_gone(
    mysql_source: MySqlDatabase, source: MySqlSource
) -> None:
    mysql_source.execute(
        "CREATE TABLE t (id varchar(9) CHARACTER SET latin1 PRIMARY KEY, keep int)"
    )
    fill(mysql_source, "t", [("é", 1), ("b", 0)])
    row_filter = RowFilter(((Condition("keep", "eq", ("1",)),),))
    mapping = mapping_of(source, "t", row_filter=row_filter)
    batch = pa.RecordBatch.from_pydict({"id": ["中", "b", "é"]})
    found, gone = source.rows_by_key(mapping, Payload(("id",), 3, batch), COLUMNS)
    assert found.data.column("id").to_pylist() == ["é"]
    assert gone.data.column(0).to_pylist() == ["中", "b"]

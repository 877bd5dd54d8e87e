"""What the tests of writing share: a target, tables of it, and streams made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.control import transaction
from godwit.engines.mysql.write import encoder_for, load_rows
from godwit.model.catalog import Column, Table, TableName
from godwit.model.changes import COLUMNS, Format
from godwit.model.datatypes import DataType, Kind
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from include.demo.mysql_servers import MySqlDatabase


def connector_of(database: MySqlDatabase, **settings: Any) -> Connector:
    """The database as a target; its control tables are its own."""
    settings = {"control_database": f"{database.name}_control", **settings}
    return Connector(connection_from_text("target", database.conn_uri), settings)


def mapping_to(
    database: MySqlDatabase, name: str, kinds: Mapping[str, Kind], identity: Sequence[str] = ()
) -> TableMapping:
    """Columns of these kinds, into the table of that name."""
    columns = tuple(Column(c, DataType(kind), "") for c, kind in kinds.items())
    table = Table(TableName("public", name), columns, identity=tuple(identity))
    return TableMapping(
        table,
        TableName(database.name, name),
        tuple(ColumnMapping(c, c) for c in kinds),
        identity=tuple(identity),
    )


class Rows:
    """A stream of batches."""

    mark = None

    def __init__(self, *batches: pa.RecordBatch, format: Format = COLUMNS) -> None:
        self.format = format
        self.columns = tuple(batches[0].schema.names)
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self._batches


def store(
    database: MySqlDatabase,
    native: str,
    array: pa.Array,
    kind: Kind,
    *,
    format: Format = COLUMNS,
    **settings: Any,
) -> None:
    """Write one column, beside a number, into a new table ``t``."""
    database.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (n int, c {native})")
    numbers = pa.array(range(len(array)), pa.int32())
    batch = pa.record_batch([numbers, array], names=["n", "c"])
    mapping = mapping_to(database, "t", {"n": Kind.INTEGER, "c": kind})
    connector = connector_of(database, **settings)
    session = connector.connect(role="target")
    try:
        with transaction(session):
            encoder = encoder_for(
                session, mapping.target, mapping, ("n", "c"), format, connector.settings
            )
            count, _size = load_rows(session, mapping.target, encoder, [batch])
            assert count == len(array)
    finally:
        if session.open:
            session.close()


def stored(database: MySqlDatabase, expression: str = "c") -> list[Any]:
    """What is in ``t`` now, in the order of the numbers."""
    return [value for (value,) in database.fetch(f"SELECT {expression} FROM t ORDER BY n")]

"""A target database, one applier on it, and batches made by hand."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from godwit.engines.mysql.apply import MySqlApplier
from godwit.engines.mysql.connection import COLUMNS, Connector
from godwit.engines.mysql.control import MySqlControl
from godwit.model.catalog import Column, ForeignKey, Part, Table, TableName
from godwit.model.changes import (
    ChangeBatch,
    Format,
    KeyMove,
    Payload,
    Position,
    Stage,
    TableChanges,
)
from godwit.model.datatypes import DataType, Kind
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import Applied, Epoch, ErrorPolicy
from include.demo.mysql_servers import MySqlDatabase

MIGRATION = "by-hand"
SCHEMA = "src"
Row = tuple[Any, ...]

INTEGER = DataType(Kind.INTEGER, bits=32)
TEXT = DataType(Kind.TEXT)
KINDS = {
    "int": INTEGER,
    "text": TEXT,
    "bytes": DataType(Kind.BINARY),
    "decimal": DataType(Kind.DECIMAL),
    "float": DataType(Kind.FLOAT, bits=32),
    "double": DataType(Kind.FLOAT, bits=64),
    "date": DataType(Kind.DATE),
    "timestamp": DataType(Kind.TIMESTAMP, precision=6),
    "instant": DataType(Kind.TIMESTAMP, precision=6, zoned=True),
    "json": DataType(Kind.JSON),
    "bits": DataType(Kind.BIT),
}


@dataclass(frozen=True)
class At:
    """A position: a number."""

    number: int

    def includes(self, other: Position) -> bool:
        return isinstance(other, At) and other.number <= self.number

    def __str__(self) -> str:
        return str(self.number)


def table(
    name: str,
    columns: str,
    *,
    key: str = "",
    parts: Sequence[str] = (),
    foreign: Sequence[ForeignKey] = (),
) -> Table:
    """A source table: ``"id int, v text"``; a type with ``!`` has equal keys with other bytes."""
    made = []
    for declared in columns.split(", "):
        column, kind = declared.split(" ")
        made.append(
            Column(column, KINDS[kind.rstrip("!")], kind, byte_equal=not kind.endswith("!"))
        )
    return Table(
        TableName(SCHEMA, name),
        tuple(made),
        identity=tuple(key.split(", ")) if key else (),
        parts=tuple(Part(TableName(SCHEMA, p), 0, 0) for p in parts),
        foreign_keys=tuple(foreign),
    )


def rows(columns: str, *values: Row) -> Payload:
    """A payload: ``rows("id, v", (1, "a"), (2, None))``."""
    names = tuple(columns.split(", "))
    arrays = [_array([row[i] for row in values]) for i in range(len(names))]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(names))
    return Payload(names, len(values), batch)


def _array(values: Sequence[Any]) -> pa.Array:
    if any(isinstance(v, decimal.Decimal) for v in values):
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    if all(v is None for v in values):
        return pa.array(values, pa.string())
    return pa.array(values)


class Bench:
    """One target database."""

    def __init__(self, database: MySqlDatabase) -> None:
        self.database = database
        uri = connection_from_text("target", database.conn_uri)
        self.connector = Connector(uri, {"control_database": f"{database.name}_godwit"})
        self.control = MySqlControl(self.connector, MIGRATION)
        self.control.install()
        self.mappings: dict[str, TableMapping] = {}
        self.policy = ErrorPolicy()
        self.format: Format = COLUMNS
        self.position = 0
        #: What the source holds, for rows that are read again: table → identity → row.
        self.source: dict[str, dict[Row, Row]] = {}
        self.read_again: list[tuple[str, list[Row]]] = []
        self.epoch: Epoch | None = None
        self._applier: MySqlApplier | None = None

    def add(self, source: Table, ddl: str) -> TableMapping:
        """Make the target table and map the source's to it."""
        self.database.execute(ddl)
        mapping = TableMapping(
            source,
            TableName(self.database.name, source.name.name),
            tuple(ColumnMapping(c.name, c.name) for c in source.columns),
            identity=source.identity,
        )
        self.mappings[source.name.name] = mapping
        return mapping

    @property
    def applier(self) -> MySqlApplier:
        """The session at work; opened with a new epoch when there is none."""
        if self._applier is None:
            self.control.set_low(At(0))
            self.epoch = self.control.take_epoch("apply")
            self._applier = MySqlApplier(
                self.connector,
                MIGRATION,
                list(self.mappings.values()),
                self.format,
                self.epoch,
                self.policy,
                self.reselect,
            )
        return self._applier

    def again(self) -> None:
        """End the session; the next batch opens another."""
        if self._applier is not None:
            self._applier.close()
        self._applier = None

    def reselect(self, mapping: TableMapping, keys: Payload) -> tuple[Payload, Payload]:
        assert keys.columns == mapping.source.identity
        name = mapping.source.name.name
        wanted = list(zip(*(c.to_pylist() for c in keys.data.columns), strict=True))
        self.read_again.append((name, wanted))
        held = self.source.get(name, {})
        columns = ", ".join(c.target for c in mapping.columns)
        found = rows(columns, *(held[key] for key in wanted if key in held))
        names = ", ".join(mapping.identity)
        return found, rows(names, *(key for key in wanted if key not in held))

    def apply(
        self, *stages: Stage, exact: bool = True, final: bool = True, commits: Sequence[float] = ()
    ) -> Applied:
        """Apply one batch."""
        if final:
            self.position += 1
        batch = ChangeBatch(
            stages, At(self.position), final, transactions=1, changes=1, commits=tuple(commits)
        )
        return self.applier.apply(batch, exact=exact)

    def changes(self, name: str, **kinds: Any) -> TableChanges:
        """Net changes of one table."""
        return TableChanges(TableName(SCHEMA, name), **kinds)

    def move(self, name: str, old: Payload, new: Payload) -> KeyMove:
        return KeyMove(TableName(SCHEMA, name), old, new)

    def fetch(self, query: str) -> list[Row]:
        return self.database.fetch(query)

    @property
    def checkpoint(self) -> str | None:
        return self.control.progress().checkpoint

    @property
    def logged(self) -> set[tuple[str, str]]:
        """Operation and key of the rows refused."""
        return {(e.operation, e.key) for e in self.control.exceptions()}

    def close(self) -> None:
        self.again()
        self.control.close()
        self.database.execute(f"DROP DATABASE IF EXISTS `{self.database.name}_godwit`")
        self.connector.close()


@contextmanager
def bench_on(database: MySqlDatabase) -> Iterator[Bench]:
    bench = Bench(database)
    try:
        yield bench
    finally:
        bench.close()


def instant(text: str) -> datetime.datetime:
    """A moment in UTC."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def as_texts(payload: Payload) -> Payload:
    """The same rows as columns of canonical text."""
    names: Mapping[int, str] = dict(enumerate(payload.columns))
    arrays = []
    for column in payload.data.columns:
        values = [None if v is None else _text(v) for v in column.to_pylist()]
        arrays.append(pa.array(values, pa.string()))
    batch = pa.RecordBatch.from_arrays(arrays, names=list(names.values()))
    return Payload(payload.columns, payload.rows, batch)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.replace(tzinfo=None).isoformat(sep=" ") + "+00"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    return str(int(value)) if isinstance(value, bool) else str(value)

"""Columns that the log does not name (binlog_row_metadata): they are told by their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.statements_alter import names_columns
from godwit.engines.mysql.table_maps import MapColumn, TableMap
from godwit.model.catalog import Column, Table, TableName
from godwit.model.datatypes import Kind

_WHY = "which the log does not name (set binlog_row_metadata to FULL on the source)"
_STRINGS = frozenset({15, 253, 254})
_BINARY = 63
_COLUMNS = (
    "SELECT c.COLUMN_NAME, (SELECT MIN(i.ID) FROM information_schema.COLLATIONS i"
    " WHERE i.CHARACTER_SET_NAME = c.CHARACTER_SET_NAME), c.COLUMN_TYPE, c.DATA_TYPE,"
    " c.CHARACTER_MAXIMUM_LENGTH, c.CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS c"
    " WHERE c.TABLE_SCHEMA = %s AND c.TABLE_NAME = %s ORDER BY c.ORDINAL_POSITION"
)


class _Found(NamedTuple):
    """A column as the catalog has it; `collation` is a number, `width` bytes of a character."""

    name: str
    collation: int | None
    native: str
    width: int

    def misses(self, column: Column, told: MapColumn) -> bool:
        """The log's column has another size: it was written before the catalog's was altered."""
        if told.real not in _STRINGS or column.type.kind is not Kind.TEXT:
            return False
        known = (column.type.length or 0) * self.width
        return known > 0 and told.size != known


class Unnamed:
    """Names columns as the catalog does.

    Attributes:
        met: there were table maps without names.
        altered: tables of which an ALTER was read: they are looked at again.
    """

    def __init__(self, connector: Connector, tables: Sequence[Table]) -> None:
        self._connector = connector
        self.met = False
        self.altered: set[TableName] = set()
        #: As the session began, so that rows of before an ALTER are read as they were written.
        self._began: dict[TableName, list[_Found]] = {}
        if tables and not self._named():
            self._began = {table.name: self._now(table) for table in tables}

    def _named(self) -> bool:
        with self._connector.lease() as session:
            return names_columns(session)

    def give(self, told: TableMap, table: Table) -> str:
        """Give the columns of a table map without names those of the catalog; empty when they fit
        in number, else how they do not.
        """
        if told.named:
            return ""
        self.met = True
        if len(told.columns) != len(table.columns):
            count = f"{len(told.columns)} columns instead of {len(table.columns)}"
            return f"it has {count}, {_WHY}"
        altered = table.name in self.altered
        found = (self._began.get(table.name) if not altered else None) or self._now(table)
        if altered and [f.name for f in found] != [c.name for c in table.columns]:
            return f"its columns were altered, {_WHY}"
        known = {f.name: f for f in found}
        for told_column, column in zip(told.columns, table.columns, strict=True):
            told_column.name = column.name
            if column.name in known:
                if told_column.collation is None:
                    told_column.collation = known[column.name].collation
                if known[column.name].misses(column, told_column):
                    return f"column {column.name} had another length or character set, {_WHY}"
        changed = [c.name for c in table.columns if altered and known[c.name].native != c.native]
        if changed:
            return f"columns {', '.join(changed)} were altered, and the log does not tell how"
        return ""

    def _now(self, table: Table) -> list[_Found]:
        with self._connector.lease() as session:
            rows = session.rows(_COLUMNS, tuple(table.name))
        return [
            _Found(
                name,
                int(number) if number else _BINARY if kind.endswith(("binary", "blob")) else None,
                native,
                int(octets) // int(length) if length else 0,
            )
            for name, number, native, kind, length, octets in rows
        ]

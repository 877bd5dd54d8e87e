"""Whether bounds ascend, as the server compares values of the columns they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, pairwise

from godwit.engines.mysql.bounds import label_number, literal_of
from godwit.engines.mysql.connection import Session
from godwit.model.catalog import Column, Table
from godwit.model.chunks import Bound
from godwit.model.datatypes import Kind

_PAIRS = 200
_MOMENTS = {
    Kind.DATE: "DATE",
    Kind.TIMESTAMP: "DATETIME(6)",
    Kind.TIME: "TIME(6)",
    Kind.INTERVAL: "TIME(6)",
}


def ascending(
    session: Session, table: Table, columns: Sequence[str], bounds: Sequence[Bound]
) -> bool:
    """Whether each bound lies above the one before.

    Raises:
        ValueError: a bound is no value of its column.
    """
    collations = _collations(session, table) if bounds else {}
    compared = [
        [_typed(table.column(c), t, collations) for c, t in zip(columns, bound, strict=True)]
        for bound in bounds
    ]
    pairs = iter(pairwise(compared))
    while batch := list(islice(pairs, _PAIRS)):
        row = session.row("SELECT " + ", ".join(_less(low, high) for low, high in batch))
        if row is None or not all(row):
            return False
    return True


def _less(low: Sequence[str], high: Sequence[str]) -> str:
    first = f"{low[0]} < {high[0]}"
    if len(low) == 1:
        return first
    return f"({first} OR ({low[0]} = {high[0]} AND {_less(low[1:], high[1:])}))"


def _typed(column: Column, text: str, collations: Mapping[str, tuple[str, str]]) -> str:
    """The literal with the column's type and collation."""
    if column.type.kind is Kind.ENUM:
        return str(label_number(column, text))
    literal = literal_of(column, text)
    kind = column.type.kind
    if kind is Kind.TEXT and column.name in collations:
        charset, collation = collations[column.name]
        return f"CONVERT({literal} USING {charset}) COLLATE {collation}"
    if kind is Kind.BINARY and column.type.fixed and column.type.length:
        return f"RPAD({literal}, {column.type.length}, x'00')"
    if kind in _MOMENTS:
        return f"CAST({literal} AS {_MOMENTS[kind]})"
    if kind in (Kind.UUID, Kind.OPAQUE):
        return f"CAST({literal} AS {column.native.split('(')[0]})"
    return literal


def _collations(session: Session, table: Table) -> dict[str, tuple[str, str]]:
    rows = session.rows(
        "SELECT COLUMN_NAME, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND COLLATION_NAME IS NOT NULL",
        tuple(table.name),
    )
    return {name: (charset, collation) for name, charset, collation in rows}

"""How many values of the source a target cannot hold as they are: one scan per table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.names import quoted
from godwit.errors import EndpointError
from godwit.model.catalog import TableName
from godwit.model.doubts import Doubt, Test

_DATES = frozenset({"date", "datetime", "timestamp"})
_NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year"})
_FLOATS = frozenset({"float", "double"})
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})


@dataclass(frozen=True)
class _Column:
    """A column of the source: its plain type, its quoted name, its character set."""

    type: str
    place: str
    charset: str | None


def count_doubts(connector: Connector, doubts: Sequence[Doubt]) -> dict[Doubt, int]:
    """See `godwit.protocols.Source.count_doubts`.

    Raises:
        EndpointError: a table cannot be read.
    """
    counts: dict[Doubt, int] = dict.fromkeys(doubts, 0)
    ordered = sorted(set(doubts), key=lambda d: d.table)
    with connector.lease("source") as session:
        for table, of_table in groupby(ordered, key=lambda d: d.table):
            try:
                columns = _columns(session, table)
                if not columns:
                    raise _unseen(table, "it is not there, or not visible to the login")
                counts.update(_count(session, table, columns, list(of_table)))
            except pymysql.MySQLError as cause:
                raise _unseen(table, f"the source answers with error {cause.args[0]}") from None
    return counts


def _unseen(table: TableName, why: str) -> EndpointError:
    return EndpointError(
        "the values of a table cannot be looked at",
        where=str(table),
        why=why,
        hint="check that the table exists and that the login may SELECT from it",
    )


def _count(
    session: Session,
    table: TableName,
    columns: Mapping[str, _Column],
    doubts: Sequence[Doubt],
) -> dict[Doubt, int]:
    tests = {}
    for doubt in doubts:
        column = columns.get(doubt.column)
        condition = _TESTS[doubt.test](column, doubt.limits) if column else None
        if condition is not None:
            tests[doubt] = condition
    if not tests:
        return {}
    sums = ", ".join(
        f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)" for condition in tests.values()
    )
    row = session.row(f"SELECT {sums} FROM {quoted(*table)}") or ()
    return {doubt: int(n or 0) for doubt, n in zip(tests, row, strict=True)}


def _columns(session: Session, table: TableName) -> dict[str, _Column]:
    rows = session.rows(
        "SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_SET_NAME FROM information_schema.COLUMNS"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        tuple(table),
    )
    return {name: _Column(kind.lower(), quoted(name), charset) for name, kind, charset in rows}


# -- conditions; None = no value of this engine is like that

_Limits = tuple[str, ...]


def _never(_column: _Column, _limits: _Limits) -> str | None:
    """Dates and numbers are finite here."""
    return None


def _digits(column: _Column, limits: _Limits) -> str | None:
    """More digits before or behind the point."""
    if column.type not in _NUMBERS:
        return None
    before, behind = int(limits[0]), int(limits[1])
    place = column.place
    return (
        f"(ABS({place}) >= CAST('1e{before:d}' AS DECIMAL(65, 0))" if before < 65 else "(FALSE"
    ) + f" OR {place} <> TRUNCATE({place}, {behind:d}))"


def _range(column: _Column, limits: _Limits) -> str | None:
    if column.type not in _NUMBERS | _FLOATS:
        return None
    low, high = (_number(text) for text in limits)
    return f"({column.place} < {low} OR {column.place} > {high})"


def _number(text: str) -> str:
    float(text)  # nothing but a number gets into the statement
    return text


def _years(column: _Column, limits: _Limits) -> str | None:
    if column.type not in _DATES:
        return None
    first, last = int(limits[0]), int(limits[1])
    # Dates with zeros have tests of their own.
    whole = f"{column.place} <> 0 AND MONTH({column.place}) > 0 AND DAYOFMONTH({column.place}) > 0"
    return f"({whole} AND YEAR({column.place}) NOT BETWEEN {first:d} AND {last:d})"


def _zero_date(column: _Column, _limits: _Limits) -> str | None:
    if column.type not in _DATES:
        return None
    return f"{column.place} = 0"


def _partial_date(column: _Column, _limits: _Limits) -> str | None:
    if column.type not in _DATES:
        return None
    place = column.place
    return f"({place} <> 0 AND (MONTH({place}) = 0 OR DAYOFMONTH({place}) = 0))"


def _nul(column: _Column, _limits: _Limits) -> str | None:
    if column.type not in _TEXTS:
        return None
    # As bytes of UTF-8, where no other character has a zero byte.
    return f"LOCATE(x'00', CAST(CONVERT({column.place} USING utf8mb4) AS BINARY)) > 0"


def _length(column: _Column, limits: _Limits) -> str | None:
    if column.type in _TEXTS | {"enum", "set", "json"}:
        return f"CHAR_LENGTH({column.place}) > {int(limits[0]):d}"
    return f"LENGTH({column.place}) > {int(limits[0]):d}" if column.type in _BYTES else None


def _invalid_text(column: _Column, _limits: _Limits) -> str | None:
    if column.type not in _TEXTS or column.charset is None:
        return None
    # Into another character set and back: what isn't valid, or has no counterpart, becomes "?".
    other = "utf8mb4" if column.charset not in ("utf8mb4", "utf8mb3", "utf8") else "utf32"
    charset = quoted(column.charset)
    there = f"CONVERT(CONVERT({column.place} USING {other}) USING {charset})"
    return f"CAST({there} AS BINARY) <> CAST({column.place} AS BINARY)"


def _empty_label(column: _Column, _limits: _Limits) -> str | None:
    # The number tells it from a label that is empty.
    return f"{column.place} + 0 = 0" if column.type == "enum" else None


def _day(column: _Column, _limits: _Limits) -> str | None:
    if column.type != "time":
        return None
    return f"({column.place} < '00:00:00' OR {column.place} >= '24:00:00')"


_TESTS: Mapping[Test, Callable[[_Column, _Limits], str | None]] = {
    Test.NOT_FINITE: _never,
    Test.INFINITE: _never,
    Test.DIGITS: _digits,
    Test.RANGE: _range,
    Test.YEARS: _years,
    Test.ZERO_DATE: _zero_date,
    Test.PARTIAL_DATE: _partial_date,
    Test.NUL: _nul,
    Test.LENGTH: _length,
    Test.INVALID_TEXT: _invalid_text,
    Test.EMPTY_LABEL: _empty_label,
    Test.DAY: _day,
}

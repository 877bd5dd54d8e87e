"""Values that need a word: those this target cannot hold, and how many the source has of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from godwit.engines.postgres.catalog import ENGINE_NAME
from godwit.engines.postgres.connection import Connector, Session
from godwit.engines.postgres.ddl_foreign import chosen
from godwit.engines.postgres.ddl_foreign_index import BYTES_PER_CHARACTER, MAX_ENTRY_BYTES
from godwit.errors import EndpointError
from godwit.model.catalog import Catalog, Column, Table, TableName
from godwit.model.datatypes import Kind
from godwit.model.doubts import Doubt, Test
from godwit.model.mapping import TableMapping

_TEXTS = frozenset({Kind.TEXT, Kind.ENUM, Kind.SET, Kind.JSON, Kind.OPAQUE, Kind.ARRAY})
_DATES = frozenset({Kind.DATE, Kind.TIMESTAMP})

# -- the target's side


def doubts(
    catalog: Catalog, mappings: Sequence[TableMapping], settings: Mapping[str, Any]
) -> list[Doubt]:
    """Values of another engine that PostgreSQL's columns cannot hold as they are.

    `settings`: of the target endpoint.
    """
    if catalog.engine == ENGINE_NAME:
        return []
    return [d for mapping in mappings for d in _of_table(mapping, settings)]


def _of_table(mapping: TableMapping, settings: Mapping[str, Any]) -> Iterator[Doubt]:
    source = mapping.source
    long = _long_keys(source)
    for target in mapping.columns:
        if target.source is not None and target.plain:
            column = source.column(target.source)
            yield from _of_column(source.name, column, settings, key=column.name in long)


def _of_column(
    table: TableName, column: Column, settings: Mapping[str, Any], *, key: bool
) -> Iterator[Doubt]:
    """What a column may hold that PostgreSQL's cannot; `key`: of a key or index."""
    if column.type.kind in _TEXTS:
        yield from _of_text(table, column, strips=settings.get("nul_characters") == "strip")
    if column.type.kind in _DATES:
        yield from _of_date(table, column)
    enums = chosen(settings, "enum")
    if column.type.kind is Kind.ENUM and enums != "text" and "" not in column.type.labels:
        outcome = "the row is refused: it is no label of the type"
        hint = "set enum: text at the target, or mend the rows on the source"
        yield Doubt(table, column.name, Test.EMPTY_LABEL, (), outcome, lossy=False, hint=hint)
    if key:
        outcome = f"the key or index cannot hold more than {MAX_ENTRY_BYTES} bytes"
        limits = (str(MAX_ENTRY_BYTES // _width(column)),)
        hint = "shorten the values, or leave the key out and make another one"
        yield Doubt(table, column.name, Test.LENGTH, limits, outcome, lossy=False, hint=hint)


def _of_text(table: TableName, column: Column, *, strips: bool) -> Iterator[Doubt]:
    outcome = "the row is refused: no text of PostgreSQL has the character U+0000"
    hint = "mend the rows, or set nul_characters: strip at the target, which leaves them out"
    if strips:
        outcome = "the characters are left out, as the target's setting nul_characters says"
    yield Doubt(table, column.name, Test.NUL, (), outcome, lossy=strips, hint=hint)
    outcome = "the row is refused: it is not valid in its own encoding"
    yield Doubt(
        table, column.name, Test.INVALID_TEXT, (), outcome, lossy=False, hint="mend the rows"
    )


def _of_date(table: TableName, column: Column) -> Iterator[Doubt]:
    hint = "the source's setting zero_dates: sentinel, null or reject"
    for test in (Test.ZERO_DATE, Test.PARTIAL_DATE):
        outcome = "becomes -infinity, or what the source's setting zero_dates says"
        yield Doubt(table, column.name, test, (), outcome, lossy=True, hint=hint)


def _long_keys(table: Table) -> set[str]:
    """Columns in a key or whole in an index whose values may be longer than an entry can be."""
    whole = {c for key in table.keys for c in key.columns}
    whole |= {
        part.column
        for index in table.indexes
        for part in index.parts
        if part.column is not None and not part.prefix and index.kind in {"btree", "hash"}
    }
    return {
        c.name
        for c in table.columns
        if c.name in whole
        and c.type.kind in {Kind.TEXT, Kind.BINARY}
        and (c.type.length is None or c.type.length * _width(c) > MAX_ENTRY_BYTES)
    }


def _width(column: Column) -> int:
    return BYTES_PER_CHARACTER if column.type.kind is Kind.TEXT else 1


# -- the source's side


def count_doubts(connector: Connector, doubts: Sequence[Doubt]) -> dict[Doubt, int]:
    """How many values each doubt is about; one scan per table.

    Raises:
        EndpointError: a table cannot be read.
    """
    counts = dict.fromkeys(doubts, 0)
    by_table: dict[TableName, list[Doubt]] = {}
    for doubt in doubts:
        by_table.setdefault(doubt.table, []).append(doubt)
    with connector.lease() as session:
        for table, some in by_table.items():
            try:
                counts |= _count(session, table, some)
            except psycopg.Error as cause:
                raise EndpointError(
                    "values cannot be counted",
                    where=f"{connector.where}, table {table}",
                    why=cause.diag.message_primary or type(cause).__name__,
                    hint=f"GRANT SELECT ON {table} to the source's login",
                ) from None
    return counts


_TYPES = """
WITH RECURSIVE seen AS (
  SELECT a.attname, a.atttypid AS type FROM pg_attribute a
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT s.attname, t.typbasetype FROM seen s JOIN pg_type t ON t.oid = s.type AND t.typtype = 'd')
SELECT s.attname, t.typname FROM seen s JOIN pg_type t ON t.oid = s.type WHERE t.typtype <> 'd'
"""


def _count(session: Session, table: TableName, doubts: Sequence[Doubt]) -> dict[Doubt, int]:
    name = sql.Identifier(*table)
    types = dict(session.execute(_TYPES, [name.as_string(session)]).fetchall())
    asked = [(d, _condition(d, types.get(d.column, ""))) for d in doubts]
    known = [(doubt, condition) for doubt, condition in asked if condition is not None]
    if not known:
        return {}
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) FILTER (WHERE {})").format(condition) for _, condition in known
    )
    row = session.execute(sql.SQL("SELECT {} FROM {}").format(counts, name)).fetchone()
    return {doubt: int(n) for (doubt, _), n in zip(known, row or (), strict=False)}


_FLOATS = frozenset({"float4", "float8"})
_NUMBERS = frozenset({"int2", "int4", "int8", "oid", "money", "numeric", *_FLOATS})
_MOMENTS = frozenset({"date", "timestamp", "timestamptz"})
_Condition = Callable[[sql.Composable, str, tuple[str, ...]], sql.Composed | None]


def _condition(doubt: Doubt, kind: str) -> sql.Composed | None:
    """The condition that such values meet; None when no value of the type can."""
    make = _CONDITIONS.get(doubt.test)
    return make(sql.Identifier(doubt.column), kind, doubt.limits) if make and kind else None


def _not_finite(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    del limits
    if kind not in {*_FLOATS, "numeric"}:
        return None
    # numeric has infinities since 14; as text, older versions know the question as well.
    return sql.SQL("{}::text IN ('NaN', 'Infinity', '-Infinity')").format(column)


def _infinite(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    del limits
    if kind not in {*_MOMENTS, "interval"}:
        return None
    return sql.SQL("NOT isfinite({})").format(column)


def _digits(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    if kind != "numeric":
        return None
    before, behind = limits
    return sql.SQL(
        "{c}::text NOT IN ('NaN', 'Infinity', '-Infinity')"
        " AND (abs(trunc({c})) >= power(10::numeric, {before}) OR {c} <> round({c}, {behind}))"
    ).format(c=column, before=sql.Literal(int(before)), behind=sql.Literal(int(behind)))


def _range(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    if kind not in _NUMBERS:
        return None
    low, high = (sql.Literal(limit) for limit in limits)
    return sql.SQL("{c}::numeric NOT BETWEEN {low}::numeric AND {high}::numeric").format(
        c=column, low=low, high=high
    )


def _years(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    if kind not in _MOMENTS:
        return None
    low, high = (sql.Literal(int(limit)) for limit in limits)
    text = "isfinite({c}) AND extract(year FROM {c}) NOT BETWEEN {low} AND {high}"
    return sql.SQL(text).format(c=column, low=low, high=high)


def _length(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    limit = sql.Literal(int(limits[0]))
    text = "octet_length({}) > {}" if kind == "bytea" else "char_length({}::text) > {}"
    return sql.SQL(text).format(column, limit)


def _day(column: sql.Composable, kind: str, limits: tuple[str, ...]) -> sql.Composed | None:
    del limits
    if kind in {"time", "timetz"}:
        return sql.SQL("{}::text LIKE '24:00:00%%'".replace("%%", "%")).format(column)
    if kind == "interval":
        text = "{c} >= interval '1 day' OR {c} <= interval '-1 day'"
        return sql.SQL(text).format(c=column)
    return None


_CONDITIONS: Mapping[Test, _Condition] = {
    Test.NOT_FINITE: _not_finite,
    Test.INFINITE: _infinite,
    Test.DIGITS: _digits,
    Test.RANGE: _range,
    Test.YEARS: _years,
    Test.LENGTH: _length,
    Test.DAY: _day,
}

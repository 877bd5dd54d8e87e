"""Values that the columns made on a MySQL or MariaDB target cannot hold as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from godwit.engines.mysql.catalog import ENGINE_NAME
from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.datatypes import decimal_limits
from godwit.engines.mysql.ddl_foreign_types import (
    Spelt,
    lossy_decimal,
    referenced_columns,
    spelt_columns,
)
from godwit.model.catalog import Catalog, TableName
from godwit.model.datatypes import Kind
from godwit.model.doubts import Doubt, Test
from godwit.model.mapping import TableMapping

_MOMENTS = frozenset({Kind.DATE, Kind.TIMESTAMP})
_REFUSED = "the row is refused"


def doubts(
    catalog: Catalog,
    mappings: Sequence[TableMapping],
    settings: Mapping[str, Any] | None = None,
    version: Version | None = None,
) -> list[Doubt]:
    """Doubts about the mapped columns; none between servers of this engine, whose types stay.

    `settings`: of the target endpoint: ``infinity`` and ``numeric`` say what becomes of some.
    """
    if catalog.engine == ENGINE_NAME:
        return []
    chosen = settings or {}
    server = version or Version((8, 0, 30), False, "")
    referenced = referenced_columns(mappings)
    found: list[Doubt] = []
    for mapping in mappings:
        spelt = spelt_columns(mapping, server, chosen, referenced.get(mapping.source.name, ()))
        for column in mapping.columns:
            if column.source is not None and column.plain:
                found += _of(mapping.source.name, column.source, spelt[column.target], chosen)
    return found


def _of(
    table: TableName, column: str, spelt: Spelt, settings: Mapping[str, Any]
) -> Iterator[Doubt]:
    kind = spelt.kind.kind
    if kind in {Kind.FLOAT, Kind.DECIMAL} and not spelt.text.endswith("text"):
        # There is no first or last number that would stand for them.
        outcome, lossy = _instead(settings, edges=False)
        hint = "the target's setting infinity: reject or null; or mend the rows"
        yield Doubt(table, column, Test.NOT_FINITE, (), outcome, lossy, hint)
    if lossy_decimal(spelt):
        digits, scale = decimal_limits(spelt.kind)
        limits = (str(digits - scale), str(scale))
        hint = "the target's setting numeric: text keeps every digit"
        yield Doubt(table, column, Test.DIGITS, limits, _REFUSED, lossy=False, hint=hint)
    if kind in _MOMENTS:
        outcome, lossy = _instead(settings)
        hint = "the target's setting infinity: reject, null or sentinel; or mend the rows"
        yield Doubt(table, column, Test.INFINITE, (), outcome, lossy, hint)
        yield Doubt(table, column, Test.YEARS, ("1", "9999"), outcome, lossy, hint)
    if spelt.cut is not None:
        hint = "leave the column out of keys, or shorten the values"
        yield Doubt(table, column, Test.LENGTH, (str(spelt.cut),), _REFUSED, lossy=False, hint=hint)


def _instead(settings: Mapping[str, Any], *, edges: bool = True) -> tuple[str, bool]:
    choice = settings.get("infinity", "reject")
    if choice == "null":
        return "becomes NULL", True
    if choice == "sentinel" and edges:
        return "becomes the first or last moment that the target knows", True
    return _REFUSED, False

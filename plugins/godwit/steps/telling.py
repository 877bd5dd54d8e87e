"""What the log tells of a table that was altered, and what it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from godwit.model.catalog import Column, Table
from godwit.model.changes import ShapeChange
from godwit.model.mapping import TableMapping
from godwit.model.reshaping import widens

_LITERAL = re.compile(
    r"(?:[-+]?\d+(?:\.\d+)?|'(?:[^'\\]|'')*'|NULL|TRUE|FALSE)(?:::[\w .\"\[\]()]+)?", re.IGNORECASE
)


def renamed_columns(before: Table, now: Table, told: ShapeChange) -> dict[str, str]:
    """Columns of the same values under another name: `{old: new}`."""
    renamed = {old: new for old, new in told.renamed if old in before.by_name}
    numbers = {c.number: c.name for c in now.columns if c.number}
    for column in before.columns:
        name = numbers.get(column.number, column.name)
        if name != column.name:
            renamed[column.name] = name
    return renamed


def untold(before: Table, now: Table, told: ShapeChange, renamed: Mapping[str, str]) -> str:
    """Why the log alone does not tell what all rows look like in the new shape; empty = it does."""
    if not told.clean:
        return "the change lies within a transaction that is larger than a batch"
    if told.rewritten or now.storage != before.storage:
        return "its rows were written anew"
    if now.incarnation != before.incarnation:
        return "the table was made again"
    if {p.name for p in now.parts} != {p.name for p in before.parts}:
        return "its partitions were changed"
    if _silent(now) != _silent(before):
        return "foreign keys that change its rows untold by the log were altered"
    if now.columns == before.columns:
        return "the log is behind another change"
    return ", ".join(_columns(before, now, renamed))


def unmapped(before: TableMapping, now: TableMapping, renamed: Mapping[str, str]) -> str:
    """Why the rules need more of the rows than the target has; empty = they do not."""
    origin = {new: old for old, new in renamed.items()}
    had = {c.source for c in before.columns}
    for column in now.columns:
        old = origin.get(column.source or "", column.source)
        if old in before.source.by_name and old not in had:
            return f"column {column.source} was not replicated so far"
    filters = [_filtering(m) for m in (before, now)]
    stayed = {
        c.name
        for c in before.source.columns
        if c.name not in renamed and c.name in now.source.by_name
    } - set(origin)
    if filters[0] != filters[1] or not filters[0] <= stayed:
        return "the columns that rows are filtered by were altered"
    return ""


def _filtering(mapping: TableMapping) -> set[str]:
    groups = mapping.row_filter.groups if mapping.row_filter else ()
    return {condition.column for group in groups for condition in group}


def _silent(table: Table) -> set[object]:
    return {key for key in table.foreign_keys if key.silent}


def _columns(before: Table, now: Table, renamed: Mapping[str, str]) -> Iterator[str]:
    numbered = any(c.number for c in now.columns)
    taken = set(renamed.values())
    if numbered and taken & before.by_name.keys():
        # The log tells names only, so which of two meanings its rows have cannot be told.
        yield "columns took the names of others"
    olds = {
        renamed.get(c.name, c.name): c
        for c in before.columns
        if c.name in renamed or c.name not in taken
    }
    fresh = [c for c in now.columns if c.name not in olds]
    for column in now.columns:
        old = olds.get(column.name)
        if old is None:
            continue
        if old.number and old.number != column.number:
            yield f"column {column.name} was dropped and added again"
        elif not _keeps(old, column):
            yield f"values of column {column.name} were converted"
    gone = olds.keys() - now.by_name.keys()
    if gone and fresh and not numbered:
        # Without numbers a column that was renamed looks the same.
        yield "columns were dropped and added at once"
    for column in fresh:
        if not _known(column, numbered=numbered):
            yield f"the new column {column.name} has values that are not told"


def _keeps(before: Column, now: Column) -> bool:
    """Every value is the same one afterwards."""
    if before.generated != now.generated or (before.nullable and not now.nullable):
        # Lax servers turn nulls into something else.
        return False
    return before.native == now.native or widens(before.type, now.type)


def _known(column: Column, *, numbered: bool) -> bool:
    """All rows have one value that is known, or it is computed of the others.

    A default may be younger than the column. Logs with statements tell that too, a little later;
    where there are none (`numbered`) no default is trusted.
    """
    if column.generated is not None:
        return True
    if column.identity or column.on_update or column.filled:
        return False
    if column.default is None:
        return column.nullable
    if numbered:
        return False
    return _LITERAL.fullmatch(column.default.strip()) is not None

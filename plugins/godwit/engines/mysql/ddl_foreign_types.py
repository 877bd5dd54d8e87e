"""What the columns of another engine's table become, within the limits of rows and indexes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.datatypes import (
    BYTES_PER_CHARACTER,
    ROW_BYTES,
    UUID_LENGTH,
    decimal_fits,
    spelling,
)
from godwit.model.catalog import Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping

INDEX_BYTES = 3072
#: Before the large prefixes of InnoDB.
OLD_INDEX_BYTES = 767
#: More than any number, date or time takes in an index.
FIXED_BYTES = 31
#: A text or blob's share of the row's 65,535 bytes; the values lie elsewhere.
POINTER_BYTES = 12
#: Indexes over whole values, in order.
ORDERED = frozenset({"btree", "hash"})
_SIZED = re.compile(r"^(varchar|varbinary|char|binary)\((\d+)\)")
_STRINGS = re.compile(r"^(?:var)?(?:char|binary)\(|^(?:tiny|medium|long)?(?:text|blob)$")


@dataclass(frozen=True)
class Spelt:
    """A target column's type: `text` as it is spelled, `kind` what it holds.

    `cut`: the characters (or bytes) that fit, where the logical type has room for more.
    `widened`: it became a text type only because the row had no room.
    """

    kind: DataType
    text: str
    cut: int | None = None
    widened: bool = False


def index_bytes(version: Version) -> int:
    """Bytes of one index entry."""
    return INDEX_BYTES if version.since(mysql=(5, 7, 0), mariadb=(10, 2, 2)) else OLD_INDEX_BYTES


def kind_of(column: ColumnMapping, source: Table) -> DataType:
    """The logical type of a target column."""
    if column.type is not None:
        return column.type
    return source.column(column.source).type if column.source else DataType(Kind.TEXT)


def spelt_columns(
    mapping: TableMapping,
    version: Version,
    settings: Mapping[str, Any],
    referenced: Iterable[Sequence[str]] = (),
) -> dict[str, Spelt]:
    """Types by target column. `referenced`: lists of columns that other tables refer to."""
    kinds = {c.target: kind_of(c, mapping.source) for c in mapping.columns}
    budgets = _budgets(mapping, kinds, index_bytes(version), settings, referenced)
    spelt = {}
    for name, kind in kinds.items():
        text = spelling(kind, settings, key_bytes=budgets.get(name))
        spelt[name] = Spelt(kind, text, _cut(kind, text))
    return _within_row(spelt, set(budgets))


def whole_keys(mapping: TableMapping) -> list[tuple[str, ...]]:
    """Target columns of keys, row identity and foreign keys: indexed with their whole values."""
    names = mapping.target_names
    groups = [k.columns for k in mapping.source.keys]
    groups += [k.columns for k in mapping.source.foreign_keys]
    found = [tuple(names[c] for c in group) for group in groups if set(group) <= set(names)]
    return [*found, mapping.identity] if mapping.identity else found


def _budgets(
    mapping: TableMapping,
    kinds: Mapping[str, DataType],
    limit: int,
    settings: Mapping[str, Any],
    referenced: Iterable[Sequence[str]],
) -> dict[str, int]:
    """Bytes that each column of a key may take."""
    budgets: dict[str, int] = {}
    for group in (*whole_keys(mapping), *referenced):
        needs = {name: need(kinds[name], settings) for name in group if name in kinds}
        for name, room in shared(needs, limit).items():
            budgets[name] = min(budgets.get(name, limit), room)
    return budgets


def need(kind: DataType, settings: Mapping[str, Any]) -> int | None:
    """Bytes that a value may take in an index; None = without a limit."""
    text = spelling(kind, settings)
    sized = _SIZED.match(text)
    if kind.kind in {Kind.UUID, Kind.BIT} and sized:
        return int(sized[2])
    if sized:
        wide = sized[1] in {"char", "varchar"}
        return int(sized[2]) * (BYTES_PER_CHARACTER if wide else 1)
    return None if text.endswith(("text", "blob", "json", "geometry")) else FIXED_BYTES


def shared(needs: Mapping[str, int | None], limit: int) -> dict[str, int]:
    """What each column of an index may take when together they take no more than the limit: who
    needs little gets it, the others get equal shares.
    """
    room, left = limit, dict(needs)
    given: dict[str, int] = {}
    while left:
        share = room // len(left)
        modest = {n: size for n, size in left.items() if size is not None and size <= share}
        if not modest:
            return {**given, **dict.fromkeys(left, share)}
        for name, size in modest.items():
            given[name] = size
            room -= size
            del left[name]
    return given


def _cut(kind: DataType, text: str) -> int | None:
    sized = _SIZED.match(text)
    if sized is None or kind.kind is Kind.UUID or kind.fixed:
        return None
    size = int(sized[2])
    if kind.kind is Kind.BIT and kind.bits:
        return None
    return None if kind.length is not None and kind.length <= size else size


def is_string(spelt: str) -> bool:
    """Whether an index may take only the beginning of the values."""
    return _STRINGS.match(spelt) is not None


def row_bytes(text: str) -> int:
    """What a column counts for in the row's limit."""
    sized = _SIZED.match(text)
    if sized is None:
        return POINTER_BYTES if text.endswith(("text", "blob")) else FIXED_BYTES
    size = int(sized[2]) * (1 if "binary" in sized[1] else BYTES_PER_CHARACTER)
    return size + 2


def _within_row(spelt: dict[str, Spelt], keyed: set[str]) -> dict[str, Spelt]:
    """Long texts go out of the row, the longest first, until the rest fits."""
    room = ROW_BYTES - (len(spelt) + 7) // 8
    total = sum(row_bytes(s.text) for s in spelt.values())
    for name in sorted(spelt, key=lambda n: (-row_bytes(spelt[n].text), n)):
        if total <= room:
            break
        old = spelt[name]
        if name in keyed or row_bytes(old.text) <= UUID_LENGTH * BYTES_PER_CHARACTER + 2:
            continue
        text = "longblob" if "binary" in old.text else "longtext"
        total += row_bytes(text) - row_bytes(old.text)
        spelt[name] = Spelt(old.kind, text, None, widened=True)
    return spelt


def lossy_decimal(spelt: Spelt) -> bool:
    """Whether some finite numbers of the logical type don't fit."""
    kind = spelt.kind
    return kind.kind is Kind.DECIMAL and spelt.text.startswith("decimal") and not decimal_fits(kind)


def referenced_columns(
    mappings: Sequence[TableMapping],
) -> dict[TableName, list[tuple[str, ...]]]:
    """By source table: target columns that foreign keys of other mapped tables refer to."""
    by_source = {m.source.name: m for m in mappings}
    found: dict[TableName, list[tuple[str, ...]]] = {}
    for mapping in mappings:
        for key in mapping.source.foreign_keys:
            other = by_source.get(key.referenced)
            if other and set(key.referenced_columns) <= set(other.target_names):
                columns = tuple(other.target_names[c] for c in key.referenced_columns)
                found.setdefault(key.referenced, []).append(columns)
    return found

"""Keys and indexes of another engine's table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.datatypes import BYTES_PER_CHARACTER
from godwit.engines.mysql.ddl_foreign_defaults import condition
from godwit.engines.mysql.ddl_foreign_types import (
    FIXED_BYTES,
    ORDERED,
    Spelt,
    index_bytes,
    is_string,
    need,
    row_bytes,
    shared,
)
from godwit.engines.mysql.ddl_steps import MAX_INDEXES, Findings, shortened
from godwit.engines.mysql.names import literal, quoted
from godwit.engines.mysql.objects_shapes import KeyLine
from godwit.model.catalog import Index, IndexPart
from godwit.model.datatypes import Kind
from godwit.model.mapping import TableMapping

_HINT = "make one of the target's own"
_HIDDEN_SINCE = {"mysql": (8, 0, 0), "mariadb": (10, 6, 0)}
_EXPRESSIONS_SINCE = (8, 0, 13)


@dataclass
class _Keys:
    mapping: TableMapping
    engine: str
    spelt: dict[str, Spelt]
    version: Version
    settings: Mapping[str, Any]
    findings: Findings
    taken: set[str] = field(default_factory=lambda: {"primary"})

    def all(self) -> list[KeyLine]:
        names = self.mapping.target_names
        made = []
        for key in self.mapping.source.keys:
            if not set(key.columns) <= set(names):
                self._left_out(f"key {key.name}", "the target has not all of its columns")
                continue
            parts = tuple(quoted(names[c]) for c in key.columns)
            if any(not self._indexable(names[c]) for c in key.columns):
                self._left_out(f"key {key.name}", "such values cannot be in a key here")
            elif key.primary:
                made.append(KeyLine("PRIMARY", "PRIMARY KEY", parts))
            else:
                made.append(KeyLine(self._free(key.name), "UNIQUE KEY", parts))
        made += [line for index in self.mapping.source.indexes if (line := self._index(index))]
        return self._as_many_as_fit(made)

    def _indexable(self, name: str) -> bool:
        return not self.spelt[name].text.endswith(("json", "geometry", "text", "blob"))

    def _left_out(self, what: str, reason: str) -> None:
        self.findings.warn("index-left-out", f"{what} of {self.mapping.target}", reason, _HINT)

    def _free(self, name: str) -> str:
        new = shortened(name)
        number = 1
        while new.lower() in self.taken:
            number += 1
            new = shortened(f"{name}_{number}")
        self.taken.add(new.lower())
        return new

    def _index(self, index: Index) -> KeyLine | None:
        what = f"index {index.name}"
        columns = [p.column for p in index.parts if p.column]
        if not set(columns) <= set(self.mapping.target_names):
            self._left_out(what, "the target has not all of its columns")
            return None
        if index.kind == "spatial" or self._is_spatial(index):
            return self._spatial(index)
        if index.kind == "fulltext":
            parts = tuple(quoted(self.mapping.target_names[c]) for c in columns)
            return KeyLine(self._free(index.name), "FULLTEXT KEY", parts)
        if index.kind not in ORDERED:
            self._left_out(what, f"an index of kind {index.kind} has no counterpart here")
            return None
        found = self._parts(index)
        if found is None:
            return None
        word = "KEY"
        if index.where is not None:
            state = (
                "no longer keeps rows apart, and is over all rows"
                if index.unique
                else "is over all rows"
            )
            reason = f"it is over the rows with {index.where}; the one made here {state}"
            code = "index-widened"
            self.findings.warn(code, f"{what} of {self.mapping.target}", reason, _HINT)
        elif index.unique:
            word = "UNIQUE KEY"
        return KeyLine(self._free(index.name), word, found, self._rest(index))

    def _rest(self, index: Index) -> str:
        rest = ""
        if not index.visible and self.version.numbers >= _HIDDEN_SINCE[self.version.flavour]:
            rest += " IGNORED" if self.version.mariadb else " INVISIBLE"
        return rest + (f" COMMENT {literal(index.comment[:1024])}" if index.comment else "")

    def _is_spatial(self, index: Index) -> bool:
        names = self.mapping.target_names
        return len(index.parts) == 1 and any(
            p.column and self.spelt[names[p.column]].kind.kind is Kind.GEOMETRY for p in index.parts
        )

    def _spatial(self, index: Index) -> KeyLine | None:
        column = index.parts[0].column or ""
        name = self.mapping.target_names[column]
        if self.mapping.source.column(column).nullable or self.spelt[name].text != "geometry":
            reason = "a spatial index needs a geometry column without nulls"
            self._left_out(f"index {index.name}", reason)
            return None
        return KeyLine(self._free(index.name), "SPATIAL KEY", (quoted(name),))

    def _parts(self, index: Index) -> tuple[str, ...] | None:
        rooms = self._rooms(index)
        parts = []
        for part in index.parts:
            text = self._part(index, part, rooms)
            if text is None:
                return None
            parts.append(text + (" DESC" if part.descending else ""))
        return tuple(parts)

    def _rooms(self, index: Index) -> dict[str, int]:
        """Bytes that each column may take of the entry."""
        needs = {}
        for part in index.parts:
            if part.column is None:
                continue
            name = self.mapping.target_names[part.column]
            spelt = self.spelt[name]
            size = need(spelt.kind, self.settings)
            sized = spelt.text.endswith(")") and is_string(spelt.text)
            needs[name] = row_bytes(spelt.text) - 2 if sized else size
        room = index_bytes(self.version) - FIXED_BYTES * sum(not p.column for p in index.parts)
        return shared(needs, max(room, 1))

    def _part(self, index: Index, part: IndexPart, rooms: Mapping[str, int]) -> str | None:
        if part.column is None:
            return self._expression(index, part)
        name = self.mapping.target_names[part.column]
        spelt = self.spelt[name]
        if spelt.text in {"json", "geometry"}:
            self._left_out(f"index {index.name}", f"column {name} cannot be in such an index here")
            return None
        if not is_string(spelt.text):
            return quoted(name)
        unit = 1 if "bin" in spelt.text or "blob" in spelt.text else BYTES_PER_CHARACTER
        if spelt.kind.kind in {Kind.UUID, Kind.BIT}:
            unit = 1
        whole = spelt.text.endswith(")") and row_bytes(spelt.text) - 2 <= rooms[name]
        if part.prefix:
            return f"{quoted(name)}({min(part.prefix, rooms[name] // unit)})"
        if whole or (unit == 1 and spelt.text.endswith(")")):
            return quoted(name)
        if index.unique and index.where is None:
            # Only the beginning would be kept apart.
            self._left_out(f"index {index.name}", f"column {name} is too long for a unique index")
            return None
        return f"{quoted(name)}({rooms[name] // unit})"

    def _expression(self, index: Index, part: IndexPart) -> str | None:
        text = None
        if self.version.since(mysql=_EXPRESSIONS_SINCE):
            names = self.mapping.target_names
            text = condition(part.expression or "", self.engine, self.spelt, names, self.version)
        if text is None:
            reason = f"an index over an expression cannot be made here: {part.expression}"
            self._left_out(f"index {index.name}", reason)
            return None
        return f"({text})"

    def _as_many_as_fit(self, made: list[KeyLine]) -> list[KeyLine]:
        kept: list[KeyLine] = []
        for line in made:
            secondary = sum(not k.primary for k in kept)
            if secondary >= MAX_INDEXES and not line.unique:
                reason = f"a table has up to {MAX_INDEXES} indexes"
                self._left_out(f"index {line.name}", reason)
            else:
                kept.append(line)
        return kept


def keys_and_indexes(
    mapping: TableMapping,
    engine: str,
    spelt: dict[str, Spelt],
    version: Version,
    settings: Mapping[str, Any],
    findings: Findings,
) -> list[KeyLine]:
    """Keys and indexes of a table, those that cannot be made as findings."""
    return _Keys(mapping, engine, spelt, version, settings, findings).all()

"""From one shape of a table to another: which columns are the same, and what may become of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from godwit.errors import ConversionError
from godwit.model.catalog import Column
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping


class Notes(Protocol):
    """What is needed of a `godwit.protocols.Control`."""

    def remember(self, key: str, value: Any) -> None:
        """Store a small JSON value."""
        ...

    def recall(self, key: str) -> Any:
        """The value stored, or None."""
        ...


#: What helps when a table cannot be altered.
HINT = (
    "alter the target's table by hand so that it is as the source's, then `godwit reload`; or "
    "`godwit cleanup` and start again"
)


@dataclass(frozen=True)
class Pair:
    """A column of the former mapping and the one that it is now."""

    before: ColumnMapping
    now: ColumnMapping
    old: Column | None
    new: Column | None

    @property
    def retyped(self) -> bool:
        """The target's column may be of another type."""
        if self.before.type != self.now.type:
            return True
        if self.now.type is not None or self.old is None or self.new is None:
            return False
        return (self.old.type, self.old.native) != (self.new.type, self.new.native)

    @property
    def redefined(self) -> bool:
        """Type, nulls or default may be others."""
        if self.retyped:
            return True
        if self.old is None or self.new is None:
            return (self.old is None) != (self.new is None)
        return any(
            getattr(self.old, name) != getattr(self.new, name)
            for name in ("nullable", "default", "identity", "on_update")
        )

    @property
    def keeps_values(self) -> bool:
        """Every value that the target has is the one that it shall have."""
        same_rules = replace(self.before, target="", source=None) == replace(
            self.now, target="", source=None
        )
        if not same_rules or (self.old is None) != (self.new is None):
            return False
        if not self.retyped or self.old is None or self.new is None:
            return True
        return widens(self.old.type, self.new.type)


@dataclass(frozen=True)
class Reshaping:
    """See `godwit.protocols.Target.alter`, whose arguments these are."""

    before: TableMapping
    now: TableMapping
    renamed: Mapping[str, str]
    empty: bool

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Columns of both mappings: by their source column, added ones by their name."""
        taken = set(self.renamed.values())
        by_source = {
            self.renamed.get(c.source, c.source): c
            for c in self.before.columns
            if c.source and (c.source in self.renamed or c.source not in taken)
        }
        added = {c.target: c for c in self.before.columns if not c.source}
        found = []
        for now in self.now.columns:
            before = by_source.get(now.source) if now.source else added.get(now.target)
            if before is not None:
                old = self.before.source.by_name.get(before.source or "")
                new = self.now.source.by_name.get(now.source or "")
                found.append(Pair(before, now, old, new))
        return tuple(found)

    @cached_property
    def moves(self) -> dict[str, str]:
        """Target columns that get another name, old to new."""
        pairs = ((p.before.target, p.now.target) for p in self.pairs)
        return {old: new for old, new in pairs if old != new}

    @cached_property
    def gone(self) -> frozenset[str]:
        """Target columns that nothing corresponds to any more, by their former names."""
        kept = {p.before.target for p in self.pairs}
        return frozenset(c.target for c in self.before.columns) - kept

    @cached_property
    def fresh(self) -> tuple[ColumnMapping, ...]:
        """Target columns that are new."""
        known = {p.now.target for p in self.pairs}
        return tuple(c for c in self.now.columns if c.target not in known)

    @cached_property
    def taken_over(self) -> bool:
        """Names are given to other columns than those that had them."""
        replaced = self.gone & {c.target for c in self.fresh}
        return bool(self.moves or replaced)

    def todo(self, there: set[str], notes: Notes | None) -> bool:
        """Whether columns of a table with these columns are still to be dropped and renamed.

        A name that only one of the shapes has decides; names of neither are somebody else's. Where
        both shapes have the same names (two columns have changed theirs with each other), a note
        decides that was made when they had names for the passage.

        Raises:
            ConversionError: a note would be needed, and there is nowhere to look.
        """
        if not self.taken_over:
            return True
        if self.parked(there):
            return False
        old, new = ({c.target for c in m.columns} for m in (self.before, self.now))
        if old - new:
            return bool((old - new) & there)
        if new - old:
            return not (new - old) & there
        return bool(self._noted(notes).recall(self._note) != self.signature)

    @cached_property
    def at_once(self) -> bool:
        """The names tell afterwards whether it was done; else a note is needed half way."""
        old, new = ({c.target for c in m.columns} for m in (self.before, self.now))
        return not self.taken_over or old != new

    @cached_property
    def passages(self) -> dict[str, str]:
        """Names for the passage, by former names; none where no name is given to another column."""
        if not self.taken_over:
            return {}
        names = {old: _passing(new) for old, new in self.moves.items()}
        return {**names, **{name: _passing(f"- {name}") for name in self.gone}}

    @cached_property
    def arrivals(self) -> dict[str, str]:
        """New names by names for the passage."""
        return {self.passages[old]: new for old, new in self.moves.items()}

    def parked(self, there: set[str]) -> set[str]:
        """Columns that have their names for the passage."""
        return set(self.passages.values()) & there

    def note_parked(self, notes: Notes | None) -> None:
        """Remember that columns have (or had) names for the passage, so the rest is unambiguous."""
        self._noted(notes).remember(self._note, self.signature)

    @property
    def _note(self) -> str:
        return f"exchanged names {self.now.target}"

    def _noted(self, notes: Notes | None) -> Notes:
        if notes is None:
            raise self.error("columns changed names with each other", "there are no control tables")
        return notes

    @cached_property
    def signature(self) -> str:
        """A short hash of both shapes and of what is renamed."""
        shapes = [
            (m.source.incarnation, [(c.name, c.native) for c in m.source.columns])
            for m in (self.before, self.now)
        ]
        data = repr((shapes, self.before.columns, self.now.columns, sorted(self.moves.items())))
        return hashlib.sha256(data.encode()).hexdigest()[:16]

    # -- what must not be

    def check(self) -> None:
        """Refuse what cannot be had by altering columns.

        Raises:
            ConversionError: the row identity is another one, or rows would be others than those of
                the source.
        """
        identity = {self.moves.get(c, c) for c in self.before.identity}
        if identity != set(self.now.identity) or identity & self.gone:
            old, new = (", ".join(m.identity) or "none" for m in (self.before, self.now))
            raise self.error(
                "the row identity was changed", f"it was {old}, now it is {new}", _START_AGAIN
            )
        if not self.empty:
            for reason in self._lossy():
                raise self.error("rows would not be as the source has them", reason)

    def error(self, what: str, why: str, hint: str = HINT) -> ConversionError:
        """An error about this table."""
        return ConversionError(what, where=str(self.now.target), why=why, hint=hint)

    def _lossy(self) -> Iterator[str]:
        for pair in self.pairs:
            if not pair.keeps_values:
                old = pair.old.native if pair.old else "another rule's"
                new = pair.new.native if pair.new else "another rule's"
                yield f"values of column {pair.now.target} were converted from {old} to {new}"
        for column in self.fresh:
            source = self.now.source.by_name.get(column.source or "")
            if source is not None and source.identity:
                yield f"the source numbers the rows in the new column {column.target}"
            bare = source is not None and source.default is None and source.nullable
            if column.expression or column.mask or (column.type and not bare):
                yield f"the new column {column.target} is computed by a rule"


_START_AGAIN = (
    "`godwit cleanup` and start again with the table as it is now, or take the change back and "
    "`godwit reload`"
)


def _passing(name: str) -> str:
    return f"godwit_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def widens(before: DataType, now: DataType) -> bool:
    """Whether every value of a type is the same value of the other one."""
    if before == now:
        return True
    if before.kind is not now.kind or before.fixed or now.fixed:
        return False
    if before.kind is Kind.INTEGER:
        room = now.bits - before.bits - (1 if before.unsigned and not now.unsigned else 0)
        return room >= 0 and not (now.unsigned and not before.unsigned)
    if before.kind is Kind.DECIMAL:
        return before.scale == now.scale and _most(now.precision) >= _most(before.precision)
    if before.kind in {Kind.TEXT, Kind.BINARY}:
        return _most(now.length) >= _most(before.length)
    if before.kind in {Kind.ENUM, Kind.SET}:
        return set(before.labels) <= set(now.labels)
    if before.element is not None and now.element is not None:
        return widens(before.element, now.element)
    if before.kind in {Kind.TIME, Kind.TIMESTAMP}:
        same = before.zoned == now.zoned
        return same and _most(now.precision) >= _most(before.precision)
    return False


def _most(limit: int | None) -> float:
    return float("inf") if limit is None else limit

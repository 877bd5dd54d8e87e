"""What becomes of the enums of a table's columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from godwit.engines.postgres.alter_present import Enum, Present
from godwit.engines.postgres.alter_wanted import Wanted, wanted_enum
from godwit.engines.postgres.catalog import Connection, fetch
from godwit.engines.postgres.names import literal, quoted
from godwit.model.catalog import TableName
from godwit.model.datatypes import DataType
from godwit.model.mapping import ColumnMapping
from godwit.model.reshaping import Pair, Reshaping

_OLD = "godwit_former_"


@dataclass(frozen=True)
class Enums:
    """Enums of columns: made for them alone (another engine's), or types of the source."""

    reshaping: Reshaping
    wanted: Wanted
    present: Present

    def name_of(self, pair: Pair) -> str:
        """What the column is called just now."""
        there = self.present.columns
        passage = self.reshaping.passages.get(pair.before.target, "")
        if passage in there:
            return passage
        return pair.now.target if pair.now.target in there else pair.before.target

    def either(self, pair: Pair) -> bool:
        """The column is of an enum, or shall be."""
        return self._there(pair) is not None or self._new(pair.now) is not None

    def extends(self, pair: Pair) -> bool:
        """The column's enum only gets more labels, or other words for them."""
        there, new = self._there(pair), self._new(pair.now)
        if there is None or new is None:
            return False
        if self._own(there, new):
            return _within(there.labels, self._labels(pair.now))
        return there.name == new

    def replaces(self, pair: Pair) -> bool:
        """The column's own enum gives way to one of the same name with other labels."""
        there, new = self._there(pair), self._new(pair.now)
        same = there is not None and there.name == new and self.wanted.foreign
        return same and pair.retyped and not self.extends(pair)

    def _there(self, pair: Pair) -> Enum | None:
        return self.present.enums.get(self.name_of(pair))

    def _new(self, column: ColumnMapping) -> TableName | None:
        shape = self.wanted.columns.get(column.target)
        return wanted_enum(self.wanted, shape.type) if shape else None

    def _own(self, there: Enum, new: TableName) -> bool:
        return self.wanted.foreign and {there.name, new} <= self.wanted.own_types

    def _labels(self, column: ColumnMapping) -> tuple[str, ...]:
        source = self.reshaping.now.source.by_name.get(column.source or "")
        kind: DataType | None = source.type if source else None
        while kind is not None and kind.element is not None:
            kind = kind.element
        return kind.labels if kind else ()

    # -- statements

    def labels(self, session: Connection, fresh: Iterable[str]) -> list[str]:
        """Add what labels are new. They cannot be used in the transaction that adds them."""
        wanted: dict[TableName, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for pair in self.reshaping.pairs:
            there = self._there(pair)
            if there is not None and pair.retyped and self.extends(pair):
                wanted[there.name] = (there.labels, self._labels(pair.now))
        names = set(fresh)
        for column in self.reshaping.fresh:
            new = self._new(column)
            if new is not None and column.target in names and new not in wanted:
                wanted[new] = (_present_labels(session, new), self._labels(column))
        return [s for name, pair in wanted.items() for s in self._alter(name, *pair)]

    def _alter(self, name: TableName, old: Sequence[str], new: Sequence[str]) -> list[str]:
        if not old or tuple(old) == tuple(new):
            return []
        if _within(old, new):
            return list(_more_labels(name, old, new))
        if len(old) == len(new):
            return [
                f"ALTER TYPE {quoted(*name)} RENAME VALUE {literal(a)} TO {literal(b)}"
                for a, b in zip(old, new, strict=True)
                if a != b
            ]
        raise self.reshaping.error(
            f"the enum {name} has other labels on the target",
            "labels can be added or renamed, not removed",
            "alter the type on the target, then `godwit reload`",
        )

    def before_retyping(self, pairs: Iterable[Pair]) -> list[str]:
        """Make way for enums of the same name, and make them."""
        made = []
        for pair in pairs:
            new = self._new(pair.now)
            if new is not None and self.replaces(pair):
                labels = ", ".join(literal(label) for label in self._labels(pair.now))
                made.append(f"ALTER TYPE {quoted(*new)} RENAME TO {quoted(_former(new).name)}")
                made.append(f"CREATE TYPE {quoted(*new)} AS ENUM ({labels})")
        return made

    def after_retyping(self, pairs: Iterable[Pair]) -> list[str]:
        """Drop enums that gave way."""
        new = (self._new(pair.now) for pair in pairs if self.replaces(pair))
        return [f"DROP TYPE {quoted(*_former(name))}" for name in new if name is not None]

    def renamed(self, session: Connection) -> list[str]:
        """Enums made for a column follow its name."""
        made = []
        for pair in self.reshaping.pairs:
            there, new = self._there(pair), self._new(pair.now)
            if there is None or new is None or not self._own(there, new) or there.name == new:
                continue
            free = not _present_labels(session, new) and there.name.schema == new.schema
            if free and self.extends(pair):
                made.append(f"ALTER TYPE {quoted(*there.name)} RENAME TO {quoted(new.name)}")
        return made

    def former(self) -> set[TableName]:
        """Enums made for columns of this table that have them just now."""
        return {e.name for e in self.present.enums.values()} & self.wanted.own_types


def _former(name: TableName) -> TableName:
    return TableName(name.schema, _OLD + name.name[: 63 - len(_OLD)])


def _present_labels(session: Connection, name: TableName) -> tuple[str, ...]:
    rows = fetch(
        session,
        "SELECT e.enumlabel::text AS label FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid"
        " JOIN pg_namespace n ON n.oid = t.typnamespace"
        " WHERE n.nspname = %(schema)s AND t.typname = %(name)s ORDER BY e.enumsortorder",
        schema=name.schema,
        name=name.name,
    )
    return tuple(row["label"] for row in rows)


def _within(some: Sequence[str], labels: Sequence[str]) -> bool:
    """All of them are among the labels, in the same order."""
    rest = iter(labels)
    return all(label in rest for label in some)


def _more_labels(name: TableName, old: Sequence[str], new: Sequence[str]) -> Iterable[str]:
    there = list(old)
    for place, label in enumerate(new):
        if label in there:
            continue
        after = new[place - 1] if place else None
        where = f"AFTER {literal(after)}" if after is not None else f"BEFORE {literal(there[0])}"
        yield f"ALTER TYPE {quoted(*name)} ADD VALUE IF NOT EXISTS {literal(label)} {where}"
        there.insert(place, label)

"""Constraints of a table that is being altered: what the source dropped, what columns bring."""

from __future__ import annotations

from dataclasses import dataclass

from godwit.engines.postgres.alter_columns import Columns
from godwit.engines.postgres.alter_present import Constraint, read_constraints
from godwit.engines.postgres.catalog import Connection
from godwit.engines.postgres.ddl_foreign_names import shortened
from godwit.engines.postgres.names import mentions
from godwit.model.datatypes import Kind
from godwit.model.reshaping import Pair, Reshaping

_LABELLED = frozenset({Kind.ENUM, Kind.SET})


@dataclass(frozen=True)
class Checks:
    """Checks and foreign keys, seen from a table whose columns have their new names already."""

    reshaping: Reshaping
    columns: Columns
    there: list[Constraint]

    @classmethod
    def of(cls, session: Connection, columns: Columns) -> Checks:
        """What the table has now."""
        return cls(columns.reshaping, columns, read_constraints(session, columns.present.oid))

    def dropped(self) -> list[str]:
        """Drop what the source dropped, and what would be in the way of dropping a column."""
        return [c.drop() for c in self.there if self._unwanted(c)]

    def added(self, fresh: set[str]) -> list[str]:
        """Make what new and altered columns bring."""
        there = {c.name for c in self.there if c.check}
        altered = self._altered
        made: list[str] = []
        for name, step in self.columns.wanted.checks.items():
            brought = name in altered or mentions(step.statements[0], fresh.__contains__)
            if name not in there and brought:
                made += step.statements
        return made

    def _unwanted(self, constraint: Constraint) -> bool:
        if not constraint.check:
            return self._lost_foreign_key(constraint)
        wanted = self.columns.wanted.checks.get(constraint.name)
        if constraint.name in self._former_names - self._names_now:
            return True
        if constraint.name in self._altered:
            return wanted is None or wanted.definition != constraint.definition
        retyped = constraint.columns & set(self.columns.retyped)
        ours = constraint.name in self._former_names
        return bool(retyped) and ours and wanted is None

    def _lost_foreign_key(self, constraint: Constraint) -> bool:
        if constraint.columns & self.columns.gone:
            return True
        if constraint.referenced & self._gone_on_source:
            return True
        before, now = self.reshaping.before.source, self.reshaping.now.source
        lost = {k.name for k in before.foreign_keys} - {k.name for k in now.foreign_keys}
        own = constraint.table == self.reshaping.now.target
        return own and constraint.name in {shortened(name) for name in lost}

    @property
    def _gone_on_source(self) -> frozenset[str]:
        """Columns to be dropped that the source has no more: nothing refers to them there."""
        reshaping = self.reshaping
        gone = set()
        for column in reshaping.before.columns:
            source = reshaping.renamed.get(column.source or "", column.source or "")
            if column.target in reshaping.gone and source not in reshaping.now.source.by_name:
                gone.add(reshaping.passages.get(column.target, column.target))
        return frozenset(gone & self.columns.gone)

    @property
    def _former_names(self) -> set[str]:
        return {shortened(c.name) for c in self.reshaping.before.source.checks}

    @property
    def _names_now(self) -> set[str]:
        return {shortened(c.name) for c in self.reshaping.now.source.checks}

    @property
    def _altered(self) -> set[str]:
        """Names of checks that go with a column whose labels or name are others, old and new."""
        found = set()
        for pair in self.reshaping.pairs:
            other = pair.retyped or pair.before.target != pair.now.target
            if other and _labelled(pair):
                names = (pair.before.target, pair.now.target)
                found |= {shortened(f"{name}_labels") for name in names}
        before = {shortened(c.name): c.expression for c in self.reshaping.before.source.checks}
        now = {shortened(c.name): c.expression for c in self.reshaping.now.source.checks}
        return found | {name for name in before if name in now and before[name] != now[name]}


def _labelled(pair: Pair) -> bool:
    return any(c is not None and c.type.kind in _LABELLED for c in (pair.old, pair.new))

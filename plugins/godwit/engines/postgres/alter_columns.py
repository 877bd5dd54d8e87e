"""The statements that alter the columns of a table on the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from godwit.engines.postgres.alter_enums import Enums
from godwit.engines.postgres.alter_present import Present, indexes_over
from godwit.engines.postgres.alter_wanted import Wanted
from godwit.engines.postgres.catalog import Connection
from godwit.engines.postgres.ddl_foreign_names import column_name, shortened
from godwit.engines.postgres.names import canonical, mentions, quoted
from godwit.engines.postgres.objects_shapes import ColumnShape
from godwit.model.reshaping import Pair, Reshaping


@dataclass(frozen=True)
class Columns:
    """What is to be done with the columns, seen from the table as it is (`present`)."""

    reshaping: Reshaping
    wanted: Wanted
    present: Present

    @cached_property
    def table(self) -> str:
        """The table's name, quoted."""
        return quoted(*self.reshaping.now.target)

    @cached_property
    def enums(self) -> Enums:
        """What becomes of enums."""
        return Enums(self.reshaping, self.wanted, self.present)

    @cached_property
    def gone(self) -> frozenset[str]:
        """Stored columns that are still to be dropped, by the names that they have."""
        reshaping = self.reshaping
        names = {reshaping.passages.get(name, name) for name in reshaping.gone}
        stored = {n for n, c in self.present.columns.items() if not c.generated}
        return frozenset(names & stored)

    @cached_property
    def retyped(self) -> dict[str, Pair]:
        """Columns that get another type, by the names that they have."""
        found = {}
        for pair in self.reshaping.pairs:
            name = self.enums.name_of(pair)
            there, new = self.present.columns.get(name), self.wanted.columns.get(pair.now.target)
            if there is None or new is None or not pair.retyped or self.enums.extends(pair):
                continue
            kinds = (canonical(there.type), there.collation), (canonical(new.type), new.collation)
            if kinds[0] != kinds[1] or self.enums.replaces(pair):
                found[name] = pair
        return found

    # -- computed columns

    @cached_property
    def _computed(self) -> dict[str, str]:
        """Computed columns of the former shape: names on the target by names on the source."""
        name = column_name if self.wanted.foreign else str
        source = self.reshaping.before.source
        return {c.name: name(c.name) for c in source.columns if c.generated is not None}

    def computed_moves(self) -> dict[str, str]:
        """Computed columns that have another name now."""
        name = column_name if self.wanted.foreign else str
        renamed = self.reshaping.renamed
        moves = {own: name(renamed[c]) for c, own in self._computed.items() if c in renamed}
        there = self.present.columns
        return {
            old: new
            for old, new in moves.items()
            if old != new and old in there and there[old].generated and new not in there
        }

    @cached_property
    def lost(self) -> dict[str, bool]:
        """Computed columns to be dropped; True: they come again as they shall be."""
        found = {}
        former = set(self._computed.values())
        for name, column in self.present.columns.items():
            new = self.wanted.columns.get(name)
            if not column.generated:
                continue
            if new is None:
                if name in former:
                    found[name] = False
            elif not new.generated or self._remade(name, column, new):
                found[name] = bool(new.generated)
        return found

    def _remade(self, name: str, there: ColumnShape, new: ColumnShape) -> bool:
        changed = self.gone | set(self.retyped)
        if mentions(there.expression or "", changed.__contains__):
            return True
        same = [canonical(x or "") for x in (there.expression, new.expression)]
        kinds = [canonical(x) for x in (there.type, new.type)]
        return name in self._redefined and (same[0] != same[1] or kinds[0] != kinds[1])

    @cached_property
    def _redefined(self) -> set[str]:
        """Computed columns that the source computes otherwise now."""
        before, now = self.reshaping.before.source, self.reshaping.now.source
        found = set()
        for source, name in self._computed.items():
            old = before.column(source)
            new = now.by_name.get(self.reshaping.renamed.get(source, source))
            if new is None or (old.generated, old.native) != (new.generated, new.native):
                found.add(name)
        return found

    # -- new columns

    def fresh(self) -> list[ColumnShape]:
        """Columns that the table lacks: new ones, and computed ones that were dropped."""
        names = {c.target for c in self.reshaping.fresh}
        there = self.present.columns
        return [
            c
            for c in self.wanted.columns.values()
            if c.name not in there and (c.generated or c.name in names)
        ]

    def check(self) -> None:
        """Refuse new columns whose value in the rows that are there is not known.

        Raises:
            ConversionError: see above.
        """
        if self.reshaping.empty:
            return
        for name in (c.target for c in self.reshaping.fresh):
            if name in self.wanted.columns and not self.wanted.default_said(name):
                raise self.reshaping.error(
                    f"the default of the new column {name} does not tell what it holds in the rows "
                    "that are there",
                    "it is computed, or cannot be said here",
                )

    def made_anew(self) -> list[ColumnShape]:
        """Columns that are made or get another type: what they need must be there."""
        kept = [p.now.target for p in self.retyped.values() if not self.enums.replaces(p)]
        return [*self.fresh(), *(self.wanted.columns[name] for name in kept)]

    def in_the_way(self) -> bool:
        """Rows may be in the way of what is to be done."""
        new = (c for f in self.reshaping.fresh if (c := self.wanted.columns.get(f.target)))
        filled = (c.nullable or c.identity or c.expression is not None for c in new)
        return any(p.redefined for p in self.reshaping.pairs) or not all(filled)

    # -- statements

    def parked(self) -> list[str]:
        """Give columns a name for the passage, whose name another one will have."""
        there = self.present.columns
        return [
            self._rename(old, new)
            for old, new in self.reshaping.passages.items()
            if old in there and new not in there
        ]

    def renamed(self) -> list[str]:
        """Give columns their new names."""
        there = self.present.columns
        moves = {**self.reshaping.arrivals, **self.computed_moves()}
        return [self._rename(old, new) for old, new in moves.items() if old in there]

    def _rename(self, old: str, new: str) -> str:
        return f"ALTER TABLE {self.table} RENAME COLUMN {quoted(old)} TO {quoted(new)}"

    def named_anew(self) -> list[str]:
        """NOT NULL constraints (since 18) of renamed columns get the names that they shall have."""
        table = self.reshaping.now.target.name
        first, second = [], []
        for name in self.reshaping.moves.values():
            there, new = self.present.columns.get(name), self.wanted.columns.get(name)
            if there is None or new is None or there.nullable or new.nullable:
                continue
            if there.not_null_name != new.not_null_name:
                given = f"{table}_{name}_not_null"
                passage = shortened(f"godwit_{given}")
                head = f"ALTER TABLE {self.table} RENAME CONSTRAINT"
                old, wanted = (c.not_null_name or given for c in (there, new))
                first.append(f"{head} {quoted(old)} TO {quoted(passage)}")
                second.append(f"{head} {quoted(passage)} TO {quoted(wanted)}")
        return first + second

    def dropped(self) -> list[str]:
        """Drop computed columns, then what they may be computed from."""
        names = [*sorted(self.lost), *sorted(self.gone)]
        return [f"ALTER TABLE {self.table} DROP COLUMN {quoted(name)}" for name in names]

    def redefined(self) -> list[str]:
        """Types, defaults and nulls of columns that were there before."""
        made = self.enums.before_retyping(self.retyped.values())
        actions = [a for pair in self.reshaping.pairs for a in self._actions(pair)]
        if actions:
            made.append(f"ALTER TABLE {self.table} {', '.join(actions)}")
        return made + self.enums.after_retyping(self.retyped.values())

    def _actions(self, pair: Pair) -> Iterator[str]:
        name = pair.now.target
        there, new = self.present.columns.get(name), self.wanted.columns.get(name)
        if there is None or new is None or not pair.redefined or there.generated:
            return
        head = f"ALTER COLUMN {quoted(name)}"
        other_type = name in self.retyped
        identity = there.identity != new.identity
        default = canonical(there.expression or "") != canonical(new.expression or "")
        if there.identity and identity:
            yield f"{head} DROP IDENTITY"
        if there.expression is not None and (other_type or default):
            yield f"{head} DROP DEFAULT"
        if other_type:
            yield f"{head} TYPE {new.type}{self._collate(new)}{self._using(pair, new)}"
        if new.identity and identity:
            word = "ALWAYS" if new.identity == "a" else "BY DEFAULT"
            yield f"{head} SET NOT NULL"
            yield f"{head} ADD GENERATED {word} AS IDENTITY"
        elif new.expression is not None and (other_type or default):
            yield f"{head} SET DEFAULT {new.expression}"
        if new.nullable != there.nullable and not new.identity:
            yield f"{head} {'DROP' if new.nullable else 'SET'} NOT NULL"

    @staticmethod
    def _collate(column: ColumnShape) -> str:
        return f" COLLATE {quoted(*column.collation)}" if column.collation else ""

    def _using(self, pair: Pair, new: ColumnShape) -> str:
        if self.reshaping.empty:
            return f" USING NULL::{new.type}"
        # An enum has no cast to another one.
        return f" USING {quoted(new.name)}::text::{new.type}" if self.enums.either(pair) else ""

    def added(self) -> list[str]:
        """Add what the table lacks, computed columns last."""
        columns = sorted(self.fresh(), key=lambda c: bool(c.generated))
        made = []
        for column in columns:
            made.append(f"ALTER TABLE {self.table} ADD COLUMN {column.line()}")
            made += [f"ALTER TABLE {self.table} {a}" for a in column.settings()]
            made += self.wanted.comment(column.name)
        names = {c.name for c in columns}
        made += [
            f"ALTER SEQUENCE {quoted(*sequence)} OWNED BY {self.table}.{quoted(column)}"
            for sequence, column in self.wanted.shape.owned
            if column in names
        ]
        return made

    def lost_indexes(self, session: Connection) -> list[str]:
        """Statements that make indexes over computed columns again."""
        again = {name for name, comes in self.lost.items() if comes}
        gone = set(self.gone) | (set(self.lost) - again)
        if not again:
            return []
        return indexes_over(session, self.present.oid, again, gone, self.reshaping.now.target)

"""The clauses of ALTER TABLE that make one shape of a table the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from godwit.engines.mysql.alter_shapes import Wanted, computed, required, stored
from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.ddl_steps import shortened
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import CheckLine, ColumnLine, TableShape, counts
from godwit.engines.mysql.sqltext import canonical, mentions, names, renamed
from godwit.model.reshaping import Reshaping

#: Versions that rename a column without hearing all about it.
_RENAMES, _MARIADB_RENAMES = (8, 0, 3), (10, 5, 2)
#: A check that makes a column one of documents, whatever its name.
_DOCUMENT = re.compile(r"^CHECK \(+json_valid\(`(?:[^`]|``)+`\)\)+$", re.IGNORECASE)


@dataclass(frozen=True)
class Clauses:
    """What is to be done, seen from the table as it is (`present`).

    Attributes:
        moves: new names of columns, by the names that they have.
        dropped: columns of the former shape that are not wanted, by the names that they have.
        final: the table has its new shape then; else columns are only renamed.
    """

    reshaping: Reshaping
    wanted: Wanted
    present: TableShape
    version: Version
    moves: Mapping[str, str]
    dropped: frozenset[str] = frozenset()
    final: bool = True

    @cached_property
    def there(self) -> dict[str, ColumnLine]:
        """Columns by the names that they have."""
        return {c.name: c for c in self.present.columns}

    def all(self) -> list[str]:
        """Every clause, to be said in one statement.

        Raises:
            ConversionError: something of the target's own is in the way.
        """
        checks_gone, checks_new = self._checks()
        keys_gone, keys_new = self._keys()
        columns = [*self._altered(), *self._added()]
        return [*checks_gone, *keys_gone, *columns, *keys_new, *checks_new]

    def in_the_way(self) -> bool:
        """Rows may be in the way of what is to be done."""
        new = (c for f in self.reshaping.fresh if (c := self.wanted.columns.get(f.target)))
        return any(p.redefined for p in self.reshaping.pairs) or any(required(c) for c in new)

    def check(self) -> None:
        """Refuse new columns whose value in the rows that are there is not known.

        Raises:
            ConversionError: see above.
        """
        reshaping = self.reshaping
        for name in (c.target for c in reshaping.fresh):
            column = self.wanted.columns.get(name)
            if column is not None and counts(column):
                raise reshaping.error(
                    f"the source numbers its rows in the new column {name}",
                    "a table here numbers rows in one column, which must be a key",
                )
            if column is None or reshaping.empty:
                continue
            if not self.wanted.default_said(name) or required(column):
                raise reshaping.error(
                    f"the default of the new column {name} does not tell what it holds in the rows "
                    "that are there",
                    "there is none, it is computed, or it cannot be said here",
                )

    # -- columns

    @cached_property
    def gone(self) -> frozenset[str]:
        """Columns that go; computed ones may come again."""
        found = {n for n in self.dropped if n in self.there and not computed(self.there[n])}
        for name, column in self.there.items() if self.final else ():
            new = self.wanted.columns.get(self._moves.get(name, name))
            former = name in self._computed if new is None else stored(column) != stored(new)
            if computed(column) and former:
                found.add(name)
        return frozenset(found)

    @cached_property
    def _computed(self) -> set[str]:
        """Computed columns of the former shape."""
        return {c.name for c in self.reshaping.before.source.columns if c.generated is not None}

    @cached_property
    def _moves(self) -> dict[str, str]:
        """Also of computed columns."""
        also = {
            old: new
            for old, new in self.reshaping.renamed.items()
            if old in self._computed and old in self.there and new not in self.there
        }
        return {**self.moves, **(also if self.final else {})}

    @cached_property
    def _redefined(self) -> set[str]:
        """Columns, by their new names, that the source defines otherwise now."""
        if not self.final:
            return set()
        found = {p.now.target for p in self.reshaping.pairs if p.redefined}
        before, now = self.reshaping.before.source, self.reshaping.now.source
        for name in self._computed:
            old, new = before.column(name), self.reshaping.renamed.get(name, name)
            column = now.by_name.get(new)
            if column is not None and (old.generated, old.native, old.nullable) != (
                column.generated,
                column.native,
                column.nullable,
            ):
                found.add(new)
        return found

    def _altered(self) -> Iterator[str]:
        for name, column in self.there.items():
            if name in self.gone:
                yield f"DROP COLUMN {quoted(name)}"
                continue
            line = self._line(column)
            same = canonical(line.text) == canonical(column.text)
            if line.name == name and same:
                continue
            if same and self.version.since(mysql=_RENAMES, mariadb=_MARIADB_RENAMES):
                yield f"RENAME COLUMN {quoted(name)} TO {quoted(line.name)}"
            else:
                yield f"CHANGE COLUMN {quoted(name)} {line.sql()}"

    def _line(self, column: ColumnLine) -> ColumnLine:
        """The column as it shall be."""
        name = self._moves.get(column.name, column.name)
        text = column.text
        # A literal is no name: only what is in backticks is renamed.
        own = ColumnLine(name, renamed(text, self._moves))
        new = self.wanted.columns.get(name)
        lost = computed(column) and mentions(text, self.gone.__contains__)
        if new is None or computed(column) != computed(new):
            return own
        if name not in self._redefined and not lost:
            return own
        shapes = [self.present.explicit(own), self.wanted.shape.explicit(new)]
        same = canonical(shapes[0].text) == canonical(shapes[1].text)
        return own if same else self._said(name, checked=self.version.mariadb)

    def _said(self, name: str, *, checked: bool) -> ColumnLine:
        """The column in words that mean the same under the table's own defaults."""
        column = self.wanted.said(name, checked=checked)
        probe = ColumnLine("", "text")
        same = self.present.explicit(probe) == self.wanted.shape.explicit(probe)
        return column if same else self.wanted.shape.explicit(column)

    def _added(self) -> Iterator[str]:
        """New columns where the source has them, and computed ones that were dropped."""
        if not self.final:
            return
        there = {self._moves.get(n, n) for n in self.there if n not in self.gone}
        names = {c.target for c in self.reshaping.fresh}
        place = "FIRST"
        for column in self.wanted.shape.columns:
            if column.name not in there and (computed(column) or column.name in names):
                there.add(column.name)
                line = self._said(column.name, checked=True)
                yield f"ADD COLUMN {line.sql()} {place}"
            if column.name in there:
                place = f"AFTER {quoted(column.name)}"

    # -- keys

    def _keys(self) -> tuple[list[str], list[str]]:
        """Unique keys that would be narrower without a column: dropped, or as the source has them.

        A server that only leaves the column out of the key would refuse rows that the source has.
        """
        gone, new = [], []
        for key in self.present.keys:
            if not key.unique or not self.gone.intersection(n for p in key.parts for n in names(p)):
                continue
            if key.primary:
                raise self.reshaping.error(
                    "a column of the target's primary key was dropped", f"key {key.columns}"
                )
            if all(computed(self.there[c]) for c in key.columns if c in self.gone):
                continue
            gone.append(f"DROP KEY {quoted(key.name)}")
            wanted = self.wanted.index(key.name)
            new += [wanted] if wanted else []
        return gone, new

    # -- checks

    def _checks(self) -> tuple[list[str], list[str]]:
        gone, new = [], []
        there = {}
        for check in self.present.checks:
            fitted = self._fitted(check)
            if fitted is not None and fitted == check:
                there[check.name] = check
                continue
            word = "CONSTRAINT" if self.version.mariadb else "CHECK"
            gone.append(f"DROP {word} {quoted(check.name)}")
            if fitted is not None:
                there[fitted.name] = fitted
                new.append(f"ADD {fitted.sql()}")
        if self.final:
            new += [
                f"ADD {CheckLine(name, text).sql()}"
                for name, text in self.wanted.checks.items()
                if name not in there and self._brought(name, text)
            ]
        return gone, new

    def _fitted(self, check: CheckLine) -> CheckLine | None:
        """The check as it shall be; None: it goes.

        Raises:
            ConversionError: it is the target's own, and uses a column that is dropped.
        """
        if self.final and self._lost(check.name):
            return None
        wanted = self.wanted.checks.get(check.name) if self.final else None
        if wanted is not None and check.name in self._changed_checks:
            return CheckLine(check.name, wanted)
        used = {n for n in names(check.text) if n in self.gone}
        if used and wanted is not None:
            return CheckLine(check.name, wanted)
        if used:
            if check.name in self._ours or _DOCUMENT.search(check.text):
                return None
            raise self.reshaping.error(
                f"the check {check.name} on the target uses a column that was dropped",
                f"column {', '.join(sorted(used))}",
                "drop the check on the target, then `godwit reload`",
            )
        text = renamed(check.text, self._moves)
        named = self._named(check.name, text) if self.final and text != check.text else check.name
        return replace(check, name=named, text=text)

    def _named(self, name: str, text: str) -> str:
        """The name under which the plan has the same check."""
        same = (n for n, t in self.wanted.checks.items() if canonical(t) == canonical(text))
        return next(same, name)

    @cached_property
    def _ours(self) -> set[str]:
        """Checks that the former shape brought."""
        before = self.reshaping.before
        documents = {shortened(f"{before.target.name}_{c.target}_json") for c in before.columns}
        return {shortened(c.name) for c in before.source.checks} | documents

    def _lost(self, name: str) -> bool:
        """The source has this check no more, or its column is no document any more."""
        if name not in self._ours or name in self.wanted.checks:
            return False
        target = self.reshaping.before.target.name
        moved = {shortened(f"{target}_{p.before.target}_json"): p for p in self.reshaping.pairs}
        if name in moved:
            pair = moved[name]
            return shortened(f"{target}_{pair.now.target}_json") not in self.wanted.checks
        return name not in {shortened(c.name) for c in self.reshaping.now.source.checks}

    @cached_property
    def _changed_checks(self) -> set[str]:
        before = {shortened(c.name): c.expression for c in self.reshaping.before.source.checks}
        now = {shortened(c.name): c.expression for c in self.reshaping.now.source.checks}
        return {
            name
            for name in before
            if name in now and before[name] != now[name] and not self._only_renamed(name)
        }

    def _only_renamed(self, name: str) -> bool:
        there = next((c.text for c in self.present.checks if c.name == name), "")
        wanted = self.wanted.checks.get(name, "")
        return canonical(renamed(there, self._moves)) == canonical(wanted)

    def _brought(self, name: str, text: str) -> bool:
        """A check that comes with a new or altered column."""
        fresh = {c.target for c in self.reshaping.fresh}
        altered = {p.now.target for p in self.reshaping.pairs if p.retyped}
        documents = {shortened(f"{self.present.name}_{n}_json") for n in altered}
        return bool(fresh.intersection(names(text))) or name in documents

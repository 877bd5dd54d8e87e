"""What the clauses of an ALTER TABLE do to columns, and how columns differ from what they were."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from godwit.engines.mysql.catalog import generated_as
from godwit.engines.mysql.catalog_queries import fetch
from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.sqlwords import Token
from godwit.model.catalog import Table

#: What else than a column a clause adds, drops or renames.
_NO_COLUMNS = frozenset(
    {"INDEX", "KEY", "PRIMARY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CONSTRAINT", "CHECK"}
    | {"PARTITION", "SYSTEM", "PERIOD"}
)
_VERBS = frozenset({"ADD", "DROP", "MODIFY", "CHANGE", "RENAME", "ALTER"})
_BETWEEN = frozenset({"COLUMN", "IF", "NOT", "EXISTS"})
_COLUMNS = (
    "SELECT COLUMN_NAME, COLUMN_TYPE, EXTRA, GENERATION_EXPRESSION FROM information_schema.COLUMNS"
    " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION"
)


@dataclass(frozen=True)
class Alteration:
    """What a statement does to the columns of one table, by their names in it.

    Attributes:
        columns: it may have changed any.
        dropped: these went.
        renamed: these have another name, `(old, new)`, all at once.
        modified: these may have another type.
        converted: all texts may have another character set.
        understood: none of this was told in a way that is not known.
        optional: nothing was done if it had been done before (IF NOT EXISTS).
        replaced: another table has taken its place.
    """

    columns: bool = False
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    modified: tuple[str, ...] = ()
    converted: bool = False
    understood: bool = True
    optional: bool = False
    replaced: bool = False

    def of(self, names: Collection[str]) -> Alteration:
        """The same with columns spelled as the table has them: case does not matter to servers."""
        spelled = {name.lower(): name for name in names}

        def known(name: str) -> str:
            return spelled.get(name.lower(), name)

        pairs = tuple((known(old), new) for old, new in self.renamed)
        return Alteration(
            self.columns,
            tuple(map(known, self.dropped)),
            tuple((old, new) for old, new in pairs if old != new),
            tuple(map(known, self.modified)),
            self.converted,
            self.understood,
            self.optional,
            self.replaced,
        )

    def concerns(self, wanted: Collection[str]) -> bool:
        """It did something to these columns, or to ones that had not been there."""
        if self.replaced or self.optional or not self.columns:
            return False
        named = {*self.modified, *self.taken}
        return self.converted or not named or not named.isdisjoint(wanted)

    @property
    def taken(self) -> tuple[str, ...]:
        """Columns of which there is none of that name and with these values any more."""
        return (*self.dropped, *(old for old, _ in self.renamed))


#: Of a table that another one has taken the place of, as a tool altered it.
REPLACED = Alteration(columns=True, replaced=True)


def alteration(found: Sequence[Token], p: int) -> Alteration:
    """What the clauses from `p` on do."""
    columns = converted = False
    understood = optional = True
    dropped: list[str] = []
    modified: list[str] = []
    renamed: list[tuple[str, str]] = []
    for clause in _clauses(found, p):
        word, q, explicit = clause[0].word, 1, False
        exists = False
        while q < len(clause) and clause[q].word in _BETWEEN:
            explicit = explicit or clause[q].word == "COLUMN"
            exists = exists or clause[q].word == "EXISTS"
            q += 1
        rest = clause[q:]
        if word == "CONVERT" and rest and rest[0].word == "TO":
            columns = converted = True
        if word not in _VERBS or not rest or (not explicit and _other(word, rest)):
            continue
        columns = True
        optional = optional and exists
        pair = _pair(rest, to=word == "RENAME")
        if word == "DROP":
            dropped.append(rest[0].name)
        elif word == "MODIFY":
            modified.append(rest[0].name)
        elif word in {"CHANGE", "RENAME"}:
            understood = understood and pair is not None
            renamed += [pair] if pair else []
            # The new type belongs to the old name: what is looked at are values so far.
            modified += [pair[0]] if pair and word == "CHANGE" else []
    return Alteration(
        columns,
        tuple(filter(None, dropped)),
        tuple(renamed),
        tuple(filter(None, modified)),
        converted,
        understood,
        columns and optional and not converted,
    )


def _other(word: str, rest: Sequence[Token]) -> bool:
    """It is about the table, an index, a check or the like."""
    if word == "RENAME":
        return True
    return word in {"ADD", "DROP", "ALTER"} and _no_column(rest)


def _no_column(rest: Sequence[Token]) -> bool:
    if rest[0].word == "VECTOR":
        return len(rest) > 1 and rest[1].word in {"INDEX", "KEY"}
    return rest[0].word in _NO_COLUMNS


def _pair(rest: Sequence[Token], *, to: bool) -> tuple[str, str] | None:
    """The old and the new name, with a TO between them or none."""
    at = 2 if to else 1
    if len(rest) <= at or (to and rest[1].word != "TO"):
        return None
    old, new = rest[0].name, rest[at].name
    return (old, new) if old and new else None


def _clauses(found: Sequence[Token], p: int) -> Iterator[list[Token]]:
    """The parts between commas that stand in no parentheses."""
    if p < len(found) and found[p].word in {"WAIT", "NOWAIT"}:
        p += 2 if found[p].word == "WAIT" else 1
    depth = 0
    clause: list[Token] = []
    for token in found[p:]:
        depth += (token.mark == "(") - (token.mark == ")")
        if token.mark == "," and depth <= 0:
            if clause:
                yield clause
            clause = []
        else:
            clause.append(token)
    if clause:
        yield clause


def names_columns(session: Session) -> bool:
    """Whether the log that is written now tells columns' names, labels and character sets."""
    rows = session.rows("SHOW GLOBAL VARIABLES LIKE 'binlog\\_row\\_metadata'")
    return [str(value).upper() for _, value in rows] == ["FULL"]


@dataclass(frozen=True)
class Difference:
    """How a table's columns differ from what they were.

    Attributes:
        parts: for people.
        grown: nothing that is read has changed.
    """

    parts: tuple[str, ...] = ()
    grown: bool = True


def column_difference(
    session: Session, version: Version, table: Table, wanted: Collection[str]
) -> Difference:
    """How the table's columns now differ from those that are known; `wanted` are read.

    Of what is not read only columns that came, and those that are computed, count. When the table
    is gone that will be told in another place.
    """
    now = {
        row["COLUMN_NAME"]: (row["COLUMN_TYPE"], generated_as(row, version))
        for row in fetch(session, _COLUMNS, tuple(table.name))
    }
    if not now:
        return Difference()
    parts = [f"column {name} was added" for name in now if name not in table.by_name]
    grown = True
    for column in table.columns:
        if column.name not in wanted and column.generated is None:
            continue
        native, generated = now.get(column.name, ("", None))
        if (native, generated) == (column.native, column.generated):
            continue
        grown = grown and column.name not in wanted
        if not native:
            parts.append(f"column {column.name} was dropped")
        elif generated != column.generated:
            parts.append(f"column {column.name} is computed in another way")
        else:
            parts.append(f"column {column.name} changed from {column.native} to {native}")
    return Difference(tuple(parts), grown)

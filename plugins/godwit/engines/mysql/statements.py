"""What statements in the log mean for captured tables.

No SQL parser reads them: one that fails must never stop the stream, and the forms that matter are
few. A statement is cut into tokens, and looked at from its first word on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from godwit.engines.mysql.sqlwords import Token, tokens
from godwit.engines.mysql.statements_alter import REPLACED, Alteration, alteration
from godwit.model.catalog import TableName
from godwit.model.changes import ShapeChange, Truncation

_WORDS_BEFORE_NAME = frozenset(
    {"LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO", "ONLINE"}
    | {"IF", "NOT", "EXISTS", "TABLE", "TABLES"}
)
#: Statements that change rows. In ROW format the log never has them as text.
_ROWS = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "CALL", "WITH"})
#: Partitions whose rows go, come or are exchanged without a word about them in the log.
_UNTOLD = {
    ("TRUNCATE", "PARTITION"): "a partition was truncated",
    ("DROP", "PARTITION"): "a partition was dropped",
    ("EXCHANGE", "PARTITION"): "a partition was exchanged",
    ("IMPORT", "TABLESPACE"): "its tablespace was imported",
    ("IMPORT", "PARTITION"): "a partition's tablespace was imported",
    ("DISCARD", "TABLESPACE"): "its tablespace was discarded",
    ("DISCARD", "PARTITION"): "a partition's tablespace was discarded",
    ("CONVERT", "PARTITION"): "a partition was converted to a table",
    ("CONVERT", "TABLE"): "a table was converted to a partition",
}
#: How gh-ost, pt-online-schema-change, LHM and others name the copy that takes a table's place.
_SHADOWS = ("_{}_gho", "_{}_new", "_{}_ghost", "lhmn_{}", "__osc_new_{}", "_vt_vrp_{}")


_AS_TEXT = (
    "its rows were changed by a statement that the log holds as text (binlog_format was not ROW)"
)


@dataclass(frozen=True)
class Meaning:
    """What a statement comes to.

    Attributes:
        stages: truncations and changed shapes.
        altered: captured tables whose columns may have changed; the catalog and the next table map
            tell.
        alteration: what the statement says of that.
    """

    stages: tuple[Truncation | ShapeChange, ...] = ()
    altered: tuple[TableName, ...] = ()
    alteration: Alteration = REPLACED


NOTHING = Meaning()


def _other(table: TableName, description: str) -> ShapeChange:
    """The table may have other rows now, and nothing tells which."""
    return ShapeChange(table, description, rewritten=True)


class Statements:
    """Reads statements.

    Args:
        tables: that are captured.
        folded: the server compares names of tables without case.
        plain: whether a table that is not captured is none but itself: no view, no triggers.
        columns: that are wanted of a captured table.
    """

    def __init__(
        self,
        tables: Collection[TableName],
        *,
        folded: bool = False,
        plain: Callable[[TableName], bool] = lambda _: True,
        columns: Callable[[TableName], Collection[str]] = lambda _: (),
    ) -> None:
        self._fold: Callable[[str], str] = str.lower if folded else str
        self._tables = {self._key(t): t for t in tables}
        self._plain = plain
        self._columns = columns

    def _key(self, name: TableName) -> tuple[str, str]:
        return self._fold(name.schema), self._fold(name.name)

    def meaning(self, text: str, database: str) -> Meaning:
        """What the statement means for the captured tables."""
        head = tokens(text, 12)
        first = head[0].word if head else ""
        if first in {"TRUNCATE", "DROP", "RENAME", "ALTER", "CREATE"}:
            return self._definition(first, tokens(text), database)
        if first in _ROWS:
            return self._rows(tokens(text), database)
        return NOTHING

    def _definition(self, first: str, found: list[Token], database: str) -> Meaning:
        words = [t.word for t in found[1:8]]
        if "TEMPORARY" in words[:4]:
            return NOTHING
        if first == "TRUNCATE":
            name, _ = _name(found, _behind(found, 1), database)
            table = self._captured(name)
            return Meaning((Truncation((table,), restart_identity=True),)) if table else NOTHING
        if first == "DROP":
            return self._drop(found, words, database)
        if first == "RENAME" and words[:1] and words[0] in {"TABLE", "TABLES"}:
            return self._rename(found, database)
        if first == "ALTER" and "TABLE" in words[:3]:
            return self._alter(found, database)
        if first == "CREATE" and "TABLE" in words[:4]:
            return self._create(found, words, database)
        return NOTHING

    def _captured(self, name: TableName | None) -> TableName | None:
        return self._tables.get(self._key(name)) if name else None

    def _drop(self, found: list[Token], words: list[str], database: str) -> Meaning:
        kind = words[0] if words else ""
        if kind in {"DATABASE", "SCHEMA"}:
            p = _behind(found, 2)
            gone = self._fold(found[p].name) if p < len(found) else ""
            tables = [t for key, t in self._tables.items() if key[0] == gone]
            return Meaning(tuple(_other(t, "its database was dropped") for t in tables))
        if kind not in {"TABLE", "TABLES"}:
            return NOTHING
        stages, p = [], _behind(found, 1)
        while p < len(found):
            name, p = _name(found, p, database)
            table = self._captured(name)
            if table is not None:
                stages.append(_other(table, "it was dropped"))
            if p >= len(found) or found[p].mark != ",":
                break
            p += 1
        return Meaning(tuple(stages))

    def _rename(self, found: list[Token], database: str) -> Meaning:
        moves: list[tuple[TableName, TableName]] = []
        p = _behind(found, 1)
        while p < len(found):
            old, p = _name(found, p, database)
            while p < len(found) and found[p].word != "TO":  # WAIT n, NOWAIT
                p += 1
            new, p = _name(found, p + 1, database)
            if old is None or new is None:
                break
            moves.append((old, new))
            if p >= len(found) or found[p].mark != ",":
                break
            p += 1
        return self._moved(moves)

    def _moved(self, moves: Sequence[tuple[TableName, TableName]]) -> Meaning:
        """The renames of one statement, which take place one after the other."""
        now: dict[tuple[str, str], TableName] = {}
        went: dict[TableName, TableName] = {}
        for old, new in moves:
            origin = now.pop(self._key(old), old)
            now[self._key(new)] = origin
            went[origin] = new
        stages, altered = [], []
        for key, table in self._tables.items():
            away = next((n for o, n in went.items() if self._key(o) == key), None)
            successor = now.get(key)
            if away is None and successor is None:
                continue
            if successor is None:
                stages.append(_other(table, f"it was renamed to {away}"))
            elif self._key(successor) != key:
                if successor.name.lower() in {s.format(table.name).lower() for s in _SHADOWS}:
                    altered.append(table)
                else:
                    stages.append(_other(table, f"it was replaced by {successor}"))
        return Meaning(tuple(stages), tuple(altered))

    def _alter(self, found: list[Token], database: str) -> Meaning:
        name, p = _name(found, _behind(found, 1), database)
        table = self._captured(name)
        pairs = [
            (a.word, b.word) for a, b in zip(found[p:], found[p + 1 :], strict=False) if a.word
        ]
        if table is None:
            return self._exchanged(found, p, pairs, database)
        for pair in pairs:
            if pair in _UNTOLD:
                return Meaning((_other(table, _UNTOLD[pair]),))
        for i in range(p, len(found)):
            if found[i].word == "RENAME":
                q = i + 2 if i + 1 < len(found) and found[i + 1].word in {"TO", "AS"} else i + 1
                kind = found[q].word if q < len(found) else ""
                if kind in {"COLUMN", "INDEX", "KEY"}:
                    continue
                new, _ = _name(found, q, table.schema)
                if new is not None and self._key(new) != self._key(table):
                    return Meaning((_other(table, f"it was renamed to {new}"),))
        told = alteration(found, p).of(self._columns(table))
        if taken := self._taken(told, table):
            renamed = told.renamed if told.understood else ()
            return Meaning((ShapeChange(table, taken, renamed),), alteration=told)
        return Meaning(altered=(table,), alteration=told)

    def _taken(self, told: Alteration, table: TableName) -> str:
        """The wanted columns that a definition takes away. Another one may have their name and type
        afterwards, so that no row image shows that all rows have other values.
        """
        wanted = set(self._columns(table))
        parts = [f"column {name} was dropped" for name in told.dropped if name in wanted]
        parts += [
            f"column {old} was renamed to {new}" for old, new in told.renamed if old in wanted
        ]
        return ", ".join(parts)

    def _exchanged(
        self, found: list[Token], p: int, pairs: list[tuple[str, str]], database: str
    ) -> Meaning:
        """A captured table whose rows were exchanged with another one's partition."""
        if ("EXCHANGE", "PARTITION") not in pairs and ("CONVERT", "TABLE") not in pairs:
            return NOTHING
        for i in range(p, len(found) - 1):
            if found[i].word == "TABLE":
                name, _ = _name(found, i + 1, database)
                table = self._captured(name)
                if table is not None:
                    return Meaning((_other(table, "it was exchanged with a partition"),))
        return NOTHING

    def _create(self, found: list[Token], words: list[str], database: str) -> Meaning:
        p = next(i for i, t in enumerate(found) if t.word == "TABLE")
        name, _ = _name(found, _behind(found, p), database)
        table = self._captured(name)
        if table is None:
            return NOTHING
        if words[:2] == ["OR", "REPLACE"]:
            return Meaning((_other(table, "it was dropped and made again"),))
        return Meaning(altered=(table,))

    def _rows(self, found: list[Token], database: str) -> Meaning:
        """Rows that a statement changed while the log holds only its text."""
        first = found[0].word
        name, p = None, len(found)
        if first in {"INSERT", "REPLACE", "UPDATE"}:
            name, p = _name(found, _behind(found, 1), database)
        elif first == "DELETE" and len(found) > 1 and found[1].word == "FROM":
            name, p = _name(found, 2, database)
            table = self._captured(name)
            if table is not None and p >= len(found):
                # A MEMORY table is empty after a restart; the server tells it like this.
                return Meaning((Truncation((table,)),))
        elif first == "LOAD":
            at = next((i for i, t in enumerate(found) if t.word == "TABLE"), len(found))
            name, p = _name(found, at + 1, database)
        exact = first in {"INSERT", "REPLACE", "LOAD"} or (
            p < len(found) and found[p].word in {"SET", "WHERE", "ORDER", "LIMIT"}
        )
        concerned = self._concerned(found, name if exact else None, database)
        return Meaning(tuple(_other(t, _AS_TEXT) for t in concerned))

    def _concerned(
        self, found: list[Token], target: TableName | None, database: str
    ) -> list[TableName]:
        if target is not None:
            table = self._captured(target)
            if table is not None:
                return [table]
            if self._plain(target):
                return []
        mentioned = {self._fold(t.name) for t in found if t.name}
        here = self._fold(database if target is None else target.schema)
        return [t for key, t in self._tables.items() if key[0] == here or key[1] in mentioned]


def _behind(found: list[Token], p: int) -> int:
    """Past the words that may stand before a name."""
    while p < len(found) and found[p].word in _WORDS_BEFORE_NAME:
        p += 1
    return p


def _name(found: list[Token], p: int, database: str) -> tuple[TableName | None, int]:
    """The qualified name at `p`, and the position behind it."""
    if p >= len(found) or not found[p].name:
        return None, p + 1
    if p + 2 < len(found) and found[p + 1].mark == "." and found[p + 2].name:
        return TableName(found[p].name, found[p + 2].name), p + 3
    return TableName(database, found[p].name), p + 1

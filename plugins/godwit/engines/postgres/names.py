"""Names in SQL text: quoting, comparing and renaming without touching strings or bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from psycopg import sql

from godwit.model.catalog import TableName

_TOKEN = re.compile(
    r"""(?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
      | (?P<body>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<name>[^\W\d][\w$]*)
      | (?P<space>\s+)
      | (?P<other>::|.)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")


def quoted(*parts: str) -> str:
    """A qualified name, quoted by the driver."""
    return sql.Identifier(*parts).as_string(None)


def literal(text: str) -> str:
    """A string literal, quoted by the driver."""
    return sql.Literal(text).as_string(None).strip()


@dataclass(frozen=True)
class Token:
    """A piece of SQL text; `name` is the identifier it stands for, None when it is none."""

    text: str
    kind: str
    name: str | None = None


def tokens(text: str) -> Iterator[Token]:
    """Split SQL text; joining the `text`s gives it back."""
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        if kind == "tag":
            kind = "body"
        piece = match.group()
        if kind == "quoted":
            yield Token(piece, "name", piece[1:-1].replace('""', '"'))
        elif kind == "name":
            yield Token(piece, "name", piece.lower() if piece.isascii() else piece)
        else:
            yield Token(piece, kind)


def canonical(text: str) -> str:
    """The text with equal spacing, and quotes only around names that need them."""
    parts: list[str] = []
    for token in tokens(text):
        if token.kind == "space":
            parts.append(" ")
        elif token.name is not None and token.text[0] == '"' and _PLAIN.fullmatch(token.name):
            parts.append(token.name)
        else:
            parts.append(token.text)
    return "".join(parts).strip()


def mentions(text: str, wanted: Callable[[str], bool]) -> set[str]:
    """Identifiers of the text, bodies of routines included, for which `wanted` holds."""
    found: set[str] = set()
    for token in tokens(text):
        if token.kind == "body":
            inner = token.text.split("$", 2)[2].rsplit("$", 2)[0]
            found |= mentions(inner, wanted)
        elif token.name is not None and wanted(token.name):
            found.add(token.name)
    return found


@dataclass(frozen=True)
class Renaming:
    """New names: of tables and sequences (qualified), and of the columns of one table."""

    relations: Mapping[TableName, TableName] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def relation(self, name: TableName) -> TableName:
        """The new name of a relation."""
        return self.relations.get(name, name)

    def apply(self, text: str) -> str:
        """The text with new names. Columns are names that are no function, type or schema."""
        if not self.relations and not self.columns:
            return text
        return "".join(self._rewrite(list(tokens(text))))

    def _rewrite(self, line: list[Token]) -> Iterator[str]:
        place = 0
        while place < len(line):
            token = line[place]
            pair = self._pair(line, place)
            if pair:
                yield quoted(*pair)
                place += 3
                column = line[place + 1].name if len(line) > place + 1 else None
                if column and line[place].text == "." and column in self.columns:
                    yield f".{quoted(self.columns[column])}"
                    place += 2
                continue
            if token.kind == "string" and line[place + 1 : place + 3]:
                yield self._regclass(token.text, line[place + 1 : place + 3])
            elif token.name and token.name in self.columns and self._is_column(line, place):
                yield quoted(self.columns[token.name])
            else:
                yield token.text
            place += 1

    def _pair(self, line: list[Token], place: int) -> TableName | None:
        three = line[place : place + 3]
        if len(three) < 3 or three[1].text != "." or not (three[0].name and three[2].name):
            return None
        return self.relations.get(TableName(three[0].name, three[2].name))

    def _regclass(self, text: str, after: list[Token]) -> str:
        if [t.text for t in after] != ["::", "regclass"]:
            return text
        inner = text[1:-1].replace("''", "'")
        return literal(canonical(self.apply(inner))) if "." in inner else text

    def _is_column(self, line: list[Token], place: int) -> bool:
        before = line[place - 1].text if place else ""
        after = line[place + 1].text if place + 1 < len(line) else ""
        return before not in {".", "::"} and after not in {"(", "."}

"""SQL text as the server writes it (SHOW CREATE …): split, renamed and compared by tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from godwit.engines.mysql.names import quoted
from godwit.model.catalog import TableName

_TOKEN = re.compile(
    r"""(?P<string>'(?:[^'\\]|\\.|'')*')
      | (?P<name>`(?:[^`]|``)+`)
      | (?P<version>/\*M?!\d*\s?|\s?\*/)
      | (?P<space>\s+)
      | (?P<word>[^\W\d]\w*)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
Token = tuple[str, str]


def tokens(text: str) -> Iterator[Token]:
    """`(kind, text)` of each; joining the texts gives the whole back. Kinds: string, name (in
    backticks), version (a comment's bounds), space, word, other.
    """
    for match in _TOKEN.finditer(text):
        yield match.lastgroup or "other", match.group()


def plain(text: str) -> str:
    """The text without the bounds of version comments: what is inside them counts."""
    return "".join(t for kind, t in tokens(text) if kind != "version")


def unquoted(name: str) -> str:
    """The name inside the backticks."""
    return name[1:-1].replace("``", "`")


def names(text: str) -> list[str]:
    """Every name in backticks, in order."""
    return [unquoted(t) for kind, t in tokens(text) if kind == "name"]


def items(text: str) -> tuple[list[str], str]:
    """The list in the first parentheses, split at its own commas, and what follows it."""
    parts: list[str] = []
    current: list[str] = []
    depth = 0
    rest: list[str] = []
    closed = False
    for kind, piece in tokens(text):
        if closed:
            rest.append(piece)
            continue
        if kind == "other" and piece == "(":
            depth += 1
            if depth == 1:
                current = []
                continue
        elif kind == "other" and piece == ")":
            depth -= 1
            if depth == 0:
                parts.append("".join(current).strip())
                closed = True
                continue
        elif kind == "other" and piece == "," and depth == 1:
            parts.append("".join(current).strip())
            current = []
            continue
        current.append(piece)
    return parts, "".join(rest)


def renamed(text: str, columns: Mapping[str, str]) -> str:
    """The text with new names of columns; they stand alone, or behind the table's name."""
    if not columns:
        return text
    return _mapped(text, lambda name: columns.get(name, name))


def _mapped(text: str, change: Callable[[str], str]) -> str:
    return "".join(
        quoted(change(unquoted(piece))) if kind == "name" else piece for kind, piece in tokens(text)
    )


def moved(text: str, tables: Mapping[TableName, TableName], databases: Mapping[str, str]) -> str:
    """The text with new names where one of these tables is named with its database."""
    line = list(tokens(text))
    out: list[str] = []
    place = 0
    while place < len(line):
        three = line[place : place + 3]
        if [k for k, _ in three] == ["name", "other", "name"] and three[1][1] == ".":
            old = TableName(unquoted(three[0][1]), unquoted(three[2][1]))
            new = tables.get(old)
            if new is None and old.schema in databases:
                new = TableName(databases[old.schema], old.name)
            if new is not None:
                out.append(quoted(*new))
                place += 3
                continue
        out.append(line[place][1])
        place += 1
    return "".join(out)


def mentions(text: str, wanted: Callable[[str], bool]) -> set[str]:
    """Names and words of the text, quoted or not, for which `wanted` holds."""
    found = set()
    for kind, piece in tokens(text):
        name = unquoted(piece) if kind == "name" else piece if kind == "word" else ""
        if name and wanted(name):
            found.add(name)
    return found


_WIDTH = re.compile(r"^(tinyint|smallint|mediumint|int|bigint|year)\(\d+\)")
_NUMBER = re.compile(r"^'(-?\d+(?:\.\d+)?)'$")
_NUMERIC_TYPE = re.compile(
    r"^(tinyint|smallint|mediumint|int|bigint|year|decimal|float|double)\b", re.IGNORECASE
)
_OLD_CHARSET = re.compile(r"\butf8(?=_|\b)(?!mb)")
_NOW = re.compile(r"\b(current_timestamp|now|localtimestamp)\b(\(\))?", re.IGNORECASE)


def canonical(text: str) -> str:
    """The text with equal spacing and without what one version writes and another doesn't: widths
    of integers, quotes around numbers, the old name of utf8mb3, the method of an index.
    """
    text = plain(text).strip()
    # With zerofill the width is part of what is shown.
    if "zerofill" not in text:
        text = _WIDTH.sub(r"\1", text)
    numeric = _NUMERIC_TYPE.match(text) is not None
    out: list[str] = []
    for kind, piece in tokens(text):
        if kind == "space":
            out.append(" ")
        elif kind == "string":
            number = _NUMBER.match(piece) if numeric and "COMMENT" not in out[-2:] else None
            out.append(number[1] if number else piece)
        elif kind == "word":
            out.append("utf8mb3" + piece[4:] if _OLD_CHARSET.match(piece) else piece)
        else:
            out.append(piece)
    return (
        _NOW.sub(lambda m: m[1].upper(), "".join(out))
        .replace(" USING BTREE", "")
        .replace(" USING HASH", "")
    )

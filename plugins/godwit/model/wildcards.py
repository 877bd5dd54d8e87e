"""Names by pattern: DMS wildcards of rules, and the globs of the short form ``tables``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from godwit.model.catalog import TableName


@lru_cache(maxsize=4096)
def dms_pattern(text: str) -> re.Pattern[str]:
    """DMS's wildcards: ``%`` any text, ``_`` one character, ``[_]`` a literal, ``[ab]``, ``[a-d]``.

    Case matters. A bracket that is not closed stands for itself.
    """
    out, position = "", 0
    while position < len(text):
        char = text[position]
        end = text.find("]", position + 2) if char == "[" else -1
        if end > 0:
            out += _char_class(text[position + 1 : end])
            position = end
        elif char == "%":
            out += "" if out.endswith(".*") else ".*"
        else:
            out += "." if char == "_" else re.escape(char)
        position += 1
    return re.compile(out, re.DOTALL)


def _char_class(inside: str) -> str:
    escaped = re.sub(r"([\\^\[\]&~|])", r"\\\1", inside)
    # A dash is a range only between two characters that are in order.
    ordered = all(a <= b for a, b in re.findall(r"(.)-(.)", inside))
    return f"[{escaped}]" if ordered else f"[{escaped.replace('-', chr(92) + '-')}]"


def matches(pattern: str, name: str) -> bool:
    """True when the whole name fits the DMS pattern."""
    return dms_pattern(pattern).fullmatch(name) is not None


def has_wildcard(pattern: str) -> bool:
    """True when the pattern can fit more than one name; ``_`` alone is not counted.

    DMS documents ``_`` as one character, yet every rule written by hand says ``order_items`` and
    means it: such a pattern counts as exact.
    """
    return "%" in pattern or ("[" in pattern and "]" in pattern)


@dataclass(frozen=True)
class TablePattern:
    """A pattern ``schema.table`` of the short form.

    ``*`` and ``%`` fit any text, ``?`` one character; a part in double quotes is taken literally.
    """

    schema: re.Pattern[str]
    name: re.Pattern[str]

    def matches(self, table: TableName) -> bool:
        """True when both parts fit."""
        return bool(self.schema.fullmatch(table.schema) and self.name.fullmatch(table.name))


_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')


@lru_cache(maxsize=4096)
def table_pattern(text: str) -> TablePattern:
    """Read ``schema.table``.

    Raises:
        ValueError: it does not have exactly two parts; the message says how to write it.
    """
    parts: list[str] = []
    position = 0
    while match := _PART.match(text, position):
        parts.append(match.group())
        position = match.end()
        if text[position : position + 1] != ".":
            break
        position += 1
    if position != len(text) or len(parts) != 2 or text.endswith("."):
        raise ValueError(_how_to_write(text))
    return TablePattern(_glob(parts[0]), _glob(parts[1]))


def _how_to_write(text: str) -> str:
    if "." not in text:
        return (
            f'write schema.table, e.g. "public.{text.strip() or "*"}" or "*.{text.strip() or "*"}"'
        )
    return (
        "write schema.table; put a name that contains a dot in double quotes, e.g. 'public.\"a.b\"'"
    )


def _glob(part: str) -> re.Pattern[str]:
    if part.startswith('"'):
        return re.compile(re.escape(part[1:-1].replace('""', '"')), re.DOTALL)
    out = ""
    for char in part:
        if char in "*%":
            out += "" if out.endswith(".*") else ".*"
        else:
            out += "." if char == "?" else re.escape(char)
    return re.compile(out, re.DOTALL)

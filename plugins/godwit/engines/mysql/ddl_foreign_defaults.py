"""Defaults, checks and computed columns of another engine in MySQL's words."""

from __future__ import annotations

import re

from godwit.engines.mysql.catalog import ENGINE_NAME
from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.ddl_foreign_types import Spelt
from godwit.engines.mysql.names import literal
from godwit.model.datatypes import Kind
from godwit.model.dialects import mentioned, translate

#: Of another engine; they are held as that engine's own text.
_OWN_TEXT = frozenset({Kind.ARRAY, Kind.OPAQUE, Kind.INTERVAL, Kind.JSON, Kind.UUID})
_MOMENTS = frozenset({Kind.DATE, Kind.TIME, Kind.TIMESTAMP})
_CAST_LITERAL = re.compile(r"^\(?'((?:[^']|'')*)'\)?(?:::[\w\s.\"\[\],()]+)?$", re.DOTALL)
_BITS = re.compile(r"^\(?[Bb]?'([01]+)'(?:::[\w\s\"(),]+)?\)?$")
_ISO = re.compile(
    r"^\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?:\.\d+)?)?$|^\d\d:\d\d(?::\d\d(?:\.\d+)?)?$"
)
_NOW = re.compile(r"^\(*(?:CURRENT_TIMESTAMP|LOCALTIMESTAMP|NOW)(?:\(\d*\))?\)*$", re.IGNORECASE)
_TODAY = re.compile(r"^\(*(?:CURRENT_DATE|CURDATE)(?:\(\))?\)*$", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"^\(?(-?\d+(?:\.\d+)?)\)?$")
_PLAIN_TEXT = re.compile(r"^'(?:[^'\\]|''|\\.)*'$", re.DOTALL)
_LARGE = re.compile(r"(?:text|blob)$|^json$|^geometry$")
#: Values that are another engine's text here: comparing them means another thing.
_OPAQUE = frozenset({Kind.ARRAY, Kind.OPAQUE})


def default(expression: str, engine: str, spelt: Spelt) -> str | None:
    """A default as it stands behind DEFAULT; None when it cannot be said."""
    kind = spelt.kind.kind
    if spelt.text.startswith(("datetime", "time")) and (now := _now(expression, engine, spelt)):
        return now
    bits = _BITS.match(expression)
    if bits and kind is Kind.BIT:
        # Bit strings without a fixed length are text here.
        return f"b'{bits[1]}'" if spelt.text.startswith("bit") else literal(bits[1])
    match = _CAST_LITERAL.match(expression)
    if match and (kind in _OWN_TEXT or (kind in _MOMENTS and _ISO.match(match[1]))):
        return _bracketed(literal(match[1].replace("''", "'")), spelt.text)
    if match and kind in _MOMENTS:
        return None
    text = translate(expression, engine, ENGINE_NAME)
    if text is None:
        return None
    if kind is Kind.DATE and _TODAY.match(text):
        return "(CURRENT_DATE)"
    return _bracketed(_bare(text, spelt), spelt.text)


def _bare(text: str, spelt: Spelt) -> str:
    number = _PLAIN_NUMBER.match(text)
    if number:
        return number[1]
    if spelt.kind.kind is Kind.BOOLEAN and text.upper() in {"TRUE", "FALSE"}:
        return "1" if text.upper() == "TRUE" else "0"
    return text


def _now(expression: str, engine: str, spelt: Spelt) -> str | None:
    text = translate(expression, engine, ENGINE_NAME) or expression
    if not _NOW.match(text) or not spelt.text.startswith("datetime"):
        return None
    digits = spelt.text.partition("(")[2].partition(")")[0]
    if spelt.kind.zoned:
        # Such a column holds UTC; the current time would be that of the session's zone.
        return f"(UTC_TIMESTAMP({digits}))"
    return f"CURRENT_TIMESTAMP({digits})" if digits else "CURRENT_TIMESTAMP"


def _bracketed(text: str, spelt: str) -> str:
    plain = _PLAIN_NUMBER.match(text) or _PLAIN_TEXT.match(text) or text.upper() == "NULL"
    if plain and not (_LARGE.search(spelt) and text.upper() != "NULL"):
        return text
    return text if text.startswith("(") and text.endswith(")") and _one(text) else f"({text})"


def _one(text: str) -> bool:
    """The first parenthesis is closed by the last."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


def condition(
    expression: str, engine: str, spelt: dict[str, Spelt], names: dict[str, str], version: Version
) -> str | None:
    """A check or a computed column's expression; None when it cannot be said, or when it is about
    values that here are only another engine's text.
    """
    used = mentioned(expression, engine)
    if used is None:
        return None
    for column in used:
        target = names.get(column)
        kind = spelt[target].kind if target in spelt else None
        if kind is not None and (kind.kind in _OPAQUE or _is_words(kind)):
            return None
    text = translate(expression, engine, ENGINE_NAME, names)
    if text is not None and version.mariadb:
        text = _mariadb_words(text)
    return text


def _is_words(kind: object) -> bool:
    """A span of time in words, or a time of day with a zone."""
    found = getattr(kind, "kind", None)
    if found is Kind.INTERVAL:
        return not getattr(kind, "fixed", False)
    return found is Kind.TIME and bool(getattr(kind, "zoned", False))


_REGEXP = re.compile(
    r"REGEXP_LIKE\((`(?:[^`]|``)+`|CAST\(\(?`(?:[^`]|``)+`\)? AS CHAR\)), ('(?:[^'\\]|''|\\.)*')\)"
)


def _mariadb_words(text: str) -> str:
    return _REGEXP.sub(r"\1 REGEXP \2", text)

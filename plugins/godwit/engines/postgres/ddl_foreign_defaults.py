"""Defaults of another engine's columns as PostgreSQL's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from godwit.engines.postgres.catalog import ENGINE_NAME
from godwit.engines.postgres.datatypes import Choices
from godwit.engines.postgres.names import literal
from godwit.model.catalog import Column
from godwit.model.datatypes import DataType, Kind
from godwit.model.dialects import translate

#: The same moment that the rows get for such a date, unless the source's settings say otherwise.
ZERO_DATE = "-infinity"

_BITS = re.compile(r"b'([01]*)'|0b([01]+)", re.IGNORECASE)
_HEX = re.compile(r"(?:_binary\s*)?(?:x'([0-9a-f]*)'|0x([0-9a-f]*))", re.IGNORECASE)
_TEXT = re.compile(r"'((?:[^']|'')*)'", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")
_NOW = re.compile(r"CURRENT_TIMESTAMP(\(\d\))?")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_TRUTH = {"TRUE": "1", "FALSE": "0"}


def default(
    column: Column, dialect: str, columns: Mapping[str, str], choices: Choices
) -> tuple[str | None, str]:
    """`(the default as PostgreSQL's expression, what there is to say about it)`.

    The expression is None when there is no default, or none that can be said in PostgreSQL's words.
    """
    text = (column.default or "").strip()
    if not text or text.upper() == "NULL":
        return None, ""
    kind = column.type
    bits = _BITS.fullmatch(text)
    digits = _HEX.fullmatch(text)
    if bits:
        return _of_bits(bits[1] or bits[2] or "", kind), ""
    if digits:
        return _of_hex(digits[1] or digits[2] or "", kind)
    said = translate(text, dialect, ENGINE_NAME, columns)
    if said is None:
        return None, f"its default {text} has no translation"
    if now := _NOW.fullmatch(said):
        return _current(now[1] or "", kind), ""
    value = _value(said)
    if value is None:
        return said, ""
    return _LITERALS.get(kind.kind, _plain)(value, said, kind, choices)


def _value(said: str) -> str | None:
    """The text of a literal; None for an expression."""
    if match := _TEXT.fullmatch(said):
        return match[1].replace("''", "'")
    if _NUMBER.fullmatch(said):
        return said
    return _TRUTH.get(said.upper())


def _of_bits(bits: str, kind: DataType) -> str | None:
    if kind.kind is Kind.BIT:
        return f"B'{bits.rjust(kind.bits, '0') if kind.fixed else bits}'"
    return str(int(bits or "0", 2)) if kind.kind in _NUMBERS else None


def _of_hex(digits: str, kind: DataType) -> tuple[str | None, str]:
    raw = bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}")
    if kind.kind is Kind.BINARY:
        return _bytes(raw, kind), ""
    if kind.kind is Kind.BIT:
        return _of_bits(bin(int.from_bytes(raw, "big"))[2:], kind), ""
    if kind.kind in _NUMBERS:
        return str(int.from_bytes(raw, "big")), ""
    try:
        return literal(raw.decode()), ""
    except UnicodeDecodeError:
        return None, "its default is not text"


def _bytes(raw: bytes, kind: DataType) -> str:
    full = raw.ljust(kind.length or 0, b"\0") if kind.fixed else raw
    return literal(f"\\x{full.hex()}")


def _current(digits: str, kind: DataType) -> str:
    if kind.kind is Kind.DATE:
        return "CURRENT_DATE"
    if kind.kind is Kind.TIME:
        return f"LOCALTIME{digits}"
    zoned = kind.kind is Kind.TIMESTAMP and kind.zoned
    return f"{'CURRENT_TIMESTAMP' if zoned else 'LOCALTIMESTAMP'}{digits}"


_NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT})
_Literal = Callable[[str, str, DataType, Choices], tuple[str | None, str]]


def _plain(value: str, said: str, kind: DataType, choices: Choices) -> tuple[str | None, str]:
    del said, kind, choices
    return literal(value), ""


def _number(value: str, said: str, kind: DataType, choices: Choices) -> tuple[str | None, str]:
    del said, kind, choices
    text = value.strip()
    return (text, "") if _NUMBER.fullmatch(text) else (literal(value), "")


def _moment(value: str, said: str, kind: DataType, choices: Choices) -> tuple[str | None, str]:
    del said, kind, choices
    match = _DATE.match(value)
    if match and (match[2] == "00" or match[3] == "00" or match[1] == "0000"):
        said = f"its default is the date {match[0]}, which PostgreSQL lacks: it is {ZERO_DATE}"
        return literal(ZERO_DATE), said
    return literal(value), ""


def _binary(value: str, said: str, kind: DataType, choices: Choices) -> tuple[str | None, str]:
    del said, choices
    return _bytes(value.encode(), kind), ""


def _set(value: str, said: str, kind: DataType, choices: Choices) -> tuple[str | None, str]:
    del said, kind
    if choices.sets != "array":
        return literal(value), ""
    labels = ", ".join(literal(label) for label in value.split(",") if label)
    return f"ARRAY[{labels}]::text[]", ""


def _bit(value: str, said: str, kind: DataType, choices: Choices) -> tuple[str | None, str]:
    del said, choices
    return (_of_bits(bin(int(value))[2:], kind), "") if value.isdigit() else (None, "")


_LITERALS: Mapping[Kind, _Literal] = {
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys((Kind.DATE, Kind.TIMESTAMP), _moment),
    Kind.BINARY: _binary,
    Kind.SET: _set,
    Kind.BIT: _bit,
}

"""Whether a column of the log still holds what the migration's column holds."""

from __future__ import annotations

from godwit.engines.mysql.table_maps import MapColumn
from godwit.model.catalog import Column
from godwit.model.datatypes import DataType, Kind

_INTEGERS = {1: 8, 2: 16, 9: 24, 3: 32, 8: 64}
_WORDS = {1: "tinyint", 2: "smallint", 9: "mediumint", 3: "int", 8: "bigint"}
_FLOATS = {4: 32, 5: 64}
_YEAR, _DECIMAL, _BIT, _JSON, _ENUM, _SET, _GEOMETRY, _VECTOR = 13, 246, 16, 245, 247, 248, 255, 242
_STRINGS = frozenset({15, 253, 254})
_BLOBS = frozenset({249, 250, 251, 252})
_DATES = {10: "date", 14: "date"}
_TIMES = {11: "time", 19: "time", 12: "datetime", 18: "datetime", 7: "timestamp", 17: "timestamp"}
_BINARY = "binary"


def change_of(column: Column, told: MapColumn, charset: str | None, labels: tuple[str, ...]) -> str:
    """What the column has become, as a type, when its values can no longer be told exactly; empty
    when they can: it is the same or has only grown.

    `charset` and `labels` are the log's, None and empty when it tells none.
    """
    kind = column.type
    if told.code in _INTEGERS:
        return _integer(kind, told)
    if told.code in _FLOATS:
        same = kind.kind is Kind.FLOAT and kind.bits == _FLOATS[told.code]
        return "" if same else "double" if told.code == 5 else "float"
    if told.code == _DECIMAL:
        return _decimal(kind, told)
    if told.real in (_ENUM, _SET):
        return _labelled(kind, told, labels)
    if told.code in _TIMES:
        return _time(kind, told)
    if told.code in _DATES:
        return "" if kind.kind is Kind.DATE else "date"
    if told.code == _BIT:
        bits = (told.meta >> 8) * 8 + (told.meta & 0xFF)
        return "" if kind.kind is Kind.BIT and bits == (kind.bits or 1) else f"bit({bits})"
    return _bytes(column, told, charset)


def _integer(kind: DataType, told: MapColumn) -> str:
    bits = _INTEGERS[told.code]
    unsigned = kind.unsigned if told.unsigned is None else told.unsigned
    if kind.kind is Kind.INTEGER and kind.bits <= bits and kind.unsigned == unsigned:
        return ""
    return _WORDS[told.code] + (" unsigned" if unsigned else "")


def _decimal(kind: DataType, told: MapColumn) -> str:
    precision, scale = told.meta & 0xFF, told.meta >> 8
    before, behind = (kind.precision or 0) - (kind.scale or 0), kind.scale or 0
    if kind.kind is Kind.DECIMAL and behind <= scale and before <= precision - scale:
        return ""
    return f"decimal({precision},{scale})"


def _labelled(kind: DataType, told: MapColumn, labels: tuple[str, ...]) -> str:
    word = "enum" if told.real == _ENUM else "set"
    if kind.kind == Kind(word):
        expected = {label for label in kind.labels if label}
        if not labels or expected <= set(labels):
            return ""
        return f"{word} without {', '.join(sorted(repr(g) for g in expected - set(labels)))}"
    return word


def _time(kind: DataType, told: MapColumn) -> str:
    word = _TIMES[told.code]
    digits = told.meta if told.code in (17, 18, 19) else 0
    known = {Kind.INTERVAL: "time", Kind.TIME: "time"}.get(kind.kind, "")
    if kind.kind is Kind.TIMESTAMP:
        known = "timestamp" if kind.zoned else "datetime"
    if known == word and (told.code not in (17, 18, 19) or (kind.precision or 0) <= digits):
        return ""
    return f"{word}({digits})" if digits else word


def _bytes(column: Column, told: MapColumn, charset: str | None) -> str:
    kind = column.type
    special = column.native.lower() in {"uuid", "inet4", "inet6"}
    if told.code == _GEOMETRY or told.code == _VECTOR or told.code == _JSON or told.code == _YEAR:
        return _other(column, told)
    if special:
        return "" if told.real in _STRINGS and charset in (None, _BINARY) else "another type"
    binary = charset == _BINARY
    if kind.kind is Kind.BINARY and (binary or charset is None):
        return _shorter(kind, told, "varbinary", "blob")
    if kind.kind in (Kind.TEXT, Kind.JSON) and not binary:
        return _shorter(kind, told, "varchar", "text")
    if kind.kind is Kind.TEXT and charset == _BINARY and "json" not in column.native:
        return "a binary type"
    return "a binary type" if binary else "a text type"


def _other(column: Column, told: MapColumn) -> str:
    kind = column.type.kind
    if told.code == _YEAR:
        return "" if column.native.lower().startswith("year") else "year"
    if told.code == _JSON:
        return "" if kind is Kind.JSON else "json"
    if told.code == _VECTOR:
        return "" if column.native.lower().startswith("vector") else "vector"
    return "" if kind is Kind.GEOMETRY else "geometry"


def _shorter(kind: DataType, told: MapColumn, word: str, large: str) -> str:
    """Bytes that are fewer than the characters there may be: it has become shorter."""
    if told.code in _BLOBS:
        room = (1 << 8 * (told.meta or 2)) - 1
        return large if kind.length is not None and kind.length > room else ""
    if told.code not in _STRINGS:
        return "another type"
    if kind.length is None:
        return f"{word} of {told.size} bytes"
    return f"{word} of {told.size} bytes" if told.size < kind.length else ""

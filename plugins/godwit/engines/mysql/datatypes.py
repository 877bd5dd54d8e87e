"""MySQL's and MariaDB's types in logical terms, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.names import literal
from godwit.model.datatypes import DataType, Kind

#: What MySQL keeps of a second.
MICROSECONDS = 6
MAX_DIGITS = 65
MAX_SCALE = 30
MAX_CHAR = 255
#: A varchar's bytes count for the row's limit of 65,535, with two for its length.
ROW_BYTES = 65_535
BYTES_PER_CHARACTER = 4
MAX_VARCHAR = (ROW_BYTES - 2) // BYTES_PER_CHARACTER
MAX_BIT = 64
MAX_ENUM_LABELS = 65_535
MAX_SET_LABELS = 64
MAX_LABEL = 255
UUID_LENGTH = 36

_INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TEXTS = frozenset({"tinytext", "text", "mediumtext", "longtext"})
_BLOBS = frozenset({"tinyblob", "blob", "mediumblob", "longblob", "vector"})
_GEOMETRIES = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"}
    | {"multipolygon", "geometrycollection", "geomcollection"}
)
_TYPE = re.compile(r"(?P<word>[a-z0-9_]+)\s*(?:\((?P<inner>.*)\))?(?P<rest>[^)]*)$", re.DOTALL)
#: ``/*M!100301 COMPRESSED*/``, ``/* mariadb-5.3 */``: how it is stored, not what it holds.
_COMMENT = re.compile(r"\s*/\*.*?\*/")
_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPES = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
#: Equal values of these have equal bytes. Not floats (-0 = 0), nor documents.
_UNEQUAL = frozenset({Kind.FLOAT, Kind.JSON, Kind.GEOMETRY, Kind.OPAQUE})


def datatype(native: str, *, json: bool = False) -> DataType:
    """The logical type of a column of this COLUMN_TYPE.

    `json`: MariaDB's JSON, which is a longtext that a check keeps valid.
    """
    match = _TYPE.match(_COMMENT.sub("", native).strip())
    if match is None:
        return DataType(Kind.OPAQUE)
    word, inner, rest = match["word"].lower(), match["inner"] or "", match["rest"].lower()
    if word in {"enum", "set"}:
        return DataType(Kind(word), labels=labels(inner))
    if json and word in _TEXTS:
        return DataType(Kind.JSON)
    numbers = [int(n) for n in inner.split(",") if n.strip().isdigit()]
    return _number(word, numbers, unsigned="unsigned" in rest) or _other(word, numbers)


def labels(text: str) -> tuple[str, ...]:
    """The labels in a list of quoted ones, as information_schema writes it."""
    return tuple(unescaped(label) for label in _LABEL.findall(text))


def unescaped(text: str) -> str:
    """The text between the quotes of a literal, quotes and backslashes undone."""
    return _ESCAPED.sub(lambda m: _ESCAPES.get(m[1], m[1]) if m[1] else "'", text)


def _number(word: str, numbers: list[int], *, unsigned: bool) -> DataType | None:
    if word in _INTEGERS:
        return DataType(Kind.INTEGER, bits=_INTEGERS[word], unsigned=unsigned)
    if word == "year":
        return DataType(Kind.INTEGER, bits=16)
    if word == "decimal":
        precision, scale = (*numbers, 10, 0)[:2] if len(numbers) != 1 else (numbers[0], 0)
        return DataType(Kind.DECIMAL, precision=precision, scale=scale)
    if word in {"float", "double"}:
        return DataType(Kind.FLOAT, bits=32 if word == "float" else 64)
    return None


def _other(word: str, numbers: list[int]) -> DataType:
    first = numbers[0] if numbers else None
    if word in {"char", "varchar"}:
        return DataType(Kind.TEXT, length=first, fixed=word == "char")
    if word in {"binary", "varbinary"}:
        return DataType(Kind.BINARY, length=first, fixed=word == "binary")
    if word == "bit":
        return DataType(Kind.BIT, bits=first or 1, fixed=True)
    if word == "time":
        return DataType(Kind.INTERVAL, precision=first or 0, fixed=True)
    if word in {"datetime", "timestamp"}:
        return DataType(Kind.TIMESTAMP, precision=first or 0, zoned=word == "timestamp")
    return DataType(_PLAIN.get(word, Kind.OPAQUE))


_PLAIN = {
    **dict.fromkeys(_TEXTS, Kind.TEXT),
    **dict.fromkeys(_BLOBS, Kind.BINARY),
    **dict.fromkeys(_GEOMETRIES, Kind.GEOMETRY),
    "date": Kind.DATE,
    "json": Kind.JSON,
    "uuid": Kind.UUID,
}


def byte_equal(native: str, kind: DataType, collation: str | None) -> bool:
    """True when two values of the column are equal exactly when their bytes are."""
    if native.startswith(("inet4", "inet6")):
        return True
    if kind.kind in _UNEQUAL:
        return False
    if kind.kind is not Kind.TEXT or collation is None:
        return True
    if collation in {"binary", "utf8mb4_0900_bin"} or collation.endswith("_nopad_bin"):
        return True
    # The other binary collations ignore trailing blanks, of which a char never has any.
    return collation.endswith("_bin") and kind.fixed


def spelling(
    kind: DataType,
    settings: Mapping[str, Any] | None = None,
    *,
    key_bytes: int | None = None,
) -> str:
    """The spelling of a logical type, wide enough for every value of it that MySQL can hold.

    `settings`: of the target endpoint (``numeric``, ``json``). `key_bytes`: what an index leaves
    for the column; types that cannot be indexed become as long as that.
    """
    chosen = settings or {}
    if kind.kind in {Kind.TEXT, Kind.BINARY}:
        return _strings(kind, key_bytes)
    if kind.kind is Kind.DECIMAL:
        return _decimal(kind, str(chosen.get("numeric", "decimal")), key_bytes)
    if kind.kind is Kind.INTEGER:
        return _integer(kind)
    if kind.kind is Kind.FLOAT:
        return "float" if 0 < kind.bits <= 32 else "double"
    if kind.kind is Kind.BIT:
        return _bits(kind, key_bytes)
    if kind.kind in {Kind.TIME, Kind.TIMESTAMP, Kind.INTERVAL}:
        return _time(kind, key_bytes)
    if kind.kind in {Kind.ENUM, Kind.SET}:
        return _labelled(kind, key_bytes)
    if kind.kind is Kind.JSON and chosen.get("json") == "json":
        return "json"
    return _SIMPLE.get(kind.kind) or _any_text(key_bytes)


_SIMPLE = {
    Kind.BOOLEAN: "tinyint(1)",
    Kind.DATE: "date",
    Kind.UUID: f"char({UUID_LENGTH})",
    Kind.GEOMETRY: "geometry",
}


def holds_text(spelt: str) -> bool:
    """Whether a type of this spelling has a character set."""
    return spelt.startswith(("char", "varchar", "enum", "set")) or spelt.endswith("text")


def text_collation(kind: DataType, version: Version) -> tuple[str, str]:
    """Character set and collation under which texts are equal when their bytes are."""
    if kind.kind in {Kind.UUID, Kind.BIT}:
        return "ascii", "ascii_bin"
    if version.mariadb:
        return "utf8mb4", "utf8mb4_nopad_bin"
    return "utf8mb4", "utf8mb4_0900_bin" if version.since(mysql=(8, 0, 17)) else "utf8mb4_bin"


def _any_text(key_bytes: int | None) -> str:
    return "longtext" if key_bytes is None else f"varchar({key_bytes // BYTES_PER_CHARACTER})"


def _strings(kind: DataType, key_bytes: int | None) -> str:
    text = kind.kind is Kind.TEXT
    unit = BYTES_PER_CHARACTER if text else 1
    limit = MAX_VARCHAR if text else ROW_BYTES - 2
    if key_bytes is not None:
        limit = min(limit, key_bytes // unit)
    if kind.length is not None and kind.length <= limit:
        length = kind.length
    elif key_bytes is None:
        return "longtext" if text else "longblob"
    else:
        length = limit
    # A binary(n) of MySQL's adds zero bytes: only what is always n bytes long may be one.
    fixed = kind.fixed and length == kind.length and length <= MAX_CHAR
    if text:
        return f"char({length})" if fixed else f"varchar({length})"
    return f"binary({length})" if fixed else f"varbinary({length})"


def decimal_limits(kind: DataType) -> tuple[int, int]:
    """Digits and scale of the decimal column that is made for a logical decimal."""
    if kind.precision is None:
        return MAX_DIGITS, MAX_SCALE
    scale = kind.scale or 0
    # PostgreSQL's numeric(2,5) holds 0.00012, its numeric(3,-2) whole hundreds.
    digits = max(kind.precision - min(scale, 0), scale)
    if scale > MAX_SCALE:
        return MAX_DIGITS, MAX_SCALE
    return min(digits, MAX_DIGITS), max(scale, 0)


def decimal_fits(kind: DataType) -> bool:
    """Whether the decimal column holds every finite number of the logical type."""
    scale = kind.scale or 0
    if kind.precision is None or scale > MAX_SCALE:
        return False
    return max(kind.precision - min(scale, 0), scale) <= MAX_DIGITS


def _decimal(kind: DataType, choice: str, key_bytes: int | None) -> str:
    if choice == "text" and not decimal_fits(kind):
        return _any_text(key_bytes)
    digits, scale = decimal_limits(kind)
    return f"decimal({digits},{scale})"


def _integer(kind: DataType) -> str:
    sign = " unsigned" if kind.unsigned else ""
    for name, bits in _INTEGERS.items():
        if 0 < kind.bits <= bits:
            return name + sign
    return f"bigint{sign}"


def _bits(kind: DataType, key_bytes: int | None) -> str:
    if kind.fixed and 0 < kind.bits <= MAX_BIT:
        return f"bit({kind.bits})"
    # As text of 0 and 1, one byte each.
    if 0 < kind.bits <= min(key_bytes or MAX_VARCHAR, MAX_VARCHAR):
        return f"varchar({kind.bits})"
    return "longtext" if key_bytes is None else f"varchar({key_bytes})"


def _time(kind: DataType, key_bytes: int | None) -> str:
    given = kind.precision if kind.precision is not None else MICROSECONDS
    width = f"({min(given, MICROSECONDS)})" if given else ""
    if kind.kind is Kind.TIMESTAMP:
        return f"datetime{width}"
    if (kind.kind is Kind.TIME and not kind.zoned) or (kind.kind is Kind.INTERVAL and kind.fixed):
        return f"time{width}"
    return _any_text(key_bytes)


def labels_fit(kind: DataType) -> bool:
    """Whether a native enum or set can have these labels: it strips blanks at their end."""
    names = kind.labels
    many = MAX_SET_LABELS if kind.kind is Kind.SET else MAX_ENUM_LABELS
    sound = all(len(n) <= MAX_LABEL and n == n.rstrip(" ") for n in names)
    return (
        bool(names)
        and len(names) <= many
        and sound
        and not (kind.kind is Kind.SET and any("," in n or not n for n in names))
    )


def _labelled(kind: DataType, key_bytes: int | None) -> str:
    if not labels_fit(kind):
        return _any_text(key_bytes)
    return f"{kind.kind.value}({','.join(literal(label) for label in kind.labels)})"

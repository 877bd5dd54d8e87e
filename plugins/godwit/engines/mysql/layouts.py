"""How one column's values lie in a row, and what becomes of them.

A `Field` pairs a *layout* (where the bytes of a value end, what they mean) with an *output* (what
is built from it). Rows of the binary protocol and of the binary log have layouts of their own but
share the outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from godwit.engines.mysql.charsets import UTF8, Charset, charset
from godwit.engines.mysql.datatypes import datatype
from godwit.errors import EndpointError
from godwit.model.catalog import Column
from godwit.model.datatypes import Kind

# Layouts. `size` is given in brackets.
INT = 0  # little-endian integer [bytes]
FLOAT4 = 1
FLOAT8 = 2
YEAR1 = 3
LENENC = 4  # bytes behind a length-encoded integer
PREFIXED = 5  # bytes behind a little-endian length [bytes of the length]
FIXED = 6  # bytes [how many]
RESULT_DATE = 7  # the binary protocol's date, datetime and timestamp
RESULT_TIME = 8
PACKED_DECIMAL = 9  # [bytes]
DATE3 = 10
TIME3 = 11  # the temporal types of servers before 5.6, without fractions
DATETIME8 = 12
TIMESTAMP4 = 13
TIME2 = 14  # [digits of the fraction]
DATETIME2 = 15
TIMESTAMP2 = 16

# Outputs. `detail` is given in brackets, then `extra`.
SKIP = 0
INTEGER = 1  # [bytes of the Arrow type]
SINGLE = 2
DOUBLE = 3
DATE = 4
MOMENT = 5  # a date with a time of day
DURATION = 6  # [digits of the fraction]
DECIMAL = 7  # from its packed form [precision], scale
TEXT = 8  # Charset
BYTES = 9  # [bytes to pad to with zeros, 0 = as they are]
BITS = 10  # [bits]
EWKB = 11
LABEL = 12  # labels as UTF-8
LABELS = 13
JSON = 14
UUID = 15
INET4 = 16
INET6 = 17
DIGITS = 18  # a decimal's text; ZEROFILL's zeros go

_OLD_DECIMAL, _TINY, _SHORT, _LONG, _FLOAT, _DOUBLE = 0, 1, 2, 3, 4, 5
_TIMESTAMP, _LONGLONG, _INT24, _DATE, _TIME, _DATETIME, _YEAR, _NEWDATE = (
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
)
_VARCHAR, _BIT, _TIMESTAMP2, _DATETIME2, _TIME2 = 15, 16, 17, 18, 19
_BLOB_COMPRESSED, _VARCHAR_COMPRESSED = 140, 141
_VECTOR, _JSON, _NEWDECIMAL, _ENUM, _SET = 242, 245, 246, 247, 248
_BLOBS = {249: 1, 250: 3, 251: 4, 252: 2}
_VAR_STRING, _STRING, _GEOMETRY = 253, 254, 255

_INT_BYTES = {_TINY: 1, _SHORT: 2, _INT24: 3, _LONG: 4, _LONGLONG: 8}
_TWO_BYTES = frozenset({_VARCHAR, _BIT, _NEWDECIMAL, _ENUM, _SET, _VAR_STRING, _STRING})
_TWO_BYTES_TOO = frozenset({_VARCHAR_COMPRESSED})
_ONE_BYTE = frozenset(
    {_FLOAT, _DOUBLE, _TIMESTAMP2, _DATETIME2, _TIME2, _JSON, _GEOMETRY, _VECTOR, _BLOB_COMPRESSED}
    | _BLOBS.keys()
)
_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_BINARY = "binary"


@dataclass(frozen=True)
class Field:
    """One column of a row on the wire; see the constants of this module.

    Attributes:
        name: of the column; "" when it isn't wanted.
        unsigned, zoned: of integers and moments.
        digits: of the fraction, for dates that become text.
    """

    name: str
    layout: int
    size: int = 0
    output: int = SKIP
    detail: int = 0
    extra: Charset | tuple[bytes, ...] | int | None = None
    unsigned: bool = False
    zoned: bool = False
    digits: int = 0


def metadata_of(types: bytes, block: bytes) -> list[int]:
    """The table map's metadata, one number per column (two bytes are low byte first)."""
    found, p = [], 0
    for code in types:
        if code in _TWO_BYTES or code in _TWO_BYTES_TOO:
            found.append(block[p] | block[p + 1] << 8)
            p += 2
        elif code in _ONE_BYTE:
            found.append(block[p])
            p += 1
        else:
            found.append(0)
    return found


def decimal_bytes(precision: int, scale: int) -> int:
    """How many bytes a packed decimal has."""
    whole = precision - scale
    return whole // 9 * 4 + _DIGIT_BYTES[whole % 9] + scale // 9 * 4 + _DIGIT_BYTES[scale % 9]


# -- the binary log


def log_type(code: int, metadata: int) -> tuple[int, int]:
    """The real type behind a table map's type and its length: enums and sets call themselves
    strings, and a CHAR's length hides two bits in its type.
    """
    if code != _STRING or not metadata:
        return code, metadata
    first, second = metadata & 0xFF, metadata >> 8
    if first & 0x30 != 0x30:
        return first | 0x30, second | ((first & 0x30) ^ 0x30) << 4
    return first, second


def skipped_field(code: int, metadata: int) -> Field:
    """A column of the table map that isn't wanted."""
    layout, size = _log_layout(code, metadata)
    return Field("", layout, size)


def log_field(
    column: Column,
    code: int,
    metadata: int,
    *,
    unsigned: bool = False,
    charset_name: str | None = None,
    labels: tuple[str, ...] = (),
) -> Field:
    """A column of a table map.

    `unsigned`, `charset_name` and `labels` are the column's at the event's time; the character set
    is ``binary`` or None for what has none. `metadata`: see `metadata_of`.

    Raises:
        EndpointError: the layout or the character set isn't known.
    """
    layout, size = _log_layout(code, metadata)
    field = Field(column.name, layout, size, unsigned=unsigned)
    real, length = log_type(code, metadata)
    if code in (_BLOB_COMPRESSED, _VARCHAR_COMPRESSED):
        raise _refused(column, "it is a compressed column, whose log images Godwit cannot read")
    if layout in (INT, FLOAT4, FLOAT8, YEAR1):
        return _number(field)
    if layout in (DATE3, TIME3, DATETIME8, TIMESTAMP4, TIME2, DATETIME2, TIMESTAMP2):
        return _log_moment(field, column)
    if layout == PACKED_DECIMAL:
        return replace(field, output=DECIMAL, detail=metadata & 0xFF, extra=metadata >> 8)
    if real == _BIT:
        return replace(field, output=BITS, detail=(metadata >> 8) * 8 + (metadata & 0xFF))
    if real in (_ENUM, _SET):
        # Not `column.type`: its labels may begin with one for refused values.
        known = labels or datatype(column.native).labels
        encoded = tuple(label.encode() for label in known)
        return replace(field, output=LABEL if real == _ENUM else LABELS, extra=encoded)
    if real == _JSON:
        return replace(field, output=JSON)
    padded = length if real == _STRING else 0
    return _bytes_or_text(field, column, charset_name, padded)


def _log_layout(code: int, metadata: int) -> tuple[int, int]:
    real, length = log_type(code, metadata)
    if code in _INT_BYTES:
        return INT, _INT_BYTES[code]
    if code == _NEWDECIMAL:
        return PACKED_DECIMAL, decimal_bytes(metadata & 0xFF, metadata >> 8)
    if code == _BIT:
        return FIXED, (metadata >> 8) + (1 if metadata & 0xFF else 0)
    if real in (_ENUM, _SET):
        return FIXED, length
    if real in (_VARCHAR, _VAR_STRING, _STRING, _VARCHAR_COMPRESSED):
        return PREFIXED, 1 if length < 1 << 8 else 2
    if code in (_JSON, _GEOMETRY, _VECTOR, _BLOB_COMPRESSED) or code in _BLOBS:
        return PREFIXED, metadata or _BLOBS.get(code, 4)
    if code in _PLAIN_LAYOUTS:
        layout = _PLAIN_LAYOUTS[code]
        return layout, metadata if layout in (TIME2, DATETIME2, TIMESTAMP2) else 0
    raise EndpointError(
        f"the log has values of a type that is not known (number {code})",
        why="the server is newer than this version of Godwit, or the log is damaged",
        hint="leave the table out, or use a newer Godwit",
    )


_PLAIN_LAYOUTS = {
    _FLOAT: FLOAT4,
    _DOUBLE: FLOAT8,
    _YEAR: YEAR1,
    _DATE: DATE3,
    _NEWDATE: DATE3,
    _TIME: TIME3,
    _DATETIME: DATETIME8,
    _TIMESTAMP: TIMESTAMP4,
    _TIME2: TIME2,
    _DATETIME2: DATETIME2,
    _TIMESTAMP2: TIMESTAMP2,
}


def _log_moment(field: Field, column: Column) -> Field:
    old = field.layout in (TIME3, DATETIME8, TIMESTAMP4)
    if old and column.type.precision:
        raise _refused(
            column,
            "its fractions of a second are stored in MariaDB's old format,"
            " whose log images don't tell their length",
            "set mysql56_temporal_format=ON and run ALTER TABLE … FORCE on the source",
        )
    if field.layout in (TIME3, TIME2):
        return replace(field, output=DURATION, detail=field.size)
    zoned = field.layout in (TIMESTAMP4, TIMESTAMP2)
    output = DATE if field.layout == DATE3 else MOMENT
    return replace(field, output=output, zoned=zoned, digits=field.size)


# -- the binary protocol


def result_field(
    column: Column, code: int, *, unsigned: bool, charset_name: str | None, decimals: int
) -> Field:
    """A column of a prepared statement's result; arguments as its definition has them.

    `charset_name`: what the server sends texts in.

    Raises:
        EndpointError: the type or the character set isn't known.
    """
    if code in _INT_BYTES or code == _YEAR:
        size = 2 if code == _YEAR else 4 if code == _INT24 else _INT_BYTES[code]
        return _number(Field(column.name, INT, size, unsigned=unsigned and code != _YEAR))
    if code in (_FLOAT, _DOUBLE):
        return _number(Field(column.name, FLOAT4 if code == _FLOAT else FLOAT8))
    # Without a fraction the server says 0, without a fixed one 31.
    digits = decimals if decimals <= 6 else 6
    if code in (_DATE, _NEWDATE):
        return Field(column.name, RESULT_DATE, output=DATE)
    if code in (_DATETIME, _TIMESTAMP, _DATETIME2, _TIMESTAMP2):
        zoned = code in (_TIMESTAMP, _TIMESTAMP2)
        return Field(column.name, RESULT_DATE, output=MOMENT, zoned=zoned, digits=digits)
    if code in (_TIME, _TIME2):
        return Field(column.name, RESULT_TIME, output=DURATION, detail=digits)
    field = Field(column.name, LENENC)
    if code == _BIT:
        return replace(field, output=BITS, detail=column.type.bits)
    if code in (_NEWDECIMAL, _OLD_DECIMAL):
        return replace(field, output=DIGITS)
    if code == _JSON:
        return replace(field, output=TEXT, extra=_utf8())
    return _bytes_or_text(field, column, charset_name, as_text=True)


def _utf8() -> Charset:
    return charset("utf8mb4")


# -- both


def _number(field: Field) -> Field:
    if field.layout == INT:
        return replace(field, output=INTEGER, detail=4 if field.size == 3 else field.size)
    if field.layout == YEAR1:
        return replace(field, output=INTEGER, detail=2)
    return replace(field, output=SINGLE if field.layout == FLOAT4 else DOUBLE)


def _bytes_or_text(
    field: Field,
    column: Column,
    charset_name: str | None,
    padded: int = 0,
    *,
    as_text: bool = False,
) -> Field:
    kind = column.type.kind
    if kind is Kind.GEOMETRY:
        return replace(field, output=EWKB)
    special = _SPECIAL.get(column.native.lower())
    if special is not None and not as_text:
        return replace(field, output=special)
    if kind is Kind.BINARY:
        return replace(field, output=BYTES, detail=padded)
    # JSON is sent as binary by some servers; it is UTF-8.
    name = "utf8mb4" if charset_name in (None, _BINARY) else charset_name
    return replace(field, output=TEXT, extra=charset(name))


_SPECIAL = {"uuid": UUID, "inet4": INET4, "inet6": INET6}


def _refused(column: Column, why: str, hint: str = "") -> EndpointError:
    return EndpointError(
        "the column's changes cannot be read",
        where=column.name,
        why=why,
        hint=hint or "leave the column out by a transformation rule, or only load the table",
    )


__all__ = ["UTF8", "Field", "log_field", "metadata_of", "result_field", "skipped_field"]

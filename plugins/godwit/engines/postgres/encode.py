"""Batches of `COLUMNS` as tuples of COPY BINARY.

Each column is first brought into one of a few plain layouts by Arrow (`Encoder`); interleaving them
into tuples exists twice: here in Python, as the reference, and compiled in ``_encode.pyx``.
`encode` is the compiled one where the extension could be built; a property test holds both against
each other and the server.

What has no exact binary form here is not guessed: `UnencodableError` sends the rows by way of text,
which the server judges.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from godwit.engines.postgres.exchange import ENUM, Receiver, family, own_text, plain_storage

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

#: Layouts of a column. Of so many bytes, to be turned into network order:
WIDTH_1, WIDTH_2, WIDTH_4, WIDTH_8 = 1, 2, 4, 8
#: Bytes as they are; the same behind the version byte of jsonb.
RAW, JSONB = 20, 21
#: Text of numbers, UUIDs, bytes (``\\x…``), bits, of spans (``-838:59:59.5``) and times of day.
NUMERIC, UUID, HEX, BITS, SPAN, CLOCK = 22, 23, 24, 25, 26, 27
#: Nothing but NULL.
NULLS = 28

#: Days and microseconds between the epochs of Unix (1970) and PostgreSQL (2000).
EPOCH_DAYS = 10_957
EPOCH_MICROS = 946_684_800_000_000

#: numeric_recv's words for a number's sign.
POSITIVE, NEGATIVE, NAN, INFINITE, MINUS_INFINITE = 0, 0x4000, 0xC000, 0xD000, 0xF000
#: Numbers of more digits, or larger exponents, go by way of text.
MOST_DIGITS = 16_000
MOST_EXPONENT = 1_000
#: Hours of a span.
MOST_HOURS = 100_000_000
DAY = 86_400_000_000

Laid = tuple[int, pa.Array]


class UnencodableError(Exception):
    """These rows have no binary form here."""


# -- columns into layouts


def _raw(column: pa.Array) -> Laid:
    return RAW, column


def _integer(width: int, kind: pa.DataType) -> Callable[[pa.Array], Laid]:
    return lambda column: (width, column.cast(kind))


def _integer_boolean(column: pa.Array) -> Laid:
    if pc.any(pc.greater(column.cast(pa.uint64()), 1)).as_py():
        raise UnencodableError
    return WIDTH_1, column.cast(pa.uint8())


_WORDS = pa.array(["0", "1", "f", "t", "false", "true"])


def _text_boolean(column: pa.Array) -> Laid:
    found = pc.index_in(column, value_set=_WORDS)
    if found.null_count != column.null_count:
        raise UnencodableError
    return WIDTH_1, pc.bit_wise_and(found, 1).cast(pa.uint8())


def _digits(column: pa.Array) -> Laid:
    return RAW, own_text(column, Receiver("text"))


def _number(column: pa.Array) -> Laid:
    return NUMERIC, column.cast(pa.string())


_FAR = pa.array(["-infinity", "infinity"])


def _days(column: pa.Array) -> Laid:
    days = column.cast(pa.int32())
    return WIDTH_4, pc.subtract_checked(days, pa.scalar(EPOCH_DAYS, pa.int32()))


def _text_days(column: pa.Array) -> Laid:
    far = pc.index_in(column, value_set=_FAR)
    near = pc.if_else(pc.is_valid(far), None, column)
    ends = pa.array([-(2**31), 2**31 - 1], pa.int32())
    return WIDTH_4, pc.coalesce(ends.take(far), _days(near.cast(pa.date32()))[1])


def _micros(column: pa.Array) -> Laid:
    micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    return WIDTH_8, pc.subtract_checked(micros, pa.scalar(EPOCH_MICROS, pa.int64()))


def _text_micros(zone: str | None) -> Callable[[pa.Array], Laid]:
    def laid(column: pa.Array) -> Laid:
        far = pc.index_in(column, value_set=_FAR)
        near = pc.if_else(pc.is_valid(far), None, column)
        ends = pa.array([-(2**63), 2**63 - 1], pa.int64())
        return WIDTH_8, pc.coalesce(ends.take(far), _micros(near.cast(pa.timestamp("us", zone)))[1])

    return laid


def _clock(column: pa.Array) -> Laid:
    return WIDTH_8, column.cast(pa.time64("us")).cast(pa.int64())


def _as(layout: int) -> Callable[[pa.Array], Laid]:
    return lambda column: (layout, column)


_INTEGERS = {
    "int2": _integer(WIDTH_2, pa.int16()),
    "int4": _integer(WIDTH_4, pa.int32()),
    "int8": _integer(WIDTH_8, pa.int64()),
}
Ways = dict[str, Callable[[pa.Array], Laid]]
_TEXTUAL: Ways = dict.fromkeys(("text", "integer", "boolean"), _digits) | {"text": _raw}
_ROADS: dict[str, Ways] = {
    **{name: dict.fromkeys(("integer", "boolean", "text"), way) for name, way in _INTEGERS.items()},
    "bool": {
        "boolean": _integer(WIDTH_1, pa.uint8()),
        "integer": _integer_boolean,
        "text": _text_boolean,
    },
    "numeric": dict.fromkeys(("text", "integer", "decimal"), _number),
    "float4": {
        "float": _as(WIDTH_4),
        "text": lambda column: (WIDTH_4, column.cast(pa.float32())),
    },
    "float8": {
        "double": _as(WIDTH_8),
        "text": lambda column: (WIDTH_8, column.cast(pa.float64())),
    },
    "text": _TEXTUAL,
    "varchar": _TEXTUAL,
    "bpchar": _TEXTUAL,
    ENUM: {"text": _raw},
    "json": {"text": _raw},
    "jsonb": {"text": _as(JSONB)},
    "bytea": {"binary": _raw, "text": _as(HEX)},
    "date": {"date": _days, "text": _text_days},
    "timestamp": {"timestamp": _micros, "text": _text_micros(None)},
    "timestamptz": {"timestamp": _micros, "text": _text_micros("UTC")},
    "time": {"time": _clock, "text": _as(CLOCK)},
    "interval": {"text": _as(SPAN)},
    "uuid": {"text": _as(UUID)},
    "bit": {"text": _as(BITS)},
    "varbit": {"text": _as(BITS)},
}


class Encoder:
    """Makes tuples for one list of columns."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self._roads = [_ROADS.get(receiver.type, {}) for receiver in receivers]

    def tuples(self, batch: pa.RecordBatch) -> bytes:
        """The batch's rows, without signature and trailer.

        Raises:
            UnencodableError: a column or a value has no binary form here.
        """
        if not batch.num_columns:
            raise UnencodableError
        columns = [plain_storage(column) for column in batch.columns]
        ways = []
        for column, roads in zip(columns, self._roads, strict=True):
            kind = family(column.type)
            way = _as(NULLS) if kind == "null" else roads.get(kind)
            if way is None:
                raise UnencodableError
            ways.append(way)
        try:
            laid = [way(column) for way, column in zip(ways, columns, strict=True)]
        except pa.ArrowInvalid:
            # Out of range, or a text that Arrow doesn't read: the server may.
            raise UnencodableError from None
        made = encode(laid, batch.num_rows)
        if made is None:
            raise UnencodableError
        return made


# -- layouts into tuples


def encode_python(columns: Sequence[Laid], rows: int) -> bytes | None:
    """Interleave columns of `rows` values; None when a text isn't of its layout's form."""
    try:
        fields = [_FIELDS[layout](array) for layout, array in columns]
    except ValueError:
        return None
    head = struct.pack(">h", len(columns))
    return b"".join(head + b"".join(column[row] for column in fields) for row in range(rows))


_NULL = b"\xff\xff\xff\xff"


def _packed(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def _turned(width: int) -> Callable[[pa.Array], list[bytes]]:
    def fields(array: pa.Array) -> list[bytes]:
        raw = bytes(array.buffers()[1] or b"")[array.offset * width :]
        values = (raw[i * width : i * width + width][::-1] for i in range(len(array)))
        valid = array.is_valid().to_pylist()
        return [_packed(v) if known else _NULL for v, known in zip(values, valid, strict=True)]

    return fields


def _each(convert: Callable[[bytes], bytes]) -> Callable[[pa.Array], list[bytes]]:
    def fields(array: pa.Array) -> list[bytes]:
        values = array.cast(pa.binary()).to_pylist()
        return [_NULL if v is None else _packed(convert(v)) for v in values]

    return fields


def _jsonb(value: bytes) -> bytes:
    return b"\1" + value


_NUMBER = re.compile(rb"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,9}))?")
_SPECIAL = {
    b"NaN": struct.pack(">hhHH", 0, 0, NAN, 0),
    b"Infinity": struct.pack(">hhHH", 0, 0, INFINITE, 0),
    b"-Infinity": struct.pack(">hhHH", 0, 0, MINUS_INFINITE, 0),
}


def _numeric(value: bytes) -> bytes:
    if value in _SPECIAL:
        return _SPECIAL[value]
    match = _NUMBER.fullmatch(value)
    if match is None:
        raise ValueError
    sign, whole, fraction, exponent = match[1], match[2], match[3] or b"", int(match[4] or 0)
    digits = whole + fraction
    if not digits or len(digits) > MOST_DIGITS or abs(exponent) > MOST_EXPONENT:
        raise ValueError
    # Groups of four digits, counted from the point.
    point = len(whole) + exponent
    weight = -(-point // 4) - 1
    padded = b"0" * ((weight + 1) * 4 - point) + digits
    padded += b"0" * (-len(padded) % 4)
    groups = [int(padded[i : i + 4]) for i in range(0, len(padded), 4)]
    shown = max(len(fraction) - exponent, 0)
    head = (len(groups), weight, NEGATIVE if sign == b"-" else POSITIVE, shown)
    return struct.pack(f">hhHH{len(groups)}h", *head, *groups)


def _uuid(value: bytes) -> bytes:
    if len(value) != 36 or any(value[i] != ord("-") for i in (8, 13, 18, 23)):
        raise ValueError
    return _unhex(value.replace(b"-", b""), 32)


def _unhex(digits: bytes, size: int) -> bytes:
    if len(digits) != size or size % 2 or not re.fullmatch(rb"[0-9a-fA-F]*", digits):
        raise ValueError
    return bytes.fromhex(digits.decode())


def _hex(value: bytes) -> bytes:
    if value[:2] != b"\\x":
        raise ValueError
    return _unhex(value[2:], len(value) - 2)


def _bits(value: bytes) -> bytes:
    if value.strip(b"01"):
        raise ValueError
    size = len(value)
    padded = value + b"0" * (-size % 8)
    return struct.pack(">i", size) + int(padded or b"0", 2).to_bytes(len(padded) // 8, "big")


_SPAN = re.compile(rb"(-?)([0-9]{1,9}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,6}))?")


def _duration(value: bytes) -> int:
    match = _SPAN.fullmatch(value)
    if match is None or int(match[2]) > MOST_HOURS:
        raise ValueError
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 + int(match[4])
    micros = seconds * 1_000_000 + int((match[5] or b"0").ljust(6, b"0"))
    return -micros if match[1] else micros


def _span(value: bytes) -> bytes:
    return struct.pack(">qii", _duration(value), 0, 0)


def _clock_text(value: bytes) -> bytes:
    micros = _duration(value)
    if value[:1] == b"-" or micros > DAY:
        raise ValueError
    return struct.pack(">q", micros)


_FIELDS: dict[int, Callable[[pa.Array], list[bytes]]] = {
    **{width: _turned(width) for width in (WIDTH_1, WIDTH_2, WIDTH_4, WIDTH_8)},
    RAW: _each(bytes),
    JSONB: _each(_jsonb),
    NUMERIC: _each(_numeric),
    UUID: _each(_uuid),
    HEX: _each(_hex),
    BITS: _each(_bits),
    SPAN: _each(_span),
    CLOCK: _each(_clock_text),
    NULLS: lambda array: [_NULL] * len(array),
}


try:
    from godwit.engines.postgres._encode import (  # type: ignore[import-not-found,unused-ignore]
        LAYOUTS as _LAYOUTS,
    )
    from godwit.engines.postgres._encode import (  # type: ignore[import-not-found,unused-ignore]
        encode as _encode,
    )

    # One built from an older source would take a layout for another.
    COMPILED = _LAYOUTS == NULLS
except ImportError:
    COMPILED = False

encode: Callable[[Sequence[Laid], int], bytes | None] = _encode if COMPILED else encode_python

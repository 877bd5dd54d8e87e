"""Between PostgreSQL's own text of values and the exchange form of `godwit.model.values`.

Both ways column by column, never value by value: most of PostgreSQL's text is the canonical text
already, or is read from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from godwit.engines.postgres.connection import Session
from godwit.model.catalog import TableName
from godwit.model.datatypes import DataType, Kind

#: Types of PostGIS; their text is the hex digits of their EWKB.
GEOMETRIES = frozenset({"geometry", "geography"})
ENUM, ARRAY, OTHER = "an enum", "an array", "another type"

_TYPES = """
WITH RECURSIVE seen AS (
  SELECT a.attname, a.atttypid AS type FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT s.attname, t.typbasetype FROM seen s JOIN pg_type t ON t.oid = s.type AND t.typtype = 'd')
SELECT s.attname, CASE WHEN t.typtype = 'e' THEN %s WHEN t.typcategory = 'A' THEN %s
  WHEN s.type < 16384 OR t.typname = ANY (%s) THEN t.typname::text ELSE %s END
FROM seen s JOIN pg_type t ON t.oid = s.type WHERE t.typtype <> 'd'
"""


@dataclass(frozen=True)
class Receiver:
    """A column that values go into.

    Attributes:
        type: the name of its type, domains seen through: pg_type.typname of built-in types and of
            PostGIS's, else `ENUM`, `ARRAY` or `OTHER`.
        carries: the logical type of the values that come; None = not known.
    """

    type: str
    carries: DataType | None = None

    @property
    def kind(self) -> Kind:
        """The family of its values, where its text is not the canonical one."""
        return _KINDS.get(self.type, Kind.OPAQUE)


_KINDS = {
    "bool": Kind.BOOLEAN,
    "bytea": Kind.BINARY,
    **dict.fromkeys(GEOMETRIES, Kind.GEOMETRY),
}


def column_receivers(session: Session, table: TableName) -> dict[str, str]:
    """Column name → `Receiver.type`; empty when there is no such table."""
    values = [*table, ENUM, ARRAY, sorted(GEOMETRIES), OTHER]
    return dict(session.execute(_TYPES, values).fetchall())


# -- out of PostgreSQL


def to_columns(batch: pa.RecordBatch, kinds: Sequence[Kind]) -> pa.RecordBatch:
    """PostgreSQL's own text of each value as a batch of `COLUMNS`.

    Args:
        batch: text columns. The sessions' settings make most texts canonical: dates are ISO, zoned
            times in UTC, floats shortest.
        kinds: of the columns.
    """
    if not batch.num_columns:
        return batch
    arrays = [
        _CANONICAL[kind](column) if kind in _CANONICAL else column
        for column, kind in zip(batch.columns, kinds, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _booleans(text: pa.Array) -> pa.Array:
    return pc.equal(text, "t")


def _bytes(text: pa.Array) -> pa.Array:
    # Without an end the slice overflows, depending on the number of rows.
    return unhex(pc.binary_slice(text.cast(pa.binary()), 2, (1 << 31) - 1))


_CANONICAL: dict[Kind, Callable[[pa.Array], pa.Array]] = {
    Kind.BOOLEAN: _booleans,
    Kind.BINARY: _bytes,
    Kind.GEOMETRY: lambda text: unhex(text.cast(pa.binary())),
}


# -- into PostgreSQL


def from_columns(batch: pa.RecordBatch, receivers: Sequence[Receiver]) -> pa.RecordBatch:
    """A batch of `COLUMNS` as text columns that the receivers' input functions read exactly."""
    if not batch.num_columns:
        return batch
    arrays = [own_text(c, r) for c, r in zip(batch.columns, receivers, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def own_text(column: pa.Array, receiver: Receiver) -> pa.Array:
    """One column of `COLUMNS` as text for its receiver."""
    column = plain_storage(column)
    convert = _TEXTS.get(family(column.type))
    text = convert(column, receiver) if convert else column.cast(pa.string())
    carries = receiver.carries
    if receiver.type == ARRAY and carries is not None and carries.kind is Kind.SET:
        return _array_literals(text)
    return text


def plain_storage(column: pa.Array) -> pa.Array:
    """The column without dictionary or views, with 32-bit offsets."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain_storage(column.dictionary_decode())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if (
        pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return column.cast(pa.binary())
    return column


def family(kind: pa.DataType) -> str:
    """An Arrow type's family: ``text``, ``binary``, ``boolean``, ``integer``, ``float``,
    ``double``, ``decimal``, ``date``, ``timestamp``, ``time``, ``null`` or ``""``.
    """
    return next((name for name, test in _FAMILIES if test(kind)), "")


_FAMILIES: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("text", pa.types.is_string),
    ("integer", pa.types.is_integer),
    ("binary", pa.types.is_binary),
    ("double", pa.types.is_float64),
    ("float", pa.types.is_float32),
    ("boolean", pa.types.is_boolean),
    ("date", pa.types.is_date32),
    ("timestamp", pa.types.is_timestamp),
    ("time", pa.types.is_time64),
    ("decimal", pa.types.is_decimal),
    ("null", pa.types.is_null),
)


def _boolean_text(column: pa.Array, receiver: Receiver) -> pa.Array:
    # Numbers and texts take the canonical form; the type boolean reads it as well.
    del receiver
    return column.cast(pa.int8()).cast(pa.string())


def _timestamp_text(column: pa.Array, receiver: Receiver) -> pa.Array:
    del receiver
    if column.type.tz is None:
        return column.cast(pa.string())
    text = column.cast(pa.timestamp("us", "UTC")).cast(pa.string())
    return pc.replace_substring(text, "Z", "+00")


def _binary_text(column: pa.Array, receiver: Receiver) -> pa.Array:
    digits = hexed(column)
    if receiver.type in GEOMETRIES:
        return digits
    return pc.binary_join_element_wise(pa.scalar("\\x"), digits, "")


def _float_text(column: pa.Array, receiver: Receiver) -> pa.Array:
    del receiver
    text = column.cast(pa.string())
    for arrow, word in (
        ("nan", "NaN"),
        ("-nan", "NaN"),
        ("inf", "Infinity"),
        ("-inf", "-Infinity"),
    ):
        text = pc.if_else(pc.equal(text, arrow), word, text)
    return text


def _plain_text(column: pa.Array, receiver: Receiver) -> pa.Array:
    del receiver
    return column


_TEXTS: dict[str, Callable[[pa.Array, Receiver], pa.Array]] = {
    "text": _plain_text,
    "boolean": _boolean_text,
    "timestamp": _timestamp_text,
    "binary": _binary_text,
    "float": _float_text,
    "double": _float_text,
}


def _array_literals(text: pa.Array) -> pa.Array:
    """Array literals for lists of labels joined by commas (labels have none)."""
    encoded = text.dictionary_encode()
    values = pa.array([_array_literal(v) for v in encoded.dictionary.to_pylist()], pa.string())
    return values.take(encoded.indices)


def _array_literal(labels: str) -> str:
    if not labels:
        return "{}"
    quoted = (label.replace("\\", "\\\\").replace('"', '\\"') for label in labels.split(","))
    return "{" + ",".join(f'"{label}"' for label in quoted) + "}"


# -- hex

_DIGITS = np.array([f"{i:02x}".encode() for i in range(256)], dtype="S2").view("<u2")
_NIBBLES = np.zeros(256, np.uint8)
for _i, _digit in enumerate("0123456789abcdef"):
    _NIBBLES[ord(_digit)] = _NIBBLES[ord(_digit.upper())] = _i


def hexed(column: pa.Array) -> pa.Array:
    """Bytes as text of lower-case hex digits."""
    validity, offsets, data = _dense(column)
    return _varied(pa.string(), len(column), validity, offsets * 2, _DIGITS[data].view(np.uint8))


def unhex(column: pa.Array) -> pa.Array:
    """The inverse of `hexed`, of a binary column that holds the digits."""
    validity, offsets, data = _dense(column)
    nibbles = _NIBBLES[data]
    return _varied(
        pa.binary(), len(column), validity, offsets // 2, (nibbles[::2] << 4) | nibbles[1::2]
    )


Dense = tuple[pa.Buffer | None, np.ndarray, np.ndarray]


def _dense(column: pa.Array) -> Dense:
    """Validity, offsets from zero and the bytes of a binary column."""
    if column.offset:
        column = pa.concat_arrays([column])
    validity, offset_buffer, data_buffer = column.buffers()
    count = len(column)
    # Of an empty array or empty values there may be no buffer at all.
    offsets = np.frombuffer(offset_buffer, np.int32, count + 1) if count else np.zeros(1, np.int32)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(data_buffer if last > first else b"", np.uint8)[first:last]
    return validity, offsets.astype(np.int64) - first, data


def _varied(
    kind: pa.DataType,
    count: int,
    validity: pa.Buffer | None,
    offsets: np.ndarray,
    data: np.ndarray,
) -> pa.Array:
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(kind, count, buffers)

"""Rows as MySQL and MariaDB send them, turned into Arrow columns.

Two layouts come in: rows of the binary protocol (a prepared statement's result) and row images of
the binary log. Both go through the same outputs, so that a value loaded and the same value
replicated are equal by construction.

How the binary log is decoded (what the stream needs)::

    metadata = metadata_of(types, block)                # of the table map, one number per column
    fields = [
        log_field(column, type_code, meta, unsigned=..., charset_name="latin1", labels=(...))
        or, for a column that isn't wanted: skipped_field(type_code, meta)
        for every column of the table map, in its order
    ]
    decoder = RowDecoder("shop.orders", fields, native=format == MYSQL_COLUMNS,
                         zero_dates="sentinel", error=CaptureError)      # once per table map
    decoder.missing(present)       # names of wanted columns that an image with this bitmap lacks
    starts = decoder.split(buffer, start, end, (present,))               # insert, delete
    starts = decoder.split(buffer, start, end, (before, after))          # update: before, after, …
    keys = decoder.keys(buffer, starts[0::2], ("id",), before)           # exact stored bytes
    batch = decoder.images(buffer, starts[1::2], after, columns=("id", "name"))

`starts` is an ``array('q')`` of positions in `buffer`, where each image's null bitmap begins;
`buffer` is anything with the buffer protocol and may hold many events: `images` and `keys` take any
positions in any order, so the stream can gather whole transactions first, net them out by key and
have only the surviving images decoded. `present` is the event's bitmap of present columns, as bytes
(None = all present).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from godwit.engines.mysql import layouts as x
from godwit.engines.mysql.charsets import charset
from godwit.engines.mysql.decode_rows import (
    CUT_SHORT,
    NO_LABEL,
    NOT_GEOMETRY,
    NOT_JSON,
    NOT_NUMBER,
    NOT_TEXT,
    ODD,
    TOO_LARGE,
    BadValueError,
    Buffer,
    PythonRows,
    Raw,
)
from godwit.engines.mysql.layouts import (
    Field,
    log_field,
    metadata_of,
    result_field,
    skipped_field,
)
from godwit.engines.mysql.moments import DAY, is_date
from godwit.engines.mysql.value_texts import moment_text
from godwit.errors import DefinitionError, GodwitError, LoadError

__all__ = [
    "COMPILED",
    "Field",
    "RowDecoder",
    "charset",
    "log_field",
    "metadata_of",
    "result_field",
    "scan",
    "skipped_field",
]

#: What may become of dates with zeros; see `RowDecoder`.
ZERO_DATES = ("sentinel", "null", "reject")

_REASONS = {
    CUT_SHORT: ("ends before its end", "the row is damaged, or has another shape than its table"),
    NOT_TEXT: (
        "is not valid in its column's character set",
        "it was stored under another character set than the column says",
    ),
    NO_LABEL: ("is no label of its column", "the column's labels have changed since"),
    NOT_JSON: ("is no JSON document", "the server's own form of it is damaged or of a newer kind"),
    NOT_GEOMETRY: ("is no geometry", "it is not in the form the servers store geometries in"),
    NOT_NUMBER: ("is no number", "the row is damaged, or has another shape than its table"),
    TOO_LARGE: ("makes a batch of more than 2 GiB", "Arrow columns of this kind end there"),
}
_HINT = "correct the row on the source, or leave the column out by a transformation rule"


class Rows(Protocol):
    """What the compiled decoder and its twin have in common."""

    def split(
        self, buffer: Buffer, start: int, end: int, masks: Sequence[bytes | None]
    ) -> array[int]: ...
    def keys(
        self, buffer: Buffer, starts: Sequence[int], positions: Sequence[int], mask: bytes | None
    ) -> list[bytes]: ...
    def images(
        self, buffer: Buffer, starts: Sequence[int], mask: bytes | None, wanted: Sequence[int]
    ) -> list[Raw]: ...
    def results(
        self, buffer: Buffer, starts: Sequence[int], wanted: Sequence[int]
    ) -> list[Raw]: ...


def scan_python(buffer: bytearray, start: int, end: int) -> tuple[array[int], int, int]:
    """Find the rows among the packets in ``buffer[start:end]``, whose last may be incomplete.

    A row longer than a packet goes on in the next ones; its parts are moved together inside the
    buffer.

    Returns:
        Where each row begins (for `RowDecoder.results`); the first byte not taken; and where a
        packet lies that is no row (the end of the result, or an error), -1 when none came.
    """
    starts = array("q")
    p = start
    while True:
        sizes, q = [], p
        while q + 4 <= end:
            size = int.from_bytes(buffer[q : q + 3], "little")
            if q + 4 + size > end:
                return starts, p, -1
            sizes.append(size)
            q += 4 + size
            if size != 0xFFFFFF:
                break
        if not sizes or sizes[-1] == 0xFFFFFF:
            return starts, p, -1
        if not sum(sizes) or buffer[p + 4]:
            return starts, p, p
        begin = p + 4
        if len(sizes) > 1:
            parts, at = [], p
            for size in sizes:
                parts.append(bytes(buffer[at + 4 : at + 4 + size]))
                at += 4 + size
            begin = q - sum(sizes)
            buffer[begin:q] = b"".join(parts)
        starts.append(begin)
        p = q


try:
    from godwit.engines.mysql._decode import (  # type: ignore[import-not-found,unused-ignore]
        CompiledRows as _Rows,
    )
    from godwit.engines.mysql._decode import (  # type: ignore[import-not-found,unused-ignore]
        scan as _scan,
    )

    COMPILED = True
except ImportError:
    _Rows, _scan = PythonRows, scan_python
    COMPILED = False

scan: Callable[[bytearray, int, int], tuple[array[int], int, int]] = _scan


class RowDecoder:
    """Turns rows of one table into record batches.

    Args:
        where: the table, for errors.
        fields: every column on the wire, in order, made by `log_field`, `skipped_field` or
            `result_field`.
        native: keep what only these servers understand: dates with zeros as they write them,
            geometries in their own bytes.
        zero_dates: otherwise, what dates with zeros and dates that don't exist become: ``sentinel``
            (``-infinity``), ``null``, or ``reject`` (an error).
        error: what is raised when a value cannot be decoded.
        rows: the implementation; None = the fastest there is.
    """

    def __init__(
        self,
        where: str,
        fields: Sequence[Field],
        *,
        native: bool = False,
        zero_dates: str = "sentinel",
        error: type[GodwitError] = LoadError,
        rows: Callable[[Sequence[Field]], Rows] | None = None,
    ) -> None:
        if zero_dates not in ZERO_DATES:
            raise DefinitionError(
                f"zero_dates cannot be {zero_dates!r}",
                where=where,
                hint=f"the source's setting zero_dates is one of {', '.join(ZERO_DATES)}",
            )
        if native:
            fields = [replace(f, output=x.BYTES) if f.output == x.EWKB else f for f in fields]
        self.fields = tuple(fields)
        self.names = tuple(f.name for f in self.fields if f.name)
        self._where = where
        self._native = native
        self._zero_dates = zero_dates
        self._error = error
        self._positions = {f.name: i for i, f in enumerate(self.fields) if f.name}
        self._rows: Rows = (rows or _Rows)(self.fields)

    def missing(self, present: bytes | None) -> tuple[str, ...]:
        """Wanted columns that images with this bitmap don't have."""
        if present is None:
            return ()
        return tuple(n for n, i in self._positions.items() if not present[i >> 3] >> (i & 7) & 1)

    def split(
        self, buffer: Buffer, start: int, end: int, present: Sequence[bytes | None]
    ) -> array[int]:
        """Where the images in ``buffer[start:end]`` begin; the bitmaps take turns (an update's
        event has two).
        """
        try:
            return self._rows.split(buffer, start, end, tuple(present))
        except BadValueError as error:
            raise self._refused(error) from None

    def keys(
        self,
        buffer: Buffer,
        starts: Sequence[int],
        columns: Sequence[str],
        present: bytes | None = None,
    ) -> list[bytes]:
        """The stored bytes of these columns in each image: equal bytes, equal values, null
        included.

        Raises:
            KeyError: the images don't have one of the columns.
        """
        positions = [self._positions[name] for name in columns]
        try:
            return self._rows.keys(buffer, _places(starts), positions, present)
        except BadValueError as error:
            raise self._refused(error) from None

    def images(
        self,
        buffer: Buffer,
        starts: Sequence[int],
        present: bytes | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatch:
        """The images at these positions as a batch with these columns (None = all wanted ones).

        Raises:
            KeyError: the images don't have one of the columns.
        """
        names, positions = self._wanted(columns)
        if absent := set(names).intersection(self.missing(present)):
            raise KeyError(min(absent))
        try:
            raws = self._rows.images(buffer, _places(starts), present, positions)
        except BadValueError as error:
            raise self._refused(error) from None
        return self._batch(names, positions, raws, len(starts))

    def results(
        self, buffer: Buffer, starts: Sequence[int], columns: Sequence[str] | None = None
    ) -> pa.RecordBatch:
        """The result's rows at these positions (see `scan`) as a batch."""
        names, positions = self._wanted(columns)
        try:
            raws = self._rows.results(buffer, _places(starts), positions)
        except BadValueError as error:
            raise self._refused(error) from None
        return self._batch(names, positions, raws, len(starts))

    def _wanted(self, columns: Sequence[str] | None) -> tuple[tuple[str, ...], list[int]]:
        names = self.names if columns is None else tuple(columns)
        return names, [self._positions[name] for name in names]

    def _batch(
        self, names: tuple[str, ...], positions: list[int], raws: list[Raw], rows: int
    ) -> pa.RecordBatch:
        if not names:
            return pa.record_batch([pa.nulls(rows)], names=[""]).select([])
        arrays = [self._array(self.fields[p], raw) for p, raw in zip(positions, raws, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, names=list(names))

    def _array(self, field: Field, raw: Raw) -> pa.Array:
        if field.output in (x.DATE, x.MOMENT):
            return self._moments(field, raw)
        validity = pa.py_buffer(raw.validity) if raw.nulls else None
        data = pa.py_buffer(raw.data)
        if not raw.offsets:
            return pa.Array.from_buffers(_number_type(field), raw.rows, [validity, data], raw.nulls)
        kind = pa.binary() if field.output in (x.BYTES, x.EWKB) else pa.string()
        buffers = [validity, pa.py_buffer(raw.offsets), data]
        return pa.Array.from_buffers(kind, raw.rows, buffers, raw.nulls)

    # -- dates

    def _moments(self, field: Field, raw: Raw) -> pa.Array:
        validity = pa.py_buffer(raw.validity) if raw.nulls else None
        numbers = pa.Array.from_buffers(
            pa.int64(), raw.rows, [validity, pa.py_buffer(raw.data)], raw.nulls
        )
        texts: dict[int, str | None] = {}
        if raw.odd:
            odd = pc.less(numbers, ODD // 2)
            texts = {
                row: self._odd_text(field, numbers[row].as_py() - ODD)
                for row in pc.indices_nonzero(odd).to_pylist()
            }
            numbers = pc.if_else(odd, pa.scalar(None, pa.int64()), numbers)
        typed = _typed_moments(field, numbers)
        if all(text is None for text in texts.values()):
            return typed
        shown = _moment_texts(field, typed, native=self._native)
        for row, text in texts.items():
            shown[row] = text
        return pa.array(shown, pa.string())

    def _odd_text(self, field: Field, packed: int) -> str | None:
        date, micros = (packed, 0) if field.output == x.DATE else divmod(packed, DAY)
        year, month, day = date >> 9, date >> 5 & 15, date & 31
        digits = -1 if field.output == x.DATE else field.digits
        text = moment_text(year, month, day, micros, digits).decode()
        if self._native:
            return text
        if is_date(year or 400, month, day) and (month, day) != (2, 29):
            # The servers count a year 0; everybody else calls it the first before Christ.
            return f"0001{text[4:]} BC"
        if self._zero_dates == "reject":
            raise self._error(
                "a date with zeros, or one that does not exist, is not wanted",
                where=f"{self._where}, column {field.name}",
                why="the source's setting zero_dates is reject",
                hint="correct the row on the source, or set zero_dates to null or sentinel",
            )
        return None if self._zero_dates == "null" else "-infinity"

    # -- errors

    def _refused(self, error: BadValueError) -> GodwitError:
        what, why = _REASONS[error.reason]
        name = self.fields[error.position].name if self.fields else ""
        where = f"{self._where}, column {name}" if name else self._where
        return self._error(f"a value {what}", where=where, why=why, hint=_HINT)


def _places(starts: Sequence[int]) -> array[int]:
    return starts if isinstance(starts, array) else array("q", starts)


def _number_type(field: Field) -> Any:
    if field.output == x.SINGLE:
        return pa.float32()
    if field.output == x.DOUBLE:
        return pa.float64()
    kinds = (
        {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}
        if field.unsigned
        else {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}
    )
    return kinds[field.detail]


def _typed_moments(field: Field, numbers: pa.Array) -> pa.Array:
    if field.output == x.DATE:
        return numbers.cast(pa.int32()).cast(pa.date32())
    return numbers.cast(pa.timestamp("us", "UTC" if field.zoned else None))


def _moment_texts(field: Field, typed: pa.Array, *, native: bool) -> list[str | None]:
    """The texts of a column that also has values Arrow cannot show."""
    if field.output == x.DATE:
        return list(typed.cast(pa.string()).to_pylist())
    plain = typed.cast(pa.int64()).cast(pa.timestamp("us")).cast(pa.string()).to_pylist()
    cut = 20 + field.digits if field.digits else 19
    zone = "+00" if field.zoned and not native else ""
    return [None if text is None else text[:cut] + zone for text in plain]

"""Rows on the wire into raw Arrow buffers: the pure-Python twin of ``_decode.pyx``."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from godwit.engines.mysql import layouts as x
from godwit.engines.mysql.binary_json import BrokenJsonError, json_text
from godwit.engines.mysql.charsets import Charset, decoded
from godwit.engines.mysql.moments import DAY, TEMPORAL, Moment, days_of, is_date
from godwit.engines.mysql.value_texts import (
    bits_text,
    decimal_text,
    duration_text,
    inet4_text,
    inet6_text,
    uuid_text,
)

#: Why a value cannot be decoded (`BadValueError.reason`).
CUT_SHORT, NOT_TEXT, NO_LABEL, NOT_JSON, NOT_GEOMETRY, TOO_LARGE, NOT_NUMBER = range(7)

#: Moments that Arrow cannot show are stored as this plus their packed parts.
ODD = -(1 << 62)
_LARGEST = (1 << 31) - 1
_WIDTHS = {1: "b", 2: "h", 4: "i", 8: "q"}
_TEMPORAL_BYTES = {x.TIME2: 3, x.DATETIME2: 5, x.TIMESTAMP2: 4}

Buffer = bytes | bytearray | memoryview
#: What a layout yields before the output makes something of it.
Found = Moment | bytes
#: `(position, field, begin, end)` of each value in a row; a null begins at -1.
Spans = Iterator[tuple[int, x.Field, int, int]]


class BadValueError(Exception):
    """A value that cannot be decoded: the field's position and one of the reasons above."""

    def __init__(self, position: int, reason: int) -> None:
        self.position, self.reason = position, reason
        super().__init__(position, reason)


@dataclass
class Raw:
    """One column: Arrow's buffers. `offsets` is empty for values of fixed width; `odd` counts the
    moments that Arrow cannot show.
    """

    rows: int
    nulls: int
    validity: bytes
    data: bytes
    offsets: bytes
    odd: int = 0


@dataclass
class _Column:
    """Values of one column, gathered."""

    field: x.Field
    values: list[int | bytes | None] = dataclasses.field(default_factory=list)
    odd: int = 0

    def raw(self, position: int) -> Raw:
        present = [value is not None for value in self.values]
        bits = bytearray((len(present) + 7) // 8)
        for i, there in enumerate(present):
            bits[i >> 3] |= there << (i & 7)
        nulls = present.count(False)
        data, offsets = self._buffers(position)
        return Raw(len(present), nulls, bytes(bits) if nulls else b"", data, offsets, self.odd)

    def _buffers(self, position: int) -> tuple[bytes, bytes]:
        output, detail = self.field.output, self.field.detail
        if output == x.INTEGER:
            mask = (1 << detail * 8) - 1
            return b"".join(
                (int(v or 0) & mask).to_bytes(detail, "little") for v in self.values
            ), b""
        if output in (x.SINGLE, x.DOUBLE):
            empty = b"\0" * (4 if output == x.SINGLE else 8)
            return b"".join(v if isinstance(v, bytes) else empty for v in self.values), b""
        if output in (x.DATE, x.MOMENT):
            return array("q", [int(v or 0) for v in self.values]).tobytes(), b""
        offsets = array("i", [0])
        total = 0
        for value in self.values:
            total += len(value) if isinstance(value, bytes) else 0
            if total > _LARGEST:
                raise BadValueError(position, TOO_LARGE)
            offsets.append(total)
        return b"".join(v for v in self.values if isinstance(v, bytes)), offsets.tobytes()


class PythonRows:
    """Decodes rows of these fields; see `godwit.engines.mysql.decode.RowDecoder`."""

    def __init__(self, fields: Sequence[x.Field]) -> None:
        self._fields = tuple(fields)

    def split(
        self, buffer: Buffer, start: int, end: int, masks: Sequence[bytes | None]
    ) -> array[int]:
        """Where the images in ``buffer[start:end]`` begin; masks take turns."""
        view = memoryview(buffer)[:end]
        starts = array("q")
        p = start
        while p < end:
            mask = masks[len(starts) % len(masks)]
            starts.append(p)
            ends = [end for *_, end in self._image(view, p, mask)]
            p = ends[-1] if ends else end
        return starts

    def keys(
        self, buffer: Buffer, starts: Sequence[int], positions: Sequence[int], mask: bytes | None
    ) -> list[bytes]:
        """The stored bytes of these fields of each image; a zero byte before a value, a one instead
        of a null.
        """
        view = memoryview(buffer)
        found = []
        for start in starts:
            spans: dict[int, bytes] = {}
            for position, _field, begin, end in self._image(view, start, mask):
                if position in positions:
                    spans[position] = b"\1" if begin < 0 else b"\0" + bytes(view[begin:end])
                    if len(spans) == len(positions):
                        break
            found.append(b"".join(spans[position] for position in positions))
        return found

    def images(
        self, buffer: Buffer, starts: Sequence[int], mask: bytes | None, wanted: Sequence[int]
    ) -> list[Raw]:
        """The wanted fields of these images."""
        return self._columns(
            memoryview(buffer), starts, wanted, lambda v, p: self._image(v, p, mask)
        )

    def results(self, buffer: Buffer, starts: Sequence[int], wanted: Sequence[int]) -> list[Raw]:
        """The wanted fields of these rows of a result; a start is behind the packet's header."""
        return self._columns(memoryview(buffer), starts, wanted, self._result)

    def _columns(
        self,
        view: memoryview,
        starts: Sequence[int],
        wanted: Sequence[int],
        walk: Callable[[memoryview, int], Spans],
    ) -> list[Raw]:
        columns = {position: _Column(self._fields[position]) for position in wanted}
        for start in starts:
            for position, kept, begin, end in walk(view, start):
                column = columns.get(position)
                if column is None:
                    continue
                if begin < 0:
                    column.values.append(None)
                    continue
                try:
                    _append(column, _found(kept, bytes(view[begin:end])))
                except IndexError:
                    raise BadValueError(position, CUT_SHORT) from None
                except BadValueError as error:
                    raise BadValueError(position, error.reason) from None
        return [columns[position].raw(position) for position in wanted]

    def _present(self, mask: bytes | None) -> list[int]:
        every = range(len(self._fields))
        if mask is None:
            return list(every)
        return [i for i in every if mask[i >> 3] >> (i & 7) & 1]

    def _image(self, view: memoryview, p: int, mask: bytes | None) -> Spans:
        return self._walk(view, p, self._present(mask), 0)

    def _result(self, view: memoryview, p: int) -> Spans:
        return self._walk(view, p + 1, range(len(self._fields)), 2)

    def _walk(self, view: memoryview, p: int, present: Sequence[int], shift: int) -> Spans:
        nulls = p
        p += (len(present) + shift + 7) // 8
        if p > len(view):
            raise BadValueError(0, CUT_SHORT)
        for n, position in enumerate(present):
            kept = self._fields[position]
            if view[nulls + (n + shift >> 3)] >> (n + shift & 7) & 1:
                yield position, kept, -1, p
                continue
            try:
                size = _size(kept, view, p)
            except IndexError:
                raise BadValueError(position, CUT_SHORT) from None
            if p + size > len(view):
                raise BadValueError(position, CUT_SHORT)
            yield position, kept, p, p + size
            p += size


_SIZES = {
    x.FLOAT4: 4,
    x.FLOAT8: 8,
    x.YEAR1: 1,
    x.DATE3: 3,
    x.TIME3: 3,
    x.DATETIME8: 8,
    x.TIMESTAMP4: 4,
}


def _size(kept: x.Field, view: memoryview, p: int) -> int:
    layout = kept.layout
    if layout in (x.INT, x.FIXED, x.PACKED_DECIMAL):
        return kept.size
    if layout in _TEMPORAL_BYTES:
        return _TEMPORAL_BYTES[layout] + (kept.size + 1) // 2
    if layout in (x.RESULT_DATE, x.RESULT_TIME):
        return 1 + view[p]
    if layout == x.PREFIXED:
        if p + kept.size > len(view):
            raise IndexError
        return kept.size + int.from_bytes(view[p : p + kept.size], "little")
    if layout == x.LENENC:
        width = _lenenc_width(view[p])
        if p + width > len(view):
            raise IndexError
        return width + (
            view[p] if width == 1 else int.from_bytes(view[p + 1 : p + width], "little")
        )
    return _SIZES[layout]


def _lenenc_width(first: int) -> int:
    return {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(first, 1)


def _found(kept: x.Field, value: bytes) -> Found:
    """What the layout says the bytes mean; `value` includes a length before them."""
    layout = kept.layout
    if layout == x.INT:
        return int.from_bytes(value, "little", signed=not kept.unsigned)
    if layout == x.YEAR1:
        return value[0] + 1900 if value[0] else 0
    if layout in (x.FLOAT4, x.FLOAT8, x.FIXED, x.PACKED_DECIMAL):
        return value
    if layout == x.PREFIXED:
        return value[kept.size :]
    if layout == x.LENENC:
        return value[_lenenc_width(value[0]) :]
    return TEMPORAL[layout](value, kept.size)


# -- outputs


def _append(column: _Column, found: Found) -> None:
    output = column.field.output
    if isinstance(found, tuple):
        year, month, day, micros = found
        if year and is_date(year, month, day):
            days = days_of(year, month, day)
            column.values.append(days if output == x.DATE else days * DAY + micros)
            return
        column.odd += 1
        packed = (year * 16 + month) * 32 + day
        column.values.append(ODD + (packed if output == x.DATE else packed * DAY + micros))
    elif output == x.DURATION:
        assert isinstance(found, int)
        column.values.append(duration_text(found, column.field.detail))
    elif isinstance(found, int):
        column.values.append(found)
    else:
        column.values.append(_OUTPUTS[output](column.field, found))


def _text(kept: x.Field, value: bytes) -> bytes:
    assert isinstance(kept.extra, Charset)
    text = decoded(value, kept.extra)
    if text is None:
        raise BadValueError(0, NOT_TEXT)
    return text.encode()


def _digits(_kept: x.Field, value: bytes) -> bytes:
    sign, digits = (value[:1], value[1:]) if value[:1] == b"-" else (b"", value)
    stripped = digits.lstrip(b"0")
    return sign + (stripped if stripped[:1].isdigit() else b"0" + stripped)


def _decimal(kept: x.Field, value: bytes) -> bytes:
    assert isinstance(kept.extra, int)
    try:
        return decimal_text(value, kept.detail, kept.extra)
    except ValueError:
        raise BadValueError(0, NOT_NUMBER) from None


def _ewkb(_kept: x.Field, value: bytes) -> bytes:
    if len(value) < 9 or value[4] != 1:
        raise BadValueError(0, NOT_GEOMETRY)
    if value[:4] == b"\0\0\0\0":
        return value[4:]
    kind = int.from_bytes(value[5:9], "little") | 0x20000000
    return b"\1" + kind.to_bytes(4, "little") + value[:4] + value[9:]


def _label(kept: x.Field, value: bytes) -> bytes:
    assert isinstance(kept.extra, tuple)
    number = int.from_bytes(value, "little")
    if number > len(kept.extra):
        raise BadValueError(0, NO_LABEL)
    return b"" if number == 0 else _bytes_of(kept.extra[number - 1])


def _labels(kept: x.Field, value: bytes) -> bytes:
    assert isinstance(kept.extra, tuple)
    number = int.from_bytes(value, "little")
    if number >> len(kept.extra):
        raise BadValueError(0, NO_LABEL)
    return b",".join(_bytes_of(label) for i, label in enumerate(kept.extra) if number >> i & 1)


def _bytes_of(label: bytes) -> bytes:
    return label


def _json(_kept: x.Field, value: bytes) -> bytes:
    try:
        text = json_text(value)
        text.decode()
    except BrokenJsonError:
        raise BadValueError(0, NOT_JSON) from None
    except UnicodeDecodeError:
        raise BadValueError(0, NOT_TEXT) from None
    return text


_OUTPUTS: dict[int, Callable[[x.Field, bytes], bytes]] = {
    x.SINGLE: lambda _kept, value: value,
    x.DOUBLE: lambda _kept, value: value,
    x.DIGITS: _digits,
    x.DECIMAL: _decimal,
    x.TEXT: _text,
    x.BYTES: lambda kept, value: value.ljust(kept.detail, b"\0"),
    x.BITS: lambda kept, value: bits_text(value, kept.detail),
    x.EWKB: _ewkb,
    x.LABEL: _label,
    x.LABELS: _labels,
    x.JSON: _json,
    x.UUID: lambda _kept, value: uuid_text(value),
    x.INET4: lambda _kept, value: inet4_text(value),
    x.INET6: lambda _kept, value: inet6_text(value),
}

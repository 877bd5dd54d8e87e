"""Rows on the wire into raw Arrow buffers: the pure-Python twin of ``_decode.pyx``."""

from __future__ import annotations

import dataclasses
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from godwit.engines.mysql import layouts as x
from godwit.engines.mysql.binary_json import BrokenJsonError, json_text
from godwit.engines.mysql.charsets import Charset, decoded
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
DAY = 86_400_000_000
_LARGEST = (1 << 31) - 1
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_WIDTHS = {1: "b", 2: "h", 4: "i", 8: "q"}
_TEMPORAL_BYTES = {x.TIME2: 3, x.DATETIME2: 5, x.TIMESTAMP2: 4}

Buffer = bytes | bytearray | memoryview
#: What a layout yields before the output makes something of it.
Found = int | bytes | tuple[int, int, int, int]


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
        p, turn = start, 0
        while p < end:
            starts.append(p)
            mask = masks[turn % len(masks)]
            turn += 1
            spans = self._image(view, p, mask)
            p = spans[-1][3] if spans else end
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
            spans = {
                position: b"\1" if begin < 0 else b"\0" + bytes(view[begin:end])
                for position, _field, begin, end in self._image(view, start, mask)
            }
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
        walk: Callable[[memoryview, int], object],
    ) -> list[Raw]:
        columns = {position: _Column(self._fields[position]) for position in wanted}
        for start in starts:
            for position, kept, begin, end in walk(view, start):  # type: ignore[attr-defined]
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

    def _image(
        self, view: memoryview, p: int, mask: bytes | None
    ) -> list[tuple[int, x.Field, int, int]]:
        """`(position, field, begin, end)` of each present value; null begins at -1."""
        present = self._present(mask)
        return self._walk(view, p, present, 0)

    def _result(self, view: memoryview, p: int) -> list[tuple[int, x.Field, int, int]]:
        return self._walk(view, p + 1, range(len(self._fields)), 2)

    def _walk(
        self, view: memoryview, p: int, present: Sequence[int], shift: int
    ) -> list[tuple[int, x.Field, int, int]]:
        nulls = p
        p += (len(present) + shift + 7) // 8
        if p > len(view):
            raise BadValueError(0, CUT_SHORT)
        spans = []
        for n, position in enumerate(present):
            kept = self._fields[position]
            if view[nulls + (n + shift >> 3)] >> (n + shift & 7) & 1:
                spans.append((position, kept, -1, p))
                continue
            try:
                size = _size(kept, view, p)
            except IndexError:
                raise BadValueError(position, CUT_SHORT) from None
            if p + size > len(view):
                raise BadValueError(position, CUT_SHORT)
            spans.append((position, kept, p, p + size))
            p += size
        return spans


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
    return _TEMPORAL[layout](value, kept.size)


# -- dates and times: `(year, month, day, microseconds of the day)`, or signed microseconds


def _result_date(value: bytes, _size: int) -> Found:
    fields = value[1:].ljust(11, b"\0")
    year, month, day, hour, minute, second, micros = struct.unpack("<H5BI", fields)
    return year, month, day, _of_day(hour, minute, second, micros)


def _result_time(value: bytes, _size: int) -> Found:
    negative, days, hour, minute, second, micros = struct.unpack(
        "<BI3BI", value[1:].ljust(12, b"\0")
    )
    total: int = days * DAY + _of_day(hour, minute, second, micros)
    return -total if negative else total


def _of_day(hour: int, minute: int, second: int, micros: int) -> int:
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros


def _date3(value: bytes, _size: int) -> Found:
    packed = int.from_bytes(value, "little")
    return packed >> 9, packed >> 5 & 15, packed & 31, 0


def _time3(value: bytes, _size: int) -> Found:
    packed = int.from_bytes(value, "little", signed=True)
    rest, second = divmod(abs(packed), 100)
    hour, minute = divmod(rest, 100)
    total = _of_day(hour, minute, second, 0)
    return -total if packed < 0 else total


def _datetime8(value: bytes, _size: int) -> Found:
    date, clock = divmod(int.from_bytes(value, "little"), 1_000_000)
    rest, day = divmod(date, 100)
    year, month = divmod(rest, 100)
    return year, month, day, _of_day(clock // 10000, clock // 100 % 100, clock % 100, 0)


def _fraction(value: int, digits: int) -> int:
    return value * int(10 ** (6 - 2 * ((digits + 1) // 2)))


def _time2(value: bytes, digits: int) -> Found:
    width = 8 * (len(value) - 3)
    packed = int.from_bytes(value, "big") - (1 << len(value) * 8 - 1)
    whole, part = divmod(abs(packed), 1 << width)
    total = _of_day(whole >> 12 & 0x3FF, whole >> 6 & 0x3F, whole & 0x3F, _fraction(part, digits))
    return -total if packed < 0 else total


def _datetime2(value: bytes, digits: int) -> Found:
    whole = int.from_bytes(value[:5], "big") - (1 << 39)
    year, month = divmod(whole >> 22, 13)
    part = _fraction(int.from_bytes(value[5:], "big"), digits)
    of_day = _of_day(whole >> 12 & 31, whole >> 6 & 63, whole & 63, part)
    return year, month, whole >> 17 & 31, of_day


def _timestamp4(value: bytes, _size: int) -> Found:
    return _instant(int.from_bytes(value, "little"), 0)


def _timestamp2(value: bytes, digits: int) -> Found:
    part = _fraction(int.from_bytes(value[4:], "big"), digits)
    return _instant(int.from_bytes(value[:4], "big"), part)


def _instant(seconds: int, micros: int) -> Found:
    if not seconds and not micros:
        return 0, 0, 0, 0
    days, rest = divmod(seconds, 86400)
    year, month, day = _civil(days)
    return year, month, day, rest * 1_000_000 + micros


_TEMPORAL: dict[int, Callable[[bytes, int], Found]] = {
    x.RESULT_DATE: _result_date,
    x.RESULT_TIME: _result_time,
    x.DATE3: _date3,
    x.TIME3: _time3,
    x.DATETIME8: _datetime8,
    x.TIMESTAMP4: _timestamp4,
    x.TIME2: _time2,
    x.DATETIME2: _datetime2,
    x.TIMESTAMP2: _timestamp2,
}


def _civil(days: int) -> tuple[int, int, int]:
    days += 719468
    era, doe = divmod(days, 146097)
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    return yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) // 5 + 1


def _days(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era, yoe = divmod(year, 400)
    doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


def is_date(year: int, month: int, day: int) -> bool:
    """It exists; the servers also store dates with zeros and, when told so, days like 31 June."""
    if not (1 <= month <= 12 and day >= 1):
        return False
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day <= _DAYS[month - 1] + leap


# -- outputs


def _append(column: _Column, found: Found) -> None:
    output = column.field.output
    if isinstance(found, tuple):
        year, month, day, micros = found
        if year and is_date(year, month, day):
            days = _days(year, month, day)
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

"""Guesses of keys that lie between two keys. A wrong guess costs a seek, nothing more."""

from __future__ import annotations

import string
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from godwit.engines.mysql.bounds import bound_text, label_number
from godwit.model.catalog import Column, Table
from godwit.model.chunks import Bound
from godwit.model.datatypes import Kind

#: Characters or bytes behind what two keys have in common that are looked at.
_DIGITS = 7
_ALPHABETS = (
    string.digits,
    string.digits + "abcdef",
    string.digits + string.ascii_lowercase,
    "".join(map(chr, range(0x20, 0x7F))),
)
_EPOCH = datetime(1, 1, 1)  # noqa: DTZ001 - these dates have no zone
_MICROSECOND = timedelta(microseconds=1)


def guesses(
    table: Table, columns: Sequence[str], first: Bound, last: Bound, parts: int
) -> Iterator[list[Bound]]:
    """Lists of ascending bounds over the leading columns that cut the range into so many parts,
    each list made in another way.
    """
    place = next((n for n, (a, b) in enumerate(zip(first, last, strict=True)) if a != b), None)
    if place is None:
        return
    column = table.column(columns[place])
    for way in _ways(column):
        with suppress(ValueError, ArithmeticError, IndexError):
            texts = way(column, first[place], last[place], parts)
            yield [(*first[:place], text) for text in dict.fromkeys(texts)]


_Way = Callable[[Column, str, str, int], list[str]]


def _ways(column: Column) -> tuple[_Way, ...]:
    kind = column.type.kind
    if kind is Kind.TEXT:
        return (_texts,)
    if kind in (Kind.UUID, Kind.OPAQUE):
        return (_uuids, _swapped) if kind is Kind.UUID else ()
    return (_WAYS[kind],) if kind in _WAYS else ()


def _steps(ends: Sequence[int], parts: int) -> list[int]:
    """Whole numbers above the low end, up to the high one, that cut the range evenly."""
    low, high = ends
    steps = {low + (high - low) * n // parts for n in range(1, parts)} - {low}
    return sorted(steps or {high})


def _integers(_column: Column, low: str, high: str, parts: int) -> list[str]:
    return list(map(str, _steps((int(low), int(high)), parts)))


def _decimals(column: Column, low: str, high: str, parts: int) -> list[str]:
    scale = column.type.scale or 0
    with localcontext() as context:
        context.prec = 100
        ends = [int(Decimal(text).scaleb(scale)) for text in (low, high)]
        return [format(Decimal(n).scaleb(-scale), "f") for n in _steps(ends, parts)]


def _floats(_column: Column, low: str, high: str, parts: int) -> list[str]:
    """Even steps through the numbers there are: half of all doubles lie between -1 and 1."""
    ends = [_rank(float(text)) for text in (low, high)]
    return [repr(_ranked(n)) for n in _steps(ends, parts)]


def _rank(number: float) -> int:
    """The place of a double among all doubles."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) if bits >= 0 else -(bits + (1 << 63))


def _ranked(rank: int) -> float:
    bits = rank if rank >= 0 else -rank - (1 << 63)
    (number,) = struct.unpack("<d", struct.pack("<q", bits))
    return float(number)


def _labels(column: Column, low: str, high: str, parts: int) -> list[str]:
    ends = [label_number(column, text) for text in (low, high)]
    return [bound_text(column, str(n)) for n in _steps(ends, parts)]


def _moments(column: Column, low: str, high: str, parts: int) -> list[str]:
    ends = [(_moment(text) - _EPOCH) // _MICROSECOND for text in (low, high)]
    moments = (_EPOCH + n * _MICROSECOND for n in _steps(ends, parts))
    form = "%m-%d" if column.type.kind is Kind.DATE else "%m-%d %H:%M:%S.%f"
    return [f"{m.year:04}-{m.strftime(form)}" for m in moments]


def _moment(text: str) -> datetime:
    """Dates that aren't any (zero, of a 31st of February) as one nearby."""
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    year, month = max(int(text[:4]), 1), min(max(int(text[5:7]), 1), 12)
    return datetime(year, month, 1)  # noqa: DTZ001


def _times(_column: Column, low: str, high: str, parts: int) -> list[str]:
    return [_time_text(n) for n in _steps([_time_number(low), _time_number(high)], parts)]


def _time_number(text: str) -> int:
    hours, minutes, seconds = text.lstrip("-").split(":")
    number = (int(hours) * 60 + int(minutes)) * 60_000_000 + int(Decimal(seconds) * 1_000_000)
    return -number if text.startswith("-") else number


def _time_text(number: int) -> str:
    minutes, micros = divmod(abs(number), 60_000_000)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if number < 0 else ""
    return f"{sign}{hours:02}:{minutes:02}:{micros // 1_000_000:02}.{micros % 1_000_000:06}"


def _bytes(_column: Column, low: str, high: str, parts: int) -> list[str]:
    a, b = bytes.fromhex(low), bytes.fromhex(high)
    common = _common(a, b)
    ends = [
        int.from_bytes(v[common : common + _DIGITS].ljust(_DIGITS, b"\0"), "big") for v in (a, b)
    ]
    return [(a[:common] + n.to_bytes(_DIGITS, "big")).hex() for n in _steps(ends, parts)]


def _common(a: Sequence[object], b: Sequence[object]) -> int:
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))


def _texts(column: Column, low: str, high: str, parts: int) -> list[str]:
    a, b = (low, high) if column.byte_equal else (low.lower(), high.lower())
    common = _common(a, b)
    tails = [v[common : common + _DIGITS] for v in (a, b)]
    alphabet = next((x for x in _ALPHABETS if set("".join(tails)) - {"-"} <= set(x)), "")
    if not alphabet:
        # Any script: by the first character that differs.
        ends = [ord(tail[0]) if tail else 0x20 for tail in tails]
        steps = (n for n in _steps(ends, parts) if not 0xD800 <= n < 0xE000)
        return [a[:common] + chr(n) for n in steps]
    numbers = _steps([_number(tail, alphabet) for tail in tails], parts)
    return [a[:common] + _word(n, alphabet) for n in numbers]


def _number(tail: str, alphabet: str) -> int:
    number = 0
    for n in range(_DIGITS):
        digit = alphabet.find(tail[n]) if n < len(tail) else 0
        number = number * len(alphabet) + max(digit, 0)
    return number


def _word(number: int, alphabet: str) -> str:
    word = ""
    for _ in range(_DIGITS):
        number, digit = divmod(number, len(alphabet))
        word = alphabet[digit] + word
    return word


def _uuids(_column: Column, low: str, high: str, parts: int) -> list[str]:
    a, b = (int(v.replace("-", ""), 16) for v in (low, high))
    return [_hyphens(f"{n:032x}") for n in _steps((a, b), parts)]


def _swapped(_column: Column, low: str, high: str, parts: int) -> list[str]:
    """MariaDB orders most UUIDs by their last group first, then the one before it, and so on."""
    a, b = (int("".join(reversed(v.split("-"))), 16) for v in (low, high))
    # The version decides the order: it must stay as it is in the first key.
    numbers = _steps((a, b), parts)
    return [_unswapped(f"{n:032x}", low[14]) for n in numbers]


def _unswapped(digits: str, version: str) -> str:
    cuts = (digits[:12], digits[12:16], digits[16:20], digits[20:24], digits[24:])
    node, clock, high, middle, low = cuts
    return f"{low}-{middle}-{version}{high[1:]}-{clock}-{node}"


def _hyphens(digits: str) -> str:
    cuts = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    return "-".join(digits[start:end] for start, end in cuts)


_WAYS: dict[Kind, _Way] = {
    Kind.INTEGER: _integers,
    Kind.BIT: _integers,
    Kind.DECIMAL: _decimals,
    Kind.FLOAT: _floats,
    Kind.ENUM: _labels,
    Kind.DATE: _moments,
    Kind.TIMESTAMP: _moments,
    Kind.TIME: _times,
    Kind.INTERVAL: _times,
    Kind.BINARY: _bytes,
}

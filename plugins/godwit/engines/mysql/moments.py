"""Dates and times as they lie in rows: the plain twin of what ``_decode.pyx`` does with them.

A layout yields `(year, month, day, microseconds of the day)`, or signed microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from godwit.engines.mysql import layouts as x

DAY = 86_400_000_000
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

Moment = int | tuple[int, int, int, int]


def _result_date(value: bytes, _size: int) -> Moment:
    fields = value[1:].ljust(11, b"\0")
    year, month, day, hour, minute, second, micros = struct.unpack("<H5BI", fields)
    return year, month, day, _of_day(hour, minute, second, micros)


def _result_time(value: bytes, _size: int) -> Moment:
    negative, days, hour, minute, second, micros = struct.unpack(
        "<BI3BI", value[1:].ljust(12, b"\0")
    )
    total: int = days * DAY + _of_day(hour, minute, second, micros)
    return -total if negative else total


def _of_day(hour: int, minute: int, second: int, micros: int) -> int:
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros


def _date3(value: bytes, _size: int) -> Moment:
    packed = int.from_bytes(value, "little")
    return packed >> 9, packed >> 5 & 15, packed & 31, 0


def _time3(value: bytes, _size: int) -> Moment:
    packed = int.from_bytes(value, "little", signed=True)
    rest, second = divmod(abs(packed), 100)
    hour, minute = divmod(rest, 100)
    total = _of_day(hour, minute, second, 0)
    return -total if packed < 0 else total


def _datetime8(value: bytes, _size: int) -> Moment:
    date, clock = divmod(int.from_bytes(value, "little"), 1_000_000)
    rest, day = divmod(date, 100)
    year, month = divmod(rest, 100)
    return year, month, day, _of_day(clock // 10000, clock // 100 % 100, clock % 100, 0)


def _fraction(value: int, digits: int) -> int:
    return value * int(10 ** (6 - 2 * ((digits + 1) // 2)))


def _time2(value: bytes, digits: int) -> Moment:
    width = 8 * (len(value) - 3)
    packed = int.from_bytes(value, "big") - (1 << len(value) * 8 - 1)
    whole, part = divmod(abs(packed), 1 << width)
    total = _of_day(whole >> 12 & 0x3FF, whole >> 6 & 0x3F, whole & 0x3F, _fraction(part, digits))
    return -total if packed < 0 else total


def _datetime2(value: bytes, digits: int) -> Moment:
    whole = int.from_bytes(value[:5], "big") - (1 << 39)
    year, month = divmod(whole >> 22, 13)
    part = _fraction(int.from_bytes(value[5:], "big"), digits)
    of_day = _of_day(whole >> 12 & 31, whole >> 6 & 63, whole & 63, part)
    return year, month, whole >> 17 & 31, of_day


def _timestamp4(value: bytes, _size: int) -> Moment:
    return _instant(int.from_bytes(value, "little"), 0)


def _timestamp2(value: bytes, digits: int) -> Moment:
    part = _fraction(int.from_bytes(value[4:], "big"), digits)
    return _instant(int.from_bytes(value[:4], "big"), part)


def _instant(seconds: int, micros: int) -> Moment:
    if not seconds and not micros:
        return 0, 0, 0, 0
    days, rest = divmod(seconds, 86400)
    year, month, day = _civil(days)
    return year, month, day, rest * 1_000_000 + micros


TEMPORAL: dict[int, Callable[[bytes, int], Moment]] = {
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


def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970 in the proleptic calendar."""
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

"""Row filters on batches, for changes (a full load filters in the source's own SQL).

A value of a condition is understood as the column's type, as a literal in SQL would be: numbers
exactly, dates and times as such, text by code points ("C" collation), NULL as in WHERE (a row
passes only when the condition is true).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from godwit.errors import LoadError
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import Condition, TableMapping
from godwit.steps.columns import FALSE, TRUE, as_text

_NAMES = {
    "eq": "equal",
    "noteq": "not_equal",
    "lte": "less_equal",
    "ste": "less_equal",
    "gte": "greater_equal",
    "gt": "greater",
    "lt": "less",
}
_ARROW: dict[str, Callable[[Any, Any], Any]] = {k: getattr(pc, v) for k, v in _NAMES.items()}
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "noteq": operator.ne,
    "lte": operator.le,
    "ste": operator.le,
    "gte": operator.ge,
    "gt": operator.gt,
    "lt": operator.lt,
}


def filter_columns(mapping: TableMapping) -> frozenset[str]:
    """Source columns that the mapping's filter looks at."""
    groups = mapping.row_filter.groups if mapping.row_filter else ()
    return frozenset(c.column for group in groups for c in group)


def filter_mask(batch: pa.RecordBatch, mapping: TableMapping) -> pa.BooleanArray:
    """True for rows that pass the mapping's filter; never null.

    Raises:
        KeyError: the batch lacks a column of the filter.
        LoadError: a value cannot be understood as its column's type.
    """
    passing = pa.array(np.ones(batch.num_rows, dtype=bool))
    for group in mapping.row_filter.groups if mapping.row_filter else ():
        any_of = None
        for condition in group:
            holds = _holds(batch, mapping, condition)
            any_of = holds if any_of is None else pc.or_kleene(any_of, holds)
        passing = pc.and_kleene(passing, any_of) if any_of is not None else passing
    return pc.fill_null(passing, False)


def _holds(batch: pa.RecordBatch, mapping: TableMapping, condition: Condition) -> pa.Array:
    column = batch.column(condition.column)
    if condition.operator == "null":
        return pc.is_null(column)
    if condition.operator == "notnull":
        return pc.is_valid(column)
    type_of = mapping.source.column(condition.column).type
    where = f"{mapping.source.name}.{condition.column}"
    compare = _comparer(as_text(column), type_of, where)
    if condition.operator in ("between", "notbetween"):
        low, high = condition.values
        inside = pc.and_kleene(compare("gte", low), compare("lte", high))
        return inside if condition.operator == "between" else pc.invert(inside)
    return compare(condition.operator, condition.values[0])


#: Compares a column with one value.
Compare = Callable[[str, str], pa.Array]


def _comparer(text: pa.Array, type_of: DataType, where: str) -> Compare:
    try:
        if type_of.kind is Kind.ENUM:
            return _by_key(text, type_of.labels.index)
        fast = _typed(text, type_of)
        if fast is not None:
            return fast
        return _by_key(text, lambda v: _key(v, type_of))
    except (ValueError, ArithmeticError):
        raise LoadError(
            "the row filter cannot be evaluated",
            where=where,
            why=f"a value of the column cannot be read as {type_of.kind}",
            hint="filter on another column, or by null and notnull",
        ) from None


def _typed(text: pa.Array, type_of: DataType) -> Compare | None:
    """Compare as Arrow values; None when Arrow cannot hold one of them exactly."""
    read = _ARROW_FORMS.get(type_of.kind)
    if read is None:
        return None
    try:
        left = read(text, type_of)
    except pa.ArrowInvalid:
        return None
    if type_of.kind is Kind.FLOAT and pc.any(pc.is_nan(left)).as_py():
        return None  # Arrow's NaN compares with nothing; databases order it

    def compare(name: str, value: str) -> pa.Array:
        try:
            right = read(pa.array([value], pa.string()), type_of)
            if type_of.kind is Kind.FLOAT and np.isnan(right[0].as_py()):
                raise pa.ArrowInvalid("NaN")  # noqa: TRY301
        except pa.ArrowInvalid:
            return _by_key(text, lambda v: _key(v, type_of))(name, value)
        return _ARROW[name](left, right[0])

    return compare


def _timestamps(text: pa.Array, type_of: DataType) -> pa.Array:
    zone = r"([+-]\d\d(?::?\d\d)?|Z)$"
    if not type_of.zoned:
        return pc.cast(
            pc.replace_substring_regex(text, r"(:\d\d(?:\.\d+)?)" + zone, r"\1"), pa.timestamp("us")
        )
    has_zone = pc.match_substring_regex(text, r":\d\d(\.\d+)?" + zone)
    day = pc.match_substring_regex(text, r"^\d{4}-\d\d-\d\d$")
    full = pc.if_else(day, pc.binary_join_element_wise(text, "00:00:00", " "), text)
    zoned = pc.if_else(has_zone, full, pc.binary_join_element_wise(full, "+00", ""))
    return pc.cast(zoned, pa.timestamp("us", "UTC"))


def _booleans(text: pa.Array, type_of: DataType) -> pa.Array:
    del type_of
    lower = pc.utf8_lower(text)
    known = pc.is_in(lower, value_set=pa.array(sorted(TRUE | FALSE), lower.type))
    if pc.any(pc.and_(pc.invert(known), pc.is_valid(lower))).as_py():
        raise ValueError("not a boolean")
    holds = pc.is_in(lower, value_set=pa.array(sorted(TRUE), lower.type))
    return pc.if_else(pc.is_valid(lower), holds, pa.scalar(None, pa.bool_()))


def _texts(text: pa.Array, type_of: DataType) -> pa.Array:
    text = pc.cast(text, pa.large_string())
    return pc.utf8_rtrim(text, " ") if type_of.fixed else text


_ARROW_FORMS: dict[Kind, Callable[[pa.Array, DataType], pa.Array]] = {
    Kind.INTEGER: lambda t, d: pc.cast(t, pa.uint64() if d.unsigned else pa.int64()),
    Kind.DECIMAL: lambda t, _: pc.cast(t, pa.decimal256(76, 38)),
    Kind.FLOAT: lambda t, d: pc.cast(t, pa.float32() if d.bits == 32 else pa.float64()),
    Kind.DATE: lambda t, _: pc.cast(t, pa.date32()),
    Kind.TIMESTAMP: _timestamps,
    Kind.BOOLEAN: _booleans,
    Kind.TEXT: _texts,
    Kind.SET: _texts,
    Kind.UUID: lambda t, _: pc.utf8_lower(pc.cast(t, pa.large_string())),
}


# Value by value, for what Arrow has no exact form of: NaN, infinity, years beyond 9999, 24:00:00.


def _by_key(text: pa.Array, key: Callable[[str], Any]) -> Compare:
    encoded = text.dictionary_encode()
    keys = [key(v) for v in encoded.dictionary.to_pylist()]

    def compare(name: str, value: str) -> pa.Array:
        wanted = key(value)
        holds = pa.array([bool(_PYTHON[name](k, wanted)) for k in keys], pa.bool_())
        return pc.take(holds, encoded.indices)

    return compare


def _key(value: str, type_of: DataType) -> Any:
    if type_of.kind is Kind.INTEGER:
        return int(value)
    if type_of.kind is Kind.DECIMAL:
        number = Decimal(value)
        return (1, Decimal(0)) if number.is_nan() else (0, number)
    if type_of.kind is Kind.FLOAT:
        real = float(np.float32(value)) if type_of.bits == 32 else float(value)
        return (1, 0.0) if real != real else (0, real)
    if type_of.kind is Kind.TIME or (type_of.kind is Kind.INTERVAL and type_of.fixed):
        return _seconds(*_match(_TIME, value))
    if type_of.kind in (Kind.DATE, Kind.TIMESTAMP):
        return _instant(value, type_of)
    raise ValueError("not comparable")


_TIME = re.compile(r"(-?\d+):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?")
_INSTANT = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?"
    r"(Z|[+-]\d\d(?::?\d\d){0,2})?( BC)?"
)


def _match(pattern: re.Pattern[str], value: str) -> Sequence[str | None]:
    match = pattern.fullmatch(value)
    if match is None:
        raise ValueError("unknown form")
    return match.groups()


def _seconds(hours: str | None, minutes: str | None, seconds: str | None, part: str | None) -> int:
    sign = -1 if (hours or "").startswith("-") else 1
    whole = abs(int(hours or 0)) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return sign * (whole * 1_000_000 + int((part or "0").ljust(6, "0")))


def _instant(value: str, type_of: DataType) -> float:
    if value in ("infinity", "-infinity"):
        return float(value)
    year, month, day, *time, zone, era = _match(_INSTANT, value)
    number = int(year or 0)
    days = _days(1 - number if era else number, int(month or 0), int(day or 0))
    instant = days * 86_400_000_000 + _seconds(*time)
    if type_of.zoned and zone and zone != "Z":
        parts = re.findall(r"\d\d", zone)
        offset = sum(int(p) * size for p, size in zip(parts, (3600, 60, 1), strict=False))
        instant -= (-1 if zone[0] == "-" else 1) * offset * 1_000_000
    return instant


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar, for any year."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (
        era * 146097
        + year_of_era * 365
        + year_of_era // 4
        - year_of_era // 100
        + day_of_year
        - 719468
    )

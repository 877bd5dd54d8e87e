"""Columns of rows on their way: text forms, changed data types, masks.

A column is Arrow text, in the canonical form of `godwit.model.values` or in an engine's own, or a
typed Arrow column; its logical type says how to understand it. What comes out of a conversion is
text.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from godwit.errors import LoadError
from godwit.model.datatypes import DataType, Kind

TRUE = frozenset({"t", "true", "1", "y", "yes", "on"})
FALSE = frozenset({"f", "false", "0", "n", "no", "off"})


def is_text(column: pa.Array) -> bool:
    """True for Arrow text."""
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def as_text(column: pa.Array) -> pa.Array:
    """The column as Arrow text: as it is, or the canonical text of typed values."""
    if is_text(column):
        return column
    for holds, convert in _TYPED:
        if holds(column.type):
            return convert(column)
    return pc.cast(column, pa.string())


def _hex(column: pa.Array) -> pa.Array:
    return pa.array(
        [None if v is None else "\\x" + v.hex() for v in column.to_pylist()], pa.string()
    )


def _boolean_text(column: pa.Array) -> pa.Array:
    return pc.cast(pc.cast(column, pa.int8()), pa.string())


def _float_text(column: pa.Array) -> pa.Array:
    text = pc.cast(column, pa.string())
    for found, word in _NUMBER_WORDS:
        text = pc.if_else(pc.equal(text, found), word, text)
    return text


_NUMBER_WORDS = (("nan", "NaN"), ("-nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity"))


def _decimal_text(column: pa.Array) -> pa.Array:
    text = pc.cast(column, pa.string())
    if not pc.any(pc.match_substring(text, "E")).as_py():
        return text
    return pa.array(
        [None if v is None else f"{Decimal(v):f}" for v in text.to_pylist()], pa.string()
    )


def _moment_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        text = pc.cast(pc.cast(column, pa.timestamp("us", "UTC")), pa.string())
        return trimmed_fraction(pc.replace_substring(text, "Z", "+00"))
    return trimmed_fraction(pc.cast(column, pa.string()))


def trimmed_fraction(text: pa.Array) -> pa.Array:
    """Times without zeros at the end of a second's fraction: one text for one moment."""
    text = pc.replace_substring_regex(text, r"(:\d\d\.\d*?)0+($|[^0-9])", r"\1\2")
    return pc.replace_substring_regex(text, r"(:\d\d)\.($|[^0-9])", r"\1\2")


_TYPED: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]], ...] = (
    (pa.types.is_boolean, _boolean_text),
    (pa.types.is_floating, _float_text),
    (pa.types.is_decimal, _decimal_text),
    (pa.types.is_timestamp, _moment_text),
    (pa.types.is_time, _moment_text),
    (pa.types.is_binary, _hex),
    (pa.types.is_large_binary, _hex),
    (pa.types.is_dictionary, lambda column: as_text(column.dictionary_decode())),
)


def retype(column: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    """Text of a value of type `new` for text of one of type `old`.

    Values keep what they say or are refused; only a date made of a timestamp loses its time of day.

    Raises:
        LoadError: a value does not fit; `where` names the column.
    """
    text = as_text(column)
    if old.kind is Kind.BOOLEAN and new.kind is not Kind.BOOLEAN:
        words = ("true", "false") if new.kind is Kind.TEXT else ("1", "0")
        text = _map_boolean(text, *words)
    convert = _CONVERSIONS.get(new.kind)
    return convert(text, old, new, where) if convert else text


def _refuse(where: str, count: int, why: str) -> LoadError:
    return LoadError(
        "values do not fit the changed data type",
        where=where,
        why=f"{count} value(s): {why}",
        hint="change the column to a wider type, or leave out the change-data-type rule",
    )


def _count(mask: pa.Array) -> int:
    return int(pc.sum(pc.fill_null(mask, False)).as_py() or 0)


def _map_boolean(text: pa.Array, true: str, false: str) -> pa.Array:
    lower = pc.utf8_lower(text)
    holds = pc.is_in(lower, value_set=pa.array(sorted(TRUE), lower.type))
    chosen = pc.if_else(holds, pa.scalar(true, text.type), pa.scalar(false, text.type))
    return pc.if_else(pc.is_valid(text), chosen, pa.scalar(None, text.type))


def _to_text(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    del old
    if new.length is not None:
        longer = _count(pc.greater(pc.utf8_length(text), new.length))
        if longer:
            raise _refuse(where, longer, f"longer than {new.length} characters")
    return text


def _to_integer(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    del new
    if old.kind not in (Kind.DECIMAL, Kind.FLOAT):
        return text
    whole = pc.replace_substring_regex(text, r"\.0*$", "")
    odd = pc.invert(pc.match_substring_regex(whole, r"^[+-]?[0-9]+$"))
    if not _count(odd):
        return whole
    return _each(whole, _integral, where, "not a whole number")


def _integral(value: str) -> str:
    number = Decimal(value)
    if number != number.to_integral_value():
        raise ValueError
    return f"{number.to_integral_value():f}"


def _to_decimal(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    if new.scale is None and new.precision is None:
        return text
    scale = new.scale or 0
    if old.kind is Kind.FLOAT:
        return _each(text, lambda v: _scaled(v, scale), where, f"more than {scale} decimal places")
    _no_more_digits(text, scale, where, "decimal places")
    return text


def _scaled(value: str, scale: int) -> str:
    number = Decimal(value)
    if number.is_finite():
        rounded = round(number, scale)
        if rounded != number:
            raise ValueError
        return f"{rounded:f}"
    return value


def _no_more_digits(text: pa.Array, digits: int, where: str, what: str) -> None:
    lost = _count(pc.match_substring_regex(text, rf"\.[0-9]{{{digits}}}[0-9]*[1-9]"))
    if lost:
        raise _refuse(where, lost, f"more than {digits} {what}")


def _to_boolean(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    del new
    if old.kind in (Kind.INTEGER, Kind.DECIMAL):
        other = _count(pc.invert(pc.is_in(text, value_set=pa.array(["0", "1"], text.type))))
        other -= text.null_count
        if other:
            raise _refuse(where, other, "neither 0 nor 1")
    return text


def _to_date(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    del new, where
    if old.kind is not Kind.TIMESTAMP:
        return text
    return pc.replace_substring_regex(text, r"^(\S+?)[ T]\d\S*( BC)?$", r"\1\2")


def _to_time(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    if old.kind is Kind.TIMESTAMP:
        text = pc.replace_substring_regex(text, r"^\S+?[ T](\d\S*)( BC)?$", r"\1")
    return _to_timestamp(text, old, new, where)


def _to_timestamp(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    if old.zoned and not new.zoned:
        # Sessions run in UTC: what is left is the time in UTC.
        text = pc.replace_substring_regex(text, r"(:\d\d(?:\.\d+)?)[+-]\d\d(?::?\d\d)*", r"\1")
    if new.precision is not None and new.precision < 6:
        _no_more_digits(text, new.precision, where, "digits of a second's fraction")
    return text


def _to_binary(text: pa.Array, old: DataType, new: DataType, where: str) -> pa.Array:
    if old.kind is not Kind.BINARY:
        text = _each(text, lambda v: "\\x" + v.encode().hex(), where, "not text")
    if new.length is not None:
        longer = _count(pc.greater(pc.utf8_length(text), 2 + 2 * new.length))
        if longer:
            raise _refuse(where, longer, f"longer than {new.length} bytes")
    return text


_CONVERSIONS: dict[Kind, Callable[[pa.Array, DataType, DataType, str], pa.Array]] = {
    Kind.TEXT: _to_text,
    Kind.INTEGER: _to_integer,
    Kind.DECIMAL: _to_decimal,
    Kind.BOOLEAN: _to_boolean,
    Kind.DATE: _to_date,
    Kind.TIME: _to_time,
    Kind.TIMESTAMP: _to_timestamp,
    Kind.BINARY: _to_binary,
}


def _each(text: pa.Array, convert: Callable[[str], str], where: str, why: str) -> pa.Array:
    """Value by value, each distinct one once: for conversions Arrow has no function for."""
    encoded = text.dictionary_encode()
    try:
        values = pa.array([convert(v) for v in encoded.dictionary.to_pylist()], text.type)
    except (ValueError, InvalidOperation):
        raise _refuse(where, 1, why) from None
    return pc.take(values, encoded.indices)


# Masks


def mask(column: pa.Array, how: str, type: DataType) -> pa.Array:  # noqa: A002
    """The masked column, as text; `how` as in `ColumnMapping.mask`."""
    text = as_text(column)
    if type.kind in (Kind.TIME, Kind.TIMESTAMP, Kind.INTERVAL):
        # The same moment may come typed, or as a text with other zeros behind the point.
        text = trimmed_fraction(text)
    if how == "hash-mask":
        return _each(text, lambda v: hashlib.sha256(v.encode()).hexdigest(), "", "")
    if how == "digits-randomize":
        return _random_integers(text, type) if type.kind is Kind.INTEGER else _random_digits(text)
    char = how.partition(":")[2]
    return pc.replace_substring_regex(text, "[0-9]", "\\\\" if char == "\\" else char)


def _random_digits(text: pa.Array) -> pa.Array:
    """Every digit replaced. In UTF-8 the bytes of digits are nothing but digits."""
    plain = pa.concat_arrays([text])  # offsets from zero
    if plain.offset or not len(plain):
        plain = pa.array(text.to_pylist(), text.type)
    validity, offsets, data = plain.buffers()
    if data is None:
        return plain
    letters = np.frombuffer(data, dtype=np.uint8).copy()
    digits = (letters >= ord("0")) & (letters <= ord("9"))
    count = int(digits.sum())
    random = np.frombuffer(secrets.token_bytes(4 * count), dtype=np.uint32) % 10
    letters[digits] = random.astype(np.uint8) + ord("0")
    buffers = [validity, offsets, pa.py_buffer(letters.tobytes())]
    return pa.Array.from_buffers(plain.type, len(plain), buffers)


def _random_integers(text: pa.Array, type: DataType) -> pa.Array:  # noqa: A002
    """Numbers with as many digits, that the type can hold."""
    largest = 2 ** (type.bits if type.unsigned else type.bits - 1) - 1 if type.bits else None

    def masked(value: str | None) -> str | None:
        if value is None:
            return None
        digits = value.lstrip("+-")
        low, high = (0 if len(digits) == 1 else 10 ** (len(digits) - 1)), 10 ** len(digits)
        high = min(high, largest + 1) if largest is not None else high
        return value[: len(value) - len(digits)] + str(low + secrets.randbelow(max(high - low, 1)))

    return pa.array([masked(v) for v in text.to_pylist()], text.type)

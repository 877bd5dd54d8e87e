"""Values of one column, turned into what LOAD DATA stores exactly in the target's column."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from godwit.engines.mysql.lines import content
from godwit.engines.mysql.refusals import WarnedError
from godwit.engines.mysql.shapes import stored_shape

#: Arrow's slices without an end overflow, depending on the number of rows.
_END = (1 << 31) - 1
_TEXT = pa.string()
_BYTES = pa.large_binary()

#: Numbers of the errors that the server itself would have.
_NO_NULL, _RANGE, _TRUNCATED, _DATE, _NO_CHARACTER = 1048, 1264, 1265, 1292, 1366

#: What stands for values beyond what the server's dates can show, by the setting `infinity`.
_EDGES = {
    "date": ("0001-01-01", "9999-12-31"),
    "datetime": ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"),
    "timestamp": ("1970-01-01 00:00:01", "2038-01-19 03:14:07.999999"),
}
_BEYOND = r"infinity$|BC$|^\d{5,}-"
#: Digits of a second that the server can keep, and how many of each unit make one.
_DIGITS = 6
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_WHOLE = r"^-?\d+(\.0*)?$"
_BEFORE = r"^-|BC$"
_NOT_FINITE = r"^(NaN|-?Infinity)$"
_UTC = r"[+-]00(:00)?$"


class ValueRefusedError(WarnedError):
    """A value that the column cannot hold, noticed before the server would have bent it."""


def refused(number: int, what: str, column: str) -> ValueRefusedError:
    """The error for a value of that column, worded as the server's own are."""
    return ValueRefusedError(number, f"{what} for column `{column}`")


def no_null(column: str) -> ValueRefusedError:
    """The error for a NULL where none is allowed.

    The server would store the next number, the time of day or a zero instead.
    """
    return ValueRefusedError(_NO_NULL, f"Column '{column}' cannot be null")


# -- text


def decoded(array: pa.Array) -> pa.Array:
    """The array without its dictionary, or its nothing."""
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    return pa.nulls(len(array), _TEXT) if pa.types.is_null(array.type) else array


def text(array: pa.Array) -> pa.Array:
    """The canonical text of each value; binary values as they are."""
    kind = array.type
    if _is_text(array) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return array
    if pa.types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    if pa.types.is_boolean(kind):
        return array.cast(pa.int8()).cast(_TEXT)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        texts = array.cast(pa.timestamp(kind.unit)).cast(_TEXT)
        return pc.binary_join_element_wise(texts, "+00", "")
    return array.cast(_TEXT)


def unpadded(array: pa.Array) -> pa.Array:
    """Texts without the blanks at their end."""
    return pc.utf8_rtrim(text(array), " ")


def ascii_text(array: pa.Array, column: str) -> pa.Array:
    """For a column of the character set ascii, in which MariaDB stores any byte it is given."""
    texts = text(array)
    if not content(texts).isascii():
        raise refused(_NO_CHARACTER, "A text that is not ASCII", column)
    return texts


def _mentions(array: pa.Array, *signs: bytes) -> bool:
    """Whether any of these stands somewhere: a quick look that spares a long one."""
    whole = content(array)
    return any(sign in whole for sign in signs)


# -- numbers


def number(array: pa.Array, column: str, policy: str, *, single: bool = False) -> pa.Array:
    """For the target's numbers: those that are no number, or infinite, by the policy.

    `single`: the target's is FLOAT.
    """
    if single and _is_text(array):
        array = _singles(array)
    if pa.types.is_floating(array.type):
        odd = pc.invert(pc.is_finite(array))
        if pc.any(odd).as_py():
            array = _by_policy(array, odd, policy, column)
        # The server reads every number as a double: one that is a float has more digits than its
        # own shortest text.
        return array.cast(pa.float64()).cast(_TEXT)
    texts = text(array)
    if _mentions(texts, b"N", b"I"):
        odd = pc.match_substring_regex(texts, _NOT_FINITE)
        if pc.any(odd).as_py():
            texts = _by_policy(texts, odd, policy, column)
    return texts


def _singles(texts: pa.Array) -> pa.Array:
    """Texts of singles as numbers: the server takes the shortest one of the largest single for too
    large, and rounds twice. Those of doubles that no single can show stay for it to refuse.
    """
    found = texts.cast(pa.float32())
    wide = texts.cast(pa.float64())
    return wide if pc.any(pc.and_(pc.is_inf(found), pc.is_finite(wide))).as_py() else found


def _by_policy(array: pa.Array, odd: pa.Array, policy: str, column: str) -> pa.Array:
    if policy != "null":
        raise refused(_RANGE, "NaN or an infinite number (setting infinity)", column)
    return pc.if_else(odd, pa.scalar(None, array.type), array)


def year(array: pa.Array) -> pa.Array:
    """Four digits: a short number would be a year of this century."""
    return pc.utf8_lpad(text(array), 4, "0")


def integer(array: pa.Array, column: str) -> pa.Array:
    """For the target's whole numbers: the server would round a fraction without a word."""
    kind = array.type
    texts = text(array)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return texts
    if _mentions(texts, b".", b"e", b"E"):
        odd = pc.invert(pc.match_substring_regex(texts, _WHOLE))
        if pc.any(odd).as_py():
            raise refused(_TRUNCATED, "A number with a fraction", column)
    return texts


def whole(array: pa.Array) -> pa.Array:
    """Bit strings for a column of whole numbers."""
    return _mapped(text(array), lambda bits: str(int(bits, 2)) if bits else "0", _TEXT)


def bits(array: pa.Array, width: int, *, of_bits: bool) -> pa.Array:
    """For the target's BIT(width): bytes, from bit strings or whole numbers."""
    size = (width + 7) // 8

    def packed(value: str) -> bytes:
        found = int(value, 2 if of_bits else 10)
        # One that is too large stays so, and the server says it.
        return found.to_bytes(max(size, (found.bit_length() + 7) // 8), "big")

    return _mapped(text(array), packed, _BYTES)


# -- dates and times


def no_finer(array: pa.Array, column: str, digits: int) -> None:
    """Make sure that no value has more digits of a second: the server would round without a word.

    Raises:
        ValueRefusedError: one has.
    """
    kind = array.type
    if digits >= _DIGITS or pa.types.is_date(kind):
        return
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        units = _UNITS[kind.unit]
        step = max(units // 10**digits, 1)
        numbers = array.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
        odd = bool((numbers.fill_null(0).to_numpy(zero_copy_only=False) % step).any())
    else:
        texts = text(array)
        finer = rf"\.\d{{{digits}}}\d*[1-9]"
        odd = _mentions(texts, b".") and bool(
            pc.any(pc.match_substring_regex(texts, finer)).as_py()
        )
    if odd:
        raise refused(_DATE, f"A time with more than {digits} digits of a second", column)


def temporal(array: pa.Array, column: str, kind: str, policy: str | None, digits: int) -> pa.Array:
    """For the target's dates and timestamps.

    Args:
        array: typed or canonical text.
        column: for the error.
        kind: the target's type.
        policy: what becomes of dates it cannot hold; None = texts are the server's own.
        digits: of a second that it keeps.
    """
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp(array.type.unit)).cast(_TEXT)
    texts = text(array)
    if policy is None:
        return texts
    if _mentions(texts, b"+00", b"-00"):
        texts = pc.replace_substring_regex(texts, _UTC, "")
    beyond = pc.match_substring_regex(texts, _BEYOND)
    if not pc.any(beyond).as_py():
        return texts
    if policy == "null":
        return pc.if_else(beyond, pa.scalar(None, texts.type), texts)
    if policy != "sentinel":
        raise refused(_DATE, "A date that is not of the years 1 to 9999 (setting infinity)", column)
    unkept = _DIGITS - digits if digits else _DIGITS + 1
    last = _EDGES[kind][1][:-unkept] if unkept and kind != "date" else _EDGES[kind][1]
    first, last = (pa.scalar(edge, texts.type) for edge in (_EDGES[kind][0], last))
    early = pc.match_substring_regex(texts, _BEFORE)
    return pc.if_else(beyond, pc.if_else(early, first, last), texts)


# -- bytes


def binary(array: pa.Array, *, hexed: bool) -> pa.Array:
    """For the target's bytes; `hexed`: text is the canonical text of bytes."""
    return unhexed(array) if hexed and _is_text(array) else text(array)


def _is_text(array: pa.Array) -> bool:
    return bool(pa.types.is_string(array.type) or pa.types.is_large_string(array.type))


def unhexed(array: pa.Array) -> pa.Array:
    r"""Bytes from ``\x`` and hex digits."""
    digits = pc.binary_slice(array.cast(_BYTES), 2, _END)
    validity, offsets, _data = digits.buffers()
    places = np.frombuffer(offsets, dtype=np.int64)[digits.offset : digits.offset + len(digits) + 1]
    shortened = (places - places[0]) // 2
    if digits.offset and validity is not None:
        validity = pc.is_valid(digits).buffers()[1]
    return pa.Array.from_buffers(
        _BYTES,
        len(digits),
        [
            validity,
            pa.py_buffer(shortened.tobytes()),
            pa.py_buffer(binascii.unhexlify(content(digits))),
        ],
    )


def shapes(array: pa.Array, column: str) -> pa.Array:
    """The server's own geometry from EWKB, or from its hex text."""
    if _is_text(array):
        array = unhexed(array)
    try:
        return pa.array(
            [None if value is None else stored_shape(value) for value in array.to_pylist()], _BYTES
        )
    except ValueError as cause:
        raise refused(1416, f"A geometry that {cause}", column) from None


# -- labels


def check_labels(
    array: pa.Array, column: str, labels: frozenset[str], known: set[str], *, many: bool
) -> int:
    """Make sure every text is a label (`many`: some labels, joined by commas).

    The server would take a number for the place of a label, and another spelling for the label.
    `known` remembers what was found to be right. Returns how many are the empty label that stands
    for a value refused long ago: the server warns of each, and stores it.
    """
    found = {value for value in pc.unique(array).to_pylist() if value is not None} - known
    for value in found:
        if many and set(value.split(",") if value else ()) <= labels:
            continue
        if not many and (value in labels or value == ""):
            continue
        raise refused(_TRUNCATED, "A text that is none of the labels", column)
    known |= found
    if many or "" in labels or "" not in known:
        return 0
    return int(pc.sum(pc.equal(array, pa.scalar("", array.type))).as_py() or 0)


def _mapped(array: pa.Array, function: Callable[[str], Any], kind: pa.DataType) -> pa.Array:
    """A function of each text, computed once for each different one."""
    coded = array.dictionary_encode()
    made: Mapping[str, Any] = {value: function(value) for value in coded.dictionary.to_pylist()}
    return pa.array(made.values(), kind).take(coded.indices)

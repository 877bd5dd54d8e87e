"""Key values as texts: how the server writes them, and how they come back as literals.

A bound travels as a person would write the value: digits, the text itself, hex digits of bytes,
labels of an enum or set. Literals leave the column's own type and collation in charge of the
comparison, so that the key's index finds the rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from godwit.engines.mysql.datatypes import datatype
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import Column, Table
from godwit.model.chunks import Bound
from godwit.model.datatypes import Kind

#: MariaDB's own types that compare with their text.
_TEXTUAL = ("uuid", "inet4", "inet6")
_MOMENTS = (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INTERVAL)

_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_MOMENT = re.compile(r"[0-9:. +-]+")
_ADDRESS = re.compile(r"[0-9a-fA-F:.-]+")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


def orderable(column: Column) -> bool:
    """Whether ranges of this column can be written as texts."""
    kind = column.type.kind
    if kind in (Kind.JSON, Kind.GEOMETRY, Kind.ARRAY):
        return False
    return kind is not Kind.OPAQUE or column.native.lower().startswith(_TEXTUAL)


def text_of(column: Column, place: str) -> str:
    """An expression for the text of the column at `place` (a quoted name)."""
    kind = column.type.kind
    if kind is Kind.BINARY:
        return f"LOWER(HEX({place}))"
    if kind in (Kind.TEXT, Kind.UUID, Kind.OPAQUE):
        return f"CONVERT({place} USING utf8mb4)"
    if kind in (Kind.BIT, Kind.ENUM, Kind.SET) or column.native.lower().startswith("year"):
        # Their order is that of their numbers, whatever their labels say.
        return f"CAST(CAST({place} AS UNSIGNED) AS CHAR)"
    if kind is Kind.FLOAT:
        # As a double: a single one is written with six digits otherwise.
        return f"CAST({place} + 0e0 AS CHAR)"
    return f"CAST({place} AS CHAR)"


def bound_text(column: Column, text: str) -> str:
    """A value as `text_of` writes it, as a bound: numbers of labels become the labels."""
    if column.type.kind is Kind.ENUM:
        labels = datatype(column.native).labels
        return labels[int(text) - 1] if int(text) else ""
    if column.type.kind is Kind.SET:
        labels = datatype(column.native).labels
        return ",".join(label for n, label in enumerate(labels) if int(text) >> n & 1)
    return text


def literal_of(column: Column, text: str) -> str:
    """A bound as a literal that the column's own type compares. It holds no percent sign.

    Raises:
        ValueError: the text is no value of this type; the message doesn't hold the text.
    """
    kind = column.type.kind
    if kind is Kind.TEXT:
        return f"_utf8mb4 x'{text.encode().hex()}'"
    if kind is Kind.BINARY:
        digits = re.sub(r"^(\\x|0x)", "", text)
        return f"x'{_matching(_HEX, digits, 'an even number of hex digits')}'"
    if kind in (Kind.ENUM, Kind.SET):
        return str(_number_of(column, text))
    if kind in (Kind.INTEGER, Kind.BIT):
        return _matching(_INTEGER, text, "an integer")
    if kind is Kind.DECIMAL:
        return _matching(_NUMBER, text, "a number")
    if kind is Kind.FLOAT:
        number = _matching(_NUMBER, text, "a number")
        return number if "e" in number.lower() else f"{number}e0"
    if kind in _MOMENTS:
        return f"'{_matching(_MOMENT, text, 'a date or time')}'"
    return f"'{_matching(_ADDRESS, text, 'a value of its type')}'"


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"it is not {what}")
    return text


def _number_of(column: Column, text: str) -> int:
    labels = datatype(column.native).labels
    if column.type.kind is Kind.ENUM:
        if text in labels:
            return labels.index(text) + 1
        if text == "":
            return 0
        raise ValueError("it is not one of the column's labels")
    wanted = text.split(",") if text else []
    if not set(wanted) <= set(labels):
        raise ValueError("it is not a list of the column's labels")
    return sum(1 << labels.index(label) for label in set(wanted))


def literals(table: Table, columns: Sequence[str], bound: Bound) -> list[str]:
    """The literals of a bound."""
    return [literal_of(table.column(c), t) for c, t in zip(columns, bound, strict=True)]


def key_range(
    table: Table, columns: Sequence[str], lower: Bound | None, upper: Bound | None, alias: str = ""
) -> str:
    """``lower <= key < upper`` as a condition, in the form that the server finds ranges in; "" for
    all rows. (Row comparisons are exact as well, but no index is used for them.)
    """
    names = [f"{alias}.{quoted(c)}" if alias else quoted(c) for c in columns]
    terms = []
    if lower is not None:
        terms.append(_beyond(names, literals(table, columns, lower), ">", ">="))
    if upper is not None:
        terms.append(_beyond(names, literals(table, columns, upper), "<", "<"))
    return " AND ".join(terms)


def _beyond(names: Sequence[str], values: Sequence[str], strict: str, last: str) -> str:
    name, value = names[0], values[0]
    if len(names) == 1:
        return f"{name} {last} {value}"
    rest = _beyond(names[1:], values[1:], strict, last)
    return f"({name} {strict} {value} OR ({name} = {value} AND {rest}))"

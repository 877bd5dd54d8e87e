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
#: Ranges of an enum are lists of labels.
_MOST_LABELS = 100
_MOMENTS = (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INTERVAL)

_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_MOMENT = re.compile(r"[0-9:. +-]+")
_ADDRESS = re.compile(r"[0-9a-fA-F:.-]+")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


def orderable(column: Column) -> bool:
    """Whether ranges of this column can be written as texts."""
    kind = column.type.kind
    if kind in (Kind.JSON, Kind.GEOMETRY, Kind.ARRAY, Kind.SET):
        return False
    if kind is Kind.ENUM:
        return len(column.type.labels) <= _MOST_LABELS
    return kind is not Kind.OPAQUE or column.native.lower().startswith(_TEXTUAL)


def text_of(column: Column, place: str) -> str:
    """An expression for the text of the column at `place` (a quoted name)."""
    kind = column.type.kind
    if kind is Kind.BINARY:
        return f"LOWER(HEX({place}))"
    if kind in (Kind.TEXT, Kind.UUID, Kind.OPAQUE):
        return f"CONVERT({place} USING utf8mb4)"
    if kind in (Kind.BIT, Kind.ENUM) or column.native.lower().startswith("year"):
        # The order of an enum is that of its numbers, whatever its labels say.
        return f"CAST(CAST({place} AS UNSIGNED) AS CHAR)"
    if kind is Kind.FLOAT:
        if column.native.lower().startswith("double") and "(" not in column.native:
            # A computed one is written in 22 characters by MySQL, with digits dropped.
            return f"CAST({place} AS CHAR)"
        # As a double: a single one is written with six digits otherwise.
        return f"CONCAT(IF({place} < 0, '-', ''), CAST(ABS({place} + 0e0) AS CHAR))"
    return f"CAST({place} AS CHAR)"


def bound_text(column: Column, text: str) -> str:
    """A value as `text_of` writes it, as a bound: the number of a label becomes the label."""
    if column.type.kind is Kind.ENUM:
        labels = datatype(column.native).labels
        return labels[int(text) - 1] if int(text) else ""
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
    if kind is Kind.ENUM:
        return _label(bound_text(column, str(label_number(column, text))))
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


def label_number(column: Column, text: str) -> int:
    """The number that an enum keeps for a label; 0 is that of refused values, shown as "".

    Raises:
        ValueError: there is no such label; the message doesn't hold the text.
    """
    # Not `column.type`: its labels may begin with one for refused values.
    labels = datatype(column.native).labels
    if text in labels:
        return labels.index(text) + 1
    if text == "":
        return 0
    raise ValueError("it is not one of the column's labels")


def _label(label: str) -> str:
    return f"_utf8mb4 x'{label.encode().hex()}'"


def _labels_beyond(column: Column, name: str, text: str, sign: str) -> str:
    """``name > text`` or ``name < text`` by numbers: the server would compare labels as texts."""
    number, labels = label_number(column, text), ("", *datatype(column.native).labels)
    beyond = labels[number + 1 :] if sign == ">" else labels[:number]
    return f"{name} IN ({', '.join(map(_label, beyond))})" if beyond else "FALSE"


def key_range(
    table: Table, columns: Sequence[str], lower: Bound | None, upper: Bound | None, alias: str = ""
) -> str:
    """``lower <= key < upper`` as a condition that the server uses an index for; "" = all rows.

    Row comparisons would be exact as well, but no index is used for them.
    """
    terms = []
    if lower is not None:
        terms.append(_beyond(table, columns, lower, alias, ">="))
    if upper is not None and any(table.column(c).nullable for c in columns):
        # The comparison of a row with nulls may be unknown. "Is it true" still splits the table:
        # what is at or above a bound for certain is so for every smaller one; the rest lies below.
        terms.append(f"({_beyond(table, columns, upper, alias, '>=')}) IS NOT TRUE")
    elif upper is not None:
        terms.append(_beyond(table, columns, upper, alias, "<"))
    return " AND ".join(terms)


def _beyond(table: Table, columns: Sequence[str], bound: Bound, alias: str, sign: str) -> str:
    column, text = table.column(columns[0]), bound[0]
    name = f"{alias}.{quoted(columns[0])}" if alias else quoted(columns[0])
    value = literal_of(column, text)
    if column.type.kind is Kind.ENUM:
        strict = _labels_beyond(column, name, text, sign[0])
    elif len(columns) == 1:
        return f"{name} {sign} {value}"
    else:
        strict = f"{name} {sign[0]} {value}"
    if len(columns) == 1:
        return strict if sign == "<" else f"({strict} OR {name} = {value})"
    rest = _beyond(table, columns[1:], bound[1:], alias, sign)
    return f"({strict} OR ({name} = {value} AND {rest}))"

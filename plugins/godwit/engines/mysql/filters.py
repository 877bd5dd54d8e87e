"""Row filters in the source's own SQL, exact as on changes: see `godwit.steps.filters`.

Text is compared by its characters, in the order of their code points, whatever the column's
collation says; other values as their column's type.
"""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from godwit.engines.mysql.bounds import label_number, literal_of
from godwit.engines.mysql.names import quoted
from godwit.errors import LoadError
from godwit.model.catalog import Column, Table
from godwit.model.datatypes import Kind
from godwit.model.mapping import Condition, RowFilter

_TEXTS = (Kind.TEXT, Kind.SET)
_PLAIN = re.compile(r"[0-9A-Za-z _.,:/-]*")
_OPERATORS = {"eq": "=", "noteq": "<>", "lte": "<=", "ste": "<=", "gte": ">=", "gt": ">", "lt": "<"}


def filter_terms(table: Table, row_filter: RowFilter) -> tuple[list[str], list[str]]:
    """One condition per group of the filter, all of which must hold, and their parameters (none:
    values are literals here).

    Raises:
        LoadError: a value of the filter cannot be read as its column's type.
    """
    terms = [
        "(" + " OR ".join(_condition(table, c) for c in group) + ")" for group in row_filter.groups
    ]
    return terms, []


def _condition(table: Table, condition: Condition) -> str:
    column = table.column(condition.column)
    name = quoted(column.name)
    if condition.operator in {"null", "notnull"}:
        return f"{name} IS NULL" if condition.operator == "null" else f"{name} IS NOT NULL"
    try:
        values = [_literal(column, value) for value in condition.values]
    except (ValueError, InvalidOperation) as reason:
        raise LoadError(
            "a value of the row filter cannot be read as its column's type",
            where=f"{table.name}, column {column.name}",
            why=str(reason) if isinstance(reason, ValueError) else "it is not a number",
            hint="correct the filter condition in the definition",
        ) from None
    compared = _compared(column, name)
    if condition.operator in {"between", "notbetween"}:
        word = "BETWEEN" if condition.operator == "between" else "NOT BETWEEN"
        return f"{compared} {word} {values[0]} AND {values[1]}"
    term = f"{compared} {_OPERATORS[condition.operator]} {values[0]}"
    plain = condition.operator == "eq" and _PLAIN.fullmatch(condition.values[0])
    if plain and column.type.kind is Kind.TEXT:
        # What is equal is so for every collation, and an index may serve that. (Texts that not
        # every character set has cannot be compared with all columns.)
        return f"({name} = {literal_of(column, condition.values[0])} AND {term})"
    return term


def _compared(column: Column, name: str) -> str:
    if column.type.kind in _TEXTS:
        return f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
    if column.type.kind is Kind.FLOAT:
        return f"({name} + 0e0)"
    if column.type.kind is Kind.ENUM:
        # In the order of its labels.
        return f"({name} + 0)"
    return name


def _literal(column: Column, text: str) -> str:
    kind = column.type.kind
    if kind in _TEXTS:
        return f"x'{(text.rstrip(' ') if column.type.fixed else text).encode().hex()}'"
    if kind is Kind.ENUM:
        return str(label_number(column, text))
    if kind is Kind.FLOAT:
        number = float(text)
        if column.type.bits == 32:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        return literal_of(column, repr(number))
    if kind is Kind.DECIMAL:
        # An exponent would make it a double.
        return literal_of(column, f"{Decimal(text):f}")
    if kind in (Kind.DATE, Kind.TIMESTAMP):
        return literal_of(column, _moment(column, text))
    return literal_of(column, text)


def _moment(column: Column, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if moment.tzinfo is None:
        return text
    if column.type.zoned:
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None).isoformat(" ")

"""Added columns: expressions of rules, evaluated by SQLite over a batch."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from godwit.errors import LoadError
from godwit.model.datatypes import DataType, Kind
from godwit.model.expressions import Expression, Value, evaluate, parse_expression
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.steps.columns import FALSE, TRUE, as_text

OPERATIONS = {"I": "INSERT", "U": "UPDATE", "D": "DELETE"}


@dataclass(frozen=True)
class Headers:
    """Facts of a change, for ``$AR_H_…``. Rows of a full load have no position.

    One batch of changes shares them: they are those of its last transaction.
    """

    stream_position: str = ""
    change_seq: str = ""
    timestamp: datetime | None = None
    commit_timestamp: datetime | None = None

    def facts(self, operation: str) -> dict[str, Value]:
        """Values by name. Times are UTC; a full load's are the present."""
        now = datetime.now(UTC)
        return {
            "AR_H_STREAM_POSITION": self.stream_position,
            "AR_H_CHANGE_SEQ": self.change_seq,
            "AR_H_TIMESTAMP": _time(self.timestamp or self.commit_timestamp or now),
            "AR_H_COMMIT_TIMESTAMP": _time(self.commit_timestamp or now),
            "AR_H_OPERATION": OPERATIONS[operation],
            "AR_H_USER": None,
        }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def added_columns(
    batch: pa.RecordBatch,
    mapping: TableMapping,
    columns: list[ColumnMapping],
    headers: Headers,
    operation: str,
) -> list[pa.Array]:
    """Values of these added columns, as text.

    Raises:
        LoadError: SQLite refuses a value, or the result does not fit the column's type.
    """
    expressions = [parse_expression(c.expression or "") for c in columns]
    names = list(dict.fromkeys(n for e in expressions for n in e.columns))
    inputs = [_values(batch.column(n), mapping, n) for n in names]
    rows = zip(*inputs, strict=True) if inputs else ((),) * batch.num_rows
    facts = headers.facts(operation) | {
        "AR_M_SOURCE_SCHEMA": mapping.source.name.schema,
        "AR_M_SOURCE_TABLE_NAME": mapping.source.name.name,
        "AR_M_MODIFIED_SCHEMA": mapping.target.schema,
        "AR_M_MODIFIED_TABLE_NAME": mapping.target.name,
    }
    found = _evaluate(expressions, rows, names, facts, operation, mapping)
    results: list[tuple[Value, ...]] = list(zip(*found, strict=True)) or [()] * len(columns)
    return [
        _result(values, c.type or DataType(Kind.TEXT), f"{mapping.source.name}: {c.target}")
        for c, values in zip(columns, results, strict=True)
    ]


def deleted_mark(mapping: TableMapping) -> tuple[str, str] | None:
    """By which column and value a row of the target is known to be deleted on the source.

    None where no column says so by the same value for every row.
    """
    row = pa.record_batch({"": pa.array([""])})
    for column in mapping.columns:
        expression = parse_expression(column.expression or "")
        if not expression.marks_deletes or expression.columns or expression.volatile or column.mask:
            continue
        marks = [
            added_columns(row, mapping, [column], Headers(), operation)[0][0].as_py()
            for operation in ("D", "U", "I")
        ]
        if marks[0] is not None and marks[0] not in marks[1:]:
            return column.target, marks[0]
    return None


def _evaluate(
    expressions: list[Expression],
    rows: Any,
    names: list[str],
    facts: dict[str, Value],
    operation: str,
    mapping: TableMapping,
) -> list[tuple[Value, ...]]:
    try:
        return evaluate(expressions, rows, names, facts, operation)
    except (sqlite3.Error, OverflowError, ValueError) as cause:
        # SQLite's own messages name functions and limits, never values.
        raise LoadError(
            "an add-column expression cannot be evaluated",
            where=str(mapping.source.name),
            why=str(cause) if isinstance(cause, sqlite3.Error) else type(cause).__name__,
            hint="correct the expression of the add-column rule",
        ) from None


def _values(column: pa.Array, mapping: TableMapping, name: str) -> list[Value]:
    """A column as SQLite's values."""
    kind, where = mapping.source.column(name).type.kind, f"{mapping.source.name}.{name}"
    texts: list[str | None] = as_text(column).to_pylist()
    convert = _TO_SQLITE.get(kind)
    if convert is None:
        return list(texts)
    try:
        return [None if t is None else convert(t) for t in texts]
    except ValueError as cause:
        raise LoadError(
            "a value cannot be used in an expression",
            where=where,
            why=str(cause),
            hint="leave the column out of the expression; plain columns carry every value",
        ) from None


def _integer(text: str) -> Value:
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError("SQLite's integers end at 64 bits")
    return number


def _decimal(text: str) -> Value:
    number = Decimal(text)
    if number.is_finite() and number == number.to_integral_value() and abs(number) < 2**63:
        return int(number)
    real = float(number)
    if number.is_finite() and Decimal(repr(real)) != number:
        raise ValueError("SQLite's numbers have about 15 digits, and the value has more")
    return real


def _float(text: str) -> Value:
    return float(text)


def _boolean(text: str) -> Value:
    lower = text.lower()
    if lower not in TRUE | FALSE:
        raise ValueError("not a boolean")
    return int(lower in TRUE)


def _timestamp(text: str) -> Value:
    return re.sub(r"([+-]\d\d)$", r"\1:00", text) if ":" in text else text


def _bytes(text: str) -> Value:
    return bytes.fromhex(text[2:]) if text.startswith("\\x") else text.encode()


_TO_SQLITE = {
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.FLOAT: _float,
    Kind.BOOLEAN: _boolean,
    Kind.TIMESTAMP: _timestamp,
    Kind.BINARY: _bytes,
}


def _result(values: tuple[Value, ...], type_of: DataType, where: str) -> pa.Array:
    try:
        return pa.array([None if v is None else _text(v, type_of) for v in values], pa.string())
    except ValueError as cause:
        raise LoadError(
            "the value of an added column does not fit its data type",
            where=where,
            why=str(cause),
            hint="change the rule's data-type, or its expression, e.g. with round() or substr()",
        ) from None


def _text(value: str | int | float | bytes, type_of: DataType) -> str:
    if type_of.kind is Kind.BINARY:
        data = value if isinstance(value, bytes) else str(value).encode()
        return "\\x" + data.hex()
    if isinstance(value, bytes):
        value = value.decode()  # UnicodeDecodeError is a ValueError
    if isinstance(value, float):
        value = _number(value, type_of)
    text = str(value)
    if type_of.kind is Kind.BOOLEAN and text.lower() not in TRUE | FALSE:
        raise ValueError("neither true nor false")
    if type_of.kind is Kind.TEXT and type_of.length is not None and len(text) > type_of.length:
        raise ValueError(f"longer than {type_of.length} characters")
    return text


def _number(value: float, type_of: DataType) -> str:
    if type_of.kind is Kind.INTEGER:
        if value != int(value):
            raise ValueError("not a whole number")
        return str(int(value))
    if type_of.kind is Kind.DECIMAL and type_of.scale is not None:
        rounded = round(Decimal(repr(value)), type_of.scale)
        if abs(float(rounded) - value) > 1e-9 * max(1.0, abs(value)):
            raise ValueError(f"more than {type_of.scale} decimal places")
        return f"{rounded:f}"
    return repr(value)

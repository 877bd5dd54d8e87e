"""What can be wrong with a mapping as a whole: identity, filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from godwit.model.catalog import Column, Table
from godwit.model.datatypes import DataType, Kind
from godwit.model.expressions import parse_expression
from godwit.model.mapping import Condition, TableMapping
from godwit.model.report import Finding, Severity

COMPARABLE = frozenset(
    {
        Kind.BOOLEAN,
        Kind.INTEGER,
        Kind.DECIMAL,
        Kind.FLOAT,
        Kind.TEXT,
        Kind.DATE,
        Kind.TIME,
        Kind.TIMESTAMP,
        Kind.UUID,
        Kind.ENUM,
    }
)

_SHAPES = {
    Kind.BOOLEAN: r"(?i)t|f|true|false|0|1|yes|no|y|n|on|off",
    Kind.INTEGER: r"[+-]?\d+",
    Kind.DECIMAL: r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?",
    Kind.FLOAT: r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?",
    Kind.DATE: r"\d{4,}-\d\d-\d\d",
    Kind.TIME: r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?",
    Kind.TIMESTAMP: r"\d{4,}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?",
    Kind.UUID: r"(?i)[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}",
}


def check_conditions(table: Table, conditions: Sequence[Condition], label: str) -> list[Finding]:
    """Filter conditions whose column is missing or cannot be compared with the value."""
    found = []
    for condition in conditions:
        column = next((c for c in table.columns if c.name == condition.column), None)
        subject = f"{table.name}.{condition.column}"
        if column is None or column.generated is not None:
            what = (
                "there is no such column"
                if column is None
                else "the column is computed, and not in the log"
            )
            hint = (
                "correct column-name (case matters)"
                if column is None
                else "filter on the columns it is made of"
            )
            found.append(
                Finding("filter-column", Severity.ERROR, subject, f"{label}: {what}", hint)
            )
            continue
        reason = _not_comparable(column, condition)
        if reason:
            hint = (
                "write the value as the column's type does, e.g. 2024-12-31 or 2024-12-31 08:30:00"
            )
            found.append(
                Finding("filter-value", Severity.ERROR, subject, f"{label}: {reason}", hint)
            )
    return found


def _not_comparable(column: Column, condition: Condition) -> str:
    type_of = column.type
    if condition.operator in ("null", "notnull"):
        return ""
    if type_of.kind is Kind.TEXT and not column.byte_equal:
        return "the column takes different texts for equal; a filter on changes cannot"
    if type_of.kind not in COMPARABLE or (type_of.kind is Kind.TIME and type_of.zoned):
        return f"a {type_of.kind} column can only be filtered by null and notnull"
    if type_of.kind is Kind.ENUM:
        wrong = next((v for v in condition.values if v not in type_of.labels), None)
        return "" if wrong is None else f"{wrong!r} is no label of the column"
    shape = _SHAPES.get(type_of.kind)
    wrong = next((v for v in condition.values if shape and not re.fullmatch(shape, v)), None)
    if wrong is not None:
        return f"{wrong!r} is no {type_of.kind}"
    return next(
        (f"the column cannot hold {v!r}" for v in condition.values if not _fits(type_of, v)), ""
    )


def _fits(type_of: DataType, value: str) -> bool:
    """False for values that a literal of the column's type would cut, round or refuse."""
    if type_of.kind is Kind.TEXT:
        return type_of.length is None or len(value) <= type_of.length
    if type_of.kind is Kind.INTEGER and type_of.bits:
        low = 0 if type_of.unsigned else -(2 ** (type_of.bits - 1))
        return low <= int(value) < low + (1 << type_of.bits)
    if type_of.kind is Kind.DECIMAL and type_of.precision is not None:
        number, scale = Decimal(value), type_of.scale or 0
        return round(number, scale) == number and abs(number) < 10 ** (type_of.precision - scale)
    if type_of.kind is Kind.TIMESTAMP and type_of.precision is not None:
        fraction = re.search(r"\.(\d*?)0*(?:Z|[+-]|$)", value)
        return fraction is None or len(fraction[1]) <= type_of.precision
    return True


def check_mapping(mapping: TableMapping, *, captures: bool) -> list[Finding]:
    """Findings about identity and columns of one table."""
    table = mapping.source
    found: list[Finding] = []
    if not mapping.columns and table.stored_columns:
        found.append(
            Finding(
                "no-columns",
                Severity.ERROR,
                str(table.name),
                "no column is left",
                "remove fewer columns, or leave the table out",
            )
        )
    grave = Severity.ERROR if captures else Severity.WARNING
    lost = [c for c in table.identity if c not in mapping.target_names]
    if lost:
        found.append(
            Finding(
                "identity-dropped",
                grave,
                str(table.name),
                f"{lost[0]} belongs to the row identity and does not reach the target",
                "keep the column: changes and validation find rows by it",
            )
        )
    found += _declared(mapping, captures=captures) + _masked_identity(mapping, grave)
    if (
        captures
        and not table.identity
        and any(
            c.expression and parse_expression(c.expression).marks_deletes for c in mapping.columns
        )
    ):
        found.append(
            Finding(
                "soft-delete",
                Severity.ERROR,
                str(table.name),
                "operation_indicator needs a row identity, and the table has none",
                "give the table a primary key, or remove the rule",
            )
        )
    return found


def _masked_identity(mapping: TableMapping, grave: Severity) -> list[Finding]:
    found = []
    for column in mapping.columns:
        mask = column.mask or ""
        in_identity = column.source in (mapping.source.identity or mapping.target_names)
        if in_identity and column.source and mask and mask != "hash-mask":
            found.append(
                Finding(
                    "identity-masked",
                    grave,
                    f"{mapping.source.name}.{column.source}",
                    f"{mask} leaves rows that cannot be told apart, or found again",
                    "use hash-mask for key columns",
                )
            )
    return found


def _declared(mapping: TableMapping, *, captures: bool) -> list[Finding]:
    names, table = mapping.target_names, mapping.source
    natural = {names.get(c) for c in table.identity}
    if not mapping.identity or set(mapping.identity) == natural:
        return []
    sources = {c.target: c.source for c in mapping.columns}
    chosen = {sources.get(c) for c in mapping.identity}
    unique = any(set(key.columns) <= chosen for key in table.keys)
    if captures:
        return [
            Finding(
                "primary-key",
                Severity.ERROR,
                str(table.name),
                "define-primary-key names other columns than the row identity of the source's log",
                "declare the key on the source, or use a full load",
            )
        ]
    if unique:
        return []
    return [
        Finding(
            "primary-key",
            Severity.WARNING,
            str(table.name),
            "the columns of define-primary-key are not known to be unique on the source",
            "rows that share them make the load fail",
        )
    ]

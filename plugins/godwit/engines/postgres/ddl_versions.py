"""What older PostgreSQL versions cannot express."""

from __future__ import annotations

import re
from dataclasses import replace

from godwit.engines.postgres.objects_keys import IndexShape
from godwit.engines.postgres.objects_shapes import ColumnShape
from godwit.engines.postgres.objects_tables import COMPRESSION_SINCE
from godwit.model.catalog import NativeObject

VIRTUAL_SINCE = 180000
NAMED_NOT_NULL_SINCE = 180000
PARTITIONED_EXCLUSION_SINCE = 170000
MULTIRANGE_SINCE = 140000

WIDE_SCALE_SINCE = 150000
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")

#: `(kinds, pattern, first version that knows it, what it is)`.
_NEWER: tuple[tuple[frozenset[str], re.Pattern[str], int, str], ...] = tuple(
    (frozenset(kinds), re.compile(pattern), since, what)
    for kinds, pattern, since, what in (
        ({"unique constraint", "index"}, r"\bNULLS NOT DISTINCT\b", 150000, "NULLS NOT DISTINCT"),
        (
            {"primary key", "unique constraint", "foreign key"},
            r"\b(WITHOUT OVERLAPS|PERIOD)\b",
            180000,
            "temporal keys",
        ),
        ({"check constraint", "foreign key"}, r"\bNOT ENFORCED\b", 180000, "NOT ENFORCED"),
        ({"not-null constraint"}, r"", 180000, "NOT NULL constraints that are NOT VALID"),
        ({"view"}, r"\bsecurity_invoker\b", 150000, "security_invoker views"),
        ({"function", "procedure"}, r"\bBEGIN ATOMIC\b", 140000, "routines with a parsed SQL body"),
        (
            {"foreign key"},
            r"\bON DELETE SET (NULL|DEFAULT) \(",
            150000,
            "ON DELETE SET NULL (column)",
        ),
        ({"collation"}, r"provider = builtin", 170000, "the builtin collation provider"),
        ({"collation"}, r"\brules = ", 160000, "collation rules"),
        ({"statistics"}, r" ON \(", 140000, "statistics on expressions"),
        ({"domain", "composite type"}, r"multirange", MULTIRANGE_SINCE, "multirange types"),
    )
)


def newer_objects() -> list[tuple[str, int]]:
    """What older targets lack and the first version that has it, for the support matrix."""
    named = [(what, since // 10000) for _, _, since, what in _NEWER]
    exclusion = "exclusion constraints of partitioned tables"
    return [*named, (exclusion, PARTITIONED_EXCLUSION_SINCE // 10000)]


def refused(thing: NativeObject, version: int) -> str:
    """Why a target of that version cannot have the object; empty when it can."""
    for kinds, pattern, since, what in _NEWER:
        if version < since and thing.kind in kinds and pattern.search(thing.definition):
            return f"{what} exist since PostgreSQL {since // 10000}"
    if (
        isinstance(thing, IndexShape)
        and thing.kind == "exclusion constraint"
        and thing.partitioned
        and version < PARTITIONED_EXCLUSION_SINCE
    ):
        return "exclusion constraints of partitioned tables exist since PostgreSQL 17"
    return ""


def fit_column(column: ColumnShape, version: int) -> tuple[ColumnShape, list[str]]:
    """The column as a target of that version can have it, and what had to change."""
    notes = []
    if version < NAMED_NOT_NULL_SINCE:
        column = replace(column, not_null_name="")
    if column.compression and version < COMPRESSION_SINCE:
        column = replace(column, compression="")
        notes.append("its compression method is not kept: the target's version has only one")
    if column.generated == "v" and version < VIRTUAL_SINCE:
        column = replace(column, generated="s")
        notes.append("it is stored instead of virtual, which exists since PostgreSQL 18")
    if version < WIDE_SCALE_SINCE and _has_wide_scale(column.type):
        column = replace(column, type=_NUMERIC.sub("numeric", column.type))
        notes.append("numeric without limits: a scale below 0 or above the precision came with 15")
    if "multirange" in column.type and version < MULTIRANGE_SINCE:
        notes.append("multirange types exist since PostgreSQL 14; the target will refuse the table")
    return column, notes


def _has_wide_scale(kind: str) -> bool:
    found = _NUMERIC.match(kind)
    return found is not None and not 0 <= int(found[2]) <= int(found[1])

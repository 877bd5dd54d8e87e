"""Columns that a mapping adds or retypes: made from a logical type alone."""

from __future__ import annotations

from godwit.engines.postgres.datatypes import spelling
from godwit.engines.postgres.objects_shapes import ColumnShape
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping


def added_column(column: ColumnMapping) -> ColumnShape:
    """A column that the source doesn't have, or has under another type."""
    return ColumnShape(column.target, spelling(column.type or DataType(Kind.TEXT)))

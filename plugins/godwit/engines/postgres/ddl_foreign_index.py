"""Indexes of another engine as PostgreSQL's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from godwit.engines.postgres.catalog import ENGINE_NAME
from godwit.engines.postgres.ddl_trial import Piece
from godwit.engines.postgres.names import quoted
from godwit.model.catalog import Index, IndexPart
from godwit.model.datatypes import DataType, Kind
from godwit.model.dialects import translate

if TYPE_CHECKING:
    from godwit.engines.postgres.ddl_foreign_table import TablePlan

#: An entry of a btree must fit in a third of a page.
MAX_ENTRY_BYTES = 2704
BYTES_PER_CHARACTER = 4
_HAND = "make one on the target by hand that serves its queries"
_ORDERED = frozenset({"btree", "hash", "rtree"})


def index_piece(plan: TablePlan, index: Index) -> Piece | None:
    """The index to be tried; None when it cannot be said, which is a finding then."""
    what = f"{'unique index' if index.unique else 'index'} {index.name}"
    subject = f"{what} of {plan.mapping.target}"
    if not plan.arriving(tuple(part.column for part in index.parts), what):
        return None
    method = "btree"
    if index.kind == "spatial":
        method = "gist"
        if plan.choices.geometry is None:
            plan.note("index-left-out", subject, "PostGIS is not on the target", _HAND)
            return None
    elif index.kind not in _ORDERED:
        reason = f"PostgreSQL has no {index.kind} index of this kind"
        hint = "a GIN index over to_tsvector(…) is the nearest; queries must be written anew"
        plan.note("index-left-out", subject, reason, hint if index.kind == "fulltext" else _HAND)
        return None
    parts = [_part(plan, index, part, method) for part in index.parts]
    where = translate(index.where, plan.dialect, ENGINE_NAME, plan.columns) if index.where else ""
    if any(part is None for part in parts) or where is None:
        shown = "; ".join(p.expression for p in index.parts if p.expression) or index.where
        reason = f"its expression has no translation: {shown}"
        plan.note("index-left-out", subject, reason, _HAND)
        return None
    if not index.visible:
        plan.note("invisible-index", subject, "the source's optimizer ignores it", minor=True)
    name = plan.names.free(plan.mapping.target, index.name, "_key" if index.unique else "_idx")
    statement = (
        f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {quoted(name)} ON {quoted(*plan.table)} "
        f"USING {method} ({', '.join(part for part in parts if part)})"
    )
    return Piece(f"{statement} WHERE {where}" if where else statement, what, "index-left-out")


def _part(plan: TablePlan, index: Index, part: IndexPart, method: str) -> str | None:
    ending = " DESC" if part.descending and method == "btree" else ""
    if part.column is None:
        said = translate(part.expression or "", plan.dialect, ENGINE_NAME, plan.columns)
        return f"({said}){ending}" if said else None
    column = quoted(plan.columns[part.column])
    kind = plan.mapping.source.column(part.column).type
    if not part.prefix or _whole(kind, part.prefix, unique=index.unique):
        return column + ending
    if kind.kind is Kind.TEXT:
        return f'"left"({column}, {part.prefix}){ending}'
    return f"substring({column} FROM 1 FOR {part.prefix}){ending}"


def _whole(kind: DataType, prefix: int, *, unique: bool) -> bool:
    """Whether the whole column may be indexed where the source indexes its beginning.

    A whole column serves comparisons with the column itself, so it is better where every value
    fits in an entry; but only the beginning is unique then.
    """
    if kind.length is None:
        return False
    width = kind.length * (BYTES_PER_CHARACTER if kind.kind is Kind.TEXT else 1)
    return kind.length <= prefix or (not unique and width <= MAX_ENTRY_BYTES)

"""Rows shaped as the mapping says: renamed, dropped, retyped, masked, added, filtered.

Only tables whose mapping asks for it come here (`TableMapping.plain_load`, `plain_changes`); the
others are passed on untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from godwit.errors import ApplyError, LoadError
from godwit.model.catalog import TableName
from godwit.model.changes import KeyMove, Payload, Stage, TableChanges
from godwit.model.datatypes import DataType, Kind
from godwit.model.expressions import parse_expression
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.steps.columns import as_text, mask, retype
from godwit.steps.expressions import Headers, added_columns
from godwit.steps.filters import filter_columns, filter_mask

__all__ = [
    "Headers",
    "filter_mask",
    "joined_moves",
    "transform_changes",
    "transform_found",
    "transform_key_move",
    "transform_keys",
    "transform_payload",
    "transform_rows",
]


def transform_rows(
    batch: pa.RecordBatch,
    mapping: TableMapping,
    *,
    headers: Headers | None = None,
    operation: str = "I",
) -> pa.RecordBatch:
    """Whole rows of the source (at least `TableMapping.read_columns`) as rows of the target.

    Args:
        batch: columns by source name. Rows are not filtered: a load filters in the source.
        mapping: of the table.
        headers: facts of the change, for expressions.
        operation: ``I``, ``U`` or ``D``, for expressions.

    Raises:
        LoadError: a value does not fit; the text names table and column.
    """
    return _transform(batch, mapping, list(mapping.columns), headers or Headers(), operation)


def transform_payload(
    payload: Payload,
    mapping: TableMapping,
    *,
    headers: Headers | None = None,
    operation: str = "I",
) -> Payload:
    """A payload of whole rows, or of identities (then without added columns), for the target."""
    batch = _batch(payload)
    whole = set(mapping.read_columns) <= set(payload.columns)
    if not whole or set(payload.columns) == set(mapping.source.identity):
        return transform_keys(payload, mapping)
    return _payload(transform_rows(batch, mapping, headers=headers, operation=operation))


def transform_keys(payload: Payload, mapping: TableMapping) -> Payload:
    """Identities (or old rows) as the target has them: renamed, retyped, masked alike."""
    known = [c for c in mapping.columns if c.source in payload.columns]
    return _payload(_transform(_batch(payload), mapping, known, Headers(), "D"))


def transform_found(
    found: Payload, gone: Payload, mapping: TableMapping, *, headers: Headers | None = None
) -> tuple[Payload, Payload]:
    """Rows read again by identity, and identities not found, for the target.

    Rows that do not pass the filter are among those gone.
    """
    batch = _batch(found)
    passing = filter_mask(batch, mapping)
    failing = _identity(batch.filter(pc.invert(passing)), mapping)
    rows = transform_rows(batch.filter(passing), mapping, headers=headers, operation="U")
    keys = _together([gone, failing])
    return _payload(rows), transform_keys(keys if keys is not None else gone, mapping)


def transform_changes(
    changes: TableChanges, mapping: TableMapping, *, headers: Headers | None = None
) -> tuple[TableChanges, Payload | None]:
    """Net changes for the target, and identities (in source names) of rows to be read again.

    An updated row that no longer passes the filter becomes a delete. A partial update that leaves a
    column unknown which the filter or an expression needs cannot be made here: its identities come
    back, and the caller reads those rows from the source (`transform_found`) after applying the
    rest.

    Raises:
        ApplyError: a value does not fit; the text names table and column.
    """
    try:
        return _Changes(mapping, headers or Headers()).run(changes)
    except LoadError as cause:
        raise ApplyError(cause.what, where=cause.where, why=cause.why, hint=cause.hint) from None


def transform_key_move(
    move: KeyMove, mapping: TableMapping, *, headers: Headers | None = None
) -> tuple[KeyMove | TableChanges, Payload | None]:
    """The same for updates that change the identity.

    Where a filter or an expression is involved, the old identities become deletes and the rows are
    to be read again under their new ones.
    """
    if _lenient(mapping):
        old = TableChanges(move.table, deletes=transform_keys(move.old, mapping), lenient=True)
        return old, _identity(_batch(move.new), mapping)
    try:
        new = _partial(_batch(move.new), mapping, headers or Headers(), "U")
        return KeyMove(move.table, transform_keys(move.old, mapping), _payload(new)), None
    except LoadError as cause:
        raise ApplyError(cause.what, where=cause.where, why=cause.why, hint=cause.hint) from None


def joined_moves(
    stages: Sequence[Stage], mappings: Mapping[TableName, TableMapping]
) -> Iterator[Stage]:
    """The stages, with moves of one table in a row as one where their rows are read again anyway:
    then only the identities matter, and their order does not.
    """
    for table, group in groupby(stages, key=lambda stage: _moving(stage, mappings)):
        in_a_row = list(group)
        moves = [stage for stage in in_a_row if isinstance(stage, KeyMove)]
        if table is None or len(moves) < 2:
            yield from in_a_row
            continue
        mapping = mappings[table]
        old = _together([move.old for move in moves])
        new = _together([_identity(_batch(move.new), mapping) for move in moves])
        if old is None or new is None:
            raise AssertionError("a move has rows")
        yield KeyMove(table, _distinct(old), _distinct(new))


def _moving(stage: Stage, mappings: Mapping[TableName, TableMapping]) -> TableName | None:
    if isinstance(stage, KeyMove) and _lenient(mappings[stage.table]):
        return stage.table
    return None


class _Changes:
    """One table's changes; gathers deletes and rows to be read again on the way."""

    def __init__(self, mapping: TableMapping, headers: Headers) -> None:
        self.mapping, self.headers = mapping, headers
        self.filtered = filter_columns(mapping)
        self.marks = [c for c in mapping.columns if c.expression and _marks(c)]
        self.leaving: list[Payload] = []
        self.unknown: list[Payload] = []

    def run(self, changes: TableChanges) -> tuple[TableChanges, Payload | None]:
        inserts = self._inserts(changes.inserts)
        updates = [u for u in map(self._update, changes.updates) if u is not None and u.rows]
        deletes = self._deletes(changes.deletes)
        if deletes is not None and self.marks:
            updates.append(self._marked(deletes))
            deletes = None
        gone = _together([p for p in (deletes, *self.leaving) if p is not None])
        cancelled = changes.cancelled
        return TableChanges(
            changes.table,
            inserts=inserts,
            updates=tuple(updates),
            deletes=transform_keys(gone, self.mapping) if gone else None,
            cancelled=transform_keys(cancelled, self.mapping) if cancelled else None,
            lenient=changes.lenient or _lenient(self.mapping),
        ), _together(self.unknown)

    def _inserts(self, payload: Payload | None) -> Payload | None:
        if payload is None:
            return None
        batch = _batch(payload)
        if self.filtered:
            batch = batch.filter(filter_mask(batch, self.mapping))
        if not batch.num_rows:
            return None
        return _payload(transform_rows(batch, self.mapping, headers=self.headers))

    def _update(self, payload: Payload) -> Payload | None:
        batch = _batch(payload)
        known = set(payload.columns)
        if not self.filtered <= known:
            self.unknown.append(_identity(batch, self.mapping))
            return None
        if self.filtered:
            passing = filter_mask(batch, self.mapping)
            leaving = batch.filter(pc.invert(passing))
            if leaving.num_rows:
                self.leaving.append(_identity(leaving, self.mapping))
            batch = batch.filter(passing)
        if any(_half_known(c, known) for c in self.mapping.columns):
            if batch.num_rows:
                self.unknown.append(_identity(batch, self.mapping))
            return None
        return _payload(_partial(batch, self.mapping, self.headers, "U"))

    def _deletes(self, payload: Payload | None) -> Payload | None:
        if payload is None or not self.filtered or not self.filtered <= set(payload.columns):
            return payload
        if self.mapping.source.identity:
            return payload  # the old values may be unknown; a delete that meets no row is fine
        batch = _batch(payload)
        batch = batch.filter(filter_mask(batch, self.mapping))
        return _payload(batch) if batch.num_rows else None

    def _marked(self, deletes: Payload) -> Payload:
        """Deleted rows stay, with the mark of ``operation_indicator``."""
        batch = _batch(_identity(_batch(deletes), self.mapping))
        known = [c for c in self.mapping.columns if c.source in batch.schema.names]
        marks = [c for c in self.marks if set(_inputs(c)) <= set(batch.schema.names)]
        return _payload(_transform(batch, self.mapping, [*known, *marks], self.headers, "D"))


def _marks(column: ColumnMapping) -> bool:
    return parse_expression(column.expression or "").marks_deletes


def _inputs(column: ColumnMapping) -> tuple[str, ...]:
    return parse_expression(column.expression).columns if column.expression is not None else ()


def _half_known(column: ColumnMapping, known: set[str]) -> bool:
    """An expression some of whose columns are known; with none known its value has not changed."""
    inputs = set(_inputs(column))
    return bool(inputs & known) and not inputs <= known


def _lenient(mapping: TableMapping) -> bool:
    return mapping.row_filter is not None or any(
        _inputs(c) or _volatile(c) for c in mapping.columns
    )


def _volatile(column: ColumnMapping) -> bool:
    return column.expression is not None and _marks(column)


def _partial(
    batch: pa.RecordBatch, mapping: TableMapping, headers: Headers, operation: str
) -> pa.RecordBatch:
    """The target columns that follow from the known source columns."""
    known = set(batch.schema.names)
    columns = [
        c
        for c in mapping.columns
        if (c.source in known if c.expression is None else set(_inputs(c)) <= known)
    ]
    return _transform(batch, mapping, columns, headers, operation)


def _transform(
    batch: pa.RecordBatch,
    mapping: TableMapping,
    columns: list[ColumnMapping],
    headers: Headers,
    operation: str,
) -> pa.RecordBatch:
    added = [c for c in columns if c.expression is not None]
    computed = added_columns(batch, mapping, added, headers, operation) if added else []
    by_target = dict(zip((c.target for c in added), computed, strict=True))
    arrays = []
    for column in columns:
        if column.source is None:
            values, type_of = by_target[column.target], column.type or DataType(Kind.TEXT)
        else:
            values, type_of = batch.column(column.source), mapping.source.column(column.source).type
            if column.type is not None and column.mask != "hash-mask":
                where = f"{mapping.source.name}.{column.source}"
                values, type_of = retype(values, type_of, column.type, where), column.type
        arrays.append(mask(values, column.mask, type_of) if column.mask else values)
    return pa.RecordBatch.from_arrays(arrays, names=[c.target for c in columns])


def _batch(payload: Payload) -> pa.RecordBatch:
    if not isinstance(payload.data, pa.RecordBatch):
        raise TypeError("only columnar payloads can be transformed")
    return payload.data.rename_columns(list(payload.columns))


def _payload(batch: pa.RecordBatch) -> Payload:
    return Payload(tuple(batch.schema.names), batch.num_rows, batch)


def _identity(batch: pa.RecordBatch, mapping: TableMapping) -> Payload:
    """The rows' identities in source names; whole rows where the table has none."""
    return _payload(
        batch.select(list(mapping.source.identity)) if mapping.source.identity else batch
    )


def _distinct(payload: Payload) -> Payload:
    table = pa.Table.from_batches([_batch(payload)])
    once = table.group_by(table.schema.names).aggregate([])
    return _payload(once.combine_chunks().to_batches()[0])


def _together(payloads: list[Payload]) -> Payload | None:
    """Payloads of the same columns as one; None when there are no rows."""
    batches = [_batch(p) for p in payloads if p.rows]
    if not batches:
        return None
    names = batches[0].schema.names
    batches = [b.select(names) for b in batches]
    # What one payload has typed another may have as text: where they differ text is what both have.
    mixed = {n for n in names if len({b.schema.field(n).type for b in batches}) > 1}
    if mixed:
        batches = [
            pa.RecordBatch.from_arrays(
                [
                    pc.cast(as_text(b.column(n)), pa.string()) if n in mixed else b.column(n)
                    for n in names
                ],
                names=names,
            )
            for b in batches
        ]
    return _payload(pa.concat_batches(batches))

"""Transformations on the way of changes: between the source's rows and the target's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from godwit.model.changes import ChangeBatch, Format, KeyMove, Payload, Stage, TableChanges
from godwit.model.mapping import TableMapping
from godwit.protocols import Source

#: `(mapping, identities, format) -> (rows, identities gone)`, as the source has them now.
ReadAgain = Callable[[TableMapping, Payload, Format], tuple[Payload, Payload]]


class Reshape:
    """Turns batches into what the target is to hold. Plain tables pass through untouched."""

    def __init__(
        self,
        source: Source,
        mappings: Sequence[TableMapping],
        format: Format,
        read_again: ReadAgain,
    ) -> None:
        self._source = source
        self._format = format
        self._read_again = read_again
        self._mappings = {m.source.name: m for m in mappings}

    def batch(self, batch: ChangeBatch) -> tuple[ChangeBatch, bool]:
        """The batch for the target, and whether it holds only what the log told (rows read again
        may be newer than the batch, so it must then be applied idempotently).
        """
        if not self._format.columnar:
            return batch, True
        stages: list[Stage] = []
        whole = True
        for stage in batch.stages:
            made, told = self._stage(stage)
            stages += made
            whole = whole and told
        return replace(batch, stages=tuple(stages)), whole

    def _stage(self, stage: Stage) -> tuple[list[Stage], bool]:
        from godwit.steps.transform import transform_changes

        if isinstance(stage, KeyMove):
            return self._moved(stage), False
        if not isinstance(stage, TableChanges):
            return [stage], True
        mapping = self._mappings[stage.table]
        changes, needs = transform_changes(stage, mapping)
        if needs is None or not needs.rows:
            # A filter turns updates into upserts and deletes: rows may be new or absent already.
            return [changes], mapping.row_filter is None
        return [changes, *self._again(mapping, needs)], False

    def _moved(self, move: KeyMove) -> list[Stage]:
        """A changed key with unknown columns: forget the old row, read the new one."""
        mapping = self._mappings[move.table]
        identity = mapping.source.identity
        assert isinstance(move.new.data, pa.RecordBatch)
        keys = Payload(identity, move.new.rows, move.new.data.select(list(identity)))
        gone = TableChanges(move.table, deletes=move.old)
        from godwit.steps.transform import transform_changes

        return [transform_changes(gone, mapping)[0], *self._again(mapping, keys)]

    def _again(self, mapping: TableMapping, keys: Payload) -> list[Stage]:
        found, gone = self._read_again(mapping, keys, self._format)
        return [self._as_changes(mapping, found, gone)]

    def _as_changes(self, mapping: TableMapping, found: Payload, gone: Payload) -> TableChanges:
        from godwit.steps.transform import transform_changes

        changes = TableChanges(
            mapping.source.name,
            updates=(found,) if found.rows else (),
            deletes=gone if gone.rows else None,
        )
        return transform_changes(changes, mapping)[0]

    def reselect(self, mapping: TableMapping, keys: Payload) -> tuple[Payload, Payload]:
        """See `godwit.protocols.Reselect`: rows by identity, in the target's shape."""
        found, gone = self._read_again(mapping, keys, self._format)
        if not self._format.columnar:
            return found, gone
        changes = self._as_changes(mapping, found, gone)
        empty = Payload(keys.columns, 0, keys.data)
        rows = changes.updates[0] if changes.updates else empty
        return rows, changes.deletes or empty

"""Transformations on the way of changes: between the source's rows and the target's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from godwit.errors import ApplyError
from godwit.model.changes import (
    ChangeBatch,
    Format,
    KeyMove,
    Payload,
    Stage,
    TableChanges,
    Truncation,
)
from godwit.model.mapping import TableMapping
from godwit.steps.transform import (
    Headers,
    joined_moves,
    transform_changes,
    transform_found,
    transform_key_move,
)

#: `(mapping, identities, format) -> (rows, identities gone)`, as the source has them now.
ReadAgain = Callable[[TableMapping, Payload, Format], tuple[Payload, Payload]]


class Reshape:
    """Turns batches into what the target is to hold. Plain tables pass through untouched."""

    def __init__(
        self,
        mappings: Sequence[TableMapping],
        format: Format,
        read_again: ReadAgain,
        truncation: str = "repeat",
    ) -> None:
        self._format = format
        self._truncation = truncation
        self._headers = Headers()
        self._read_again = read_again
        self._mappings = {m.source.name: m for m in mappings}

    def batch(self, batch: ChangeBatch) -> tuple[ChangeBatch, bool]:
        """The batch for the target, and whether it holds only what the log told (rows read again
        may be newer than the batch, so it must then be applied idempotently).
        """
        if self._truncation != "repeat":
            batch = self._without_truncations(batch)
        # Where rows have stayed that the source lacks, an insert may meet one of them.
        told_all = self._truncation != "ignore"
        if not self._format.columnar:
            return batch, told_all
        moment = datetime.fromtimestamp(batch.commits[-1], UTC) if batch.commits else None
        self._headers = Headers(
            stream_position=str(batch.position),
            change_seq=change_sequence(moment, batch.changes),
            commit_timestamp=moment,
        )
        stages: list[Stage] = []
        whole = told_all
        for stage in joined_moves(batch.stages, self._mappings):
            made, told = self._stage(stage)
            stages += made
            whole = whole and told
        return replace(batch, stages=tuple(stages)), whole

    def _without_truncations(self, batch: ChangeBatch) -> ChangeBatch:
        found = next((s for s in batch.stages if isinstance(s, Truncation)), None)
        if found is None:
            return batch
        if self._truncation == "refuse":
            raise ApplyError(
                "the source has truncated tables",
                where=", ".join(map(str, found.tables)),
                why="ApplyErrorFailOnTruncationDdl stops the run before it is repeated",
                hint="set it to false to repeat the TRUNCATE on the target, or also "
                "HandleSourceTableTruncated to false to leave it out; then run again",
            )
        kept = tuple(s for s in batch.stages if not isinstance(s, Truncation))
        return replace(batch, stages=kept)

    def _stage(self, stage: Stage) -> tuple[list[Stage], bool]:
        made: Stage
        if isinstance(stage, TableChanges):
            mapping = self._mappings[stage.table]
            made, needs = transform_changes(stage, mapping, headers=self._headers)
        elif isinstance(stage, KeyMove):
            mapping = self._mappings[stage.table]
            made, needs = transform_key_move(stage, mapping, headers=self._headers)
        else:
            return [stage], True
        if needs is None or not needs.rows:
            return [made], True
        return [made, self._again(mapping, needs)], False

    def _again(self, mapping: TableMapping, keys: Payload) -> TableChanges:
        """Rows whose change could not be made from the log alone, as the source has them now."""
        rows, gone = self.reselect(mapping, keys)
        return TableChanges(
            mapping.source.name,
            updates=(rows,) if rows.rows else (),
            deletes=gone if gone.rows else None,
            lenient=True,
        )

    def reselect(self, mapping: TableMapping, keys: Payload) -> tuple[Payload, Payload]:
        """See `godwit.protocols.Reselect`: rows by identity, in the target's shape."""
        found, gone = self._read_again(mapping, keys, self._format)
        if not self._format.columnar:
            return found, gone
        return transform_found(found, gone, mapping, headers=self._headers)


def change_sequence(moment: datetime | None, number: int) -> str:
    """DMS's ``$AR_H_CHANGE_SEQ``: 16 digits of time (hundredths of seconds), 19 of a counter."""
    moment = moment or datetime.now(UTC)
    return f"{moment:%Y%m%d%H%M%S}{moment.microsecond // 10_000:02}{number:019}"

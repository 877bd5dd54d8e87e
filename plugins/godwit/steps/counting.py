"""What a session did to each table, for the people who watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from godwit.model.changes import KeyMove, TableChanges

if TYPE_CHECKING:
    from godwit.model.catalog import TableName
    from godwit.model.changes import ChangeBatch
    from godwit.protocols import Reporter

#: Seconds between two reports: a line for every table that was changed in them.
INTERVAL = 3.0


class TableCounts:
    """Counts net changes: what a row went through inside one batch counts once."""

    def __init__(self) -> None:
        self._counts: dict[TableName, list[int]] = {}
        self._told = 0.0

    def add(self, batch: ChangeBatch) -> None:
        """Note an applied batch."""
        for stage in batch.stages:
            if isinstance(stage, TableChanges):
                counts = self._counts.setdefault(stage.table, [0, 0, 0])
                counts[0] += stage.inserts.rows if stage.inserts else 0
                counts[1] += sum(payload.rows for payload in stage.updates)
                counts[2] += stage.deletes.rows if stage.deletes else 0
            elif isinstance(stage, KeyMove):
                self._counts.setdefault(stage.table, [0, 0, 0])[1] += stage.new.rows

    def tell(self, report: Reporter, now: float, *, final: bool = False) -> None:
        """Report what came since the last time, when it is time (monotonic seconds)."""
        if not final and now - self._told < INTERVAL:
            return
        self._told = now
        names = ("more_inserts", "more_updates", "more_deletes")
        for table, counts in self._counts.items():
            if any(counts):
                report.event(
                    "table", {"table": list(table), **dict(zip(names, counts, strict=True))}
                )
        self._counts.clear()

"""Tables of which the log does not tell everything: loaded again when they were changed untold.

A table without a usable row identity cannot be published whole (the source's own applications could
no longer change it). Its inserts are followed; that rows were changed or removed is noticed by the
source's counters, and where a session ends the table is read again, in one snapshot whose mark
tells the stream which inserts are already in it. Of a table that is not logged at all, the counters
tell every change.
"""

from __future__ import annotations

from collections.abc import Sequence

from godwit.model.catalog import TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity
from godwit.protocols import Control, Reporter, Source, Target
from godwit.steps.reload import load_again

_MEMORY = "untold changes"


def half_told(mappings: Sequence[TableMapping]) -> list[TableMapping]:
    """The mappings of such tables."""
    return [m for m in mappings if m.source.capture != "full"]


def note_untold(source: Source, control: Control, mappings: Sequence[TableMapping]) -> None:
    """Remember the counters: to be called before the first row is read. The first call counts."""
    tables = [m.source for m in half_told(mappings)]
    if tables and control.recall(_MEMORY) is None:
        _remember(control, source.untold_changes(tables))


def reload_untold(
    source: Source,
    target: Target,
    control: Control,
    mappings: Sequence[TableMapping],
    report: Reporter,
) -> tuple[TableName, ...]:
    """Load the tables again that were changed untold, or whose reload was cut off.

    Returns:
        The tables loaded again (their marks are new, so the stream has to be opened anew).
    """
    suspended = control.suspended()
    concerned = [m for m in half_told(mappings) if m.source.name not in suspended]
    if not concerned:
        return ()
    counts = source.untold_changes([m.source for m in concerned])
    known = _recall(control)
    plan = control.plan() or ()
    loaded = control.loaded()
    done = []
    for mapping in concerned:
        name = mapping.source.name
        chunks = tuple(c for bundle in plan for c in bundle.chunks if c.table == name)
        missing = any(c.id not in loaded for c in chunks)
        if counts[name] == known.get(name) and not missing:
            continue
        if not chunks:
            _not_ours_to_load(control, mapping, report)
            continue
        load_again(source, target, control, mapping, chunks, report)
        known[name] = counts[name]
        _remember(control, known)
        done.append(name)
    return tuple(done)


def _not_ours_to_load(control: Control, mapping: TableMapping, report: Reporter) -> None:
    reason = "rows were changed in a way that the source's log does not tell"
    finding = Finding(
        "untold-changes",
        Severity.ERROR,
        str(mapping.source.name),
        reason,
        "let the source log the table's changes (assess names how), then start again",
    )
    report.event("finding", finding.to_json())
    control.suspend(mapping.source.name, reason)


def _remember(control: Control, counts: dict[TableName, int]) -> None:
    control.remember(_MEMORY, [[*name, count] for name, count in sorted(counts.items())])


def _recall(control: Control) -> dict[TableName, int]:
    return {TableName(s, n): count for s, n, count in control.recall(_MEMORY) or []}

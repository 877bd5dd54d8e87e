"""Tables that the source reshaped while they were being loaded: taken out, the others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from godwit.errors import LoadError, SchemaChangedError
from godwit.model.report import Finding, Severity

if TYPE_CHECKING:
    from godwit.model.catalog import Column
    from godwit.model.mapping import TableMapping
    from godwit.protocols import Control, ErrorPolicy, Reporter, Source

_HINT = (
    "take the change back and `godwit reload FILE --table {}`; to migrate it as it is now, `godwit "
    "cleanup` and start again; the other tables go on without it"
)


def suspend_if_reshaped(
    cause: LoadError,
    mapping: TableMapping,
    source: Source,
    control: Control,
    policy: ErrorPolicy,
    report: Reporter,
) -> None:
    """Suspend the table when its chunk failed because the source has another table there now.

    Raises:
        LoadError: `cause`: the table is as it was.
        SchemaChangedError: tables are not suspended under this policy.
    """
    name = mapping.source.name
    changed = difference(mapping, source)
    if not changed:
        raise cause
    reason, hint = f"the table changed on the source: {changed}", _HINT.format(name)
    if policy.table != "SUSPEND_TABLE":
        raise SchemaChangedError(
            reason, where=str(name), why="its rows cannot be read as planned", hint=hint
        ) from cause
    control.suspend(name, reason)
    finding = Finding("table-suspended", Severity.ERROR, str(name), f"suspended: {reason}", hint)
    report.event("finding", finding.to_json())
    report.event("suspended", {"table": str(name), "reason": reason})


def _spelled(column: Column) -> str:
    """The type with its labels, which a type of its own does not show; the empty label of refused
    values is none of the column's own.
    """
    labels = [label for label in column.type.labels if label]
    return column.native if not labels else f"{column.native} of {', '.join(labels)}"


def difference(mapping: TableMapping, source: Source, *, exactly: bool = False) -> str:
    """How the source's table differs from the one that was planned; empty = not at all.

    `exactly`: also what only its log would show, such as columns that are new.
    """
    before = mapping.source
    now = next(iter(source.catalog(lambda name: name == before.name)), None)
    if now is None:
        return "it was dropped or renamed"
    if now.incarnation != before.incarnation:
        return "it was dropped and made again"
    old, new = ({c.name: _spelled(c) for c in table.columns} for table in (before, now))
    parts = [f"column {c} was dropped or renamed" for c in old if c not in new]
    parts += [
        f"column {c} changed from {old[c]} to {new[c]}"
        for c in old
        if c in new and old[c] != new[c]
    ]
    gone = {p.name for p in before.parts} - {p.name for p in now.parts}
    parts += [f"partition {part} is gone" for part in sorted(gone)]
    if exactly:
        parts += [f"column {c} was added" for c in new if c not in old]
        added = {p.name for p in now.parts} - {p.name for p in before.parts}
        parts += [f"partition {part} was added" for part in sorted(added)]
        if now.identity != before.identity:
            parts.append("its row identity was changed")
        if {k for k in now.foreign_keys if k.silent} != {
            k for k in before.foreign_keys if k.silent
        }:
            parts.append("foreign keys that change its rows untold by the log were altered")
        if now.capture != before.capture:
            parts.append("its log tells otherwise than before (replica identity)")
    return ", ".join(parts)

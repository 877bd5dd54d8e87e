"""Where a migration stands, read from the control tables, and the source when it answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from godwit.errors import GodwitError
from godwit.migrator.outcome import Status, TableStatus
from godwit.steps.cutover import is_done

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from godwit.migrator.migration import Migrator
    from godwit.model.catalog import TableName
    from godwit.model.chunks import LoadedChunk
    from godwit.model.mapping import TableMapping
    from godwit.protocols import Progress


def standing(migrator: Migrator) -> Status:
    """The status of a migration.

    Raises:
        EndpointError: the target doesn't answer: nothing is known then.
    """
    control = migrator.control
    progress = control.progress()
    journal = {step: state for step, (state, _) in control.journal_states().items()}
    source = _source(migrator, progress)
    return Status(
        migration=migrator.name,
        migration_type=migrator.definition.migration_type,
        phase=_phase(migrator, progress, journal),
        consistent=settled(migrator, progress),
        low=progress.low,
        settled=progress.settled,
        checkpoint=progress.checkpoint,
        stop_at=progress.stop_at,
        lag_seconds=_lag(progress, pending=source.get("pending")),
        session_seconds=_age(progress.session_at),
        transactions=progress.transactions,
        changes=progress.changes,
        exceptions=control.exception_count(),
        tables=tuple(_tables(migrator, progress)),
        cutover=journal,
        **source,
    )


def settled(migrator: Migrator, progress: Progress) -> bool:
    """The checkpoint has passed the high watermark."""
    if progress.settled is None or progress.checkpoint is None:
        return False
    if progress.settled == progress.checkpoint:
        return True
    parse = migrator.source.parse_position
    return parse(progress.checkpoint).includes(parse(progress.settled))


def _source(migrator: Migrator, progress: Progress) -> dict[str, Any]:
    if not migrator.captures:
        return {}
    try:
        source = migrator.source
        capture = source.capture_status(migrator.name)
        now = source.position()
        pending = None
        if progress.checkpoint is not None:
            pending = not source.parse_position(progress.checkpoint).includes(now)
    except GodwitError as error:
        return {"problems": (str(error),)}
    facts = {
        "exists": capture.exists,
        "active": capture.active,
        "confirmed": None if capture.confirmed is None else str(capture.confirmed),
        "retained_bytes": capture.retained_bytes,
        "lost": capture.lost,
        "detail": capture.detail,
    }
    return {"capture": facts, "source_position": str(now), "pending": pending}


def _phase(migrator: Migrator, progress: Progress, journal: Mapping[str, str]) -> str:
    if is_done(journal):
        return "cut over"
    plan = migrator.control.plan()
    if plan is None and progress.low is None:
        return "new"
    if migrator.loads:
        loaded = migrator.control.loaded()
        if plan is None or any(c.id not in loaded for b in plan for c in b.chunks):
            return "full_load"
    if migrator.captures and not settled(migrator, progress):
        return "catch_up"
    if not migrator.done("finish_schema") and migrator.loads:
        return "finish_schema"
    return "following" if migrator.captures else "loaded"


def _tables(migrator: Migrator, progress: Progress) -> Iterable[TableStatus]:
    mappings = migrator.known_mappings()
    suspended = migrator.control.suspended()
    planned: dict[TableName, int] = {}
    for bundle in migrator.control.plan() or ():
        for chunk in bundle.chunks:
            planned[chunk.table] = planned.get(chunk.table, 0) + 1
    done: dict[TableName, list[LoadedChunk]] = {}
    for line in migrator.control.loaded().values():
        done.setdefault(line.chunk.table, []).append(line)
    following = settled(migrator, progress)
    for mapping in mappings:
        name = mapping.source.name
        yield _table(
            mapping,
            planned.get(name, 0),
            done.get(name, []),
            suspended.get(name),
            following=following,
        )


def _table(
    mapping: TableMapping,
    planned: int,
    lines: list[LoadedChunk],
    reason: str | None,
    *,
    following: bool,
) -> TableStatus:
    if reason is not None:
        state = "suspended"
    elif following:
        state = "following"
    elif len(lines) < planned:
        state = "loading" if lines else "planned"
    else:
        state = "loaded" if lines else "planned"
    return TableStatus(
        table=str(mapping.source.name),
        target=str(mapping.target),
        state=state,
        chunks=planned,
        chunks_loaded=len(lines),
        rows=sum(line.rows for line in lines),
        bytes=sum(line.bytes for line in lines),
        reason=reason or "",
    )


def _lag(progress: Progress, *, pending: bool | None) -> float | None:
    if pending is None:
        return None
    return _age(progress.commit_time) if pending else 0.0


def _age(at: datetime | None) -> float | None:
    return None if at is None else max(0.0, (datetime.now(UTC) - at).total_seconds())

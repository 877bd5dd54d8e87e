"""Loading a table again while the others are followed: the way back of a suspended table.

It is done by whoever applies the changes, between two transactions: a row that was committed after
the reload's snapshot is then certain to lie after the checkpoint, and nobody else can move the
checkpoint past it meanwhile. All rows are read under one snapshot, whose mark tells the stream
which changes are in them already. The request stays in the control tables until it is done, so a
runner that is killed half way leaves it to the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from godwit.errors import (
    EndpointError,
    FencedError,
    GodwitError,
    LoadError,
    SchemaChangedError,
    StoppedError,
)
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity
from godwit.protocols import Control, Epoch, ErrorPolicy, Reporter, Source, Target
from godwit.steps.following import Following
from godwit.steps.load import load_bundle
from godwit.steps.reshaped import difference

#: What failed by chance is tried so often before the table is left suspended.
ATTEMPTS = 2
#: Seconds between signs of life while nothing is applied.
LIFE = 3.0
_MEMORY = "loading again"


def reload_asked(
    source: Source,
    target: Target,
    control: Control,
    mappings: Sequence[TableMapping],
    epoch: Epoch,
    *,
    report: Reporter,
    stop: Callable[[], bool],
    streams: int = 1,
) -> list[LoadedChunk]:
    """Load the tables again that somebody asked for, and take them in again.

    A table that cannot be loaded stays suspended, with the reason; the others go on.

    Args:
        source: of the migration.
        target: of the migration.
        control: its truth on the target.
        mappings: all tables of the migration.
        epoch: of the runner that applies the changes: no other may do so meanwhile.
        report: hears of every chunk and table.
        stop: asked before each chunk.
        streams: chunks loaded at the same time.

    Returns:
        The ledger's new lines.

    Raises:
        EndpointError: an endpoint cannot be reached; the request stays.
        FencedError: a newer runner has taken over, and the request with it.
        StoppedError: asked to stop; the request stays.
    """
    asked = Following(mappings).in_order(control.reloads())
    if not asked:
        return []
    known = {m.source.name: m for m in mappings}
    plan = control.plan() or ()
    done: list[LoadedChunk] = []
    with _alive(control):
        for table in asked:
            chunks = tuple(c for bundle in plan for c in bundle.chunks if c.table == table)
            try:
                if table not in known or not chunks:
                    raise LoadError(
                        "this migration did not load the table",
                        where=str(table),
                        hint="only tables of its plan can be loaded again",
                    )
                report.event("table", {"table": list(table), "state": "loading", "last_error": ""})
                lines = _fresh(source, target, control, known[table], chunks, report, stop, streams)
                if difference(known[table], source, exactly=True):
                    # Altered while it was loaded, and the log's share of it lies in the snapshot:
                    # the request stays, and is carried out in the new shape.
                    continue
            except (EndpointError, FencedError, StoppedError):
                raise
            except GodwitError as cause:
                _refused(control, table, cause, epoch, report)
                continue
            failpoint("reload.before_resume")
            control.resume(table, epoch)
            report.event("table", {"table": list(table), "state": "following", "last_error": ""})
            done += lines
    return done


def _fresh(
    source: Source,
    target: Target,
    control: Control,
    mapping: TableMapping,
    chunks: tuple[Chunk, ...],
    report: Reporter,
    stop: Callable[[], bool],
    streams: int,
) -> list[LoadedChunk]:
    """The table's new lines.

    Raises:
        SchemaChangedError: it is no longer the table that is mapped.
        LoadError: it cannot be read or written.
    """
    name = mapping.source.name
    changed = difference(mapping, source, exactly=True)
    if changed:
        raise SchemaChangedError(
            f"the table is not as it was when the migration began: {changed}",
            where=str(name),
            why="its rows and its log no longer fit the mapping and the target's table",
            hint=f"take the change back and `godwit reload FILE --table {name}`; to migrate the "
            "table as it is now, `godwit cleanup` and start again",
        )
    # It is suspended already: a table reshaped meanwhile is an error like others.
    policy = ErrorPolicy(table="STOP_TASK")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return load_again(
                source, target, control, mapping, chunks, report, stop, streams, policy
            )
        except LoadError:
            if attempt == ATTEMPTS and not difference(mapping, source, exactly=True):
                raise
    return []


def load_again(
    source: Source,
    target: Target,
    control: Control,
    mapping: TableMapping,
    chunks: tuple[Chunk, ...],
    report: Reporter,
    stop: Callable[[], bool] = lambda: False,
    streams: int = 1,
    policy: ErrorPolicy | None = None,
) -> list[LoadedChunk]:
    """Empty a table and load all of its chunks, whether it is suspended or not.

    One snapshot for all chunks: the log is exact from there on, and no value of a unique key is
    seen in two rows (the indexes may be there already).

    Raises:
        LoadError: a side refuses; what was loaded is cleared by the next attempt.
        FencedError: a newer runner loads the table.
        StoppedError: asked to stop.
    """
    epoch = control.take_epoch(f"load:{chunks[0].id}")
    target.clear_rows(mapping, [c.id for c in chunks], epoch)
    failpoint("reload.after_clear")
    bundle = Bundle(f"{mapping.source.name} again", chunks, shared_snapshot=True)
    return load_bundle(
        source,
        target,
        control,
        bundle,
        [mapping],
        report=report,
        stop=stop,
        streams=streams,
        policy=policy,
        again=True,
    )


def _refused(
    control: Control, table: TableName, cause: GodwitError, epoch: Epoch, report: Reporter
) -> None:
    reason = f"loading it again failed: {cause.what}"
    reason += f" ({cause.why})" if cause.why else ""
    control.refuse_reload(table, reason, epoch)
    finding = Finding("table-suspended", Severity.ERROR, str(table), reason, cause.hint)
    report.event("finding", finding.to_json())
    report.event("suspended", {"table": str(table), "reason": reason})
    report.event("table", {"table": list(table), "state": "suspended", "last_error": reason})


def busy(control: Control) -> bool:
    """A session has left the log to load tables again (or was killed while it did)."""
    return bool(control.recall(_MEMORY))


def note_busy(control: Control, *, busy: bool) -> None:
    """This session leaves the log for that, or is back."""
    control.remember(_MEMORY, value=busy)


@contextmanager
def _alive(control: Control) -> Iterator[None]:
    """Show signs of life, so that nobody takes this session for dead."""
    ended = threading.Event()

    def show() -> None:
        while True:
            # What is wrong with the connection the work itself will meet and tell.
            with suppress(Exception):
                control.show_life()
            if ended.wait(LIFE):
                return

    thread = threading.Thread(target=show, name="godwit-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

"""Loading tables again on request: who does it, and waiting for it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from godwit.errors import CutoverError, DefinitionError, LoadError, StoppedError
from godwit.migrator.outcome import Reloaded
from godwit.migrator.refusals import refuse_after_cutover
from godwit.migrator.standing import standing
from godwit.steps.reload import reload_asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from godwit.migrator.migration import Migrator
    from godwit.model.catalog import TableName

#: Between two looks at what the session elsewhere has done.
LOOK_SECONDS = 0.3
#: The role of whoever applies the changes; without changes, of whoever loads again.
ROLE = "apply"


def reload(migrator: Migrator, names: Sequence[str]) -> Reloaded:
    """See `godwit.migrator.Migrator.reload`."""
    began = time.monotonic()
    refuse_after_cutover(migrator.name, cut_over=migrator.cut_over())
    tables = _tables(migrator, names)
    _refuse_too_early(migrator, tables)
    control = migrator.control
    for table in tables:
        control.ask_reload(table)
    try:
        _done(migrator, tables)
    except StoppedError as stopped:
        raise StoppedError(
            "asked to stop before every table was loaded again",
            where=migrator.name,
            hint="the next session goes on with it; or run the same command again",
        ) from stopped
    suspended = control.suspended()
    migrator.refresh()
    mapped = {m.source.name for m in migrator.mappings}
    suspended |= {
        t: "it could not be taken in; the findings say why" for t in tables if t not in mapped
    }
    failed = [t for t in tables if t in suspended]
    if failed:
        raise LoadError(
            f"{len(failed)} of {len(tables)} tables could not be loaded again",
            where=", ".join(map(str, failed[:5])),
            why="; ".join(suspended[t] for t in failed[:5]),
            hint="remove the cause and reload them again; they stay suspended, the others go on",
        )
    wanted = set(map(str, tables))
    return Reloaded(
        migration=migrator.name,
        tables=tuple(t for t in standing(migrator).tables if t.table in wanted),
        seconds=time.monotonic() - began,
        applied_to=control.progress().checkpoint,
    )


def _tables(migrator: Migrator, names: Sequence[str]) -> list[TableName]:
    known = {str(m.source.name): m.source.name for m in migrator.known_mappings()}
    if migrator.captures and known:
        known |= {str(name): name for name in _new_tables(migrator, set(names) - known.keys())}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise DefinitionError(
            "the migration has no such table" if names else "no table is named",
            where=", ".join(unknown) or migrator.name,
            why=f"its tables: {', '.join(sorted(known)[:10]) or 'none, it has not begun'}",
            hint="name it schema.table, as it is called on the source; `godwit status` lists them",
        )
    return [known[name] for name in dict.fromkeys(names)]


def _new_tables(migrator: Migrator, names: set[str]) -> list[TableName]:
    """Those of the names that the source has since the migration began, and that are selected."""
    if not names:
        return []
    wanted = migrator.definition.selects
    catalog = migrator.source.catalog(lambda name: str(name) in names and wanted(name))
    return [table.name for table in catalog]


def _refuse_too_early(migrator: Migrator, tables: Sequence[TableName]) -> None:
    """Refuse what a load under way, or a cutover, would come across.

    Raises:
        LoadError: there is no finished load to repeat.
        CutoverError: a cutover is under way.
    """
    planned = {c.table for b in migrator.control.plan() or () for c in b.chunks}
    mapped = {m.source.name for m in migrator.known_mappings()}
    missing = [t for t in tables if t in mapped and t not in planned]
    if not migrator.done("full_load") or not migrator.done("keys") or missing:
        foreign = bool(missing) and (not migrator.loads or migrator.done("full_load"))
        raise LoadError(
            "there is nothing to load again yet" if not foreign else "it did not load the table",
            where=", ".join(map(str, (missing if foreign else tables)[:5])),
            why="this migration only follows changes"
            if not migrator.loads
            else "its load has not ended",
            hint="bring the rows over as you did before, then clean up and start again"
            if not migrator.loads
            else "run the migration until it is loaded, then reload the table",
        )
    fence = migrator.control.journal_states().get("fence", ("", None))[0]
    if fence in {"started", "done"}:
        raise CutoverError(
            "a cutover is under way",
            where=migrator.name,
            hint="end it, or take it back with `godwit fall-back`, then reload the table",
        )


def _done(migrator: Migrator, tables: Sequence[TableName]) -> None:
    """Return when nothing is asked for any more.

    Raises:
        StoppedError: asked to stop.
    """
    control = migrator.control
    pause = threading.Event()
    while not set(tables).isdisjoint(control.reloads()):
        migrator.check_stop()
        if not migrator.captures:
            _here(migrator)
        elif migrator.session_alive():
            pause.wait(LOOK_SECONDS)
        else:
            migrator.session(until=migrator.source.position())


def _here(migrator: Migrator) -> None:
    """Without changes to follow nobody else would do it."""
    reload_asked(
        migrator.source,
        migrator.target,
        migrator.control,
        migrator.mappings,
        migrator.control.take_epoch(ROLE),
        report=migrator.reporter,
        stop=migrator.asked_to_stop,
        streams=migrator.definition.streams,
    )

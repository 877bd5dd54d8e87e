"""Tables that were altered on the source while their changes are followed.

The stream ends a batch where a table's shape changes, and the batch's commit takes the table out.
Then, while nothing is being applied, the target's table is altered as well and the table is taken
in again. Where the log alone does not tell what all rows look like afterwards (a default that is
computed, values that were converted, a log that is behind yet another change) it is loaded again in
its new shape; the mark of that snapshot tells the stream which changes are in it already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from godwit.errors import (
    ConversionError,
    EndpointError,
    FencedError,
    GodwitError,
    SchemaChangedError,
    StoppedError,
)
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.changes import ShapeChange
from godwit.model.report import Finding, Severity
from godwit.steps import schema
from godwit.steps.reshaped import difference
from godwit.steps.telling import renamed_columns, unmapped, untold

if TYPE_CHECKING:
    from godwit.model.catalog import Catalog
    from godwit.model.chunks import Bundle
    from godwit.model.mapping import TableMapping
    from godwit.protocols import Control, Epoch, ErrorPolicy, Reporter, Source, Target

_MEMORY = "altered"
#: The capture is to be brought up to date with the tables.
_CAPTURE = "capture is behind"
_HINT = (
    "take the change back, or make the target's table fit, and `godwit reload FILE --table {}`; or "
    "`godwit cleanup` and start again; the other tables go on without it"
)


@dataclass(frozen=True)
class Rules:
    """The definition's rules, for tables that have another shape now.

    Attributes:
        remap: the source's catalog of one table as it is now, and the mapping that the rules make
            of it; raises SchemaChangedError when there is no such table, or none that is wanted.
        keep: stores that mapping in place of the table's former one.
        plan: bundles of chunks for the mapping.
    """

    remap: Callable[[TableName], tuple[Catalog, TableMapping]]
    keep: Callable[[TableMapping], None]
    plan: Callable[[TableMapping], list[Bundle]]


# -- what is to be done, in the control tables


def note_altered(control: Control, change: ShapeChange) -> None:
    """Remember a change; to be called before the batch that ends with it is applied."""
    known = _noted(control)
    known[change.table] = change
    _remember(control, known)


def altered(control: Control) -> dict[TableName, ShapeChange]:
    """Changes that have taken a table out and are still to be repeated on the target."""
    known = _noted(control)
    if not known:
        return {}
    # What was noted before a batch that was never committed comes again with the log; a table that
    # is out for another reason has more to catch up with.
    out = control.suspended()
    return {table: change for table, change in known.items() if out.get(table) == change.reason}


def _noted(control: Control) -> dict[TableName, ShapeChange]:
    return {
        TableName(*told["table"]): ShapeChange(
            TableName(*told["table"]),
            told["description"],
            tuple((old, new) for old, new in told["renamed"]),
            clean=told["clean"],
            rewritten=told["rewritten"],
        )
        for told in control.recall(_MEMORY) or []
    }


def _remember(control: Control, changes: Mapping[TableName, ShapeChange]) -> None:
    told = [
        {
            "table": list(c.table),
            "description": c.description,
            "renamed": [list(pair) for pair in c.renamed],
            "clean": c.clean,
            "rewritten": c.rewritten,
        }
        for c in changes.values()
    ]
    control.remember(_MEMORY, told)


def renewed(
    source: Source, control: Control, rules: Rules, mappings: Sequence[TableMapping]
) -> tuple[TableMapping, ...]:
    """The mappings, with the engine's numbers as they are now for tables that are to be loaded
    again in the shape they had: what was done to them before does not matter any more.
    """
    current = {m.source.name: m for m in mappings}
    for table in control.reloads():
        if table in current and not difference(current[table], source, exactly=True):
            _, current[table] = rules.remap(table)
            rules.keep(current[table])
    return tuple(current.values())


# -- doing it


class Alterations:
    """Repeats on the target what was altered on the source; used by whoever applies the changes."""

    def __init__(
        self,
        source: Source,
        target: Target,
        control: Control,
        migration: str,
        rules: Rules,
        policy: ErrorPolicy,
        report: Reporter,
    ) -> None:
        self._source, self._target, self._control = source, target, control
        self._migration, self._rules = migration, rules
        self._policy, self._report = policy, report

    def take_in(self, mappings: Sequence[TableMapping], epoch: Epoch) -> tuple[TableMapping, ...]:
        """Alter the target's tables and take them in again, or ask for them to be loaded again.

        A table that cannot be altered stays suspended, with the reason.

        Returns:
            The mappings from now on.

        Raises:
            SchemaChangedError: a table cannot be altered, and none is to be suspended.
            EndpointError, FencedError: as everywhere; what is left to do stays noted.
        """
        todo = self._todo(mappings)
        current = {m.source.name: m for m in mappings}
        for table, change in todo.items():
            try:
                if table in current:
                    current[table] = self._adopt(current[table], change, epoch)
                else:
                    current[table] = self._join(table)
            except (EndpointError, FencedError, StoppedError):
                raise
            except GodwitError as cause:
                self._refused(table, change, cause, epoch)
                if table not in current:
                    # It was never a part of the migration, so nothing may wait for it.
                    self._control.resume(table, epoch)
            self._forget(table)
        if todo or self._control.recall(_CAPTURE):
            failpoint("alteration.before_capture")
            self._source.open_capture(self._migration, [m.source for m in current.values()])
            self._control.remember(_CAPTURE, value=False)
        return tuple(current.values())

    def _todo(self, mappings: Sequence[TableMapping]) -> dict[TableName, ShapeChange]:
        """Changes noted, and tables to be loaded again that look otherwise now, or are new."""
        todo = altered(self._control)
        known = {m.source.name: m for m in mappings}
        for table in self._control.reloads():
            reason = "it is new"
            if table in known:
                reason = difference(known[table], self._source, exactly=True)
            if reason and table not in todo:
                todo[table] = ShapeChange(table, reason)
        return todo

    def _adopt(self, before: TableMapping, change: ShapeChange, epoch: Epoch) -> TableMapping:
        table = before.source.name
        catalog, now = self._rules.remap(table)
        renamed = renamed_columns(before.source, now.source, change)
        reason = untold(before.source, now.source, change, renamed) or unmapped(
            before, now, renamed
        )
        if not reason:
            try:
                self._target.alter(catalog, before, now, renamed, empty=False)
            except ConversionError as cause:
                reason = cause.what
        failpoint("alteration.after_alter")
        if reason:
            self._load_again(catalog, before, now, renamed, reason)
        else:
            self._rules.keep(now)
            failpoint("alteration.after_keep")
            self._control.resume(table, epoch)
        self._tell(table, change, reason)
        return now

    def _join(self, table: TableName) -> TableMapping:
        """Make a table that the migration does not have yet; its rows are asked for already."""
        catalog, now = self._rules.remap(table)
        if self._control.plan() is None:
            raise SchemaChangedError("this migration loads no tables", where=str(table))
        made = schema.plan(self._target, catalog, [now], self._report)
        schema.convert(self._target, made, self._report)
        # A table that was there with rows of somebody else's is left as it is.
        self._target.prepare_tables([now], "DO_NOTHING", self._control.take_epoch("prepare"))
        schema.make_keys(self._target, made, self._report)
        schema.finish(self._target, made, self._report)
        self._planned_anew(now)
        return now

    def _load_again(
        self,
        catalog: Catalog,
        before: TableMapping,
        now: TableMapping,
        renamed: Mapping[str, str],
        reason: str,
    ) -> None:
        """Empty the table, give it its new shape, and ask for its rows."""
        table = before.source.name
        plan = self._control.plan() or ()
        own = [c.id for bundle in plan for c in bundle.chunks if c.table == table]
        if not own:
            raise SchemaChangedError(
                "the table would have to be loaded again, and this migration did not load it",
                where=str(table),
                why=reason,
                hint="bring its rows over as you did before, then clean up and start again",
            )
        self._target.clear_rows(before, own, self._control.take_epoch(f"load:{own[0]}"))
        self._target.alter(catalog, before, now, renamed, empty=True)
        self._planned_anew(now)
        failpoint("alteration.after_replan")
        self._control.ask_reload(table)

    def _planned_anew(self, now: TableMapping) -> None:
        """Store the mapping and its chunks. Until the mapping is stored everything is repeated;
        from then on the capture must not be forgotten: it may lack the table.
        """
        plan = self._control.plan() or ()
        kept = [_without(bundle, now.source.name) for bundle in plan]
        self._control.replan([*filter(None, kept), *self._rules.plan(now)])
        self._control.remember(_CAPTURE, value=True)
        self._rules.keep(now)

    def _tell(self, table: TableName, change: ShapeChange, reason: str) -> None:
        did = f"altered on the target as well: {change.description}"
        if reason:
            did += f"; its rows are loaded again ({reason})"
        finding = Finding("table-altered", Severity.INFO, str(table), did)
        self._report.event("finding", finding.to_json())
        if not reason:
            state = {"table": list(table), "state": "following", "last_error": ""}
            self._report.event("table", state)

    def _refused(
        self, table: TableName, change: ShapeChange, cause: GodwitError, epoch: Epoch
    ) -> None:
        reason = change.reason
        why = f"{cause.what}: {cause.why}" if cause.why else cause.what
        hint = cause.hint or _HINT.format(table)
        if self._policy.table != "SUSPEND_TABLE":
            raise SchemaChangedError(reason, where=str(table), why=why, hint=hint) from cause
        self._control.refuse_reload(table, f"{reason}; {why}", epoch)
        finding = Finding("table-suspended", Severity.ERROR, str(table), f"{reason}; {why}", hint)
        self._report.event("finding", finding.to_json())
        self._report.event("suspended", {"table": str(table), "reason": f"{reason}; {why}"})

    def _forget(self, table: TableName) -> None:
        known = _noted(self._control)
        if known.pop(table, None) is not None:
            _remember(self._control, known)


def _without(bundle: Bundle, table: TableName) -> Bundle | None:
    """The bundle but for the table's chunks; None when nothing is left."""
    chunks = tuple(c for c in bundle.chunks if c.table != table)
    return replace(bundle, chunks=chunks) if chunks else None

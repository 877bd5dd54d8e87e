"""Schema conversion: before the rows, row identities, after the rows, and at cutover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from godwit.errors import ConversionError
from godwit.model.catalog import Catalog
from godwit.model.mapping import TableMapping
from godwit.model.report import ObjectParity, SchemaReport, Severity
from godwit.protocols import Reporter, SchemaPlan, Target

BEFORE_ROWS = "pre"
KEYS = "key"
AFTER_ROWS = "post"
AT_CUTOVER = "late"

DEFAULT_STREAMS = 4
SHOWN_FAILURES = 5
#: Findings of a plan that leaves a table out because the engine has no such thing.
NO_TABLE = frozenset({"table-without-columns"})
#: Outcomes of a step after which the object isn't there as it should be.
BROKEN = frozenset({"failed", "missing"})


def plan(
    target: Target, catalog: Catalog, mappings: Sequence[TableMapping], report: Reporter
) -> SchemaPlan:
    """The DDL plan; what cannot be converted is told as findings."""
    made = target.plan_schema(catalog, mappings)
    for finding in made.findings:
        report.event("finding", finding.to_json())
    return made


def convert(
    target: Target, made: SchemaPlan, report: Reporter, *, streams: int = DEFAULT_STREAMS
) -> SchemaReport:
    """Make what must be there before the rows. Safe to repeat: what is there and equal is skipped.

    Raises:
        ConversionError: a table could not be made; everything else that could be made is there.
    """
    impossible = [f for f in made.findings if f.severity is Severity.ERROR and f.code in NO_TABLE]
    if impossible:
        first = impossible[0]
        raise ConversionError(
            f"{len(impossible)} tables cannot be made on the target",
            where=", ".join(f.subject for f in impossible[:SHOWN_FAILURES]),
            why=first.reason,
            hint=first.hint,
        )
    outcomes = _run(target, made, BEFORE_ROWS, report, streams)
    _refuse(
        outcomes, "tables that the migration needs could not be made", lambda o: o.kind == "table"
    )
    return SchemaReport(tuple(outcomes), made.findings)


def make_keys(
    target: Target, made: SchemaPlan, report: Reporter, *, streams: int = DEFAULT_STREAMS
) -> SchemaReport:
    """Make the row identities: after the rows, before changes are applied to them.

    Raises:
        ConversionError: a row identity could not be made, so changes would not find their rows.
    """
    outcomes = _run(target, made, KEYS, report, streams)
    _refuse(outcomes, "row identities could not be made", lambda _: True)
    return SchemaReport(tuple(outcomes), made.findings)


def finish(
    target: Target,
    made: SchemaPlan,
    report: Reporter,
    *,
    streams: int = DEFAULT_STREAMS,
    alone: bool = False,
) -> SchemaReport:
    """Make everything that comes after the rows, then compare object by object with the plan.

    `alone`: no changes are applied meanwhile. What could not be made is in the report as
    ``failed``; nothing is raised for it.
    """
    outcomes = _run(target, made, AFTER_ROWS, report, streams, alone=alone)
    return _compared(target, made, outcomes, (BEFORE_ROWS, KEYS, AFTER_ROWS))


def late(
    target: Target, made: SchemaPlan, report: Reporter, *, streams: int = DEFAULT_STREAMS
) -> SchemaReport:
    """At cutover, when no change is applied any more: what would have fired on applied rows."""
    outcomes = _run(target, made, AT_CUTOVER, report, streams)
    return _compared(target, made, outcomes, (AT_CUTOVER,))


def _run(
    target: Target,
    made: SchemaPlan,
    phase: str,
    report: Reporter,
    streams: int,
    *,
    alone: bool = True,
) -> list[ObjectParity]:
    return target.run_schema(
        made.phase(phase),
        parallel=streams,
        alone=alone,
        report=lambda outcome: report.event("object", asdict(outcome)),
    )


def _compared(
    target: Target, made: SchemaPlan, outcomes: Iterable[ObjectParity], phases: Sequence[str]
) -> SchemaReport:
    """Parity of the phases; why something is missing is said by the step that failed."""
    part = SchemaPlan(tuple(s for s in made.steps if s.phase in phases))
    if not part.steps:
        return SchemaReport((), made.findings)
    failed = {(o.kind, o.name): o for o in outcomes if o.state == "failed"}
    compared = [
        failed.pop((o.kind, o.name), o) if o.state != "equal" else o for o in target.parity(part)
    ]
    # Steps that leave no object behind (statistics gathered, rows computed) can fail as well.
    rest = [o for key, o in failed.items() if key not in {(c.kind, c.name) for c in compared}]
    return SchemaReport((*compared, *rest), made.findings)


def _refuse(
    outcomes: Iterable[ObjectParity], what: str, counts: Callable[[ObjectParity], bool]
) -> None:
    broken = [o for o in outcomes if o.state in BROKEN and counts(o)]
    if not broken:
        return
    shown = "; ".join(f"{o.kind} {o.name}: {o.detail}" for o in broken[:SHOWN_FAILURES])
    more = f" and {len(broken) - SHOWN_FAILURES} more" if len(broken) > SHOWN_FAILURES else ""
    raise ConversionError(
        what,
        where="convert_schema",
        why=shown + more,
        hint="make or correct these objects on the target, or exclude the tables, then run again",
    )

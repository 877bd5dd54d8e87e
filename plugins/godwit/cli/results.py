"""Results for people, on stdout."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from godwit.cli.display import STYLES
from godwit.cli.words import count, duration, plural, said, size
from godwit.migrator.outcome import Assessment, Reloaded, RunOutcome, Status, plain
from godwit.model.report import SchemaReport, ValidationReport
from godwit.steps.cutover import CutoverReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

#: Object states that need no word of their own.
GOOD = frozenset({"equal", "created", "skipped", "done"})
DIFFERENCES_SHOWN = 20


def print_result(console: Console, result: Any) -> None:
    """Print what a method of the migrator returned."""
    _print(result, console)


@singledispatch
def _print(result: Any, console: Console) -> None:
    for name, value in _lines(plain(result)):
        _line(console, f"{name}: {value}")


@_print.register(Assessment)
def _assessment(result: Assessment, console: Console) -> None:
    rows = [
        (
            t.table if t.table == t.target else f"{t.table} → {t.target}",
            count(t.rows),
            size(t.bytes),
            count(t.chunks) if t.chunks else "",
            ", ".join(t.identity) or "none",
        )
        for t in sorted(result.tables, key=lambda t: -t.bytes)
    ]
    _table(console, ("table", ">rows", ">size", ">chunks", "row identity"), rows)
    objects = ", ".join(f"{n} {kind}" for kind, n in sorted(result.objects.items()))
    _line(console, f"objects: {objects or 'none'}")
    verdict = "ready" if result.ready else "not ready: see the errors above"
    chunks = f"chunks: {count(result.chunks)} in {plural(result.bundles, 'task')}; "
    _line(
        console,
        f"tables: {len(result.tables)}, {_about(result)}, {size(result.bytes)}; "
        f"{chunks if result.chunks else ''}largest: {result.largest or '-'}; {verdict}",
    )


def _about(result: Assessment) -> str:
    unknown = sum(t.rows < 0 for t in result.tables)
    if not unknown:
        return f"about {count(result.rows)} rows"
    if unknown == len(result.tables):
        return "rows not known (never analysed)"
    return f"about {count(result.rows)} rows and those of {plural(unknown, 'table')} never analysed"


@_print.register(SchemaReport)
def _schema(result: SchemaReport, console: Console) -> None:
    for item in result.objects:
        if item.state not in GOOD:
            _line(console, f"{item.state}: {item.kind} {item.name}: {item.detail}", "red")
    states = sorted({o.state for o in result.objects})
    counts = ", ".join(f"{result.count(state)} {state}" for state in states)
    _line(console, f"{len(result.objects)} objects: {counts or 'none'}")


@_print.register(RunOutcome)
def _run(result: RunOutcome, console: Console) -> None:
    before = f" ({count(result.chunks_before)} were loaded before)" if result.chunks_before else ""
    _line(
        console,
        f"{result.migration}: {result.until} in {duration(result.seconds)}; "
        f"{count(result.chunks)} chunks loaded{before}, {count(result.rows)} rows, "
        f"{size(result.bytes)}",
    )
    if result.applied_to:
        changes = sum(getattr(s, "changes", 0) for s in result.sessions)
        _line(console, f"{count(changes)} changes applied; checkpoint {result.applied_to}")
    bad = {state: n for state, n in result.schema.items() if state not in GOOD and n}
    for state, number in bad.items():
        _line(console, f"schema: {number} objects {state}; see `godwit status`", "red")
    for table, reason in result.suspended.items():
        _line(console, f"suspended: {table}: {reason}", "red")
    if result.refused:
        _line(console, f"{count(result.refused)} rows refused; see `godwit status`", "red")
    if result.cutover is not None:
        _print(result.cutover, console)


@_print.register(Status)
def _status(result: Status, console: Console) -> None:
    rows = [
        (t.table, t.state, f"{t.chunks_loaded}/{t.chunks}", count(t.rows), size(t.bytes), t.reason)
        for t in result.tables
    ]
    _table(console, ("table", "state", ">chunks", ">rows", ">size", "reason"), rows)
    for name in ("phase", "consistent", "low", "settled", "checkpoint", "source_position"):
        _line(console, f"{name.replace('_', ' ')}: {said(getattr(result, name))}")
    _line(console, f"lag: {duration(result.lag_seconds)}, pending: {said(result.pending)}")
    _line(
        console,
        f"applied: {count(result.transactions)} transactions, {count(result.changes)} changes; "
        f"{count(result.exceptions)} rows refused",
    )
    for name, value in result.capture.items():
        _line(console, f"capture {name.replace('_', ' ')}: {said(value)}")
    for step, state in result.cutover.items():
        _line(console, f"cutover {step.replace('_', ' ')}: {state}")
    for problem in result.problems:
        _line(console, f"not known: {problem}", "yellow")


@_print.register(Reloaded)
def _reloaded(result: Reloaded, console: Console) -> None:
    for table in result.tables:
        _line(console, f"{table.table}: {count(table.rows)} rows loaded again, {table.state}")
    applied = f"; checkpoint {result.applied_to}" if result.applied_to else ""
    _line(console, f"{result.migration}: done in {duration(result.seconds)}{applied}")


@_print.register(ValidationReport)
def _validation(result: ValidationReport, console: Console) -> None:
    rows = []
    for t in result.tables:
        found = plural(t.difference_count, "difference") if t.difference_count else "not compared"
        state = "equal" if t.equal else found
        repaired = f"{count(t.repaired)} repaired" if t.repaired else ""
        rows.append((str(t.table), count(t.rows), state, repaired, t.note))
    _table(console, ("table", ">rows", "content", "repair", "note"), rows)
    for t in result.tables:
        for kind, key in t.differences[:DIFFERENCES_SHOWN]:
            _line(console, f"{t.table}: {kind} {key}", "red")
    verdict = "equal" if result.equal else "NOT equal"
    _line(console, f"{len(result.tables)} tables, {count(result.rows)} rows: {verdict}")


@_print.register(CutoverReport)
def _cutover(result: CutoverReport, console: Console) -> None:
    rows = [(s.name, s.state, s.detail) for s in result.steps]
    _table(console, ("step", "state", "detail"), rows)
    for warning in result.warnings:
        _line(console, f"warning: {warning}", STYLES["warning"])
    if result.dry_run:
        verdict = "every gate is open" if result.open else "a gate is closed"
        _line(console, f"dry run: {verdict}")
    else:
        outage = duration(result.outage)
        _line(console, f"cut over at {result.position}; nobody could write for {outage}")


def _table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = list(rows)
    if not lines:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        if any(line[number] for line in lines):
            right = name.startswith(">")
            table.add_column(name.lstrip(">"), justify="right" if right else "left")
    shown = [n for n in range(len(columns)) if any(line[n] for line in lines)]
    for line in lines:
        table.add_row(*(Text(line[n]) for n in shown))
    console.print(table)


def _lines(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _lines(item, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(value, list):
        for item in value:
            yield from _lines(item, name)
    elif value not in (None, ""):
        yield name, value


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)

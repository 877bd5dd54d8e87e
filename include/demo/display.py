"""What the demo shows while it runs: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from include.demo.application import Application

STEPS = (
    "configure_endpoints",
    "provision_instance",
    "convert_schema",
    "plan_chunks",
    "full_load",
    "catch_up",
    "finish_schema",
    "cdc_poll",
    "validate",
    "approve_cutover",
    "cutover",
    "decommission",
)
ACTIVE = {"running", "deferred", "awaiting_input", "queued", "scheduled", "up_for_retry"}
FAILED = {"failed", "upstream_failed"}
MARKS = {"success": "[green]✓[/]", "active": "[cyan]●[/]", "failed": "[red]✗[/]"}
WAITING = "[dim]·[/]"
NOTES = 5


@dataclass(frozen=True)
class Progress:
    """How far the run is."""

    states: dict[str, str]
    chunks: tuple[int, int]
    rows: tuple[int, int]
    lag: dict[str, Any]
    written: int
    failed: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        tasks: list[dict[str, Any]],
        picture: dict[str, Any],
        rows_expected: int,
        writer: Application | None,
    ) -> Self:
        """From Airflow's task instances and the state store."""
        migration = picture["migration"]
        planned = int(migration.get("rows_planned") or 0) or rows_expected
        return cls(
            states={step: _state(step, tasks) for step in STEPS},
            chunks=(int(migration.get("chunks_loaded") or 0), int(migration.get("chunks") or 0)),
            rows=(int(migration.get("rows_loaded") or 0), planned),
            lag=migration.get("lag") or {},
            written=writer.stats.transactions if writer else 0,
            failed=[task for task in tasks if task["state"] == "failed"],
        )

    @property
    def following(self) -> bool:
        """Changes are being followed."""
        return self.states["cdc_poll"] == "active" and bool(self.lag)

    @property
    def active(self) -> list[str]:
        """Steps at work."""
        return [step for step, state in self.states.items() if state == "active"]


def _state(step: str, tasks: list[dict[str, Any]]) -> str:
    states = [task["state"] for task in tasks if task["task_id"] == step]
    if any(state in FAILED for state in states):
        return "failed"
    if states and all(state in ("success", "skipped") for state in states):
        return "success"
    return "active" if any(state in ACTIVE or state == "success" for state in states) else "waiting"


class Display:
    """Shows progress; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._notes: list[str] = []
        self._progress: Progress | None = None
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=4)
        self._steps: set[tuple[str, str]] = set()
        self._rate: tuple[float, int, float] = (time.monotonic(), 0, 0.0)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def note(self, text: str) -> None:
        """A sentence about what happened."""
        line = f"{time.monotonic() - self._began:5.1f} s  {text}"
        if self._console.is_terminal:
            self._notes = [*self._notes, line][-NOTES:]
        else:
            self._console.print(line)

    def show(self, progress: Progress) -> None:
        """The run as it is now."""
        if self._console.is_terminal:
            self._progress = progress
            return
        for step, state in progress.states.items():
            if state in ("success", "failed", "active") and (step, state) not in self._steps:
                self._steps.add((step, state))
                more = f"  {_lag(progress)}" if step == "cdc_poll" else ""
                self.note(f"{step}: {'begins' if state == 'active' else state}{more}")

    def _picture(self) -> RenderableType:
        notes = Text("\n".join(self._notes), style="dim")
        clock = Text(f"{time.monotonic() - self._began:5.1f} s", style="bold")
        if self._progress is None:
            return Group(notes, Text(), clock)
        return Group(notes, Text(), clock, *self._run(self._progress))

    def _run(self, progress: Progress) -> tuple[RenderableType, ...]:
        steps = Columns(
            [
                Text.from_markup(f"{MARKS.get(state, WAITING)} {step}")
                for step, state in progress.states.items()
            ],
            padding=(0, 3),
        )
        done, planned = progress.rows
        table = Table.grid(padding=(0, 2))
        table.add_row(
            "rows",
            ProgressBar(total=max(planned, 1), completed=min(done, planned), width=30),
            f"{done:,} of about {planned:,}, {self._rows_per_second(done):,.0f} rows/s",
        )
        loaded, chunks = progress.chunks
        table.add_row(
            "chunks",
            ProgressBar(total=max(chunks, 1), completed=loaded, width=30),
            f"{loaded} of {chunks}",
        )
        changes = f"{progress.lag.get('changes') or 0:,} applied, {_lag(progress)}"
        table.add_row("changes", "", changes)
        table.add_row("application", "", f"{progress.written:,} transactions written")
        return steps, Text(), table

    def _rows_per_second(self, rows: int) -> float:
        at, before, rate = self._rate
        now = time.monotonic()
        if now - at >= 1.0:
            rate = (rows - before) / (now - at)
            self._rate = (now, rows, rate)
        return rate


def _lag(progress: Progress) -> str:
    def milliseconds(name: str) -> str:
        value = progress.lag.get(name)
        return "-" if value is None else f"{float(value) * 1000:.0f} ms"

    return f"lag p50 {milliseconds('lag_p50')}, p99 {milliseconds('lag_p99')}"

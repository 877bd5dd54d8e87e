"""The demo's verdict: what arrived, looked at from outside Godwit too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.panel import Panel
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from include.demo.application import WriterStats
    from include.demo.contents import Contents


@dataclass(frozen=True)
class Verdict:
    """What came of it. `different`: tables whose content is not the same on both servers."""

    good: bool
    state: str
    seconds: float
    tables: int
    rows: int
    different: tuple[str, ...]
    validated: int
    transactions: int
    changes: int
    lag_p50: float | None
    lag_p99: float | None
    rows_per_second: float
    written: str
    url: str

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        grid = Table.grid(padding=(0, 3))
        for name, value in self._lines():
            grid.add_row(name, value)
        title = "[green bold]Everything arrived"
        if not self.good:
            title = "[red bold]Not everything arrived"
        yield Panel(grid, title=title, expand=False, padding=(1, 2))

    def _lines(self) -> list[tuple[str, str]]:
        alike = self.tables - len(self.different)
        same = f"{alike} of {self.tables} tables are the same on both servers"
        if self.different:
            same += f" — not {', '.join(self.different)}"
        return [
            ("DAG run", f"{self.state} after {self.seconds:.1f} s"),
            ("content", same),
            ("rows", f"{self.rows:,}; loaded at {self.rows_per_second:,.0f} rows/s"),
            ("changes applied", f"{self.changes:,} in {self.transactions:,} transactions"),
            ("lag", f"p50 {_ms(self.lag_p50)}, p99 {_ms(self.lag_p99)}"),
            ("validation", f"{self.validated} tables equal by content hash"),
            ("application", self.written),
            ("Airflow", self.url),
        ]


def judge(
    *,
    state: str,
    seconds: float,
    source: Contents,
    target: Contents,
    picture: dict[str, Any],
    writer: WriterStats,
    url: str,
) -> Verdict:
    """Compare what both servers hold, and add what the state store has seen."""
    different = tuple(name for name in source if source[name] != target.get(name))
    migration = picture["migration"]
    lag = [line for line in picture["lag"] if line.get("mode") != "catch-up"] or picture["lag"]
    last = picture["lag"][-1] if picture["lag"] else {}
    seconds_loading = sum(float(table["seconds"] or 0) for table in picture["tables"])
    rows_loaded = int(migration.get("rows_loaded") or 0)
    validated = int(migration.get("tables_validated") or 0)
    unequal = int(migration.get("tables_different") or 0)
    return Verdict(
        good=state == "success" and not different and bool(source) and not unequal,
        state=state,
        seconds=seconds,
        tables=len(source),
        rows=sum(rows for rows, _ in target.values()),
        different=different,
        validated=validated - unequal,
        transactions=int(last.get("transactions") or 0),
        changes=int(last.get("changes") or 0),
        lag_p50=_middle([line["lag_p50"] for line in lag]),
        lag_p99=_largest([line["lag_p99"] for line in lag]),
        rows_per_second=rows_loaded / seconds_loading if seconds_loading else 0.0,
        written=writer.summary(),
        url=url,
    )


def _middle(values: list[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _largest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.1f} ms"

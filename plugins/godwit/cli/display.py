"""Progress on stderr: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.text import Text

from godwit.cli.words import count, duration, plural, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

#: Between two lines of the same kind when nobody watches a terminal.
LINE_SECONDS = 5.0
STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


class Display:
    """A reporter for a person at a shell."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._bars = _bars(console) if console.is_terminal and not quiet else None
        self._lock = threading.Lock()
        self._phase: TaskID | None = None
        self._load: TaskID | None = None
        self._session: TaskID | None = None
        self._load_begun = self._said = 0.0
        self._chunks = self._planned = self._rows = self._bytes = 0
        self._seen: set[tuple[str, str, str]] = set()

    def __enter__(self) -> Display:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Show it."""
        show = _SHOWN.get(kind)
        if show is None or (self._quiet and kind != "finding"):
            return
        try:
            with self._lock:
                show(self, data)
        except (KeyError, TypeError, ValueError, OSError):
            # A picture must not stop the migration, nor may a closed terminal.
            return

    def _line(self, text: str, style: str = "") -> None:
        console = self._bars.console if self._bars is not None else self._console
        console.print(Text(text, style=style), soft_wrap=True)

    def _now_and_then(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS:
            self._said = now
            self._line(text)

    def _show_phase(self, data: Mapping[str, Any]) -> None:
        name = str(data["name"]).replace("_", " ")
        self._said = 0.0
        if self._bars is None:
            self._line(f"phase: {name}")
            return
        if self._phase is not None:
            self._bars.update(self._phase, visible=False)
        self._phase = self._bars.add_task(name, total=None, detail="")

    def _show_finding(self, data: Mapping[str, Any]) -> None:
        about = (str(data["code"]), str(data["subject"]), str(data["reason"]))
        if about in self._seen or (self._quiet and data["severity"] == "info"):
            return
        self._seen.add(about)
        severity = str(data["severity"])
        self._line(f"{severity}: {data['subject']}: {data['reason']}", STYLES.get(severity, ""))
        if data.get("hint"):
            self._line(f"  what to do: {data['hint']}")

    def _show_object(self, data: Mapping[str, Any]) -> None:
        if data["state"] in {"failed", "differs", "missing"}:
            self._line(f"{data['state']}: {data['kind']} {data['name']}: {data['detail']}", "red")

    def _show_plan(self, data: Mapping[str, Any]) -> None:
        self._planned = int(data["chunks"])
        self._chunks = int(data.get("loaded", 0))
        self._load_begun = time.monotonic()
        rows = f"about {count(data['rows'])} rows, {size(data['bytes'])}"
        if self._bars is None:
            self._line(f"plan: {count(self._planned)} chunks, {rows}")
            return
        self._load = self._bars.add_task(
            "full load", total=self._planned, completed=self._chunks, detail=rows
        )

    def _show_chunk(self, data: Mapping[str, Any]) -> None:
        self._chunks += 1
        self._rows += int(data["rows"])
        self._bytes += int(data["bytes"])
        seconds = max(time.monotonic() - self._load_begun, 0.001)
        rate = f"{count(self._rows / seconds)} rows/s, {size(self._bytes / seconds)}/s"
        if self._bars is None:
            text = f"loaded {self._chunks}/{self._planned} chunks, {count(self._rows)} rows, {rate}"
            self._now_and_then(text)
        elif self._load is not None:
            self._bars.update(self._load, completed=self._chunks, detail=rate)

    def _show_session(self, data: Mapping[str, Any]) -> None:
        lags = [f"{word} {duration(data.get(f'lag_{word}'))}" for word in ("now", "p50", "p99")]
        text = (
            f"{count(data.get('transactions', 0))} transactions, "
            f"{count(data.get('changes', 0))} changes, lag {', '.join(lags)}"
        )
        mode = str(data.get("mode") or "applying").replace("_", " ")
        if self._bars is None:
            self._now_and_then(f"{mode}: {text}")
        elif self._session is None:
            self._session = self._bars.add_task(mode, total=None, detail=text)
        else:
            self._bars.update(self._session, description=mode, detail=text)

    def _show_validation(self, data: Mapping[str, Any]) -> None:
        name = data["table"]
        name = ".".join(name) if isinstance(name, (list, tuple)) else str(name)
        if not data["equal"]:
            differences = plural(data.get("difference_count", 0), "difference")
            self._line(f"{name}: {data.get('note') or differences}", "red")
        elif self._bars is None:
            self._line(f"{name}: {count(data['rows'])} rows equal")
        elif self._phase is not None:
            self._bars.update(self._phase, detail=f"{name}: {count(data['rows'])} rows equal")

    def _show_cutover(self, data: Mapping[str, Any]) -> None:
        self._line(f"cutover: {str(data['step']).replace('_', ' ')} {data['state']}")

    def _show_suspended(self, data: Mapping[str, Any]) -> None:
        self._line(f"suspended: {data.get('table')}: {data.get('reason')}", "red")


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
        transient=True,
        refresh_per_second=5,
    )


_SHOWN: dict[str, Callable[[Display, Mapping[str, Any]], None]] = {
    "phase": Display._show_phase,  # noqa: SLF001
    "finding": Display._show_finding,  # noqa: SLF001
    "object": Display._show_object,  # noqa: SLF001
    "plan": Display._show_plan,  # noqa: SLF001
    "chunk": Display._show_chunk,  # noqa: SLF001
    "session": Display._show_session,  # noqa: SLF001
    "validation": Display._show_validation,  # noqa: SLF001
    "cutover": Display._show_cutover,  # noqa: SLF001
    "suspended": Display._show_suspended,  # noqa: SLF001
}

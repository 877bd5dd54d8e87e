"""Where a task tells what happens: its own log for the reader, the state store for the pages."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from godwit.protocols import Reporter

#: A CDC session reports every second; the log takes one line of these.
SESSION_LOG_SECONDS = 15.0
QUIET_STATES = ("equal", "created", "done", "skipped")


class LogReporter:
    """Writes events as sentences to a task's log."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._session_logged = 0.0
        self._mode: str | None = None

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Log it when a person wants to read it."""
        line = sentence(kind, data)
        if line is None or (kind == "session" and not self._session_due(data)):
            return
        if kind == "finding" and data.get("severity") == "error":
            self._log.error("%s", line)
        elif kind == "finding" and data.get("severity") == "warning":
            self._log.warning("%s", line)
        else:
            self._log.info("%s", line)

    def _session_due(self, data: Mapping[str, Any]) -> bool:
        now = time.monotonic()
        due = now - self._session_logged >= SESSION_LOG_SECONDS or data.get("mode") != self._mode
        if due:
            self._session_logged, self._mode = now, data.get("mode")
        return due


class Reporters:
    """Several reporters as one."""

    def __init__(self, *members: Reporter) -> None:
        self._members = members

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell every one."""
        for member in self._members:
            member.event(kind, data)


@contextmanager
def task_reporter(migration: str, log: Any) -> Iterator[Reporter]:
    """The log and the state store together, for the length of a task."""
    from godwit.state import StateStore

    store = StateStore()
    stored = store.reporter(migration)
    try:
        yield Reporters(LogReporter(log), stored)
    finally:
        stored.close()
        store.close()


def sentence(kind: str, data: Mapping[str, Any]) -> str | None:
    """One line for people about an event; None when it is not worth one."""
    build = _SENTENCES.get(kind)
    return build(data) if build else None


def _finding(data: Mapping[str, Any]) -> str:
    hint = f" What to do: {data['hint']}" if data.get("hint") else ""
    severity = str(data["severity"]).upper()
    return f"{severity} {data['code']}: {data['subject']}: {data['reason']}{hint}"


def _object(data: Mapping[str, Any]) -> str | None:
    if data.get("state") in QUIET_STATES:
        return None
    return f"{data['kind']} {data['name']}: {data['state']} {data.get('detail', '')}".rstrip()


def _chunk(data: Mapping[str, Any]) -> str:
    rows, seconds = int(data.get("rows", 0)), float(data.get("seconds", 0.0))
    rate = f", {rows / seconds:,.0f} rows/s" if seconds else ""
    return f"loaded {data['label']}: {rows:,} rows in {seconds:.1f} s{rate}"


def _session(data: Mapping[str, Any]) -> str:
    if "error" in data:
        wait = float(data.get("seconds", 0))
        return f"{data.get('mode', 'session')} in {wait:g} s: {data['error']}"

    def ms(name: str) -> str:
        value = data.get(name)
        return "-" if value is None else f"{float(value) * 1000:,.0f} ms"

    transactions, changes = (int(data.get(name, 0)) for name in ("transactions", "changes"))
    counts = f"{transactions:,} transactions, {changes:,} changes"
    lags = f"lag {ms('lag_now')} now, {ms('lag_p50')} p50, {ms('lag_p99')} p99"
    return f"{data.get('mode', 'session')}: applied to {data.get('position')}; {counts}; {lags}"


def _validation(data: Mapping[str, Any]) -> str:
    state = "equal" if data.get("equal") else f"{data.get('difference_count', '?')} differences"
    note = f" ({data['note']})" if data.get("note") else ""
    return f"validated {_name(data['table'])}: {int(data.get('rows', 0)):,} rows, {state}{note}"


def _name(table: Any) -> str:
    return ".".join(table) if isinstance(table, (list, tuple)) else str(table)


_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "phase": lambda data: f"phase: {data.get('name')}",
    "finding": _finding,
    "object": _object,
    "plan": lambda d: f"plan: {d.get('chunks')} chunks, about {int(d.get('rows') or 0):,} rows",
    "chunk": _chunk,
    "session": _session,
    "validation": _validation,
    "cutover": lambda data: f"cutover: {data.get('step')} {data.get('state')}",
    "suspended": lambda data: f"suspended {_name(data.get('table'))}: {data.get('reason')}",
    "error": lambda data: f"error: {data.get('error') or data}",
}

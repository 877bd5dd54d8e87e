"""From events to rows of the state store: one transaction for a buffer full of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from godwit.state import tables as t

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

#: Kinds that go to the list of events; the others are too many and live in tables of their own.
LISTED = frozenset({"phase", "plan", "cutover", "error", "suspended", "instance"})
EVENTS_KEPT = 2_000
LAG_KEPT = 7_200
PRUNE_EVERY = 200


@dataclass(frozen=True)
class Event:
    """One call of a reporter."""

    at: datetime
    kind: str
    data: Mapping[str, Any]


def record(connection: Connection, migration: str, batch: Sequence[Event]) -> None:
    """Write a buffer of events inside the connection's transaction."""
    touch(connection, migration, batch[-1].at)
    for event in batch:
        writer = WRITERS.get(event.kind)
        if writer is not None:
            writer(connection, migration, event)
        if event.kind in LISTED:
            row = {"migration": migration, "at": event.at, "kind": event.kind}
            connection.execute(insert(t.events).values(**row, data=dict(event.data)))
    _record_lag(connection, migration, [e for e in batch if e.kind == "session"])


def put(
    connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Insert a row or update it: portable, and safe when two processes do it at once."""
    where = [table.c[name] == value for name, value in key.items()]
    changed = update(table).where(*where).values(**values)
    if connection.execute(changed).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values(**key, **values))
    except IntegrityError:
        connection.execute(changed)


def touch(connection: Connection, migration: str, at: datetime, **facts: Any) -> None:
    """The migration was seen."""
    seen = {"last_seen": at, **facts}
    known = update(t.migrations).where(t.migrations.c.migration == migration).values(**seen)
    if not connection.execute(known).rowcount:
        put(connection, t.migrations, {"migration": migration}, {"first_seen": at, **seen})


def table_key(value: Any) -> tuple[str, str]:
    """Schema and name of a table, however an event writes it."""
    if isinstance(value, (list, tuple)):
        parts = [str(part) for part in value]
        return (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    schema, dot, name = str(value).partition(".")
    return (schema, name) if dot else ("", schema)


def _record_phase(connection: Connection, migration: str, event: Event) -> None:
    phase = str(event.data.get("name", ""))[:60]
    touch(connection, migration, event.at, phase=phase, phase_at=event.at)


def _record_migration(connection: Connection, migration: str, event: Event) -> None:
    names = ("migration_type", "source", "target", "dag_id")
    facts = {name: str(event.data[name]) for name in names if name in event.data}
    touch(connection, migration, event.at, **facts)


def _record_finding(connection: Connection, migration: str, event: Event) -> None:
    data = event.data
    key = {"migration": migration, "code": str(data["code"]), "subject": str(data["subject"])[:500]}
    values = {
        "severity": str(data["severity"]),
        "reason": str(data["reason"]),
        "hint": str(data.get("hint", "")),
        "last_seen": event.at,
    }
    known = update(t.findings).where(*(t.findings.c[n] == v for n, v in key.items()))
    if not connection.execute(known.values(**values)).rowcount:
        put(connection, t.findings, key, {**values, "first_seen": event.at})


def _record_chunk(connection: Connection, migration: str, event: Event) -> None:
    data = event.data
    label = str(data["label"])
    schema, name = table_key(data.get("table") or label.split(" ", 1)[0])
    values = {
        "table_schema": schema,
        "table_name": name,
        "label": label[:500],
        "loaded_rows": int(data.get("rows", 0)),
        "loaded_bytes": int(data.get("bytes", 0)),
        "seconds": float(data.get("seconds", 0.0)),
        "at": event.at,
    }
    key = {"migration": migration, "chunk": str(data.get("id") or label)[:250]}
    put(connection, t.chunk_statistics, key, values)


#: Counters of a ``table`` event: absolute values.
COUNTERS = ("chunks", "rows_planned", "bytes_planned", "inserts", "updates", "deletes")
#: Counters of a ``table`` event that are added to what is stored.
ADDED = {"more_inserts": "inserts", "more_updates": "updates", "more_deletes": "deletes"}


def _record_table(connection: Connection, migration: str, event: Event) -> None:
    data = event.data
    schema, name = table_key(data["table"])
    key = {"migration": migration, "table_schema": schema, "table_name": name}
    values: dict[str, Any] = {c: int(data[c]) for c in COUNTERS if data.get(c) is not None}
    values |= {c: str(data[c]) for c in ("state", "target", "last_error") if c in data}
    put(connection, t.table_statistics, key, {**values, "at": event.at})
    more = {kept: int(data[new]) for new, kept in ADDED.items() if data.get(new)}
    if more:
        where = [t.table_statistics.c[column] == value for column, value in key.items()]
        sums = {kept: t.table_statistics.c[kept] + count for kept, count in more.items()}
        connection.execute(update(t.table_statistics).where(*where).values(**sums))


def _record_validation(connection: Connection, migration: str, event: Event) -> None:
    data = event.data
    schema, name = table_key(data["table"])
    key = {"migration": migration, "table_schema": schema, "table_name": name}
    values = {
        "compared_rows": int(data.get("rows", 0)),
        "equal": bool(data["equal"]),
        "difference_count": int(data.get("difference_count", 0)),
        "rechecked": int(data.get("rechecked", 0)),
        "repaired": int(data.get("repaired", 0)),
        "seconds": float(data.get("seconds", 0.0)),
        "note": str(data.get("note", "")),
        "at": event.at,
    }
    put(connection, t.validations, key, values)


def _record_instance(connection: Connection, migration: str, event: Event) -> None:
    data = event.data
    values = {
        "name": str(data.get("name", "")),
        "instance_class": str(data.get("instance_class", "")),
        "streams": int(data.get("streams", 0)),
        "memory_mb": int(data.get("memory_mb", 0)),
        "queue": str(data.get("queue") or ""),
        "state": str(data.get("state", "")),
        "at": event.at,
    }
    put(connection, t.instances, {"migration": migration}, values)


def _record_lag(connection: Connection, migration: str, batch: Iterable[Event]) -> None:
    rows = [_lag_row(migration, event) for event in batch]
    if rows:
        connection.execute(insert(t.lag_history), rows)


def _lag_row(migration: str, event: Event) -> dict[str, Any]:
    data = event.data
    lags = {name: data.get(name) for name in ("lag_p50", "lag_p99", "lag_now")}
    counts = {name: int(data.get(name) or 0) for name in ("transactions", "changes", "batches")}
    words = {name: str(data.get(name) or "") for name in ("position", "mode")}
    return {"migration": migration, "at": event.at, **lags, **counts, **words}


def prune(connection: Connection, migration: str) -> None:
    """Keep the newest events and lag lines of a migration."""
    for table, kept in ((t.events, EVENTS_KEPT), (t.lag_history, LAG_KEPT)):
        newest = (
            select(table.c.id)
            .where(table.c.migration == migration)
            .order_by(table.c.id.desc())
            .offset(kept)
            .limit(1)
        )
        last = connection.execute(newest).scalar()
        if last is not None:
            old = (table.c.migration == migration) & (table.c.id <= last)
            connection.execute(delete(table).where(old))


def forget(connection: Connection, migration: str) -> int:
    """Remove every line of a migration; returns how many tables held some."""
    held = 0
    for table in t.metadata.sorted_tables:
        held += connection.execute(delete(table).where(table.c.migration == migration)).rowcount > 0
    return held


def known(connection: Connection, migration: str) -> bool:
    """Whether the state store has heard of the migration."""
    one = (
        select(func.count()).select_from(t.migrations).where(t.migrations.c.migration == migration)
    )
    return bool(connection.execute(one).scalar())


WRITERS: dict[str, Callable[[Connection, str, Event], None]] = {
    "migration": _record_migration,
    "phase": _record_phase,
    "finding": _record_finding,
    "chunk": _record_chunk,
    "table": _record_table,
    "validation": _record_validation,
    "instance": _record_instance,
}

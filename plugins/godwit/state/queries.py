"""What the UI and the CLI ask the state store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from godwit.state import tables as t

WORST_FIRST = case(
    (t.findings.c.severity == "error", 0), (t.findings.c.severity == "warning", 1), else_=2
)


def overview(connection: Connection) -> list[dict[str, Any]]:
    """One line a migration."""
    names = connection.execute(select(t.migrations.c.migration).order_by(t.migrations.c.migration))
    lines = (migration(connection, name) for name in names.scalars().all())
    return [line for line in lines if line is not None]


def migration(connection: Connection, name: str) -> dict[str, Any] | None:
    """One migration with counts, lag and instance."""
    line = _first(connection, select(t.migrations).where(t.migrations.c.migration == name))
    if line is None:
        return None
    chunk, table, check = t.chunk_statistics.c, t.table_statistics.c, t.validations.c
    loaded = _first(
        connection,
        select(
            func.count().label("chunks_loaded"),
            func.coalesce(func.sum(chunk.loaded_rows), 0).label("rows_loaded"),
            func.coalesce(func.sum(chunk.loaded_bytes), 0).label("bytes_loaded"),
        ).where(chunk.migration == name),
    )
    planned = _first(
        connection,
        select(
            func.count().label("tables"),
            func.coalesce(func.sum(table.chunks), 0).label("chunks"),
            func.coalesce(func.sum(table.rows_planned), 0).label("rows_planned"),
            func.coalesce(func.sum(case((table.state == "suspended", 1), else_=0)), 0).label(
                "tables_suspended"
            ),
        ).where(table.migration == name),
    )
    compared = _first(
        connection,
        select(
            func.count().label("tables_validated"),
            func.coalesce(func.sum(case((check.equal, 0), else_=1)), 0).label("tables_different"),
        ).where(check.migration == name),
    )
    severities = connection.execute(
        select(t.findings.c.severity, func.count())
        .where(t.findings.c.migration == name)
        .group_by(t.findings.c.severity)
    )
    history = lag(connection, name, 1)
    return {
        **line,
        **_plain(loaded),
        **_plain(planned),
        **_plain(compared),
        "findings": {row[0]: row[1] for row in severities.all()},
        "lag": history[-1] if history else None,
        "instance": _first(connection, select(t.instances).where(t.instances.c.migration == name)),
    }


def tables(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Statistics of every table of a migration."""
    chunk, check, table = t.chunk_statistics.c, t.validations.c, t.table_statistics.c
    loaded = connection.execute(
        select(
            chunk.table_schema,
            chunk.table_name,
            func.count(),
            func.sum(chunk.loaded_rows),
            func.sum(chunk.loaded_bytes),
            func.sum(chunk.seconds),
        )
        .where(chunk.migration == name)
        .group_by(chunk.table_schema, chunk.table_name)
    )
    names = ("chunks_loaded", "rows_loaded", "bytes_loaded", "seconds")
    sums = {(s, n): dict(zip(names, rest, strict=True)) for s, n, *rest in loaded}
    checks = {
        (c["table_schema"], c["table_name"]): c
        for c in _all(connection, select(t.validations).where(check.migration == name))
    }
    lines = {
        (r["table_schema"], r["table_name"]): r
        for r in _all(connection, select(t.table_statistics).where(table.migration == name))
    }
    none = dict.fromkeys(names, 0)
    return [
        {
            **_blank(key),
            **lines.get(key, {}),
            **sums.get(key, none),
            "validation": checks.get(key),
        }
        for key in sorted(lines.keys() | sums.keys() | checks.keys())
    ]


def chunks(connection: Connection, name: str, limit: int) -> list[dict[str, Any]]:
    """Loaded chunks, newest first."""
    c = t.chunk_statistics.c
    query = select(t.chunk_statistics).where(c.migration == name).order_by(c.at.desc(), c.label)
    return _all(connection, query.limit(limit))


def lag(connection: Connection, name: str, limit: int) -> list[dict[str, Any]]:
    """The newest lines of the lag history, oldest first."""
    c = t.lag_history.c
    query = select(t.lag_history).where(c.migration == name).order_by(c.id.desc()).limit(limit)
    return _all(connection, query)[::-1]


def findings(connection: Connection, name: str) -> list[dict[str, Any]]:
    """Findings, worst first."""
    c = t.findings.c
    query = select(t.findings).where(c.migration == name)
    return _all(connection, query.order_by(WORST_FIRST, c.code, c.subject))


def events(connection: Connection, name: str, limit: int, after: int) -> list[dict[str, Any]]:
    """Events, newest first."""
    c = t.events.c
    query = select(t.events).where(c.migration == name, c.id > after)
    return _all(connection, query.order_by(c.id.desc()).limit(limit))


def _blank(key: tuple[str, str]) -> dict[str, Any]:
    counters = dict.fromkeys(
        ("chunks", "rows_planned", "bytes_planned", "inserts", "updates", "deletes"), 0
    )
    words = dict.fromkeys(("state", "target", "last_error"), "")
    return {"table_schema": key[0], "table_name": key[1], **counters, **words, "at": None}


def _all(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    rows = connection.execute(query).mappings()
    return [{k: v for k, v in row.items() if k != "migration" or "phase" in row} for row in rows]


def _first(connection: Connection, query: Select[Any]) -> dict[str, Any] | None:
    row = connection.execute(query).mappings().first()
    return dict(row) if row is not None else None


def _plain(line: dict[str, Any] | None) -> dict[str, int]:
    # Sums of big integers arrive as decimals on some databases.
    return {name: int(value) for name, value in (line or {}).items()}

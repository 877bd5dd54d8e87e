"""Chunks by table, and what people are told of plan and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from godwit.migrator.opened import OpenMigration
    from godwit.model.catalog import TableName
    from godwit.model.chunks import Bundle, Chunk


def grouped(chunks: Iterable[Chunk]) -> dict[TableName, list[Chunk]]:
    """Chunks by table."""
    found: dict[TableName, list[Chunk]] = {}
    for chunk in chunks:
        found.setdefault(chunk.table, []).append(chunk)
    return found


def tell_plan(migration: OpenMigration, bundles: Sequence[Bundle]) -> None:
    """Tell the plan as a whole and table by table."""
    chunks = [c for b in bundles for c in b.chunks]
    ledger = migration.control.loaded()
    migration.tell(
        "plan",
        {
            "chunks": len(chunks),
            "rows": sum(c.rows for c in chunks),
            "bytes": sum(c.bytes for c in chunks),
            "loaded": sum(c.id in ledger for c in chunks),
        },
    )
    targets = {m.source.name: str(m.target) for m in migration.mappings}
    for table, own in grouped(chunks).items():
        facts = {
            "state": "loading" if any(c.id not in ledger for c in own) else "loaded",
            "target": targets.get(table, ""),
            "chunks": len(own),
            "rows_planned": sum(c.rows for c in own),
            "bytes_planned": sum(c.bytes for c in own),
        }
        migration.tell("table", {"table": list(table), **facts})


def tell_tables(migration: OpenMigration, state: str) -> None:
    """Tell that every table has reached a state, but for those suspended."""
    suspended = migration.control.suspended()
    for mapping in migration.mappings:
        name = mapping.source.name
        facts = {"state": state, "target": str(mapping.target)}
        if name in suspended:
            facts = {"state": "suspended", "last_error": suspended[name]}
        migration.tell("table", {"table": list(name), **facts})

"""Whether a publication that somebody else has made tells every change of the migration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, fetch
from godwit.engines.postgres.names import quoted
from godwit.model.catalog import Table, TableName
from godwit.model.report import Finding, Severity

_PUBLICATION: LiteralString = """
SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS everything,
       pubviaroot AS by_root
FROM pg_publication WHERE pubname = %(name)s
"""

# Row filters and column lists exist since 15.
_TABLES: LiteralString = """
SELECT t.schemaname AS schema, t.tablename AS name, to_jsonb(t) ->> 'rowfilter' AS filter,
       EXISTS (SELECT FROM pg_publication_rel r
               WHERE r.prpubid = p.oid AND to_jsonb(r) ->> 'prattrs' IS NOT NULL
               AND r.prrelid IN (SELECT c.oid UNION SELECT pg_partition_ancestors(c.oid))) AS part
FROM pg_publication p JOIN pg_publication_tables t ON t.pubname = p.pubname
JOIN pg_namespace n ON n.nspname = t.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
WHERE p.pubname = %(name)s
"""
SHOWN = 5


def check_publication(conn: Connection, name: str, tables: Sequence[Table]) -> Iterator[Finding]:
    """Errors for whatever of these tables the publication would keep to itself."""
    found = fetch(conn, _PUBLICATION, name=name)
    if not found:
        reason = "the endpoint setting PublicationName names a publication that does not exist"
        hint = f"CREATE PUBLICATION {quoted(name)} FOR TABLE …; or leave the setting out"
        yield _error(name, reason, hint)
        return
    if not found[0]["everything"]:
        hint = (
            f"ALTER PUBLICATION {quoted(name)} SET (publish = 'insert, update, delete, truncate');"
        )
        yield _error(name, "it does not tell all kinds of changes", hint)
    if found[0]["by_root"] and any(t.parts for t in tables):
        reason = "it tells changes of partitions as their root's: truncating one would be lost"
        hint = f"ALTER PUBLICATION {quoted(name)} SET (publish_via_partition_root = false);"
        yield _error(name, reason, hint)
        return
    yield from _untold(conn, name, tables)


def _untold(conn: Connection, name: str, tables: Sequence[Table]) -> Iterator[Finding]:
    rows = {TableName(r["schema"], r["name"]): r for r in fetch(conn, _TABLES, name=name)}
    missing, partly = [], []
    for table in tables:
        if table.capture == "none":
            continue
        leaves = [part.name for part in table.parts] or [table.name]
        missing += [leaf for leaf in leaves if leaf not in rows]
        told = (rows[leaf] for leaf in leaves if leaf in rows)
        if any(row["filter"] or row["part"] for row in told):
            partly.append(table.name)
    if missing:
        tables_to_add = ", ".join(quoted(*leaf) for leaf in missing[:SHOWN])
        yield _error(
            name,
            f"{len(missing)} tables of the migration are not in it: "
            + ", ".join(str(leaf) for leaf in missing[:SHOWN]),
            f"ALTER PUBLICATION {quoted(name)} ADD TABLE {tables_to_add}; a table without a key "
            "needs REPLICA IDENTITY FULL first, or its applications can no longer change it",
        )
    if partly:
        yield _error(
            name,
            "it leaves out rows or columns of " + ", ".join(str(t) for t in partly[:SHOWN]),
            "publish these tables without a row filter and without a column list",
        )


def _error(name: str, reason: str, hint: str) -> Finding:
    return Finding("publication", Severity.ERROR, f"publication {name}", reason, hint)

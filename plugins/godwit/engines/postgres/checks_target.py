"""Whether a target can be made and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import LiteralString

from psycopg import sql

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.names import quoted
from godwit.model.catalog import TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity

OLDEST_VERSION = 130000
BYTES_PER_GB = 1_000_000_000
NOTEWORTHY_BYTES = 10 * BYTES_PER_GB

_SERVER: LiteralString = """
SELECT current_user AS role, current_database() AS database, pg_is_in_recovery() AS standby,
       current_setting('transaction_read_only') AS read_only,
       pg_encoding_to_char(d.encoding) AS encoding,
       has_database_privilege(d.oid, 'CREATE') AS may_create,
       to_jsonb(d) ->> 'datcollversion' AS collation_version
FROM pg_database d WHERE d.datname = current_database()
"""

_SCHEMAS: LiteralString = """
SELECT w.name, n.oid IS NOT NULL AS present,
       n.oid IS NOT NULL AND has_schema_privilege(n.oid, 'CREATE') AS may_create
FROM unnest(%(names)s::text[]) AS w(name) LEFT JOIN pg_namespace n ON n.nspname = w.name
ORDER BY 1
"""

_TABLES: LiteralString = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_has_role(current_user, c.relowner, 'USAGE') AS owned
FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w(schema, name)
JOIN pg_namespace n ON n.nspname = w.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
ORDER BY 1, 2
"""


def check_target(
    connector: Connector, migration: str, mappings: Sequence[TableMapping]
) -> list[Finding]:
    """Privileges and settings for making and writing the mapped tables, and what is in the way.

    Every finding's hint holds the SQL to run. Raises EndpointError when it cannot be reached.
    """
    with connector.lease("target") as conn:
        server = fetch(conn, _SERVER)[0]
        findings = [*_server(conn, server), *_silence(connector, server)]
        findings += _schemas(conn, server, mappings)
        findings += _tables(conn, migration, server, mappings)
    total = sum(m.source.bytes for m in mappings)
    if total > NOTEWORTHY_BYTES:
        reason = f"about {total / BYTES_PER_GB:.0f} GB arrive, and as much again passes its log"
        findings.append(Finding("disk-size", Severity.INFO, "target", reason, "see to the disk"))
    return findings


def _error(code: str, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(code, Severity.ERROR, subject, reason, hint)


def _server(conn: Connection, server: Row) -> Iterator[Finding]:
    if conn.info.server_version < OLDEST_VERSION:
        major = conn.info.server_version // 10000
        yield _error(
            "server-version", "target", f"PostgreSQL {major} is older than 13", "upgrade it"
        )
    if server["standby"]:
        yield _error("standby", "target", "it is a standby", "connect to the primary")
    elif server["read_only"] == "on":
        yield _error(
            "read-only",
            f"database {server['database']}",
            "transactions are read-only",
            f"ALTER DATABASE {quoted(server['database'])} RESET default_transaction_read_only;",
        )
    if server["encoding"] != "UTF8":
        yield Finding(
            "encoding",
            Severity.WARNING,
            f"database {server['database']}",
            f"its encoding is {server['encoding']}: text that it cannot spell will be refused",
            "CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8';",
        )


def _silence(connector: Connector, server: Row) -> Iterator[Finding]:
    if connector.replica_role:
        return
    role = quoted(server["role"])
    yield Finding(
        "replica-role",
        Severity.WARNING,
        f"role {server['role']}",
        "it may not set session_replication_role: foreign keys, triggers and rules would act on "
        "rows being applied, so they are made at cutover only",
        f"GRANT SET ON PARAMETER session_replication_role TO {role}; (since 15)",
    )


def _schemas(conn: Connection, server: Row, mappings: Sequence[TableMapping]) -> Iterator[Finding]:
    names = sorted({m.target.schema for m in mappings} | {"godwit"})
    database, role = quoted(server["database"]), quoted(server["role"])
    for row in fetch(conn, _SCHEMAS, names=names):
        if row["present"] and not row["may_create"]:
            hint = f"GRANT CREATE, USAGE ON SCHEMA {quoted(row['name'])} TO {role};"
            reason = f"role {server['role']} may not make tables in it"
            yield _error("create-in-schema", f"schema {row['name']}", reason, hint)
        if not row["present"] and not server["may_create"]:
            hint = f"GRANT CREATE ON DATABASE {database} TO {role};"
            reason = f"role {server['role']} may not make it"
            yield _error("create-schema", f"schema {row['name']}", reason, hint)


def _tables(
    conn: Connection, migration: str, server: Row, mappings: Sequence[TableMapping]
) -> Iterator[Finding]:
    rows = fetch(
        conn,
        _TABLES,
        schemas=[m.target.schema for m in mappings],
        names=[m.target.name for m in mappings],
    )
    ours = _loaded_by_us(conn, migration)
    sources = {m.target: m.source.name for m in mappings}
    for row in rows:
        name = TableName(row["schema"], row["name"])
        if row["kind"] not in {"r", "p"}:
            hint = "drop or rename it, or rename the table by a transformation rule"
            yield _error("in-the-way", str(name), "something of that name is no table", hint)
        elif not row["owned"]:
            hint = f"ALTER TABLE {quoted(*name)} OWNER TO {quoted(server['role'])};"
            reason = f"role {server['role']} doesn't own it, so it cannot add keys and indexes"
            yield Finding("table-owner", Severity.WARNING, str(name), reason, hint)
        elif sources[name] not in ours and _has_rows(conn, name):
            yield Finding(
                "has-rows",
                Severity.WARNING,
                str(name),
                "the table is there already and has rows that this migration didn't load",
                "TargetTablePrepMode decides: DROP_AND_CREATE, TRUNCATE_BEFORE_LOAD, or "
                "DO_NOTHING, which refuses to load",
            )


def _loaded_by_us(conn: Connection, migration: str) -> set[TableName]:
    there = fetch(conn, "SELECT to_regclass('godwit.chunks') IS NOT NULL AS there")
    if not there[0]["there"]:
        return set()
    query: LiteralString = (
        "SELECT DISTINCT table_schema AS schema, table_name AS name FROM godwit.chunks "
        "WHERE migration = %(migration)s"
    )
    return {TableName(r["schema"], r["name"]) for r in fetch(conn, query, migration=migration)}


def _has_rows(conn: Connection, name: TableName) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(*name))
    row = conn.execute(query).fetchone()
    return bool(row and row[0])

"""Whether a source can be read and followed, and findings that both sides share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import LiteralString

from godwit.engines.postgres.capture import capture_names
from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.checks_publication import check_publication
from godwit.engines.postgres.checks_target import check_target
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.names import quoted
from godwit.model.catalog import Table
from godwit.model.report import Finding, Severity

__all__ = ["check_source", "check_target"]

OLDEST_VERSION = 130000
ONE_NEEDED = 1
#: Below this a slow target would often cost the connection; milliseconds.
SHORT_SENDER_TIMEOUT = 10_000
SHOWN = 5

_SERVER: LiteralString = """
SELECT current_setting('server_version') AS version, current_user AS role,
       current_database() AS database, pg_is_in_recovery() AS standby,
       current_setting('wal_level') AS wal_level,
       current_setting('max_replication_slots')::int AS max_slots,
       current_setting('max_wal_senders')::int AS max_senders,
       (SELECT setting::bigint FROM pg_settings
        WHERE name = 'wal_sender_timeout') AS sender_timeout,
       (SELECT setting::bigint FROM pg_settings
        WHERE name = 'max_slot_wal_keep_size') AS keep_size,
       (SELECT count(*) FROM pg_replication_slots) AS slots,
       (SELECT count(*) FROM pg_stat_replication) AS senders,
       (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS prepared,
       pg_encoding_to_char(d.encoding) AS encoding,
       r.rolsuper AS superuser, r.rolreplication AS replication, r.rolbypassrls AS bypass,
       has_database_privilege(d.oid, 'CREATE') AS may_create,
       EXISTS (SELECT FROM pg_roles m WHERE m.rolname IN ('rds_replication', 'rds_superuser',
               'cloudsqlsuperuser', 'azure_pg_admin')
               AND pg_has_role(current_user, m.oid, 'MEMBER')) AS cloud_role
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user
"""

# What is asked of every table and partition that is read.
_TABLES: LiteralString = """
WITH RECURSIVE wanted(schema, name) AS (
  SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[])),
tree(root, oid) AS (
  SELECT c.oid, c.oid FROM wanted w JOIN pg_namespace n ON n.nspname = w.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  UNION
  SELECT t.root, i.inhrelid FROM tree t JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = t.oid)
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       t.root = t.oid AS top, c.relpersistence = 'u' AS unlogged,
       has_schema_privilege(n.oid, 'USAGE') AS usage,
       has_table_privilege(c.oid, 'SELECT') AS readable,
       pg_has_role(current_user, c.relowner, 'USAGE') AS owned,
       c.relrowsecurity AND (c.relforcerowsecurity
                             OR NOT pg_has_role(current_user, c.relowner, 'USAGE')) AS hidden,
       EXISTS (SELECT FROM pg_inherits i JOIN pg_class h ON h.oid = i.inhrelid
               WHERE i.inhparent = c.oid AND c.relkind = 'r') AS has_heirs
FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2
"""


def check_source(
    connector: Connector, migration: str, tables: Sequence[Table], *, capture: bool
) -> list[Finding]:
    """Privileges and settings for reading these tables and, with `capture`, following them.

    Every finding's hint holds the SQL to run. Raises EndpointError when it cannot be reached.
    """
    with connector.lease("source") as conn:
        server = fetch(conn, _SERVER)[0]
        findings = [*_version(conn), *_encoding(server)]
        rows = fetch(
            conn,
            _TABLES,
            schemas=[t.name.schema for t in tables],
            names=[t.name.name for t in tables],
        )
        for row in rows:
            findings += _readable(row, server)
        if capture:
            names = capture_names(migration, connector.settings)
            ours = fetch(
                conn,
                "SELECT 1 AS one FROM pg_replication_slots WHERE slot_name = %(slot)s",
                slot=names.slot,
            )
            findings += _log(server, has_slot=bool(ours))
            findings += _replication(server, own_slot=names.own_slot)
            if names.own_publication:
                findings += _publication(rows, server)
            else:
                findings += check_publication(conn, names.publication, tables)
            for table in tables:
                findings += _followed(table)
    return findings


def _finding(code: str, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(code, Severity.ERROR, subject, reason, hint)


def _warning(code: str, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(code, Severity.WARNING, subject, reason, hint)


def _version(conn: Connection) -> Iterator[Finding]:
    if conn.info.server_version < OLDEST_VERSION:
        yield _finding(
            "server-version",
            "source",
            f"PostgreSQL {conn.info.server_version // 10000} is older than 13",
            "upgrade the source, or read from a replica of a newer version",
        )


def _encoding(server: Row) -> Iterator[Finding]:
    if server["encoding"] == "SQL_ASCII":
        yield _warning(
            "encoding",
            f"database {server['database']}",
            "its encoding is SQL_ASCII: the server doesn't know what its text means",
            "text that isn't valid UTF-8 cannot be loaded; find and correct it first",
        )


def _name(row: Row) -> str:
    return f"{row['schema']}.{row['name']}"


def _readable(row: Row, server: Row) -> Iterator[Finding]:
    role = quoted(server["role"])
    if not row["usage"]:
        hint = f"GRANT USAGE ON SCHEMA {quoted(row['schema'])} TO {role};"
        yield _finding("no-usage", _name(row), f"role {server['role']} cannot enter it", hint)
    if not row["readable"] and row["kind"] != "f":
        hint = f"GRANT SELECT ON {quoted(row['schema'], row['name'])} TO {role};"
        yield _finding("no-select", _name(row), f"role {server['role']} cannot read it", hint)
    if row["hidden"] and not (server["superuser"] or server["bypass"]):
        yield _finding(
            "row-security",
            _name(row),
            "row security may hide rows: a copy would silently be incomplete",
            f"ALTER ROLE {role} BYPASSRLS;",
        )
    if row["kind"] == "f":
        yield _warning(
            "foreign-partition",
            _name(row),
            "a partition is a foreign table: its rows live on another server, and are not read",
            "migrate the table of that server itself",
        )
    if row["has_heirs"] and row["top"]:
        yield Finding(
            "inheritance",
            Severity.INFO,
            _name(row),
            "other tables inherit from it; each is migrated by itself, with its own rows",
        )


def _log(server: Row, *, has_slot: bool) -> Iterator[Finding]:
    if server["wal_level"] != "logical":
        yield _finding(
            "wal-level",
            "wal_level",
            f"it is {server['wal_level']}: the log doesn't hold what changes need",
            "ALTER SYSTEM SET wal_level = logical; then restart the server "
            "(Amazon RDS: rds.logical_replication = 1)",
        )
    for code, limit, used in (
        ("replication-slots", "max_slots", "slots"),
        ("wal-senders", "max_senders", "senders"),
    ):
        setting = "max_replication_slots" if limit == "max_slots" else "max_wal_senders"
        if not has_slot and server[limit] - server[used] < ONE_NEEDED:
            yield _finding(
                code,
                setting,
                f"all {server[limit]} are in use",
                f"ALTER SYSTEM SET {setting} = {server[limit] + 5}; then restart, "
                "or drop one that nobody needs",
            )
    yield from _patience(server)
    if server["standby"]:
        yield _finding(
            "standby",
            "source",
            "it is a standby: publications can only be made on the primary",
            "connect to the primary",
        )
    if server["prepared"]:
        yield _warning(
            "prepared-transactions",
            f"database {server['database']}",
            f"{server['prepared']} prepared transactions are open; a slot waits for them to end",
            "SELECT gid FROM pg_prepared_xacts; then COMMIT PREPARED or ROLLBACK PREPARED",
        )


def _patience(server: Row) -> Iterator[Finding]:
    timeout, keep = server["sender_timeout"], server["keep_size"]
    if 0 < timeout < SHORT_SENDER_TIMEOUT:
        yield _warning(
            "wal-sender-timeout",
            "wal_sender_timeout",
            f"{timeout} ms is short: a pause of the network ends the session",
            f"ALTER ROLE {quoted(server['role'])} SET wal_sender_timeout = '60s';",
        )
    if keep is not None and keep < 0:
        yield _warning(
            "slot-keep-size",
            "max_slot_wal_keep_size",
            "it is unlimited: while nobody reads, the slot keeps log until the disk is full",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); "
            "(as much as the disk can spare)",
        )
    elif keep is not None:
        yield Finding(
            "slot-keep-size",
            Severity.INFO,
            "max_slot_wal_keep_size",
            f"at most {keep} MB of log are kept; behind that the capture is lost and tables must "
            "be loaded again",
        )


def _replication(server: Row, *, own_slot: bool) -> Iterator[Finding]:
    if server["superuser"] or server["replication"] or server["cloud_role"]:
        return
    what = "make or read" if own_slot else "read"
    yield _finding(
        "replication-privilege",
        f"role {server['role']}",
        f"it may not {what} a replication slot",
        f"ALTER ROLE {quoted(server['role'])} REPLICATION; "
        f"(Amazon RDS: GRANT rds_replication TO {quoted(server['role'])};)",
    )


def _publication(rows: Sequence[Row], server: Row) -> Iterator[Finding]:
    role = server["role"]
    if not (server["may_create"] or server["superuser"]):
        yield _finding(
            "create-publication",
            f"database {server['database']}",
            f"role {role} may not make a publication",
            f"GRANT CREATE ON DATABASE {quoted(server['database'])} TO {quoted(role)}; or make the "
            "publication yourself and name it with the endpoint setting PublicationName",
        )
    foreign = [r for r in rows if r["top"] and not (r["owned"] or server["superuser"])]
    if foreign:
        shown = ", ".join(_name(r) for r in foreign[:SHOWN])
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        yield _finding(
            "table-owner",
            shown + more,
            f"role {role} doesn't own them, so it may not publish them",
            f"GRANT <owner> TO {quoted(role)}; or let the owner make the publication and name it "
            "with the endpoint setting PublicationName",
        )


def _followed(table: Table) -> Iterator[Finding]:
    name = quoted(*table.name)
    if table.capture == "none":
        yield _warning(
            "not-logged",
            str(table.name),
            "it is unlogged (or has foreign partitions): its changes are not in the log",
            f"nothing while it is small: it is loaded again when its counters say that it was "
            f"changed; else ALTER TABLE {name} SET LOGGED;",
        )
    elif table.capture == "insert" and table.columns:
        leaves = [p.name for p in table.parts] or [table.name]
        hint = " ".join(
            f"ALTER TABLE {quoted(*leaf)} REPLICA IDENTITY FULL;" for leaf in leaves[:3]
        )
        more = " … and so for every partition" if len(leaves) > 3 else ""
        yield _warning(
            "insert-only",
            str(table.name),
            "the log doesn't tell which row an UPDATE or DELETE meant: only inserts are followed",
            f"add a primary key, or {hint}{more}",
        )
    elif table.old_rows and not table.identity:
        yield Finding(
            "no-key",
            Severity.INFO,
            str(table.name),
            "it has no key: changes are matched by the whole old row, which is slow on big tables",
            f"ALTER TABLE {name} ADD PRIMARY KEY (…);",
        )

"""Whether a target can be made and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.grants import Grants, read_grants
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity

OLDEST_MYSQL = (8, 0, 0)
OLDEST_MARIADB = (10, 5, 0)
BYTES_PER_GB = 1_000_000_000
NOTEWORTHY_BYTES = 10 * BYTES_PER_GB
SMALL_PACKET = 16 << 20

#: What making, loading, changing and comparing a table takes.
PRIVILEGES = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "CREATE TEMPORARY TABLES",
)
#: What making views, routines, triggers and events takes.
CODE_PRIVILEGES = (
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EXECUTE",
    "TRIGGER",
    "EVENT",
)
CONTROL_PRIVILEGES = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "LOCK TABLES",
)


def check_target(
    connector: Connector, migration: str, mappings: Sequence[TableMapping]
) -> list[Finding]:
    """Privileges and settings for making and writing the mapped tables, and what is in the way.

    Every finding's hint holds the SQL to run. Raises EndpointError when it cannot be reached.
    """
    with connector.lease("target") as session:
        variables = {str(k).lower(): str(v) for k, v in session.rows("SHOW GLOBAL VARIABLES")}
        grants = read_grants(session)
        findings = [*_server(connector, variables)]
        findings += _keys_required(session, mappings, grants)
        findings += _privileges(session, grants, mappings)
        findings += _code(grants, mappings, variables)
        findings += _tables(session, migration, mappings)
        findings += _triggers(session, mappings)
    total = sum(m.source.bytes for m in mappings)
    if total > NOTEWORTHY_BYTES:
        logged = ", and as much again passes its binary log" * (variables.get("log_bin") == "ON")
        reason = f"about {total / BYTES_PER_GB:.0f} GB arrive{logged}"
        findings.append(Finding("disk-size", Severity.INFO, "target", reason, "see to the disk"))
    return findings


def _server(connector: Connector, variables: Mapping[str, str]) -> Iterator[Finding]:
    version = connector.version
    if not version.since(mysql=OLDEST_MYSQL, mariadb=OLDEST_MARIADB):
        yield Finding(
            "server-version",
            Severity.ERROR,
            "target",
            f"{version} is older than MySQL 8.0 and MariaDB 10.5",
            "upgrade it",
        )
    if variables.get("read_only", "OFF") != "OFF" or variables.get("super_read_only") == "ON":
        yield Finding(
            "read-only",
            Severity.ERROR,
            "read_only",
            "the target is read-only",
            "SET GLOBAL read_only = OFF; or connect to the primary",
        )
    if variables.get("local_infile") != "ON":
        yield Finding(
            "local-infile",
            Severity.WARNING,
            "local_infile",
            "it is off: rows are written by INSERT, which takes several times as long",
            "SET GLOBAL local_infile = ON;",
        )
    packet = int(variables.get("max_allowed_packet", "0") or 0)
    if packet < SMALL_PACKET:
        yield Finding(
            "max-allowed-packet",
            Severity.WARNING,
            "max_allowed_packet",
            f"it is {packet} bytes: larger values are refused",
            "SET GLOBAL max_allowed_packet = 1073741824;",
        )
    if variables.get("log_bin") == "ON":
        yield Finding(
            "target-log",
            Severity.INFO,
            "log_bin",
            "the target writes a binary log: what is loaded is written twice",
            "nothing when it has replicas or must be restored by time; see to the disk",
        )


def _keys_required(
    session: Session, mappings: Sequence[TableMapping], grants: Grants
) -> Iterator[Finding]:
    required = False
    with suppress(pymysql.MySQLError):  # MariaDB has no such setting
        required = bool(int(session.value("SELECT @@SESSION.sql_require_primary_key") or 0))
    keyless = [str(m.target) for m in mappings if not m.identity]
    if required and keyless:
        yield Finding(
            "primary-key-required",
            Severity.ERROR,
            "sql_require_primary_key",
            f"the target takes no tables without a primary key: {', '.join(keyless[:5])}",
            f"SET GLOBAL sql_require_primary_key = OFF; or GRANT SESSION_VARIABLES_ADMIN ON *.* TO "
            f"{grants.account}; or declare a key in the table mappings",
        )


def _privileges(
    session: Session, grants: Grants, mappings: Sequence[TableMapping]
) -> Iterator[Finding]:
    there = {str(row[0]) for row in session.rows("SHOW DATABASES")}
    wanted: dict[str, tuple[str, ...]] = {m.target.schema: PRIVILEGES for m in mappings}
    wanted.setdefault(session.control_database, CONTROL_PRIVILEGES)
    for database, privileges in sorted(wanted.items()):
        missing = [p for p in privileges if not grants.on_database(database, p)]
        if missing:
            made = "" if database in there else f"CREATE DATABASE {quoted(database)}; "
            yield Finding(
                "database-privileges",
                Severity.ERROR,
                f"database {database}",
                f"user {grants.account} lacks {', '.join(missing)}",
                f"{made}GRANT {', '.join(missing)} ON {quoted(database)}.* TO {grants.account};",
            )


def _code(
    grants: Grants, mappings: Sequence[TableMapping], variables: Mapping[str, str]
) -> Iterator[Finding]:
    """Views and the like, which come from servers of this engine only: what making them takes."""
    for schema in sorted({m.target.schema for m in mappings}):
        missing = [p for p in CODE_PRIVILEGES if not grants.on_database(schema, p)]
        if missing:
            yield Finding(
                "code-privileges",
                Severity.INFO,
                f"database {schema}",
                f"user {grants.account} lacks {', '.join(missing)}: views, routines, triggers and "
                "events of the source, if they can come over, are not made",
                f"GRANT {', '.join(missing)} ON {quoted(schema)}.* TO {grants.account};",
            )
    trusted = variables.get("log_bin_trust_function_creators", "ON") == "ON"
    if variables.get("log_bin") == "ON" and not trusted and not grants.everywhere("SUPER"):
        yield Finding(
            "code-trust",
            Severity.INFO,
            "log_bin_trust_function_creators",
            "it is off: with a binary log, triggers and functions are made by a login with SUPER "
            "only",
            "if the source has any: SET GLOBAL log_bin_trust_function_creators = ON;",
        )


def _tables(
    session: Session, migration: str, mappings: Sequence[TableMapping]
) -> Iterator[Finding]:
    ours = _loaded_by_us(session, migration)
    sources = {m.target: m.source.name for m in mappings}
    for name, kind, engine in _present(session, mappings):
        if kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
            hint = "drop or rename it, or rename the table by a transformation rule"
            reason = f"a {kind.lower()} of that name is no table"
            yield Finding("in-the-way", Severity.ERROR, str(name), reason, hint)
            continue
        if engine.lower() != "innodb":
            yield Finding(
                "not-transactional",
                Severity.WARNING,
                str(name),
                f"its engine is {engine}: a commit that is cut off leaves rows without their "
                "checkpoint",
                f"ALTER TABLE {quoted(*name)} ENGINE = InnoDB;",
            )
        if sources[name] not in ours and _has_rows(session, name):
            yield Finding(
                "has-rows",
                Severity.WARNING,
                str(name),
                "the table is there already and has rows that this migration didn't load",
                "TargetTablePrepMode decides: DROP_AND_CREATE, TRUNCATE_BEFORE_LOAD, or "
                "DO_NOTHING, which refuses to load",
            )


def _present(
    session: Session, mappings: Sequence[TableMapping]
) -> list[tuple[TableName, str, str]]:
    schemas = tuple({m.target.schema for m in mappings})
    if not schemas:
        return []
    rows = session.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA IN %s ORDER BY 1, 2",
        (schemas,),
    )
    wanted = {m.target for m in mappings}
    found = [(TableName(r[0], r[1]), str(r[2]), str(r[3] or "")) for r in rows]
    return [line for line in found if line[0] in wanted]


def _loaded_by_us(session: Session, migration: str) -> set[TableName]:
    ledger = quoted(session.control_database, "chunks")
    with suppress(pymysql.MySQLError):  # the first run finds none
        rows = session.rows(
            f"SELECT DISTINCT table_schema, table_name FROM {ledger} WHERE migration = %s",
            (migration,),
        )
        return {TableName(schema, name) for schema, name in rows}
    return set()


def _has_rows(session: Session, name: TableName) -> bool:
    with suppress(pymysql.MySQLError):  # the missing privilege is a finding already
        return session.row(f"SELECT 1 FROM {quoted(*name)} LIMIT 1") is not None
    return False


def _triggers(session: Session, mappings: Sequence[TableMapping]) -> Iterator[Finding]:
    """They cannot be silenced: they would act on every row that is written."""
    schemas = tuple({m.target.schema for m in mappings})
    wanted = {m.target for m in mappings}
    rows = (
        session.rows(
            "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME"
            " FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA IN %s ORDER BY 1, 2, 3",
            (schemas,),
        )
        if schemas
        else []
    )
    for schema, table, trigger in rows:
        if TableName(schema, table) in wanted:
            yield Finding(
                "target-trigger",
                Severity.WARNING,
                f"{schema}.{table}",
                f"trigger {trigger} acts on rows that are loaded and changed",
                f"DROP TRIGGER {quoted(schema, trigger)}; and make it again at the cutover",
            )

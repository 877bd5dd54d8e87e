"""Whether a source can be read and followed, and findings that both sides share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import pymysql

from godwit.engines.mysql.checks_tables import cascaded_tables, check_tables
from godwit.engines.mysql.checks_target import check_target
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.grants import Grants, read_grants
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import Table
from godwit.model.report import Finding, Severity

__all__ = ["cascaded_tables", "check_source", "check_target"]

OLDEST_MYSQL = (5, 6, 0)
OLDEST_MARIADB = (10, 2, 0)
_DAY = 86_400
SHOWN = 5

Variables = Mapping[str, str]


def check_source(
    connector: Connector, migration: str, tables: Sequence[Table], *, capture: bool
) -> list[Finding]:
    """Privileges and settings for reading these tables and, with `capture`, following them.

    Every finding's hint holds the SQL to run. Raises EndpointError when it cannot be reached.
    """
    del migration
    with connector.lease("source") as session:
        variables = read_variables(session)
        grants = read_grants(session)
        findings = [*_version(connector), *_modes(variables)]
        findings += _readable(session, tables, grants)
        findings += _code(tables, grants)
        findings += check_tables(session, tables, grants, capture=capture)
        if capture:
            findings += _log(variables)
            findings += _details(variables)
            findings += _kept(connector, variables)
            findings += _numbers(connector, variables)
            findings += _replication(connector, grants)
            findings += _filtered(session, connector, tables)
            findings += _replica(session, connector, variables)
            findings += _prepared(session, grants)
    return findings


def read_variables(session: Session) -> dict[str, str]:
    """The server's global settings."""
    return {str(name).lower(): str(value) for name, value in session.rows("SHOW GLOBAL VARIABLES")}


def _error(code: str, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(code, Severity.ERROR, subject, reason, hint)


def _warning(code: str, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(code, Severity.WARNING, subject, reason, hint)


def _info(code: str, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(code, Severity.INFO, subject, reason, hint)


def _version(connector: Connector) -> Iterator[Finding]:
    version = connector.version
    if not version.since(mysql=OLDEST_MYSQL, mariadb=OLDEST_MARIADB):
        yield _error(
            "server-version",
            "source",
            f"{version} is older than MySQL 5.6 and MariaDB 10.2",
            "upgrade the source, or read from a replica of a newer version",
        )


def _modes(variables: Variables) -> Iterator[Finding]:
    mode = variables.get("sql_mode", "")
    if "STRICT_" not in mode:
        yield _info(
            "sql-mode",
            "sql_mode",
            "the source isn't strict: it may hold dates that aren't any, empty enum values and cut "
            "texts",
            "see the findings about single columns; they are counted",
        )
    if variables.get("lower_case_table_names", "0") != "0":
        yield _info(
            "lower-case-names",
            "lower_case_table_names",
            "the source compares names of tables without case",
            "write names in the definition as the source shows them",
        )


def _readable(session: Session, tables: Sequence[Table], grants: Grants) -> Iterator[Finding]:
    for table in tables:
        try:
            columns = ", ".join(quoted(c.name) for c in table.columns) or "1"
            session.rows(f"SELECT {columns} FROM {quoted(*table.name)} LIMIT 0")
        except pymysql.MySQLError as cause:
            yield _error(
                "no-select",
                str(table.name),
                f"it cannot be read (error {cause.args[0]})",
                f"GRANT SELECT ON {quoted(*table.name)} TO {grants.account};",
            )


def _code(tables: Sequence[Table], grants: Grants) -> Iterator[Finding]:
    """What cannot be seen cannot be missed either."""
    for schema in sorted({table.name.schema for table in tables}):
        missing = [
            p for p in ("SHOW VIEW", "TRIGGER", "EVENT") if not grants.on_database(schema, p)
        ]
        if missing:
            yield _warning(
                "code-unseen",
                f"database {schema}",
                f"without {', '.join(missing)} its views, triggers or events cannot be read: they "
                "are neither brought over nor listed",
                f"GRANT {', '.join(missing)} ON {quoted(schema)}.* TO {grants.account};",
            )


# -- the log


def _log(variables: Variables) -> Iterator[Finding]:
    if variables.get("log_bin") != "ON":
        yield _error(
            "log-bin",
            "log_bin",
            "the source writes no binary log",
            "put log_bin = binlog and server_id = 1 into the server's configuration and restart it "
            "(Amazon RDS: enable automated backups)",
        )
        return
    if variables.get("server_id") == "0":
        yield _error(
            "server-id",
            "server_id",
            "it is 0: the source serves no replicas",
            "SET GLOBAL server_id = 1; and in the server's configuration",
        )
    if variables.get("binlog_format") != "ROW":
        yield _error(
            "binlog-format",
            "binlog_format",
            f"it is {variables.get('binlog_format')}: the log has statements instead of rows",
            "SET GLOBAL binlog_format = 'ROW'; and in the server's configuration; sessions that "
            "are connected keep the old one: reconnect the applications",
        )
    image = variables.get("binlog_row_image", "FULL")
    if image != "FULL":
        yield _error(
            "binlog-row-image",
            "binlog_row_image",
            f"it is {image}: the log leaves out columns",
            "SET GLOBAL binlog_row_image = 'FULL'; and in the server's configuration; sessions "
            "that are connected keep the old one: reconnect the applications",
        )


def _details(variables: Variables) -> Iterator[Finding]:
    metadata = variables.get("binlog_row_metadata", "")
    if metadata != "FULL":
        known = f"it is {metadata}" if metadata else "this version has none"
        yield _warning(
            "binlog-row-metadata",
            "binlog_row_metadata",
            f"{known}: the log doesn't name columns. They are told by their place in the table, "
            "so don't add, drop or move columns before the cutover",
            "SET GLOBAL binlog_row_metadata = 'FULL'; and in the server's configuration"
            if metadata
            else "",
        )
    if "PARTIAL_JSON" in variables.get("binlog_row_value_options", ""):
        yield _error(
            "partial-json",
            "binlog_row_value_options",
            "the log has pieces of JSON documents instead of the documents",
            "SET GLOBAL binlog_row_value_options = ''; and in the server's configuration; "
            "reconnect the applications",
        )
    for name in ("binlog_transaction_compression", "log_bin_compress"):
        if variables.get(name) == "ON":
            yield _info(
                "binlog-compression", name, "the log is compressed; it is unpacked while reading"
            )


def _kept(connector: Connector, variables: Variables) -> Iterator[Finding]:
    """How long the source keeps its log: nothing else holds it for us."""
    name = "binlog_expire_logs_seconds"
    seconds = float(variables.get(name, "0") or 0)
    if not seconds:
        name = "expire_logs_days"
        seconds = float(variables.get(name, "0") or 0) * _DAY
    size = "max_binlog_total_size"
    if variables.get(size, "0") != "0":
        yield _warning(
            "binlog-retention",
            size,
            f"the log is cut at {variables[size]} bytes in all, read or not",
            f"SET GLOBAL {size} = 0; until the cutover",
        )
    if 0 < seconds < _DAY:
        longer = (
            "SET GLOBAL expire_logs_days = 7;"
            if connector.version.mariadb and name == "expire_logs_days"
            else f"SET GLOBAL {name} = {7 * _DAY};"
        )
        yield _warning(
            "binlog-retention",
            name,
            f"the log is kept for {seconds / 3600:.1f} hours: a load or a pause that takes longer "
            "means to load again",
            longer,
        )
    else:
        kept = f"for {seconds / _DAY:.0f} days" if seconds else "until somebody purges it"
        yield _info(
            "binlog-retention",
            name,
            f"the log is kept {kept}; there is no slot that would hold it longer",
            "Amazon RDS keeps it only as told: CALL mysql.rds_set_configuration('binlog retention "
            "hours', 168);",
        )


def _numbers(connector: Connector, variables: Variables) -> Iterator[Finding]:
    if connector.version.mariadb:
        if variables.get("gtid_strict_mode") != "ON":
            yield _info(
                "gtid-mode",
                "gtid_strict_mode",
                "it is off: numbers of transactions may be out of order, then positions are files "
                "(endpoint setting positions: file)",
                "SET GLOBAL gtid_strict_mode = ON;",
            )
    elif variables.get("gtid_mode") != "ON":
        yield _warning(
            "gtid-mode",
            "gtid_mode",
            "it isn't ON: positions are files of this very server, so a failover of the source "
            "means to load again",
            "SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = OFF_PERMISSIVE; "
            "SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = ON;",
        )
    if variables.get("wsrep_on") == "ON":
        yield _warning(
            "galera",
            "wsrep_on",
            "the source is a Galera cluster: each node has a log of its own",
            "connect to one node, not to a balancer, and keep log_slave_updates = ON on it",
        )


def _replication(connector: Connector, grants: Grants) -> Iterator[Finding]:
    if not grants.everywhere("REPLICATION SLAVE", "REPLICATION REPLICA"):
        yield _error(
            "replication-privilege",
            f"user {grants.account}",
            "it may not read the binary log",
            f"GRANT REPLICATION SLAVE ON *.* TO {grants.account};",
        )
    newer = connector.version.since(mariadb=(10, 5, 2))
    monitor = "BINLOG MONITOR" if newer else "REPLICATION CLIENT"
    if not grants.everywhere("REPLICATION CLIENT", "BINLOG MONITOR", "SUPER"):
        yield _error(
            "monitor-privilege",
            f"user {grants.account}",
            "it may not ask for positions in the binary log",
            f"GRANT {monitor} ON *.* TO {grants.account};",
        )


def _filtered(session: Session, connector: Connector, tables: Sequence[Table]) -> Iterator[Finding]:
    """Databases that the server is told to leave out of its log."""
    newer = connector.version.since(mysql=(8, 2, 0))
    row = None
    with suppress(pymysql.MySQLError):  # the missing privilege is a finding already
        row = session.row("SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS")
    if row is None:
        return
    only = {part for part in str(row[2] or "").split(",") if part}
    never = {part for part in str(row[3] or "").split(",") if part}
    for schema in sorted({table.name.schema for table in tables}):
        if schema in never or (only and schema not in only):
            setting = "binlog_ignore_db" if schema in never else "binlog_do_db"
            yield _error(
                "binlog-filter",
                f"database {schema}",
                f"{setting} keeps it out of the binary log",
                f"correct {setting} in the server's configuration and restart it",
            )


def _replica(session: Session, connector: Connector, variables: Variables) -> Iterator[Finding]:
    """What a replica receives is in its own log only when it is told so."""
    if "ON" in (variables.get("log_replica_updates"), variables.get("log_slave_updates")):
        return
    newer = connector.version.since(mysql=(8, 0, 22), mariadb=(10, 5, 1))
    replicas: list[tuple[object, ...]] = []
    with suppress(pymysql.MySQLError):
        replicas = session.rows("SHOW REPLICA STATUS" if newer else "SHOW SLAVE STATUS")
    if replicas:
        yield _error(
            "replica-log",
            "log_slave_updates",
            "the source is a replica that doesn't log what it receives",
            "put log_slave_updates = ON (MySQL 8: log_replica_updates) into the server's "
            "configuration and restart it, or connect to the primary",
        )


def _prepared(session: Session, grants: Grants) -> Iterator[Finding]:
    try:
        rows = session.rows("XA RECOVER")
    except pymysql.MySQLError:
        yield _info(
            "xa-unseen",
            "XA",
            "this login is not shown prepared transactions: one that was prepared before the "
            "capture begins stops it when it is committed",
            f"where applications use XA: GRANT XA_RECOVER_ADMIN ON *.* TO {grants.account};",
        )
        return
    if rows:
        yield _error(
            "prepared-transactions",
            "XA",
            f"{len(rows)} transactions are prepared: the capture can't begin while they wait",
            "XA RECOVER; then XA COMMIT or XA ROLLBACK each of them",
        )

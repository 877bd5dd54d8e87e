"""What is wrong with an endpoint is found before anything starts, with the SQL that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from godwit.engines.mysql.checks import cascaded_tables, check_source, check_target
from godwit.engines.mysql.connection import Connector, Version
from godwit.model.endpoint import connection_from_text
from godwit.model.report import Finding, Severity
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.endpoint import catalog_of, mapping_of, source_of

USER = "'godwit_least'@'%'"


@contextmanager
def least(database: MySqlDatabase) -> Iterator[Connector]:
    """The database, by a login that may do nothing but what the test grants."""
    database.execute(f"DROP USER IF EXISTS {USER}")
    database.execute(f"CREATE USER {USER}")
    database.execute(f"GRANT SELECT ON {database.name}.visible TO {USER}")
    connection = connection_from_text("least", database.conn_uri)
    connector = Connector(replace(connection, login="godwit_least", password=""))
    try:
        yield connector
    finally:
        connector.close()
        database.execute(f"DROP USER {USER}")


@contextmanager
def setting(database: MySqlDatabase, name: str, value: str) -> Iterator[None]:
    before = database.fetch(f"SELECT @@GLOBAL.{name}")[0][0]
    database.execute(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        database.execute(f"SET GLOBAL {name} = %s", (before,))


def codes(findings: list[Finding], severity: Severity | None = None) -> set[str]:
    return {f.code for f in findings if severity in (None, f.severity)}


def source_findings(database: MySqlDatabase) -> list[Finding]:
    with source_of(database) as source:
        return source.check("m", catalog_of(source).tables, capture=True)


def test_a_good_source_has_no_errors(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert not codes(source_findings(mysql_source), Severity.ERROR)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("binlog_format", "'MIXED'", "binlog-format"),
        ("binlog_row_image", "'MINIMAL'", "binlog-row-image"),
        ("binlog_row_metadata", "'MINIMAL'", "binlog-row-metadata"),
    ],
)
def test_the_log_must_tell_everything(
    mysql_source: MySqlDatabase, name: str, value: str, code: str
) -> None:
    with setting(mysql_source, name, value):
        found = next(f for f in source_findings(mysql_source) if f.code == code)
    assert f"SET GLOBAL {name}" in found.hint


def test_tables_that_need_attention(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE keyless (a int);"
        " CREATE TABLE old (id int PRIMARY KEY) ENGINE = MyISAM; CREATE TABLE child (id int"
        " PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)"
    )
    about = {(f.code, f.subject.rpartition(".")[2]) for f in source_findings(mysql_source)}
    assert {("no-key", "keyless"), ("not-transactional", "old")} <= about
    with source_of(mysql_source) as source:
        tables = catalog_of(source).tables
        silent = cascaded_tables(tables, source.connector.version)
    if mysql_source.server.mariadb:
        assert [t.name for t in silent] == ["child"]
        assert ("silent-cascade", "child") in about
    assert cascaded_tables(tables, Version((9, 6, 0), False, "9.6.0")) == ()
    assert cascaded_tables(tables, Version((8, 4, 0), False, "8.4.0"))


def test_missing_privileges_are_named_and_the_hints_mend_them(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE visible (id int PRIMARY KEY); CREATE TABLE hidden (a int)")
    with source_of(mysql_source) as source:
        tables = catalog_of(source).tables
    with least(mysql_source) as connector:
        found = check_source(connector, "m", tables, capture=True)
        wrong = [f for f in found if f.severity is Severity.ERROR]
        assert codes(wrong) == {
            "no-select",
            "lock-privilege",
            "replication-privilege",
            "monitor-privilege",
        }
        for finding in wrong:
            mysql_source.execute(finding.hint)
        connector.close()
        again = check_source(connector, "m", tables, capture=True)
        assert not codes(again, Severity.ERROR)


def test_prepared_transactions_are_told(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with mysql_source.connect() as connection, connection.cursor() as cursor:
        for statement in ("START 'x'", "END 'x'", "PREPARE 'x'"):
            cursor.execute(f"XA {statement}")
            if statement == "START 'x'":
                cursor.execute("INSERT INTO t VALUES (1)")
        found = codes(source_findings(mysql_source), Severity.ERROR)
        cursor.execute("XA ROLLBACK 'x'")
    assert "prepared-transactions" in found


def test_the_target(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);"
        " CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.id = NEW.id"
    )
    with source_of(mysql_source) as endpoint, setting(mysql_source, "local_infile", "OFF"):
        found = check_target(endpoint.connector, "m", [mapping_of(endpoint, "t")])
    assert not codes(found, Severity.ERROR)
    assert {"has-rows", "target-trigger", "local-infile"} <= codes(found, Severity.WARNING)


def test_privileges_on_the_target(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE visible (id int PRIMARY KEY)")
    with source_of(mysql_source) as source:
        mapping = mapping_of(source, "visible")
    with least(mysql_source) as connector:
        found = [f for f in check_target(connector, "m", [mapping]) if f.severity is Severity.ERROR]
        assert codes(found) == {"database-privileges"}
        subjects = {f.subject for f in found}
        assert subjects == {f"database {mysql_source.name}", "database godwit"}
        for finding in found:
            for statement in finding.hint.split("; "):
                if not statement.startswith("CREATE DATABASE"):
                    mysql_source.execute(statement)
        connector.close()
        assert not codes(check_target(connector, "m", [mapping]), Severity.ERROR)

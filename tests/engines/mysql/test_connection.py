"""Sessions are alike on every server, and what goes wrong is said without secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pymysql.constants import CLIENT

from godwit.engines import engine_of
from godwit.engines.mysql.connection import Connector, Version
from godwit.engines.mysql.names import literal, quoted
from godwit.errors import EndpointError
from godwit.model.endpoint import Connection, connection_from_text
from include.demo.mysql_servers import MySqlDatabase


@pytest.fixture
def connection(mysql_source: MySqlDatabase) -> Connection:
    return connection_from_text("shop", mysql_source.conn_uri)


@pytest.mark.parametrize(
    ("text", "numbers", "mariadb"),
    [
        ("9.7.4", (9, 7, 4), False),
        ("8.0.36-28.1", (8, 0, 36), False),
        ("10.11.6-MariaDB-0+deb12u1-log", (10, 11, 6), True),
        ("5.5.5-10.4.32-MariaDB", (10, 4, 32), True),
    ],
)
def test_versions(text: str, numbers: tuple[int, int, int], *, mariadb: bool) -> None:
    version = Version.parse(text)
    assert (version.numbers, version.mariadb) == (numbers, mariadb)
    assert version.since(mysql=(8, 0), mariadb=(10, 4))
    assert not version.since(mysql=(99,), mariadb=None)


def test_the_engine_is_found_by_both_types(connection: Connection) -> None:
    for kind in ("mysql", "mariadb"):
        assert engine_of(replace(connection, conn_type=kind)).name == "mysql"


def test_sessions_pin_what_shapes_values(
    connection: Connection, mysql_source: MySqlDatabase
) -> None:
    query = "SELECT @@sql_mode, @@time_zone, @@foreign_key_checks, @@collation_connection"
    connector = Connector(connection)
    with connector.lease("source") as session:
        assert session.row(query) == ("ALLOW_INVALID_DATES", "+00:00", 1, "utf8mb4_bin")
        assert not session.in_transaction
    with connector.lease("target") as session:
        mode, zone, keys, _ = session.row(query) or ("", "", 1, "")
        assert set(mode.split(",")) == {
            "STRICT_ALL_TABLES",
            "NO_ENGINE_SUBSTITUTION",
            "NO_AUTO_VALUE_ON_ZERO",
            "ALLOW_INVALID_DATES",
        }
        assert (zone, keys) == ("+00:00", 0)
    connector.close()


def test_a_lease_is_given_again_only_when_it_came_back_idle(connection: Connection) -> None:
    connector = Connector(connection)
    with connector.lease() as first:
        pass
    with connector.lease() as second:
        assert second is first
        second.run("BEGIN")
        second.run("CREATE TEMPORARY TABLE t (a int)")
        second.run("INSERT INTO t VALUES (1)")
    assert not second.open
    with connector.lease() as third:
        number = third.thread_id()
    with connector.connect() as other:
        other.run(f"KILL {number}")
    with connector.lease() as fourth:
        assert fourth.value("SELECT 1") == 1
    connector.close()


def test_no_file_is_read_because_a_server_asks(connection: Connection) -> None:
    connector = Connector(connection)
    with connector.connect(role="target") as session, session.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE t (a text)")
        with pytest.raises(RuntimeError, match="LOAD_LOCAL"):
            cursor.execute("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t")


def test_a_wrong_password_is_told_without_it(connection: Connection) -> None:
    connector = Connector(replace(connection, login="nobody", password="s3cret-word"))
    with pytest.raises(EndpointError) as told:
        connector.connect()
    assert "s3cret-word" not in str(told.value)
    assert "s3cret-word" not in repr(connector)
    assert "login and password" in told.value.hint


def test_a_database_that_is_not_there_is_told(connection: Connection) -> None:
    with pytest.raises(EndpointError, match="create the database"):
        Connector(replace(connection, database="nowhere")).connect()


def test_required_tls_is_not_given_up(connection: Connection) -> None:
    connector = Connector(replace(connection, extra={"ssl_mode": "REQUIRED"}))
    plain = Connector(replace(connection, extra={"ssl_mode": "DISABLED"}))
    with plain.connect() as session:
        assert not session.encrypted
        offered = bool(session.server_capabilities & CLIENT.SSL)
    if offered:
        with connector.connect() as session:
            assert session.encrypted
    else:
        with pytest.raises(EndpointError, match="offers no TLS"):
            connector.connect()


@pytest.mark.parametrize("extra", [{"ssl_mode": "MAYBE"}, {"ssl": "{"}, {"ssl": {"ca": "/none"}}])
def test_tls_settings_that_cannot_be_used_are_told(
    connection: Connection, extra: dict[str, object]
) -> None:
    with pytest.raises(EndpointError, match="connection's extra"):
        Connector(replace(connection, extra=extra)).connect()


def test_names_and_literals(connection: Connection) -> None:
    assert quoted("a`b", "c") == "`a``b`.`c`"
    text = 'it\'s \\ \n\r\0\x1a "ü" 😀 %s'
    with Connector(connection).connect() as session:
        assert session.value(f"SELECT {literal(text)}") == text

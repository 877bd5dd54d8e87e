"""The capture: where it begins, what it refuses, and how a purged log is noticed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from godwit.engines.mysql.binlog import report_host, server_id
from godwit.engines.mysql.capture import (
    capture_status,
    current_position,
    drop_capture,
    open_capture,
    untold_changes,
)
from godwit.engines.mysql.connection import COLUMNS, Connector
from godwit.engines.mysql.gtid import DomainPosition, FilePosition, GtidPosition, parse_position
from godwit.engines.mysql.source import MySqlSource
from godwit.errors import CaptureLostError, EndpointError
from godwit.model.endpoint import connection_from_text
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.reading import mapping_of, source_of, table_of
from tests.engines.mysql.streaming import Followed

FLAVOURS = ["mariadb", pytest.param("mysql97", marks=pytest.mark.matrix)]


@pytest.fixture(params=FLAVOURS)
def source(request: pytest.FixtureRequest) -> Iterator[MySqlDatabase]:
    """A database with a table, on each flavour."""
    server: MySqlServer = request.getfixturevalue(request.param)
    with server.create_database() as database:
        database.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))")
        yield database


@pytest.mark.parametrize("positions", ["auto", "file"])
def test_positions_follow_commits(source: MySqlDatabase, positions: str) -> None:
    connector = source_of(source, positions=positions)
    before = current_position(connector)
    source.execute("INSERT INTO t VALUES (1, 'x')")
    after = current_position(connector)
    assert after.includes(before)
    assert not before.includes(after)
    assert parse_position(str(after)) == after
    kinds = (FilePosition,) if positions == "file" else (GtidPosition, DomainPosition)
    assert isinstance(after, kinds)


@pytest.mark.parametrize("positions", ["auto", "file"])
def test_a_capture_begins_after_what_is_visible(source: MySqlDatabase, positions: str) -> None:
    connector = source_of(source, positions=positions)
    source.execute("INSERT INTO t VALUES (1, 'x')")
    low = open_capture(connector, "m", [table_of(connector, "t")])
    assert low.includes(current_position(connector))
    source.execute("INSERT INTO t VALUES (2, 'x')")
    assert not low.includes(current_position(connector))


def test_an_unknown_way_of_telling_positions_is_refused(source: MySqlDatabase) -> None:
    with pytest.raises(EndpointError, match="positions"):
        current_position(source_of(source, positions="lsn"))


def test_prepared_transactions_are_refused(source: MySqlDatabase) -> None:
    connector = source_of(source)
    with source.connect() as session, session.cursor() as cursor:
        for statement in ("START", "END", "PREPARE"):
            cursor.execute(f"XA {statement} 'early'")
            if statement == "START":
                cursor.execute("INSERT INTO t VALUES (9, 'x')")
    try:
        with pytest.raises(EndpointError, match="1 XA transactions are prepared"):
            open_capture(connector, "m", [])
    finally:
        source.execute("XA ROLLBACK 'early'")
    open_capture(connector, "m", [])


def test_opened_again_a_followed_capture_stays_where_it_is(source: MySqlDatabase) -> None:
    """Nothing is made for single tables, so it asks for nothing and waits for nobody."""
    end = MySqlSource(connection_from_text("source", source.conn_uri), {})
    tables = list(end.catalog(lambda name: name.name == "t"))
    low = end.open_capture("m", tables)
    mapping = mapping_of(tables[0])
    end.stream("m", low, [mapping], COLUMNS, {}, batch_bytes=1 << 20).close()
    with source.connect() as session, session.cursor() as cursor:
        for statement in ("XA START 'x'", "INSERT INTO t VALUES (9, 'x')", "XA END 'x'"):
            cursor.execute(statement)
        cursor.execute("XA PREPARE 'x'")
    try:
        source.execute("CREATE TABLE u (id int)")
        assert end.open_capture("m", tables) == low
    finally:
        source.execute("XA ROLLBACK 'x'")
        end.close()


def test_the_server_id_belongs_to_one_replica(source: MySqlDatabase) -> None:
    own = source.fetch("SELECT @@server_id")[0][0]
    with pytest.raises(EndpointError, match="by the server itself"):
        open_capture(source_of(source, server_id=own), "m", [])


def test_another_replicas_number_is_refused(source: MySqlDatabase) -> None:
    first = Followed(source, "t", migration="first", server_id=77001)
    with first.stream():
        with pytest.raises(EndpointError, match="by the replica 'godwit:first'"):
            open_capture(source_of(source, server_id=77001), "second", [])
        # A newer runner of the same migration takes over.
        open_capture(source_of(source, server_id=77001), "first", [])
        assert capture_status(first.connector, "first").active


def test_a_newer_runner_takes_over(source: MySqlDatabase) -> None:
    followed = Followed(source, "t")
    with followed.stream() as older:
        followed.drain(older)
        with followed.stream() as newer:
            source.execute("INSERT INTO t VALUES (5, 'x')")
            assert sum(b.changes for b in followed.drain(newer)) == 1


def test_names_and_numbers_are_the_migrations_own() -> None:
    assert server_id("shop", {}) != server_id("shop2", {})
    assert server_id("shop", {"server_id": 5}) == 5
    assert 1 << 30 < server_id("shop", {}) < 1 << 32
    assert len(report_host("ü" * 90).encode()) <= 60


@pytest.mark.parametrize("positions", ["auto", "file"])
def test_a_purged_log_is_named(source: MySqlDatabase, positions: str) -> None:
    followed = Followed(source, "t", positions=positions)
    source.execute("INSERT INTO t VALUES (1, 'x')")
    source.execute("FLUSH BINARY LOGS")
    _purge(source)
    with pytest.raises(CaptureLostError, match="no longer has") as caught, followed.stream() as s:
        followed.drain(s)
    assert "godwit reload" in caught.value.hint
    assert str(followed.start) in caught.value.where
    if positions == "file":
        assert "binlog." in caught.value.why
    status = capture_status(followed.connector, "m", followed.start)
    assert status.lost
    assert "purged" in status.detail


def _purge(source: MySqlDatabase) -> None:
    """MariaDB keeps a file until a checkpoint in a later one says that it isn't needed."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        last = source.fetch("SHOW BINARY LOGS")[-1][0]
        source.execute(f"PURGE BINARY LOGS TO '{last}'")
        if len(source.fetch("SHOW BINARY LOGS")) == 1:
            return
    raise AssertionError("the log was not purged")


def test_the_status_tells_what_is_kept(source: MySqlDatabase) -> None:
    connector = source_of(source)
    status = capture_status(connector, "nobody", None)
    assert status.exists
    assert not status.active
    assert not status.lost
    assert status.retained_bytes > 0
    assert drop_capture(connector, "nobody") == []
    table = table_of(connector, "t")
    assert untold_changes(connector, [table]) == {table.name: 0}


def test_missing_privileges_are_named(source: MySqlDatabase) -> None:
    source.execute("DROP USER IF EXISTS reader@'127.0.0.1'")
    source.execute("CREATE USER reader@'127.0.0.1'")
    try:
        source.execute(f"GRANT SELECT ON {source.name}.* TO reader@'127.0.0.1'")
        uri = source.conn_uri.replace("root@", "reader@")
        connector = Connector(connection_from_text("reader", uri))
        with pytest.raises(EndpointError) as caught:
            current_position(connector)
        assert "GRANT REPLICATION CLIENT" in caught.value.hint
    finally:
        source.execute("DROP USER reader@'127.0.0.1'")

"""Logs that are written by semi-synchronous, failed over, impatient, silent and damaged servers: what
is committed arrives once, or the migration stops by name before its checkpoint moves.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from godwit.engines.mysql import connection, stream
from godwit.errors import CaptureLostError, EndpointError, GodwitError
from godwit.migrator import Migrator
from godwit.model.changes import Position
from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.servers import Database
from tests.mixed.ends import AnyDatabase, assert_same, caught_up, loaded, moving, rows, unequal
from tests.proxy import CuttingProxy

TABLE = "CREATE TABLE t (id int PRIMARY KEY, u varchar(20) UNIQUE, v int);"
ROWS = "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)"
MYSQL = pytest.param("mysql-9.7", marks=pytest.mark.matrix)


def assert_equal(source: AnyDatabase, target: AnyDatabase, /, *tables: str, **changed: Any) -> None:
    """The tables (`t`) are the same, by the drivers and by Godwit's own comparison."""
    for table in tables or ("t",):
        assert_same(source, target, {table: ["id", "u", "v"]}, source.name)
    assert unequal(source, target, **changed) == {}


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(params=[MARIADB, MYSQL])
def own(request: Any, tmp_path: Path) -> Iterator[MySqlServer]:
    """A server of either flavour that the test may set as it likes."""
    with MySqlServer.start(request.param, tmp_path / "own") as server:
        yield server


@pytest.fixture
def own_mariadb(tmp_path: Path) -> Iterator[MySqlServer]:
    with MySqlServer.start(MARIADB, tmp_path / "own") as server:
        yield server


def file_positions() -> dict[str, Any]:
    return {"source": {"conn_id": "a", "settings": {"positions": "file"}}}


# -- what is in the log and not yet to be seen


def _semi_synchronous(server: MySqlServer, milliseconds: int) -> None:
    """A commit waits so long for a replica that never comes, when it is already in the log."""
    kind = "master" if server.mariadb else "source"
    with server.connect() as session, session.cursor() as cursor:
        if not server.mariadb:
            cursor.execute("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'")
        for name, value in {
            "timeout": milliseconds,
            "wait_point": "'AFTER_SYNC'",
            "wait_no_slave" if server.mariadb else "wait_no_replica": "ON",
            "enabled": "ON",
        }.items():
            cursor.execute(f"SET GLOBAL rpl_semi_sync_{kind}_{name} = {value}")


@pytest.mark.parametrize("positions", ["auto", "file"])
def test_what_is_in_the_log_before_it_can_be_seen(
    own: MySqlServer, target_db: Database, positions: str
) -> None:
    """A position taken from the end of the log lies behind rows that no snapshot shows yet."""
    source = own.create_database("seen")
    source.execute(TABLE + ROWS)
    settings = file_positions() if positions == "file" else {}
    _semi_synchronous(own, 2500)
    logged = _log_bytes(source)
    writer = threading.Thread(target=source.execute, args=("INSERT INTO t VALUES (9, 'i', 9)",))
    writer.start()
    try:
        eventually(lambda: _log_bytes(source) > logged)
        assert source.fetch("SELECT COUNT(*) FROM t") == [(3,)]
        loaded(source, target_db, **settings)
    finally:
        writer.join()
    caught_up(source, target_db, **settings)
    assert rows(source, source.name, "t", ["id"])[(9,)] == 1
    assert_equal(source, target_db, **settings)


def _log_bytes(source: MySqlDatabase) -> int:
    return sum(int(row[1]) for row in source.fetch("SHOW BINARY LOGS"))


# -- who wrote it


def test_a_former_replica_whose_log_has_not_what_it_repeated(
    own_mariadb: MySqlServer, target_db: Database
) -> None:
    """With log_slave_updates=OFF its current position is ahead of its own log, and a dump that
    begins there is refused.
    """
    source = own_mariadb.create_database("promoted")
    source.execute(TABLE + ROWS)
    source.execute("SET GLOBAL gtid_slave_pos = '0-77-5000,4-77-12'")
    ((current, own),) = source.fetch("SELECT @@gtid_current_pos, @@gtid_binlog_pos")
    assert current != own
    loaded(source, target_db)
    source.execute("UPDATE t SET v = v + 1")
    caught_up(source, target_db)
    assert_equal(source, target_db)


def test_another_server_writes_after_a_failover(
    own_mariadb: MySqlServer, target_db: Database
) -> None:
    """Its number and its domain are new in the log, numbers are left out, an old domain goes on."""
    source = own_mariadb.create_database("failed_over")
    source.execute(TABLE + ROWS)
    loaded(source, target_db)
    with moving(source, target_db) as migrator:
        before = str(migrator.control.progress().checkpoint)
    assert "7-" not in before
    source.execute(
        "SET gtid_domain_id = 7, server_id = 99; UPDATE t SET v = v + 1;"
        "SET gtid_seq_no = 500; INSERT INTO t VALUES (7, 'g', 7);"
        "SET gtid_domain_id = 0, server_id = 1; DELETE FROM t WHERE id = 2;"
        "SET server_id = 98; UPDATE t SET u = 'z' WHERE id = 3"
    )
    caught_up(source, target_db)
    assert_equal(source, target_db)
    with moving(source, target_db) as migrator:
        assert "7-99-500" in str(migrator.control.progress().checkpoint)
    source.execute("SET gtid_domain_id = 7, server_id = 99; INSERT INTO t VALUES (8, 'h', 8)")
    caught_up(source, target_db)
    assert_equal(source, target_db)


@pytest.mark.matrix
def test_sets_of_gtids_with_gaps_tags_and_other_servers(
    tmp_path: Path, target_db: Database
) -> None:
    """A gap that is filled later, a server that is new in the set, a tag, and at first nothing."""
    other = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    with MySqlServer.start("mysql-9.7", tmp_path / "own") as server:
        source = server.create_database("gtids")
        source.execute(TABLE + ROWS)
        source.execute("RESET BINARY LOGS AND GTIDS")
        assert source.fetch("SELECT @@global.gtid_executed") == [("",)]
        loaded(source, target_db)
        ((own,),) = source.fetch("SELECT @@server_uuid")

        def told(gtid: str, statement: str) -> None:
            source.execute(f"SET gtid_next = '{gtid}'; {statement}; SET gtid_next = AUTOMATIC")

        told(f"{own}:10", "UPDATE t SET v = v + 1 WHERE id = 1")
        told(f"{other}:3", "INSERT INTO t VALUES (4, 'd', 4)")
        caught_up(source, target_db)
        with moving(source, target_db) as migrator:
            assert f"{other}:3" in str(migrator.control.progress().checkpoint)
        # Behind what has been applied in the log, before it in number.
        told(f"{own}:5", "UPDATE t SET v = v + 10 WHERE id = 1")
        told(f"{other}:1", "DELETE FROM t WHERE id = 4")
        told("AUTOMATIC:tagged", "UPDATE t SET u = 'tag' WHERE id = 2")
        caught_up(source, target_db)
        assert_equal(source, target_db)
        told(f"{own}:7", "INSERT INTO t VALUES (5, 'e', 5)")
        caught_up(source, target_db)
        assert_equal(source, target_db)


def test_a_number_that_another_migration_has_is_named(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Two readers with one server id end each other's session for ever."""
    mysql_source.execute(TABLE + ROWS)
    settings = {"source": {"conn_id": "a", "settings": {"server_id": 77123}}}
    loaded(mysql_source, target_db, **settings)
    stop = threading.Event()

    def follow() -> None:
        with moving(mysql_source, target_db, **settings) as migrator:
            migrator.session(stop=stop.is_set)

    first = threading.Thread(target=follow)
    first.start()
    try:
        listed = "SHOW SLAVE HOSTS" if mysql_source.server.mariadb else "SHOW REPLICAS"
        eventually(lambda: any(r[0] == 77123 for r in mysql_source.fetch(listed)))
        with (
            pytest.raises(GodwitError, match=r"77123(?s:.*)godwit:m_db"),
            moving(mysql_source, target_db, name="another", **settings) as migrator,
        ):
            migrator.open_capture()
        mysql_source.execute("UPDATE t SET v = v + 1")
    finally:
        stop.set()
        first.join()
    caught_up(mysql_source, target_db, **settings)
    assert_equal(mysql_source, target_db, **settings)


# -- tables of other engines


@pytest.mark.parametrize("engine", ["Aria", "MEMORY", "MyISAM"])
def test_a_table_without_transactions_before_and_after_a_restart(
    tmp_path: Path, target_db: Database, engine: str
) -> None:
    """Their transactions end otherwise; the rows of a MEMORY table end with the server, and the log
    says so by a statement.
    """
    with MySqlServer.start(MARIADB, tmp_path / "own") as server:
        source = server.create_database("unsafe")
        source.execute(TABLE.replace(";", f" ENGINE={engine};") + ROWS)
        source.execute("CREATE TABLE inno (id int PRIMARY KEY, u varchar(20), v int)")
        loaded(source, target_db)
        source.execute(
            "START TRANSACTION; INSERT INTO inno VALUES (1, 'x', 1); UPDATE t SET v = v + 1;"
            "ROLLBACK; INSERT INTO t VALUES (8, 'h', 8); INSERT INTO inno VALUES (2, 'y', 2)"
        )
        caught_up(source, target_db)
        assert_equal(source, target_db, "t", "inno")
        port = server.port
    with MySqlServer.start(MARIADB, tmp_path / "own", port=port) as server:
        source = MySqlDatabase(server, "unsafe")
        source.execute("INSERT INTO t VALUES (9, 'i', 9)")
        caught_up(source, target_db)
        with moving(source, target_db) as migrator:
            out = {table.name: why for table, why in migrator.control.suspended().items()}
        if out:
            assert list(out) == ["t"]
            assert engine == "MEMORY"
        else:
            assert_equal(source, target_db, "t", "inno")


def test_columns_that_the_server_keeps_compressed(
    mariadb_source: MySqlDatabase, target_db: Database
) -> None:
    """The log has their compressed bytes as a type of its own: told before anything is written, and
    never taken for the values.
    """
    mariadb_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, u varchar(2000) COMPRESSED, v longtext COMPRESSED);"
        "INSERT INTO t VALUES (1, REPEAT('é', 900), REPEAT('b', 9000))"
    )
    with pytest.raises(EndpointError, match=r"t\.u: (?s:.*)compressed"):
        loaded(mariadb_source, target_db)
    with moving(mariadb_source, target_db, migration_type="full-load") as migrator:
        migrator.configure_endpoints()
    mariadb_source.execute("ALTER TABLE t MODIFY u varchar(2000), MODIFY v longtext")
    loaded(mariadb_source, target_db)
    mariadb_source.execute(
        "UPDATE t SET v = 'w'; ALTER TABLE t MODIFY u varchar(2000) COMPRESSED;"
        "INSERT INTO t VALUES (2, REPEAT('x', 1500), 'short')"
    )
    with suppress(EndpointError):
        caught_up(mariadb_source, target_db)
    found = rows(target_db, mariadb_source.name, "t", ["id", "u"])
    assert found[(1, "é" * 900)] == 1
    with moving(mariadb_source, target_db) as migrator:
        assert migrator.control.suspended() or found[(2, "x" * 1500)] == 1


def test_rows_that_the_log_has_lost(own_mariadb: MySqlServer, target_db: Database) -> None:
    """More rows than its cache takes: the table has them, and the log only says that it has not."""
    source = own_mariadb.create_database("incident")
    source.execute(TABLE.replace(";", " ENGINE=MyISAM;") + ROWS)
    source.execute("CREATE TABLE inno (id int PRIMARY KEY)")
    loaded(source, target_db)
    source.execute("SET GLOBAL max_binlog_stmt_cache_size = 4096, binlog_stmt_cache_size = 4096")
    source.execute("INSERT INTO inno VALUES (1)")
    with pytest.raises(Exception, match="max_binlog_stmt_cache_size"):
        source.execute(
            "INSERT INTO t SELECT seq + 100, CONCAT('long enough ', seq), 1 FROM seq_1_to_5000"
        )
    assert source.fetch("SELECT COUNT(*) FROM t")[0][0] > 3
    source.execute("INSERT INTO inno VALUES (2)")
    with pytest.raises(CaptureLostError, match="incident"):
        caught_up(source, target_db)
    with moving(source, target_db) as migrator:
        checkpoint = str(migrator.control.progress().checkpoint)
    with pytest.raises(CaptureLostError, match="incident"):
        caught_up(source, target_db)
    with moving(source, target_db) as migrator:
        assert str(migrator.control.progress().checkpoint) == checkpoint
        migrator.cleanup()
    assert target_db.fetch("SELECT count(*) FROM incident.t") == [(3,)]


@pytest.mark.matrix
@pytest.mark.parametrize("ends", ["target_db", "mysql_target"])
def test_keys_that_the_server_made_and_hides(request: Any, mysql97: MySqlServer, ends: str) -> None:
    """sql_generate_invisible_primary_key: `SELECT *` does not show it, the log does."""
    target = request.getfixturevalue(ends)
    with mysql97.create_database() as source:
        source.execute(
            "SET sql_generate_invisible_primary_key = ON; CREATE TABLE t (id int, u varchar(20),"
            " v int); INSERT INTO t VALUES (1, 'a', 1), (1, 'a', 1), (2, 'b', 2)"
        )
        tables = {"tables": {"include": [f"{source.name}.*"]}}
        loaded(source, target, **tables)
        source.execute(
            "UPDATE t SET v = 5 WHERE id = 1 LIMIT 1; DELETE FROM t WHERE id = 2;"
            "INSERT INTO t VALUES (3, 'c', 3), (3, 'c', 3)"
        )
        caught_up(source, target, **tables)
        assert_same(source, target, {"t": ["id", "u", "v", "my_row_id"]}, source.name)
        assert unequal(source, target, **tables) == {}


# -- connections


class _Freezing(CuttingProxy):
    """Connections that were there when it froze stay open and say nothing more, as behind a tunnel
    that has died; new ones go through.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._age = 0

    def freeze(self) -> None:
        self._age += 1

    def _forward(self, client: socket.socket) -> None:
        born = self._age
        with client, closing(socket.create_connection(("127.0.0.1", self._upstream))) as server:
            for end in (client, server):
                end.settimeout(0.02)
            while not self._closed:
                if born != self._age:
                    threading.Event().wait(0.05)
                    continue
                for one, other in ((client, server), (server, client)):
                    try:
                        data = one.recv(1 << 16)
                    except TimeoutError:
                        continue
                    except OSError:
                        return
                    if not data:
                        return
                    if born == self._age:
                        other.sendall(data)


@dataclass(frozen=True)
class _Through:
    """A database behind a proxy."""

    name: str
    conn_uri: str


@contextmanager
def _following(source: Any, target: AnyDatabase) -> Iterator[None]:
    stop = threading.Event()
    failures: list[BaseException] = []

    def follow() -> None:
        try:
            with moving(source, target) as migrator:
                migrator.session(stop=stop.is_set)
        except GodwitError as error:
            failures.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_a_connection_that_has_died_without_a_word(
    mysql_source: MySqlDatabase, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even heartbeats come: the log is asked for again, from the checkpoint."""
    monkeypatch.setattr(stream, "SILENCE", 1.0)
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1.0)
    mysql_source.execute(TABLE + ROWS)
    loaded(mysql_source, target_db)
    proxy = _Freezing(mysql_source.server.port)
    uri = f"mysql://root@127.0.0.1:{proxy.port}/{mysql_source.name}"
    count = f'SELECT count(*) FROM "{mysql_source.name}".t'
    try:
        with _following(_Through(mysql_source.name, uri), target_db):
            mysql_source.execute("INSERT INTO t VALUES (4, 'd', 4)")
            eventually(lambda: target_db.fetch(count) == [(4,)])
            proxy.freeze()
            mysql_source.execute("INSERT INTO t VALUES (5, 'e', 5)")
            eventually(lambda: target_db.fetch(count) == [(5,)])
    finally:
        proxy.close()
    assert_equal(mysql_source, target_db)


def test_a_single_change_of_a_quiet_source_arrives(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Nothing comes behind it that would push it on; the checkpoint follows as well."""
    mysql_source.execute(TABLE + ROWS)
    loaded(mysql_source, target_db)
    with _following(mysql_source, target_db):
        for number in range(10, 13):
            mysql_source.execute(f"INSERT INTO t VALUES ({number}, 'n{number}', 1)")
            query = f'SELECT count(*) FROM "{mysql_source.name}".t WHERE id = {number}'
            eventually(lambda query=query: target_db.fetch(query) == [(1,)], 5)  # type: ignore[misc]
        with moving(mysql_source, target_db) as migrator:
            end = migrator.source.position()
            eventually(lambda: _checkpoint(migrator).includes(end), 5)


def _checkpoint(migrator: Migrator) -> Position:
    return migrator.source.parse_position(migrator.control.progress().checkpoint or "")


def test_a_target_that_is_busy_for_longer_than_the_source_waits(
    own: MySqlServer, target_db: Database
) -> None:
    """The server gives up a reader that takes nothing for `net_write_timeout` seconds."""
    source = own.create_database("patient")
    source.execute("CREATE TABLE t (id int PRIMARY KEY, u longtext, v int)")
    source.execute("INSERT INTO t VALUES (1, 'a', 1)")
    loaded(source, target_db)
    source.execute("SET GLOBAL net_write_timeout = 1, GLOBAL net_read_timeout = 1")
    with _following(source, target_db):
        with target_db.connect(autocommit=False) as lock:
            lock.execute('LOCK TABLE "patient".t')
            for number in range(2, 42):
                source.execute(f"INSERT INTO t VALUES ({number}, REPEAT('x', 2000000), 1)")
            # The server has been waiting to write for longer than that.
            eventually(
                lambda: _busy_writing(source) > 2 if own.mariadb else _blocked(target_db) > 3
            )
        eventually(lambda: target_db.fetch("SELECT count(*) FROM patient.t") == [(41,)])
    assert_equal(source, target_db)


def _busy_writing(source: MySqlDatabase) -> float:
    """Seconds for which the dump of the log has been waiting for its reader."""
    query = (
        "SELECT MAX(TIME_MS) FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
        " AND STATE NOT LIKE '%waiting for%'"
    )
    return float(source.fetch(query)[0][0] or 0) / 1000


def _blocked(target: Database) -> float:
    """Seconds for which somebody has been waiting for a lock."""
    query = (
        "SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock'"
    )
    return float(target.fetch(query)[0][0] or 0)


# -- statements


def test_statements_that_a_parser_stumbles_over(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Comments and quotes that hold words of SQL, executable comments, other quotes, routines, tables
    made of documents: those of other tables do nothing, and one of a followed table is heard.
    """
    mysql_source.execute(TABLE + ROWS)
    loaded(mysql_source, target_db)
    for statement in (
        "CREATE TABLE o1 (id int /* ; DROP TABLE t */ PRIMARY KEY, `a``b` int COMMENT 'ALTER TABLE t DROP v')",
        "/* ALTER TABLE t DROP COLUMN v */ ALTER TABLE o1 ADD COLUMN c int -- ALTER TABLE t DROP COLUMN u",
        "ALTER TABLE o1 # t\n ADD d varchar(99) DEFAULT 'it''s \\' ; TRUNCATE t; --' COMMENT \"RENAME TABLE t TO x\"",
        "/*!50000 ALTER TABLE o1 ADD COLUMN e int */",
        'SET sql_mode = \'ANSI_QUOTES\'; CREATE TABLE "o 2" ("id" int, "t" varchar(9) DEFAULT \'DROP\')',
        "SET sql_mode = 'NO_BACKSLASH_ESCAPES'; ALTER TABLE o1 COMMENT 'a\\', ADD COLUMN f int",
        "CREATE VIEW w AS SELECT j.x FROM JSON_TABLE('[{\"t\": 1}]', '$[*]' COLUMNS (x int PATH '$.t')) AS j",
        "CREATE PROCEDURE p() BEGIN DECLARE t int; IF t THEN TRUNCATE TABLE o1; END IF; END",
        "CREATE TRIGGER tr AFTER INSERT ON o1 FOR EACH ROW BEGIN SET @t = 'ALTER TABLE t DROP u'; END",
        "CREATE TABLE o3 (g geometry NOT NULL, n int GENERATED ALWAYS AS (CHAR_LENGTH('DROP TABLE t')) VIRTUAL)",
        "GRANT SELECT ON t TO nobody_of_ours@localhost IDENTIFIED BY 'ALTER TABLE t'"
        if mysql_source.server.mariadb
        else "CREATE USER nobody_of_ours@localhost IDENTIFIED BY 'ALTER TABLE t'",
        "DROP USER nobody_of_ours@localhost",
        "ALTER\tTABLE\no1\r\nDROP\tCOLUMN\nc; DROP TABLE IF EXISTS o1, `o 2`, nothing; DROP VIEW w; DROP PROCEDURE p",
    ):
        mysql_source.execute(statement)
    mysql_source.execute(
        "UPDATE t SET v = v + 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (9, 'i', 9)"
    )
    caught_up(mysql_source, target_db)
    with moving(mysql_source, target_db) as migrator:
        assert migrator.control.suspended() == {}
    assert_same(mysql_source, target_db, {"t": ["id", "u", "v"]}, mysql_source.name)
    before = rows(target_db, mysql_source.name, "t", ["id", "u", "v"])
    mysql_source.execute(
        'SET sql_mode = \'ANSI_QUOTES\'; /* o1 */ ALTER /*!50000 TABLE */ -- t2\n "t" /*! DROP */ COLUMN "v";'
        "UPDATE t SET u = CONCAT(u, '!')"
    )
    caught_up(mysql_source, target_db)
    with moving(mysql_source, target_db) as migrator:
        if [table.name for table in migrator.control.suspended()] == ["t"]:
            assert rows(target_db, mysql_source.name, "t", ["id", "u", "v"]) == before
            return
    assert_same(mysql_source, target_db, {"t": ["id", "u"]}, mysql_source.name)

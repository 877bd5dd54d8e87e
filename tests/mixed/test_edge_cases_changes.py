"""What sources do while they are followed: swaps, truncations, definitions in the middle of rows, logs
that are switched, purged, restarted or told in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from godwit.errors import GodwitError
from godwit.steps import bundling
from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from include.demo.servers import Database
from tests.mixed.ends import assert_same, caught_up, loaded, moving, rows, unequal

TABLE = "CREATE TABLE t (id int PRIMARY KEY, u varchar(20) UNIQUE, v int);"
SEVEN = "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4), (5, 'e', 5), (6, 'f', 6), (7, 'g', 7)"


def assert_equal(source: MySqlDatabase, target: Database, *columns: str) -> None:
    """Table `t` is the same, by the drivers and by Godwit's own comparison."""
    assert_same(source, target, {"t": list(columns or ("id", "u", "v"))}, source.name)
    assert unequal(source, target) == {}


@pytest.fixture
def table(mysql_source: MySqlDatabase, target_db: Database) -> MySqlDatabase:
    """Table `t` with seven rows, loaded."""
    mysql_source.execute(TABLE + SEVEN)
    loaded(mysql_source, target_db)
    return mysql_source


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[MySqlServer]:
    """A MariaDB whose log the test may reset, purge and switch."""
    with MySqlServer.start(MARIADB, tmp_path / "own") as server:
        yield server


# -- rows


def test_every_sequence_of_changes_of_one_row_in_one_batch(
    table: MySqlDatabase, target_db: Database
) -> None:
    table.execute(
        "START TRANSACTION;"
        "INSERT INTO t VALUES (10, 'x', 1); UPDATE t SET v = 2 WHERE id = 10; DELETE FROM t WHERE id = 10;"
        "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'a2', 11);"
        "UPDATE t SET v = 22 WHERE id = 2; DELETE FROM t WHERE id = 2;"
        "DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (3, 'c', 3); DELETE FROM t WHERE id = 3;"
        "UPDATE t SET id = 40 WHERE id = 4; UPDATE t SET id = 4 WHERE id = 40; UPDATE t SET v = 44 WHERE id = 4;"
        "UPDATE t SET id = 50 WHERE id = 5; INSERT INTO t VALUES (5, 'new', 0); DELETE FROM t WHERE id = 50;"
        "UPDATE t SET v = v WHERE id = 6; REPLACE INTO t VALUES (6, 'g', 66);"
        "INSERT INTO t VALUES (6, 'h', 0) ON DUPLICATE KEY UPDATE v = 67; COMMIT"
    )
    caught_up(table, target_db)
    assert_equal(table, target_db)


def test_identities_and_unique_values_change_places(
    table: MySqlDatabase, target_db: Database
) -> None:
    """In one transaction, over several, in a ring, and along a chain."""
    table.execute(
        "START TRANSACTION; UPDATE t SET id = -1 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2;"
        "UPDATE t SET id = 2 WHERE id = -1; COMMIT;"
        "START TRANSACTION; UPDATE t SET u = NULL WHERE id = 3; UPDATE t SET u = 'c' WHERE id = 4;"
        "UPDATE t SET u = 'd' WHERE id = 3; COMMIT;"
        "UPDATE t SET id = id + 1 ORDER BY id DESC; UPDATE t SET id = id - 1 ORDER BY id;"
        "UPDATE t SET u = CONCAT(u, '~'); UPDATE t SET u = CHAR(97 + MOD(id, 7));"
        "DELETE FROM t WHERE id = 7; UPDATE t SET id = 7 WHERE id = 6; INSERT INTO t VALUES (6, 'z', 0)"
    )
    caught_up(table, target_db)
    assert_equal(table, target_db)


def test_a_table_of_nothing_but_its_key(mysql_source: MySqlDatabase, target_db: Database) -> None:
    mysql_source.execute("CREATE TABLE t (a int, b varchar(5), PRIMARY KEY (a, b));"
                         "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')")  # fmt: skip
    loaded(mysql_source, target_db)
    mysql_source.execute("UPDATE t SET b = UPPER(b) WHERE a < 3; UPDATE t SET a = a + 10;"
                         "DELETE FROM t WHERE a = 13; INSERT IGNORE INTO t VALUES (1, 'x'), (11, 'X')")  # fmt: skip
    caught_up(mysql_source, target_db)
    assert_equal(mysql_source, target_db, "a", "b")


def test_equal_rows_without_a_key_go_one_by_one(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    mysql_source.execute("CREATE TABLE t (v varchar(9), f double, d datetime(6), b blob);"
                         "INSERT INTO t VALUES ('a', 0.1, NULL, 0x00), ('a', 0.1, NULL, 0x00),"
                         " ('a ', 0.1, NULL, 0x00), ('A', 0.1, NULL, 0x00), (NULL, NULL, NULL, NULL)")  # fmt: skip
    loaded(mysql_source, target_db)
    mysql_source.execute("DELETE FROM t WHERE BINARY v = 'a' LIMIT 1; INSERT INTO t VALUES (NULL, NULL, NULL, NULL);"
                         "UPDATE t SET d = '2024-01-01 00:00:00.000001' WHERE v IS NULL LIMIT 1;"
                         "DELETE FROM t WHERE BINARY v = 'A'")  # fmt: skip
    caught_up(mysql_source, target_db)
    assert_equal(mysql_source, target_db, "v", "f", "d", "b")


def test_many_tables_and_rows_in_one_event(table: MySqlDatabase, target_db: Database) -> None:
    """One statement on two tables, rows in one event, small batches: whole transactions arrive."""
    table.execute("CREATE TABLE other (id int PRIMARY KEY, t int)")
    table.execute("UPDATE t SET v = v + 1; UPDATE t a JOIN t b ON b.id = a.id + 1 SET a.v = b.v * 2, a.u = NULL;"
                  "DELETE a FROM t a JOIN t b ON b.id = a.id - 1 WHERE a.id > 5")  # fmt: skip
    caught_up(table, target_db)
    assert_equal(table, target_db)


def test_a_trigger_of_the_target_does_not_act_on_what_has_happened(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Triggers, ON UPDATE CURRENT_TIMESTAMP and defaults have done their work on the source."""
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 5, at timestamp(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
        " ON UPDATE CURRENT_TIMESTAMP(6)); CREATE TABLE audit (id int AUTO_INCREMENT PRIMARY KEY, what varchar(20));"
        "CREATE TRIGGER seen AFTER UPDATE ON t FOR EACH ROW INSERT INTO audit (what) VALUES (CONCAT('u', NEW.id));"
        "SET timestamp = 1; INSERT INTO t (id, n) VALUES (1, 1), (2, NULL), (3, DEFAULT)"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute("SET timestamp = 100; UPDATE t SET n = 9 WHERE id < 3; SET timestamp = 200;"
                         "INSERT INTO t (id) VALUES (4); UPDATE t SET n = NULL WHERE id = 4")  # fmt: skip
    caught_up(mysql_source, target_db)
    assert_equal(mysql_source, target_db, "id", "n", "at")
    assert_same(mysql_source, target_db, {"audit": ["id", "what"]}, mysql_source.name)


def test_a_unique_index_that_only_the_target_has(table: MySqlDatabase, target_db: Database) -> None:
    """The row is refused by name and kept aside; no other row goes in its place."""
    target_db.execute(f'CREATE UNIQUE INDEX only_here ON "{table.name}".t (v)')
    table.execute(
        "INSERT INTO t VALUES (8, 'h', 1), (9, 'i', 90); UPDATE t SET v = 20 WHERE id = 2"
    )
    with suppress(GodwitError):
        caught_up(table, target_db)
    found = rows(target_db, table.name, "t", ["id", "v"])
    assert found[(1, 1)] == 1
    assert found[(8, 1)] == 0
    with moving(table, target_db) as migrator:
        kept = migrator.control.exceptions()
        assert migrator.control.suspended() or kept, "somebody has to be told"


# -- truncation and loading


def test_truncated_while_it_is_loaded(
    mysql_source: MySqlDatabase, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRUNCATE, rows deleted and put back, an update of every key: between any two chunks."""
    monkeypatch.setattr(bundling, "ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(bundling, "LEAST_BUNDLE_BYTES", 1)
    monkeypatch.setattr(bundling, "CHUNK_COST", 1 << 30)
    mysql_source.execute(TABLE + SEVEN)
    between = [
        "DELETE FROM t WHERE id < 5; INSERT INTO t VALUES (1, 'again', 0), (100, 'new', 0)",
        "TRUNCATE TABLE t; INSERT INTO t VALUES (3, 'later', 1), (50, 'more', 2)",
        "UPDATE t SET id = 253 - id; INSERT INTO t VALUES (51, 'x', 1)",
    ]
    with moving(mysql_source, target_db) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        bundles = migrator.plan_chunks()
        assert len(bundles) >= 3
        for place, bundle in enumerate(bundles):
            if place < len(between):
                mysql_source.execute(between[place])
            migrator.load(bundle)
        migrator.catch_up()
        migrator.finish_schema()
    assert_equal(mysql_source, target_db)


def test_truncated_with_others_in_a_row(table: MySqlDatabase, target_db: Database) -> None:
    table.execute(
        "INSERT INTO t VALUES (8, 'h', 8); TRUNCATE t; INSERT INTO t VALUES (1, 'b', 2);"
        f"TRUNCATE TABLE `{table.name}`.`t`; INSERT INTO t VALUES (2, 'b', 2); UPDATE t SET v = 3"
    )
    caught_up(table, target_db)
    assert_equal(table, target_db)


def test_loaded_again_into_a_table_that_has_rows(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """The rows of somebody else stop the load by name; they are neither mixed nor doubled."""
    mysql_source.execute(TABLE + SEVEN)
    table = f'"{mysql_source.name}".t'
    with moving(mysql_source, target_db) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        target_db.execute(f"INSERT INTO {table} VALUES (1, 'theirs', 0)")
        with pytest.raises(GodwitError, match="already has rows"):
            migrator.plan_chunks()
        target_db.execute(f"DELETE FROM {table}")
        for bundle in migrator.plan_chunks():
            migrator.load(bundle)
            migrator.load(bundle)
        migrator.catch_up()
        migrator.finish_schema()
    assert_equal(mysql_source, target_db)


# -- definitions in the middle of rows


@pytest.mark.parametrize(
    "alter",
    [
        "ALTER TABLE t ADD COLUMN w int NOT NULL DEFAULT 5",
        "ALTER TABLE t ADD COLUMN w varchar(10) DEFAULT 'x' FIRST",
        "ALTER TABLE t ADD COLUMN w datetime DEFAULT CURRENT_TIMESTAMP AFTER id, ADD COLUMN w2 int FIRST",
        "ALTER TABLE t MODIFY v int AFTER id",
        "ALTER TABLE t ADD COLUMN w uuid DEFAULT uuid()",
        "ALTER TABLE t ADD INDEX by_v (v), COMMENT = 'more', ALGORITHM = INPLACE",
        "ALTER TABLE t ENGINE = InnoDB",
        "CREATE TABLE _t_new LIKE t; INSERT INTO _t_new SELECT * FROM t; ALTER TABLE _t_new ADD w int FIRST;"
        " RENAME TABLE t TO _t_old, _t_new TO t; DROP TABLE _t_old",
    ],
    ids=lambda a: a[:45],
)
def test_definitions_between_rows_that_the_table_survives(
    table: MySqlDatabase, target_db: Database, alter: str
) -> None:
    """Rows before and after have columns in other places: they are mapped by name."""
    if not table.server.mariadb:
        alter = alter.replace("uuid DEFAULT uuid()", "varchar(20) DEFAULT (UPPER('x'))")
    table.execute(
        f"UPDATE t SET v = v + 1; {alter};"
        "UPDATE t SET v = v * 2, u = CONCAT(u, '!') WHERE id > 3; INSERT INTO t (id, u, v) VALUES (8, 'h', 8);"
        "DELETE FROM t WHERE id = 2"
    )
    caught_up(table, target_db)
    with moving(table, target_db) as migrator:
        assert not migrator.control.suspended()
    assert_same(table, target_db, {"t": ["id", "u", "v"]}, table.name)


@pytest.mark.parametrize(
    "alter",
    [
        "ALTER TABLE t DROP COLUMN v",
        "ALTER TABLE t CHANGE v w int",
        "ALTER TABLE t MODIFY v varchar(20)",
        "ALTER TABLE t MODIFY v bigint unsigned",
        "ALTER TABLE t DROP COLUMN v, ADD COLUMN v int DEFAULT 70",
        "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (1, 1)",
        "RENAME TABLE t TO elsewhere",
        "ALTER TABLE t RENAME TO elsewhere; CREATE TABLE t (id int PRIMARY KEY, u varchar(20), v int)",
    ],
    ids=lambda a: a[:45],
)
def test_definitions_that_change_what_is_copied_suspend_that_table_only(
    table: MySqlDatabase, target_db: Database, alter: str
) -> None:
    """Never the old rows under the new shape, silently: equal, or suspended and told."""
    table.execute(f"UPDATE t SET v = v + 1; {alter}")
    names = [n for (n,) in table.fetch("SHOW TABLES")]
    if "t" in names:
        table.execute("UPDATE t SET id = id + 100")
    caught_up(table, target_db)
    with moving(table, target_db) as migrator:
        out = migrator.control.suspended()
    if out:
        assert [name.name for name in out] == ["t"]
        return
    names = [name for name, *_ in table.fetch("SHOW COLUMNS FROM t")]
    assert_same(table, target_db, {"t": names}, table.name)


def test_two_columns_exchange_their_names(table: MySqlDatabase, target_db: Database) -> None:
    """Both have the same type, so no row image shows it: what came before the exchange must not
    stay under the old names unnoticed.
    """
    table.execute("ALTER TABLE t ADD COLUMN w int DEFAULT 70")
    table.execute(
        "ALTER TABLE t RENAME COLUMN v TO x, RENAME COLUMN w TO v; UPDATE t SET v = v + 1 WHERE id = 1"
    )
    caught_up(table, target_db)
    with moving(table, target_db) as migrator:
        out = migrator.control.suspended()
    if not out:
        assert_same(table, target_db, {"t": ["id", "u", "v"]}, table.name)


def test_labels_moved_and_added_in_the_middle(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """The log has numbers; each means the label that it had then."""
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, u enum('a','b','c'), v set('x','y'));"
                         "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x,y'), (3, 'c', '')")  # fmt: skip
    loaded(mysql_source, target_db)
    mysql_source.execute(
        "INSERT INTO t VALUES (4, 'b', 'y'); ALTER TABLE t MODIFY u enum('c','b','a'), MODIFY v set('y','x');"
        "INSERT INTO t VALUES (5, 'c', 'y,x'), (6, 'a', 'y'); UPDATE t SET u = 'a' WHERE id = 2"
    )
    caught_up(mysql_source, target_db)
    table = f'"{mysql_source.name}".t'
    with moving(mysql_source, target_db) as migrator:
        if migrator.control.suspended():
            return
    found = target_db.fetch(f"SELECT id, u::text FROM {table} ORDER BY id")
    assert found == [(1, "a"), (2, "a"), (3, "c"), (4, "b"), (5, "c"), (6, "a")]


def test_an_invalid_label_that_comes_only_later(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """The empty error label of an ENUM, when no row had it at the start: told, or there."""
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, u enum('a','b')); INSERT INTO t VALUES (1, 'a')"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute("SET sql_mode = ''; INSERT INTO t VALUES (2, 'none'), (3, 'b')")
    try:
        caught_up(mysql_source, target_db)
    except GodwitError as error:
        if f"{mysql_source.name}.t" not in str(error):
            raise
        return
    with moving(mysql_source, target_db) as migrator:
        told = migrator.control.suspended() or migrator.control.exceptions()
    found = rows(target_db, mysql_source.name, "t", ["id", "u"])
    assert told or found[(2, "")] == 1
    assert (2, None) not in found


def test_another_character_set_in_the_middle(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, u varchar(20) CHARACTER SET latin1, v int);"
                         "INSERT INTO t VALUES (1, 'é', 1)")  # fmt: skip
    loaded(mysql_source, target_db)
    mysql_source.execute("INSERT INTO t VALUES (2, 'ü', 1); ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4;"
                         "INSERT INTO t VALUES (3, '€é😀', 1); UPDATE t SET v = 2")  # fmt: skip
    caught_up(mysql_source, target_db)
    with moving(mysql_source, target_db) as migrator:
        if not migrator.control.suspended():
            assert_same(mysql_source, target_db, {"t": ["id", "u", "v"]}, mysql_source.name)


def test_statements_that_concern_nobody_move_the_checkpoint(
    table: MySqlDatabase, target_db: Database
) -> None:
    with moving(table, target_db) as migrator:
        before = migrator.control.progress().checkpoint
    table.execute("CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO beside VALUES (1);"
                  "ANALYZE TABLE beside; FLUSH TABLES; CREATE VIEW seen AS SELECT * FROM t;"
                  "CREATE TABLE made AS SELECT * FROM t; DROP TABLE made; DROP VIEW seen")  # fmt: skip
    caught_up(table, target_db)
    with moving(table, target_db) as migrator:
        assert migrator.control.progress().checkpoint != before
        assert not migrator.control.suspended()
    table.execute("UPDATE t SET v = 0")
    caught_up(table, target_db)
    assert_same(table, target_db, {"t": ["id", "u", "v"]}, table.name)


# -- the log


def test_a_table_without_transactions(mysql_source: MySqlDatabase, target_db: Database) -> None:
    mysql_source.execute(TABLE.replace(";", " ENGINE=MyISAM;") + SEVEN)
    mysql_source.execute("CREATE TABLE inno (id int PRIMARY KEY)")
    loaded(mysql_source, target_db)
    begun, outside = (
        "START TRANSACTION; INSERT INTO inno VALUES (1)",
        "INSERT INTO t VALUES (8, 'h', 8)",
    )
    if not mysql_source.server.mariadb:
        # With GTIDs it lets no transaction write to both kinds of tables.
        begun, outside = outside, begun
    mysql_source.execute(
        f"UPDATE t SET v = v + 1; {begun}; {outside}; ROLLBACK; DELETE FROM t WHERE id = 1;"
        " INSERT INTO inno VALUES (2)"
    )
    caught_up(mysql_source, target_db)
    assert_equal(mysql_source, target_db)
    assert_same(mysql_source, target_db, {"inno": ["id"]}, mysql_source.name)


@pytest.mark.parametrize("crash", [False, True])
def test_the_source_starts_again(tmp_path: Path, target_db: Database, crash: bool) -> None:
    with MySqlServer.start(MARIADB, tmp_path / "own") as server:
        source = server.create_database("restarted")
        source.execute(TABLE + SEVEN)
        loaded(source, target_db)
        source.execute(
            "UPDATE t SET v = v + 1; CREATE TEMPORARY TABLE gone (id int); INSERT INTO t VALUES (8, 'h', 8)"
        )
        port = server.port
        server.kill() if crash else server.stop()
        with MySqlServer.start(MARIADB, tmp_path / "own", port=port) as again:
            source = MySqlDatabase(again, "restarted")
            source.execute("DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (9, 'i', 9)")
            caught_up(source, target_db)
            assert_equal(source, target_db)


def test_prepared_transactions_end_in_any_order(table: MySqlDatabase, target_db: Database) -> None:
    """Prepared before a session ends, committed after the next has begun."""
    prepared = "XA START '{x}'; {what}; XA END '{x}'; XA PREPARE '{x}'"
    name = table.name[-6:]
    for number, what in enumerate(["UPDATE t SET v = 10 WHERE id = 1", "DELETE FROM t WHERE id = 2",
                                   "INSERT INTO t VALUES (9, 'i', 9)"]):  # fmt: skip
        table.execute(prepared.format(x=f"{name}{number}", what=what))
    table.execute("UPDATE t SET v = 33 WHERE id = 3")
    caught_up(table, target_db)
    table.execute(f"XA COMMIT '{name}2'; UPDATE t SET v = 90 WHERE id = 9")
    caught_up(table, target_db)
    table.execute(f"XA ROLLBACK '{name}1'; INSERT INTO t VALUES (8, 'h', 8)")
    caught_up(table, target_db)
    table.execute(f"XA COMMIT '{name}0'")
    caught_up(table, target_db)
    assert_equal(table, target_db)


@pytest.mark.parametrize(
    "setting",
    ["binlog_row_image = MINIMAL", "binlog_row_image = NOBLOB", "binlog_format = STATEMENT"],
)
def test_a_session_that_logs_less_than_whole_rows(
    mysql_source: MySqlDatabase, target_db: Database, setting: str
) -> None:
    """What the log lacks is never taken for NULL: it stops, or the table is loaded again."""
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, u longtext, v int);"
                         "INSERT INTO t VALUES (1, 'long', 1), (2, NULL, 2)")  # fmt: skip
    loaded(mysql_source, target_db)
    mysql_source.execute(f"SET SESSION {setting}; UPDATE t SET v = v + 1")
    before = rows(target_db, mysql_source.name, "t", ["id", "u", "v"])
    try:
        caught_up(mysql_source, target_db)
    except GodwitError as error:
        if f"{mysql_source.name}.t" not in str(error):
            raise
    else:
        before = rows(mysql_source, mysql_source.name, "t", ["id", "u", "v"])
    assert rows(target_db, mysql_source.name, "t", ["id", "u", "v"]) == before


def test_a_compressed_log(own_server: MySqlServer, target_db: Database) -> None:
    with own_server.connect() as session:
        session.cursor().execute("SET GLOBAL log_bin_compress = ON, log_bin_compress_min_len = 10")
    with own_server.create_database() as source:
        source.execute("CREATE TABLE t (id int PRIMARY KEY, u longtext, v int)")
        source.execute("INSERT INTO t VALUES (1, REPEAT('a', 9000), 1), (2, 'b', 2)")
        loaded(source, target_db)
        source.execute("UPDATE t SET u = REPEAT('é', 70000), v = 2; INSERT INTO t VALUES (3, REPEAT('c', 500), 3);"
                       "DELETE FROM t WHERE id = 2")  # fmt: skip
        caught_up(source, target_db)
        assert_equal(source, target_db)


def test_a_huge_transaction_and_small_memory(table: MySqlDatabase, target_db: Database) -> None:
    """Handed over in parts, which are one commit on the target."""
    settings = {"task_settings": {"ChangeProcessingTuning": {"MemoryLimitTotal": 1}}}
    digits = "(" + " UNION ".join(f"SELECT {n} AS n" for n in range(10)) + ")"
    number = "a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n"
    seq = (
        f"(SELECT 101 + {number} AS id FROM {digits} a, {digits} b, {digits} c, {digits} d,"
        " (SELECT 0 AS n UNION SELECT 1) e)"
    )
    table.execute(
        f"START TRANSACTION; INSERT INTO t SELECT id, CONCAT(REPEAT('n', 10), id), 1 FROM {seq} s;"
        "UPDATE t SET v = id; UPDATE t SET u = NULL WHERE MOD(id, 3) = 0; DELETE FROM t WHERE MOD(id, 5) = 0;"
        "UPDATE t SET id = id + 100000 WHERE MOD(id, 7) = 0; COMMIT"
    )
    caught_up(table, target_db, **settings)
    assert_equal(table, target_db)


@pytest.mark.matrix
def test_partial_documents_stop_before_the_checkpoint(
    mysql97: MySqlServer, target_db: Database
) -> None:
    with mysql97.create_database() as source:
        source.execute("CREATE TABLE t (id int PRIMARY KEY, u json, v int);"
                       "INSERT INTO t VALUES (1, '{\"a\": 1, \"b\": \"xxxxxxxxxxxxxxxxxxxxxxxxxx\"}', 1)")  # fmt: skip
        loaded(source, target_db)
        source.execute(
            "SET binlog_row_value_options = PARTIAL_JSON; UPDATE t SET u = JSON_SET(u, '$.a', 2)"
        )
        with pytest.raises(GodwitError, match="PARTIAL_JSON"):
            caught_up(source, target_db)


@pytest.mark.matrix
def test_compressed_transactions_of_mysql(mysql97: MySqlServer, target_db: Database) -> None:
    with mysql97.create_database() as source:
        source.execute(TABLE + SEVEN)
        loaded(source, target_db)
        source.execute("SET binlog_transaction_compression = ON; UPDATE t SET v = v + 1;"
                       "START TRANSACTION; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'a', 7); COMMIT;"
                       "UPDATE t SET id = id + 10 ORDER BY id DESC")  # fmt: skip
        caught_up(source, target_db)
        assert_equal(source, target_db)


# -- connections


def test_impatient_sessions_and_odd_passwords(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Timeouts of a second for everybody; a user and a password with everything a URI cuts at."""
    from urllib.parse import quote

    password = "p@ss:w/o?r#d%41&é'\"\\"
    user = "g@d:w/it" + mysql_source.name[-4:]
    variables = dict.fromkeys(
        ("wait_timeout", "net_read_timeout", "net_write_timeout", "lock_wait_timeout"), 1
    )
    # Seconds here, milliseconds there.
    longest = (
        ("max_statement_time", 1) if mysql_source.server.mariadb else ("max_execution_time", 1000)
    )
    variables |= [longest]
    kept = mysql_source.fetch("SELECT " + ", ".join(f"@@global.{v}" for v in variables))[0]
    mysql_source.execute(TABLE + SEVEN)
    with mysql_source.server.connect() as session, session.cursor() as cursor:
        cursor.execute(
            f"CREATE USER {session.escape(user)}@'%' IDENTIFIED BY {session.escape(password)}"
        )
        cursor.execute(f"GRANT ALL ON *.* TO {session.escape(user)}@'%'")
        cursor.execute(
            "SET " + ", ".join(f"GLOBAL {name} = {value}" for name, value in variables.items())
        )
        try:
            uri = f"mysql://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{mysql_source.server.port}/"

            class Other:
                name = mysql_source.name
                conn_uri = uri + mysql_source.name

            loaded(Other(), target_db)  # type: ignore[arg-type]
            mysql_source.execute("UPDATE t SET v = v + 1")
            caught_up(Other(), target_db)  # type: ignore[arg-type]
        finally:
            for name, value in zip(variables, kept, strict=True):
                cursor.execute(f"SET GLOBAL {name} = {value}")
            cursor.execute(f"DROP USER {session.escape(user)}@'%'")
    assert_equal(mysql_source, target_db)

"""Histories made by chance: several connections write while chunks are loaded in any order, loads
and sessions are run twice, stop and start again at any point. The end is the same on both sides.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pymysql
import pytest

from godwit.errors import StoppedError
from godwit.migrator import Migrator
from godwit.model.definition import parse_definition
from godwit.model.endpoint import connection_from_text
from godwit.steps import bundling
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import assert_same, caught_up, moving, unequal
from tests.scenarios.migrations import Told

SCHEMA = """
CREATE TABLE person (id int PRIMARY KEY,
  name varchar(30) COLLATE utf8mb4_general_ci NOT NULL UNIQUE,
  nick varchar(10) COLLATE latin1_bin UNIQUE, score decimal(10,3), note longtext, tag binary(4));
CREATE TABLE place (country varchar(8) COLLATE utf8mb4_general_ci, no smallint, v varchar(20),
  PRIMARY KEY (no, country), UNIQUE KEY (country, v));
CREATE TABLE day (at datetime(3) PRIMARY KEY, n bigint unsigned, bits bit(5));
CREATE TABLE log (who int, what varchar(10), f double);
CREATE TABLE link (a int, b int, w int, PRIMARY KEY (a, b), CONSTRAINT of_a FOREIGN KEY (a)
  REFERENCES person (id), KEY (b));
"""
TABLES = {
    "person": ["id", "name", "nick", "score", "note", "tag"],
    "place": ["country", "no", "v"],
    "day": ["at", "n"],
    "log": ["who", "what", "f"],
    "link": ["a", "b", "w"],
}
#: What a loser among several connections hears: its statement did nothing, or all is rolled back.
LOST = {1062, 1205, 1213, 1451, 1452, 1020}


class Writers:
    """Connections with a transaction each, whose statements alternate by chance."""

    def __init__(self, database: MySqlDatabase, chance: random.Random, count: int = 3) -> None:
        self.chance = chance
        self.connections = [database.connect(autocommit=False) for _ in range(count)]
        for connection in self.connections:
            connection.cursor().execute("SET innodb_lock_wait_timeout = 0, sql_mode = ''")
        #: How often a step begins with a commit. Only MariaDB can give up without waiting: elsewhere
        #: a second passes whenever two meet.
        self.commits = 0.15 if database.server.mariadb else 0.6
        self.done = 0

    def write(self, steps: int) -> None:
        """Let so many statements happen."""
        for _ in range(steps):
            self._step(self.chance.choice(self.connections))

    def settle(self) -> None:
        """End every transaction."""
        for connection in self.connections:
            connection.rollback() if self.chance.random() < 0.2 else connection.commit()

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.close()

    def _step(self, connection: Any) -> None:
        end = self.chance.random()
        if end < self.commits:
            connection.commit()
        elif end < self.commits + 0.04:
            connection.rollback()
        with connection.cursor() as cursor:
            try:
                for statement in self._statements():
                    cursor.execute(statement)
                    self.done += cursor.rowcount
            except pymysql.MySQLError as error:
                if error.args[0] not in LOST:
                    raise
                if error.args[0] in {1205, 1213}:
                    connection.rollback()

    def _statements(self) -> list[str]:
        c = self.chance
        a, b, n = c.randrange(60), c.randrange(60), c.randrange(10_000)
        letter = c.choice("aAbBcé ")
        note = f"REPEAT('{letter}\\\\\\n', {c.choice([0, 3, 3000])})"
        return c.choice(
            [
                [f"INSERT INTO person VALUES ({a}, '{letter}{n}', {c.choice(['NULL', f'{n}'])},"
                 f" {n} / 8, {note}, CHAR({n % 256}, 0))"],
                [f"REPLACE INTO person VALUES ({a}, 'r{n % 40}', NULL, 1, NULL, 'x')"],
                [f"INSERT INTO person VALUES ({a}, 'i{n}', NULL, 0, '', 'i') ON DUPLICATE KEY"
                 " UPDATE score = score + 1"],
                [f"UPDATE person SET name = CONCAT(UPPER(name), '') WHERE id = {a}"],
                [f"UPDATE person SET score = NULL, note = {note} WHERE id BETWEEN {a} AND {a + 3}"],
                [f"UPDATE person SET id = id + {c.choice([1, 7])} WHERE id = {a}"],
                # The names of two rows change places, their nicks too.
                [f"SELECT @x := name, @p := nick FROM person WHERE id = {a}",
                 f"SELECT @y := name, @q := nick FROM person WHERE id = {b}",
                 f"UPDATE person SET name = CONCAT('~', id, RAND()), nick = NULL WHERE id = {a}",
                 f"UPDATE person SET name = COALESCE(@x, name), nick = @p WHERE id = {b}",
                 f"UPDATE person SET name = COALESCE(@y, name), nick = @q WHERE id = {a}"],
                # Two ids change places.
                [f"UPDATE person SET id = -1 WHERE id = {a}",
                 f"UPDATE person SET id = {a} WHERE id = {b}",
                 f"UPDATE person SET id = {b} WHERE id = -1"],
                [f"DELETE FROM person WHERE id = {a}"],
                [f"DELETE FROM person WHERE id = {a}",
                 f"INSERT INTO person VALUES ({a}, 'again {n}', NULL, {n}, 'n', 0x00ff)"],
                ["SAVEPOINT s", f"DELETE FROM person WHERE id < {a}", "ROLLBACK TO SAVEPOINT s"],
                [f"INSERT INTO place VALUES ('{letter}{a % 9}', {b}, '{n % 50}')"],
                [f"UPDATE place SET country = '{letter}{a % 9}' WHERE no = {b}"],
                [f"UPDATE place SET country = UPPER(country), v = CONCAT(v, ' ') WHERE no = {b}"],
                [f"UPDATE place SET no = -no WHERE no BETWEEN {a} AND {a + 4} ORDER BY no"],
                [f"DELETE FROM place WHERE no = {b}"],
                [f"INSERT IGNORE INTO day VALUES ('2024-01-{1 + a % 28} 00:00:00.{b:03}',"
                 f" 18446744073709551615 - {n}, {a % 32})"],
                [f"UPDATE day SET at = at + INTERVAL 1 SECOND WHERE MOD(n, 7) = {a % 7}"
                 " ORDER BY at DESC"],
                [f"UPDATE day SET n = n - 1, bits = {b % 32} WHERE MOD(n, 5) = {a % 5}"],
                [f"DELETE FROM day WHERE MOD(n, 11) = {a % 11}"],
                [f"INSERT INTO log VALUES ({a % 5}, '{letter}', {n} / 7), ({a % 5}, '{letter}', NULL)"],
                [f"UPDATE log SET what = '{letter}' WHERE who = {a % 5} LIMIT {1 + b % 3}"],
                [f"DELETE FROM log WHERE who = {a % 5} LIMIT {1 + b % 4}"],
                [f"INSERT INTO link VALUES ({a}, {b}, {n})"],
                [f"UPDATE link SET a = {b}, w = w + 1 WHERE b = {a}"],
                [f"DELETE FROM link WHERE a = {a}"],
            ]
        )  # fmt: skip


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows are a chunk, and a chunk is a task."""
    monkeypatch.setattr(bundling, "ROWS_PER_CHUNK", 5)
    monkeypatch.setattr(bundling, "LEAST_BUNDLE_BYTES", 1)
    monkeypatch.setattr(bundling, "CHUNK_COST", 1 << 30)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(6))
def test_any_history_ends_equal(
    mysql_source: MySqlDatabase, target_db: Database, seed: int
) -> None:
    chance = random.Random(seed)
    mysql_source.execute(SCHEMA)
    with Writers(mysql_source, chance) as writers:
        _migrate(mysql_source, target_db, writers)
        writers.settle()
    caught_up(mysql_source, target_db)
    assert_same(mysql_source, target_db, TABLES, mysql_source.name)
    assert unequal(mysql_source, target_db) == {}
    assert writers.done > 150


def _migrate(source: MySqlDatabase, target: Database, writers: Writers) -> None:
    """All steps, with writes between and in the middle of them."""
    chance = writers.chance
    writers.write(200)
    writers.settle()  # it is the schema that is waited for, not the rows
    with moving(source, target) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        writers.write(20)
        bundles = list(migrator.plan_chunks())
    chunks = [c for b in bundles for c in b.chunks]
    assert len(chunks) > len(TABLES), [c.label for c in chunks]
    # Some tasks are run again after others.
    order = bundles + chance.sample(bundles, 3)
    chance.shuffle(order)
    for bundle in order:
        writers.write(chance.randrange(12))
        if any(c.table.name == "log" for c in bundle.chunks):
            writers.settle()  # it is locked for a moment
        with moving(source, target) as migrator:
            migrator.load(bundle)
    for _ in range(4):
        writers.write(chance.randrange(60))
        _stopped_at_random(source, target, chance, catching_up=True)
    writers.write(50)
    with moving(source, target) as migrator:
        migrator.catch_up()
        writers.write(50)
        migrator.finish_schema()
    for _ in range(6):
        writers.write(chance.randrange(60))
        _stopped_at_random(source, target, chance, catching_up=False)


def _stopped_at_random(
    source: MySqlDatabase, target: Database, chance: random.Random, *, catching_up: bool
) -> None:
    """A session with small batches that is asked to stop at some moment."""
    left = chance.choice([0, 1, 2, 5, 10, 20, 50])

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    definition = {
        "name": f"m_{source.name}",
        "migration_type": "full-load-and-cdc",
        "source": {"conn_id": "a"},
        "target": {"conn_id": "b"},
        "tables": {"include": ["*.*"]},
    }
    connections = {
        "a": connection_from_text("a", source.conn_uri),
        "b": connection_from_text("b", target.conn_uri),
    }
    with Migrator(
        parse_definition(definition, "test"), connections.__getitem__, Told(), stop=stop
    ) as migrator:
        try:
            if catching_up:
                migrator.catch_up()
            else:
                migrator.follow(migrator.source.position())
        except StoppedError:
            pass


OLTP = """
CREATE TABLE sbtest1 (id int unsigned NOT NULL AUTO_INCREMENT, k int NOT NULL DEFAULT 0,
  c char(120) NOT NULL DEFAULT '', pad char(60) NOT NULL DEFAULT '', PRIMARY KEY (id), KEY k_1 (k));
CREATE TABLE sbtest2 LIKE sbtest1;
"""
ROWS = 3000


class Oltp:
    """The writing half of sysbench's mix, from several threads."""

    def __init__(self, database: MySqlDatabase, threads: int = 4) -> None:
        self._database = database
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]
        self.failures: list[BaseException] = []
        self.transactions = [0] * threads

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        try:
            with self._database.connect(autocommit=False) as connection:
                cursor = connection.cursor()
                while not self._stop.wait(0.002):
                    try:
                        self._transaction(cursor, chance)
                        connection.commit()
                        self.transactions[number] += 1
                    except pymysql.MySQLError as error:
                        if error.args[0] not in LOST:
                            raise
                        connection.rollback()
        except pymysql.MySQLError as cause:
            self.failures.append(cause)

    def _transaction(self, cursor: Any, chance: random.Random) -> None:
        table = chance.choice(["sbtest1", "sbtest2"])
        one, two, three = (chance.randint(1, ROWS) for _ in range(3))
        text = "-".join(str(chance.randrange(10**11)) for _ in range(10))
        cursor.execute(f"UPDATE {table} SET k = k + 1 WHERE id = %s", (one,))
        cursor.execute(f"UPDATE {table} SET c = %s WHERE id = %s", (text, two))
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", (three,))
        cursor.execute(
            f"INSERT INTO {table} (id, k, c, pad) VALUES (%s, %s, %s, 'pad')", (three, one, text)
        )

    def __enter__(self) -> Oltp:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.failures == []


@pytest.fixture
def oltp(mysql_source: MySqlDatabase) -> MySqlDatabase:
    mysql_source.execute(OLTP)
    rows = [(n, n % 100, f"c {n}", "p") for n in range(1, ROWS + 1)]
    with mysql_source.connect() as connection, connection.cursor() as cursor:
        for table in ("sbtest1", "sbtest2"):
            cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s, %s, %s)", rows)
    return mysql_source


@pytest.mark.usefixtures("small_chunks")
def test_a_shop_is_open_during_the_whole_migration(
    oltp: MySqlDatabase, target_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "ROWS_PER_CHUNK", 200)
    with Oltp(oltp) as load:
        with moving(oltp, target_db) as migrator:
            migrator.configure_endpoints()
            migrator.convert_schema()
            bundles = list(migrator.plan_chunks())
            assert len(bundles) > 10
            random.Random(1).shuffle(bundles)
            for bundle in bundles:
                migrator.load(bundle)
            migrator.catch_up()
            migrator.finish_schema()
        for _ in range(5):
            caught_up(oltp, target_db)
        # While it goes on: what differs for a moment is looked at again.
        stop = threading.Event()
        follower = threading.Thread(target=_follow, args=(oltp, target_db, stop))
        follower.start()
        try:
            assert unequal(oltp, target_db) == {}
        finally:
            stop.set()
            follower.join()
    caught_up(oltp, target_db)
    columns = ["id", "k", "c", "pad"]
    assert_same(oltp, target_db, {"sbtest1": columns, "sbtest2": columns}, oltp.name)
    assert unequal(oltp, target_db) == {}
    assert sum(load.transactions) > 300


def _follow(source: MySqlDatabase, target: Database, stop: threading.Event) -> None:
    with moving(source, target) as migrator:
        migrator.session(stop=stop.is_set)

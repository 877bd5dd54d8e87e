"""Random changes at the source while chunks arrive in any order and sessions stop and start."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
import pymysql
import pytest

from godwit.migrator import Migrator
from godwit.model.chunks import Bundle
from godwit.model.mapping import TableMapping
from godwit.steps import load
from include.demo.mysql_servers import MySqlDatabase
from tests.mixed.ends import AnyDatabase, is_mysql, moving, rows, unequal
from tests.mixed.test_shops import renamed

#: Words that servers like to take for one another.
WORDS = ["a", "A", "a ", "ä", "ß", "ss", "", " ", "\t", "\\", "\\N", "b", "B", "é", "e\u0301", "😀"]
TABLES = {
    "wide": ["id", "code", "n", "note", "amount", "at"],
    "pair": ["w", "k", "n"],
    "loose": ["a", "b"],
}
COUNT = 300


class Life:
    """Several connections that change the source by one seed."""

    def __init__(self, database: AnyDatabase, schema: str, seed: int) -> None:
        self._database, self._schema = database, schema
        self._random = random.Random(seed)
        self._sessions = [self._connect() for _ in range(3)]

    def _connect(self) -> Any:
        if isinstance(self._database, MySqlDatabase):
            session = self._database.connect(autocommit=False)
            session.cursor().execute("SET innodb_lock_wait_timeout = 1")
            return session
        options = f"-c search_path={self._schema} -c lock_timeout=20"
        return self._database.connect(autocommit=False, options=options)

    def make(self) -> None:
        """Tables and first rows."""
        text, exact = "text", ""
        session = self._sessions[0]
        cursor = session.cursor()
        if is_mysql(self._database):
            text, exact = "longtext", " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
        else:
            cursor.execute(f'CREATE SCHEMA "{self._schema}"')
        cursor.execute(
            f"CREATE TABLE wide (id int PRIMARY KEY, code varchar(40){exact} UNIQUE, n int,"
            f" note {text}, amount numeric(12,3), at timestamp(6) NULL)"
        )
        cursor.execute(
            f"CREATE TABLE pair (w varchar(20){exact}, k int, n int, PRIMARY KEY (w, k))"
        )
        cursor.execute("CREATE TABLE loose (a int, b varchar(20))")
        if not is_mysql(self._database):
            cursor.execute("ALTER TABLE loose REPLICA IDENTITY FULL")
            cursor.execute("ALTER TABLE wide ALTER note SET STORAGE EXTERNAL")
        session.commit()
        wide = [(i, f"c{i}", i, self._note(), i, None) for i in range(1, COUNT + 1)]
        cursor.executemany("INSERT INTO wide VALUES (%s, %s, %s, %s, %s, %s)", wide)
        pairs = [(w, k, 0) for w in WORDS for k in range(20)]
        cursor.executemany("INSERT INTO pair VALUES (%s, %s, %s)", pairs)
        cursor.executemany("INSERT INTO loose VALUES (%s, %s)", [(i % 5, "x") for i in range(60)])
        session.commit()
        # Plans rely on statistics.
        cursor.execute("ANALYZE TABLE wide, pair" if is_mysql(self._database) else "ANALYZE")
        session.commit()

    def _note(self) -> str:
        return self._random.choice(WORDS) * self._random.choice([0, 1, 900])

    def _statement(self) -> tuple[str, list[Any]]:
        pick = self._random
        row, other = pick.randint(1, COUNT), pick.randint(1, COUNT * 2)
        word, new = pick.choice(WORDS), pick.choice(WORDS)
        key = pick.randrange(20)
        return pick.choice(
            [
                ("UPDATE wide SET n = n + 1 WHERE id BETWEEN %s AND %s", [row, row + 9]),
                ("UPDATE wide SET note = %s WHERE id = %s", [self._note(), row]),
                ("UPDATE wide SET id = %s WHERE id = %s", [other, row]),
                ("UPDATE wide SET id = %s, note = %s WHERE id = %s", [other, self._note(), row]),
                ("DELETE FROM wide WHERE id = %s", [row]),
                (
                    "INSERT INTO wide VALUES (%s, %s, 0, %s, 1.5, '2024-02-03 04:05:06.7')",
                    [row, f"c{other}", self._note()],
                ),
                ("UPDATE wide SET code = %s WHERE id = %s", [f"c{other}", row]),
                ("UPDATE wide SET code = NULL WHERE id = %s", [row]),
                ("UPDATE pair SET n = n + 1 WHERE w = %s", [word]),
                ("UPDATE pair SET w = %s WHERE w = %s AND k = %s", [new, word, key]),
                ("DELETE FROM pair WHERE w = %s AND k = %s", [word, key]),
                ("INSERT INTO pair VALUES (%s, %s, 7)", [word, key]),
                ("INSERT INTO loose VALUES (%s, %s)", [pick.randrange(5), word]),
                ("UPDATE loose SET b = %s WHERE a = %s", [word, pick.randrange(5)]),
                ("DELETE FROM loose WHERE b = %s AND a = %s", [word, pick.randrange(5)]),
            ]
        )

    def live(self, steps: int) -> None:
        """Some changes; a statement that collides with another session ends its transaction."""
        for _ in range(steps):
            session = self._random.choice(self._sessions)
            dice = self._random.random()
            if dice < 0.25:
                session.commit()
            elif dice < 0.32:
                session.rollback()
            else:
                try:
                    session.cursor().execute(*self._statement())
                except (psycopg.Error, pymysql.Error):
                    session.rollback()

    def settle(self) -> None:
        for session in self._sessions:
            session.commit()

    def close(self) -> None:
        for session in self._sessions:
            session.close()


DIRECTIONS = {
    "postgres-mysql": ("source_db", "mysql_target"),
    "mysql-mysql": ("mysql_source", "mysql_target"),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_random_lives(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, direction: str, seed: int
) -> None:
    source, target = (request.getfixturevalue(name) for name in DIRECTIONS[direction])
    live_through(source, target, seed, monkeypatch)


def small_chunks(migrator: Migrator, mappings: Sequence[TableMapping]) -> list[Bundle]:
    """A plan of many chunks, as large tables have it."""
    return load.plan(migrator.source, mappings, migration=migrator.name, chunk_bytes=30_000)


def live_through(
    source: AnyDatabase, target: AnyDatabase, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole migration in the midst of it."""
    schema = source.name if is_mysql(source) else target.name
    pick = random.Random(seed)
    changed = {"table_mappings": renamed(schema, target.name)}
    life = Life(source, schema, seed)
    try:
        life.make()
        with moving(source, target, **changed) as migrator:
            migrator.configure_endpoints()
            migrator.convert_schema()
            life.settle()
            monkeypatch.setattr(migrator, "plan", partial(small_chunks, migrator))
            planned = migrator.plan_chunks()
        bundles = [replace(b, chunks=(c,)) for b in planned for c in b.chunks]
        assert len(bundles) > len(TABLES)
        pick.shuffle(bundles)
        for bundle in bundles:
            life.live(25)
            if not bundle.chunks[0].columns:
                # A table without a key is read under a lock, which waits for our transactions.
                life.settle()
            with moving(source, target, **changed) as migrator:
                migrator.load(bundle)
                if pick.random() < 0.2:
                    migrator.load(bundle)
        life.live(60)
        life.settle()
        with moving(source, target, **changed) as migrator:
            migrator.catch_up()
            migrator.finish_schema()
        for _ in range(2):
            life.live(150)
            with moving(source, target, **changed) as migrator:
                migrator.follow(migrator.source.position())
        life.settle()
        with moving(source, target, **changed) as migrator:
            migrator.follow(migrator.source.position())
        for table, columns in TABLES.items():
            here = rows(source, schema, table, columns)
            there = rows(target, target.name, table, columns)
            assert here == there, f"{table}: {here - there} became {there - here}"
        assert unequal(source, target, **changed) == {}
    finally:
        life.close()
        with moving(source, target, **changed) as migrator:
            migrator.cleanup()

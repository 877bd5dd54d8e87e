"""A bank that is written to while a migration between engines is killed, doubled and cut off."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import yaml

from include.demo.mysql_servers import MySqlDatabase
from tests.mixed.ends import AnyDatabase, rows
from tests.mixed.test_shops import renamed

#: Statements that both dialects read; `{text}`, `{blob}` and `{number}` are types.
TABLES = """
CREATE TABLE account (id int PRIMARY KEY, owner varchar(100) NOT NULL UNIQUE,
  balance numeric(12,2) NOT NULL, note {text});
CREATE TABLE entry (id bigint PRIMARY KEY, account int, amount numeric(12,2), at timestamp(6));
CREATE TABLE event (account int, what varchar(20));
CREATE TABLE sale (id int, month int, v varchar(30), PRIMARY KEY (id, month));
"""
COLUMNS = {
    "account": ["id", "owner", "balance", "note"],
    "entry": ["id", "account", "amount", "at"],
    "event": ["account", "what"],
    "sale": ["id", "month", "v"],
}
AT = "2024-05-06 07:08:09.123456"
ROUNDS = [
    "UPDATE account SET balance = balance + 1 WHERE MOD(id, 7) = MOD(%(n)s, 7)",
    "INSERT INTO entry (id, account, amount, at) SELECT 100000 + %(n)s * 500 + id, id, %(n)s,"
    f" '{AT}' FROM account WHERE id < 20",
    "UPDATE account SET owner = CONCAT(owner, '~') WHERE MOD(id, 150) = MOD(%(n)s, 150)",
    "DELETE FROM account WHERE id = 2 + MOD(%(n)s, 390)",
    "INSERT INTO account (id, owner, balance, note) SELECT 2 + MOD(%(n)s, 390), CONCAT('again ', %(n)s), 0, note FROM account"
    " WHERE id = 1",
    "UPDATE account SET id = 1000 + %(n)s WHERE id = 3 + MOD(%(n)s, 380)",
    "INSERT INTO event VALUES (MOD(%(n)s, 5), 'paid'), (MOD(%(n)s, 5), 'paid')",
    "DELETE FROM event WHERE account = MOD(%(n)s, 5) AND what = 'opened'",
    "UPDATE sale SET month = 3 - month WHERE id = MOD(%(n)s, 500)",
    # Two unique values change places.
    "UPDATE account SET owner = CONCAT('old ', %(n)s) WHERE id = 1",
    "UPDATE account SET owner = CONCAT('first ', %(n)s) WHERE id = 400",
    "UPDATE account SET owner = 'last' WHERE id = 1",
    "UPDATE account SET owner = 'first' WHERE id = 400",
    "UPDATE account SET owner = CONCAT('out of the way ', %(n)s) WHERE id = 1",
    "UPDATE account SET owner = 'last' WHERE id = 400",
    "UPDATE account SET owner = 'first' WHERE id = 1",
]


def fill(database: AnyDatabase, schema: str) -> None:
    """Make the bank."""
    mysql = isinstance(database, MySqlDatabase)
    with session(database, schema, autocommit=True) as connection:
        cursor = connection.cursor()
        if not mysql:
            cursor.execute(f'CREATE SCHEMA "{schema}"')
        for statement in TABLES.format(text="longtext" if mysql else "text").split(";"):
            if statement.strip():
                cursor.execute(statement)
        if not mysql:
            cursor.execute("ALTER TABLE event REPLICA IDENTITY FULL")
            cursor.execute("ALTER TABLE account ALTER note SET STORAGE EXTERNAL")
        accounts = [(i, f"owner {i}", 100, "n" * 2500) for i in range(1, 401)]
        cursor.executemany("INSERT INTO account VALUES (%s, %s, %s, %s)", accounts)
        entries = [(i, 1 + i % 400, i, AT) for i in range(1, 4001)]
        cursor.executemany("INSERT INTO entry VALUES (%s, %s, %s, %s)", entries)
        events = [(i % 7, "opened") for i in range(500)]
        cursor.executemany("INSERT INTO event VALUES (%s, %s)", events)
        sales = [(i, 1 + i % 2, "v") for i in range(1, 501)]
        cursor.executemany("INSERT INTO sale VALUES (%s, %s, %s)", sales)


def session(database: AnyDatabase, schema: str, *, autocommit: bool) -> Any:
    """A connection whose unqualified names are the bank's."""
    if isinstance(database, MySqlDatabase):
        return database.connect(autocommit=autocommit)
    return database.connect(autocommit=autocommit, options=f"-c search_path={schema}")


class Application:
    """Writes in a thread until stopped."""

    def __init__(self, database: AnyDatabase, schema: str) -> None:
        self._database, self._schema = database, schema
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        self.failure: BaseException | None = None

    def _run(self) -> None:
        try:
            with session(self._database, self._schema, autocommit=False) as connection:
                cursor = connection.cursor()
                while not self._stop.wait(0.1):
                    self.rounds += 1
                    for query in ROUNDS:
                        cursor.execute(query, {"n": self.rounds})
                    if self.rounds % 9:
                        connection.commit()
                    else:
                        connection.rollback()
        except (psycopg.Error, pymysql.Error) as cause:
            self.failure = cause

    def __enter__(self) -> Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.failure is None


class Banking:
    """The migration as a person runs it from a shell."""

    def __init__(self, folder: Path, source: AnyDatabase, target: AnyDatabase) -> None:
        self.file = folder / "bank.yaml"
        mysql_target = isinstance(target, MySqlDatabase)
        # A MySQL end names the schema: its databases are the tests' own.
        self.schema = (source if isinstance(source, MySqlDatabase) else target).name
        self.target_schema = target.name if mysql_target else self.schema
        definition: dict[str, Any] = {
            "name": f"bank_{source.name}",
            "migration_type": "full-load-and-cdc",
            "source": {"conn_id": "bank_source"},
            "target": {"conn_id": "bank_target"},
            "table_mappings": renamed(self.schema, self.target_schema),
        }
        self.file.write_text(yaml.safe_dump(definition))
        self.source, self.target = source, target
        self.environment = {
            **os.environ,
            "AIRFLOW_CONN_BANK_SOURCE": source.conn_uri,
            "AIRFLOW_CONN_BANK_TARGET": target.conn_uri,
            "GODWIT_STATE_URL": f"sqlite:///{folder}/state.db",
        }
        fill(source, self.schema)

    def writing(self) -> Application:
        return Application(self.source, self.schema)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "godwit", *words, "--json"],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def caught_up(self, **environment: str) -> tuple[int, str, str]:
        return self.run("run", str(self.file), "--until", "caught-up", **environment)

    def assert_equal(self) -> None:
        code, out, err = self.run("validate", str(self.file))
        assert code == 0, out + err
        for table, columns in COLUMNS.items():
            here = rows(self.source, self.schema, table, columns)
            there = rows(self.target, self.target_schema, table, columns)
            assert here == there, table

    def cleanup(self) -> None:
        code, out, err = self.run("cleanup", str(self.file))
        assert code == 0, out + err

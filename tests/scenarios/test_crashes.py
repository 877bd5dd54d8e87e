"""Nothing is lost and nothing doubled, whatever is killed, cut off, repeated or run twice.

An application writes while the migration's process is killed at a named place (SIGKILL, so nothing
is tidied up), started again, run twice at once, or has its connections cut. In the end source and
target are equal by content, and the checkpoint has never gone back.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from godwit.engines.postgres.capture import Lsn
from include.demo.servers import Database
from tests.proxy import cutting

TABLES = """
CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL UNIQUE,
  balance numeric(12,2) NOT NULL, note text);
ALTER TABLE account ALTER note SET STORAGE EXTERNAL;
CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account int REFERENCES account ON DELETE CASCADE, amount numeric(12,2),
  at timestamptz DEFAULT now());
CREATE TABLE event (account int, what text); ALTER TABLE event REPLICA IDENTITY FULL;
CREATE TABLE sale (id int, month int, v text, PRIMARY KEY (id, month)) PARTITION BY LIST (month);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1);
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES IN (2);
INSERT INTO account SELECT i, 'owner ' || i, 100, repeat('n', 2500) FROM generate_series(1, 400) i;
INSERT INTO entry (account, amount) SELECT 1 + i % 400, i FROM generate_series(1, 4000) i;
INSERT INTO event SELECT i % 7, 'opened' FROM generate_series(1, 500) i;
INSERT INTO sale SELECT i, 1 + i % 2, 'v' FROM generate_series(1, 500) i;
"""

#: One round of an application's work; %(n)s makes each round different.
ROUNDS = [
    "UPDATE account SET balance = balance + 1 WHERE id %% 7 = %(n)s %% 7",
    (
        "INSERT INTO entry (account, amount) SELECT 1 + (%(n)s * 13 + i) %% 400, i"
        " FROM generate_series(1, 20) i WHERE EXISTS (SELECT FROM account a"
        " WHERE a.id = 1 + (%(n)s * 13 + i) %% 400)"
    ),
    (
        "UPDATE account SET owner = owner || '~' WHERE id IN (SELECT id FROM account ORDER BY id"
        " OFFSET %(n)s %% 50 LIMIT 2)"
    ),
    "DELETE FROM account WHERE id = 2 + %(n)s %% 390",
    (
        "INSERT INTO account VALUES (2 + %(n)s %% 390, 'again ' || %(n)s, 0, repeat('m', 3000))"
        " ON CONFLICT DO NOTHING"
    ),
    (
        "UPDATE account SET id = 1000 + %(n)s WHERE id = 3 + %(n)s %% 380 AND NOT EXISTS"
        " (SELECT FROM entry WHERE account = 3 + %(n)s %% 380)"
    ),
    "INSERT INTO event VALUES (%(n)s %% 5, 'paid'), (%(n)s %% 5, 'paid')",
    "DELETE FROM event WHERE ctid IN (SELECT ctid FROM event WHERE account = %(n)s %% 5 LIMIT 1)",
    "UPDATE sale SET month = 3 - month WHERE id = %(n)s %% 500",
    (
        "UPDATE account a SET owner = CASE id"
        " WHEN 1 THEN (SELECT owner FROM account WHERE id = 400)"
        " ELSE (SELECT owner FROM account WHERE id = 1) END || '+' WHERE id IN (1, 400)"
    ),
]


class Application:
    """Writes in a thread until stopped."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0
        self.failure: BaseException | None = None

    def _run(self) -> None:
        try:
            with self._database.connect(autocommit=False) as connection:
                while not self._stop.wait(0.01):
                    self.rounds += 1
                    for query in ROUNDS:
                        connection.execute(query.encode(), {"n": self.rounds})
                    if self.rounds % 9:
                        connection.commit()
                    else:
                        connection.rollback()
        except psycopg.Error as cause:
            self.failure = cause

    def __enter__(self) -> Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.failure is None


class Migration:
    """The migration as a person runs it from a shell."""

    def __init__(self, folder: Path, source: Database, target: Database) -> None:
        self.file = folder / "bank.yaml"
        self.file.write_text(
            "name: bank\nmigration_type: full-load-and-cdc\nsource: {conn_id: bank_source}\n"
            'target: {conn_id: bank_target}\ntables: {include: ["public.*"]}\n'
        )
        self.source, self.target = source, target
        self.environment = {
            **os.environ,
            "AIRFLOW_CONN_BANK_SOURCE": source.conn_uri,
            "AIRFLOW_CONN_BANK_TARGET": target.conn_uri,
            "GODWIT_STATE_URL": f"sqlite:///{folder}/state.db",
        }
        self.checkpoints: list[Lsn] = []

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
        self.look()
        return process.returncode, out, err

    def caught_up(self, **environment: str) -> tuple[int, str, str]:
        return self.run("run", str(self.file), "--until", "caught-up", **environment)

    def look(self) -> None:
        """Note the checkpoint, which never goes back."""
        try:
            rows = self.target.fetch("SELECT checkpoint FROM godwit.checkpoints")
        except psycopg.errors.UndefinedTable:
            return
        now = Lsn.parse(rows[0][0]) if rows and rows[0][0] else Lsn(0)
        assert not self.checkpoints or self.checkpoints[-1] <= now
        self.checkpoints.append(now)

    def assert_equal(self) -> None:
        code, out, err = self.run("validate", str(self.file))
        assert code == 0, out + err
        for table in ("account", "entry", "event", "sale"):
            query = (
                f'SELECT t::text, count(*) FROM {table} t GROUP BY 1 ORDER BY t::text COLLATE "C"'
            )
            assert self.source.fetch(query) == self.target.fetch(query), table


@pytest.fixture
def migration(tmp_path: Path, source_db: Database, target_db: Database) -> Iterator[Migration]:
    source_db.execute(TABLES)
    made = Migration(tmp_path, source_db, target_db)
    yield made
    code, out, err = made.run("cleanup", str(made.file))
    assert code == 0, out + err
    assert (
        source_db.fetch("SELECT 1 FROM pg_replication_slots WHERE database = current_database()")
        == []
    )


LOADING = ["load.before_commit", "load.after_commit", "load.before_commit:3"]
APPLYING = [
    "apply.before_batch",
    "apply.before_commit",
    "apply.after_commit",
    "apply.before_commit:4",
]


@pytest.mark.parametrize("failpoint", [*LOADING, *APPLYING])
def test_killed_at(migration: Migration, failpoint: str) -> None:
    with Application(migration.source):
        if failpoint in APPLYING:
            # Something to catch up with.
            assert migration.run("run", str(migration.file), "--until", "loaded")[0] == 0
        code, _, err = migration.caught_up(GODWIT_FAILPOINT=failpoint)
        # A quick machine may apply everything in fewer batches than the failpoint counts.
        assert code == -signal.SIGKILL or (failpoint == "apply.before_commit:4" and code == 0), err
        code, out, err = migration.caught_up()
        assert code == 0, out + err
        code, _, err = migration.caught_up(GODWIT_FAILPOINT=failpoint)
    code, out, err = migration.caught_up()
    assert code == 0, out + err
    migration.assert_equal()


def test_killed_again_and_again(migration: Migration) -> None:
    with Application(migration.source):
        for failpoint in ["load.after_commit:2", "load.before_commit", "apply.after_commit"] * 2:
            migration.caught_up(GODWIT_FAILPOINT=failpoint)
    code, out, err = migration.caught_up()
    assert code == 0, out + err
    migration.assert_equal()


def test_run_twice_at_once(migration: Migration) -> None:
    words = ("run", str(migration.file), "--until", "caught-up")
    with Application(migration.source):
        both = [migration.start(*words) for _ in range(2)]
        outcomes = [(p.communicate(timeout=180), p.returncode) for p in both]
        # One may have been fenced by the other; it says so and has done no harm.
        assert any(code == 0 for _, code in outcomes) or all(
            "taken over" in o[1] for o, _ in outcomes
        ), repr(outcomes)
        both = [migration.start(*words) for _ in range(2)]
        for process in both:
            process.communicate(timeout=180)
    code, out, err = migration.caught_up()
    assert code == 0, out + err
    migration.assert_equal()


@pytest.mark.parametrize("side", ["source", "target"])
def test_connections_are_cut(migration: Migration, side: str) -> None:
    database: Database = getattr(migration, side)
    port = int(database.conn_uri.rpartition(":")[2].partition("/")[0])
    variable = f"AIRFLOW_CONN_BANK_{side.upper()}"
    with Application(migration.source), cutting(port, after=150_000, most=4) as proxy:
        uri = database.conn_uri.replace(f":{port}/", f":{proxy.port}/")
        for _ in range(6):
            code, _, err = migration.caught_up(**{variable: uri})
            assert code in {0, 3, 4}, err
        assert proxy.cuts or side == "target", "the proxy had nothing to cut"
    code, out, err = migration.caught_up()
    assert code == 0, out + err
    migration.assert_equal()


def test_what_a_run_tells(migration: Migration) -> None:
    code, out, _ = migration.caught_up()
    assert code == 0
    told: dict[str, Any] = json.loads(out)
    assert told

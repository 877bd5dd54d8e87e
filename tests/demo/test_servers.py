"""The servers that everything else stands on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from include.demo.servers import ROOT, Database, PostgresServer, ServerError, programs

STARTER = """
import sys, time
from pathlib import Path
from include.demo.servers import PostgresServer
server = PostgresServer.start(18, Path(sys.argv[1]), fsync="off")
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="godwit-pg-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o755)
        yield Path(path)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_source_and_target_are_different_versions(source_db: Database, target_db: Database) -> None:
    (source,), (target,) = (db.fetch("SHOW server_version_num") for db in (source_db, target_db))
    assert source != target
    assert source_db.fetch("SHOW wal_level") == [("logical",)]
    assert source_db.fetch("SELECT current_database()") == [(source_db.name,)]


def test_server_listens_on_loopback_only(pg18: PostgresServer) -> None:
    with psycopg.connect(pg18.url()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


def test_a_crash_keeps_what_was_committed(folder: Path) -> None:
    with PostgresServer.start(18, folder) as server:
        with psycopg.connect(server.url(), autocommit=True) as c:
            c.execute("CREATE TABLE kept AS SELECT 1 AS a")
        server.kill()
        assert not server.running
        assert not alive(server.pid)
    with PostgresServer.start(18, folder) as again, psycopg.connect(again.url()) as connection:
        assert connection.execute("SELECT a FROM kept").fetchone() == (1,)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_server_does_not_outlive_its_starter(folder: Path, end: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert alive(pid)
    starter.send_signal(end)
    starter.wait()
    starter.stdout.close()
    wait_until(lambda: not alive(pid))


def test_server_in_a_private_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with (
        PostgresServer.start(16, tmp_path / "server") as server,
        server.create_database() as database,
    ):
        assert database.fetch("SELECT 1") == [(1,)]


def test_drop_takes_slots_connections_and_subscriptions_along(pg16: PostgresServer) -> None:
    database = pg16.create_database()
    database.execute("CREATE PUBLICATION p")
    database.execute("SELECT pg_create_logical_replication_slot('s1', 'pgoutput')")
    database.execute(
        f"CREATE SUBSCRIPTION s CONNECTION '{database.url}' PUBLICATION p WITH (connect = false)"
    )
    left_open = database.connect()
    database.drop()
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")
    with psycopg.connect(pg16.url()) as connection:
        assert connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)


def test_wrong_setting_is_told_from_the_log(folder: Path) -> None:
    with pytest.raises(ServerError, match="no_such_setting"):
        PostgresServer.start(18, folder, no_such_setting="1")


def test_unknown_version_says_where_it_looked_and_what_to_do() -> None:
    with pytest.raises(ServerError, match=r"fetch-postgres\.sh 7"):
        programs(7)

"""A source whose binary log was begun anew has less in it than the checkpoint: that is a loss."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from godwit.errors import CaptureLostError
from include.demo.mysql_servers import MARIADB, MySqlServer
from include.demo.servers import Database
from tests.mixed.ends import caught_up, loaded, moving


def test_nothing_is_called_reached_on_another_log(tmp_path: Path, target_db: Database) -> None:
    with MySqlServer.start(MARIADB, tmp_path / "server") as server:
        source = server.create_database()
        source.execute("CREATE TABLE t (id int PRIMARY KEY)")
        for number in range(5):
            source.execute(f"INSERT INTO t VALUES ({number})")
        loaded(source, target_db)
        source.execute("RESET MASTER; INSERT INTO t VALUES (100)")
        with pytest.raises(CaptureLostError, match="begun anew"):
            caught_up(source, target_db)
        with moving(source, target_db) as migrator:
            migrator.cleanup()


def test_a_purged_log_is_a_loss(tmp_path: Path, target_db: Database) -> None:
    with MySqlServer.start(MARIADB, tmp_path / "server") as server:
        source = server.create_database()
        source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        loaded(source, target_db)
        source.execute("INSERT INTO t VALUES (2); FLUSH BINARY LOGS; FLUSH BINARY LOGS")
        deadline = time.monotonic() + 20
        # A reader that has gone keeps its file for a moment.
        while len(files := source.fetch("SHOW BINARY LOGS")) > 1:
            source.execute(f"PURGE BINARY LOGS TO '{files[-1][0]}'")
            assert time.monotonic() < deadline
        source.execute("INSERT INTO t VALUES (3)")
        with pytest.raises(CaptureLostError, match="purged"):
            caught_up(source, target_db)
        with moving(source, target_db) as migrator:
            migrator.cleanup()


def test_the_millionth_log_file_comes_after_the_one_before(
    tmp_path: Path, target_db: Database
) -> None:
    with MySqlServer.start(MARIADB, tmp_path / "server") as server:
        source = server.create_database()
        source.execute("RESET MASTER TO 999998")
        source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        ends = {"source": {"conn_id": "a", "settings": {"positions": "file"}}}
        loaded(source, target_db, **ends)
        for number in range(2, 6):
            source.execute(f"INSERT INTO t VALUES ({number}); FLUSH BINARY LOGS")
            source.execute(f"INSERT INTO t VALUES ({number * 10})")
            caught_up(source, target_db, **ends)
        found = target_db.fetch(f'SELECT id FROM "{source.name}".t ORDER BY id')
        assert [row for (row,) in found] == [1, 2, 3, 4, 5, 20, 30, 40, 50]
        with moving(source, target_db, **ends) as migrator:
            migrator.cleanup()

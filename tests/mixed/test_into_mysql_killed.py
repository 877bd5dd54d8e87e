"""The target server dies in the midst of applying, and comes back on the same port."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.demo.mysql_servers import MARIADB, MySqlDatabase, MySqlServer
from tests.mixed.bank import Banking

SECONDS = 60
SETTINGS = {"server_id": "9", "innodb_flush_log_at_trx_commit": "2", "sync_binlog": "0"}


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[list[MySqlServer]]:
    """A target server of the test's own; the list's last one is alive."""
    lives = [MySqlServer.start(MARIADB, tmp_path / "server", **SETTINGS)]
    yield lives
    lives[-1].stop()


def wait_for_changes(target: MySqlDatabase, more_than: int) -> int:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        ((found,),) = target.fetch("SELECT COALESCE(SUM(changes), 0) FROM godwit.checkpoints")
        if found > more_than:
            return int(found)
        time.sleep(0.01)
    raise AssertionError("nothing is applied")


@pytest.mark.parametrize("source", ["source_db", "mysql_source"])
def test_the_target_is_killed_while_changes_are_applied(
    request: Any, tmp_path: Path, mortal: list[MySqlServer], source: str
) -> None:
    database = request.getfixturevalue(source)
    target = mortal[0].create_database()
    bank = Banking(tmp_path, database, target)
    port = mortal[0].port
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    with bank.writing():
        before = wait_for_changes(target, -1)
        process = bank.start("run", str(bank.file))
        wait_for_changes(target, before)
        mortal[-1].kill()
        mortal.append(MySqlServer.start(MARIADB, tmp_path / "server", port=port, **SETTINGS))
        process.terminate()
        out, err = process.communicate(timeout=SECONDS)
        assert "Traceback" not in err, err
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    bank.assert_equal()
    bank.cleanup()

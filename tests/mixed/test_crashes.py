"""Nothing is lost and nothing doubled between engines, whatever is killed, cut off or run twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mixed.bank import Banking
from tests.proxy import cutting

DIRECTIONS = {
    "mysql-postgres": ("mysql_source", "target_db"),
    "postgres-mysql": ("source_db", "mysql_target"),
    "mysql-mysql": ("mysql_source", "mysql_target"),
}


@pytest.fixture(params=list(DIRECTIONS))
def bank(request: Any, tmp_path: Path) -> Iterator[Banking]:
    source, target = (request.getfixturevalue(name) for name in DIRECTIONS[request.param])
    made = Banking(tmp_path, source, target)
    yield made
    made.cleanup()


@pytest.mark.parametrize(
    "failpoint",
    [
        "load.before_commit:3",
        "load.after_commit",
        "apply.before_batch",
        "apply.before_commit",
        "apply.after_commit",
    ],
)
def test_killed_at(bank: Banking, failpoint: str) -> None:
    with bank.writing():
        if failpoint.startswith("apply"):
            # Something to catch up with.
            code, out, err = bank.run("run", str(bank.file), "--until", "loaded")
            assert code == 0, out + err
        code, out, err = bank.caught_up(GODWIT_FAILPOINT=failpoint)
        assert code == -signal.SIGKILL, out + err
        code, out, err = bank.caught_up()
        assert code == 0, out + err
        bank.caught_up(GODWIT_FAILPOINT=failpoint)
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    bank.assert_equal()


def test_run_twice_at_once(bank: Banking) -> None:
    words = ("run", str(bank.file), "--until", "caught-up")
    with bank.writing():
        both = [bank.start(*words) for _ in range(2)]
        outcomes = [(p.communicate(timeout=180), p.returncode) for p in both]
        assert any(code == 0 for _, code in outcomes) or all(
            "taken over" in o[1] for o, _ in outcomes
        ), repr(outcomes)
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    bank.assert_equal()


def cut(bank: Banking, side: str) -> None:
    """Run again and again while connections to one side are cut, then once in peace."""
    database = getattr(bank, side)
    port = int(database.conn_uri.rpartition(":")[2].partition("/")[0])
    variable = f"AIRFLOW_CONN_BANK_{side.upper()}"
    with bank.writing(), cutting(port, after=150_000, most=4, both=True) as proxy:
        uri = database.conn_uri.replace(f":{port}/", f":{proxy.port}/")
        for _ in range(5):
            code, _, err = bank.caught_up(**{variable: uri})
            assert code in {0, 3, 4}, err
        assert proxy.cuts, "the proxy had nothing to cut"
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    bank.assert_equal()


def test_connections_to_the_source_are_cut(bank: Banking) -> None:
    cut(bank, "source")


def test_connections_to_the_target_are_cut(bank: Banking) -> None:
    cut(bank, "target")

"""Tables that are altered while the runner is killed, and while they are written to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mixed.bank import COLUMNS, Banking, session
from tests.mixed.ends import rows
from tests.mixed.test_altered import DIRECTIONS


@pytest.fixture(params=["mysql-postgres", "postgres-mysql"])
def bank(request: Any, tmp_path: Path) -> Iterator[Banking]:
    source, target = (request.getfixturevalue(name) for name in DIRECTIONS[request.param])
    made = Banking(tmp_path, source, target)
    yield made
    made.cleanup()


def on_the_source(bank: Banking, *statements: str) -> None:
    """Run statements, each by itself."""
    with session(bank.source, bank.schema, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)


def assert_equal(bank: Banking, *more: str) -> None:
    """All tables are the same; `account` with more columns."""
    code, out, err = bank.run("validate", str(bank.file))
    assert code == 0, out + err
    for table, columns in COLUMNS.items():
        wanted = [*columns, *more] if table == "account" else columns
        here = rows(bank.source, bank.schema, table, wanted)
        assert here == rows(bank.target, bank.target_schema, table, wanted), table


#: Computed for the rows there are, so they have to be loaded again.
COMPUTED = "ALTER TABLE account ADD COLUMN made timestamp DEFAULT CURRENT_TIMESTAMP"


@pytest.mark.parametrize(
    ("failpoint", "added", "column"),
    [
        ("alteration.after_alter", "ALTER TABLE account ADD COLUMN phone varchar(20)", "phone"),
        ("alteration.after_keep", "ALTER TABLE account ADD COLUMN phone varchar(20)", "phone"),
        ("apply.before_commit", "ALTER TABLE account ADD COLUMN phone varchar(20)", "phone"),
        ("alteration.after_replan", COMPUTED, "made"),
        ("reload.after_clear", COMPUTED, "made"),
        ("reload.before_resume", COMPUTED, "made"),
    ],
)
def test_killed_at(bank: Banking, failpoint: str, added: str, column: str) -> None:
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    on_the_source(
        bank,
        "UPDATE account SET balance = balance + 1 WHERE id < 50",
        added,
        f"UPDATE account SET {column} = NULL, balance = 3 WHERE id < 9",
        "DELETE FROM account WHERE id = 10",
    )
    code, out, err = bank.caught_up(GODWIT_FAILPOINT=failpoint)
    assert code == -signal.SIGKILL, out + err
    on_the_source(bank, "UPDATE account SET balance = 5 WHERE id = 11")
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    assert_equal(bank, column)


def test_altered_while_it_is_written_to(bank: Banking) -> None:
    """Columns come while the rows are loaded and while changes pour in."""
    with bank.writing():
        process = bank.start("run", str(bank.file), "--until", "caught-up")
        on_the_source(bank, "ALTER TABLE account ADD COLUMN phone varchar(20)")
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
        on_the_source(
            bank,
            "UPDATE account SET phone = 'one' WHERE id < 100",
            "ALTER TABLE account ADD COLUMN town varchar(20) DEFAULT 'Bern'",
            "ALTER TABLE account DROP COLUMN phone",
            "UPDATE account SET town = 'Basel' WHERE id < 50",
        )
        code, out, err = bank.caught_up()
        assert code == 0, out + err
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    assert_equal(bank, "town")


def test_killed_before_the_capture_knows_a_new_table(bank: Banking) -> None:
    """It is mapped and asked for, but a source that publishes by table does not tell it yet."""
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    on_the_source(
        bank,
        "CREATE TABLE fresh (id int PRIMARY KEY, v int)",
        "INSERT INTO fresh VALUES (1, 1)",
    )
    words = ("reload", str(bank.file), "--table", f"{bank.schema}.fresh")
    code, out, err = bank.run(*words, GODWIT_FAILPOINT="alteration.before_capture")
    assert code == -signal.SIGKILL, out + err
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    on_the_source(bank, "INSERT INTO fresh VALUES (2, 2)", "UPDATE fresh SET v = 10 WHERE id = 1")
    code, out, err = bank.caught_up()
    assert code == 0, out + err
    found = rows(bank.target, bank.target_schema, "fresh", ["id", "v"])
    assert found == {(1, 10): 1, (2, 2): 1}

"""Tables that are altered on the source while they are followed: the target's is altered as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from godwit.errors import LoadError
from include.demo.mysql_servers import MySqlDatabase
from tests.mixed.ends import AnyDatabase, caught_up, is_mysql, loaded, moving, rows, unequal
from tests.scenarios.migrations import Told

DIRECTIONS = {
    "mysql-postgres": ("mysql_source", "target_db"),
    "postgres-mysql": ("source_db", "mysql_target"),
    "mysql-mysql": ("mysql_source", "mysql_target"),
    "postgres-postgres": ("source_db", "target_db"),
}


@dataclass
class Ends:
    """A source with table `t`, and a target."""

    source: AnyDatabase
    target: AnyDatabase
    schema: str

    def run(self, *statements: str) -> None:
        """Statements on the source, each a transaction of its own."""
        for statement in statements:
            self.source.execute(self._at(statement))

    def together(self, *statements: str) -> None:
        """Statements on the source in one transaction, where the engine has such."""
        if is_mysql(self.source):
            self.run(*statements)
        else:
            self.source.execute("BEGIN;" + ";".join(map(self._at, statements)) + ";COMMIT")

    def _at(self, statement: str) -> str:
        return statement.replace(" t ", f" {self.schema}.t ").replace("#", "bigint")

    def followed(self, **changed: Any) -> Told:
        """Apply what there is."""
        told = Told()
        with moving(self.source, self.target, told, **changed) as migrator:
            migrator.follow(migrator.source.position())
        return told

    def columns(self) -> list[str]:
        """What the target's table has, in whatever order."""
        query = (
            "SELECT column_name FROM information_schema.columns"
            f" WHERE table_schema = '{self.schema}' AND table_name = 't'"
        )
        return sorted(name for (name,) in self.target.fetch(query))

    def assert_same(self, *columns: str) -> None:
        """The target has these columns and the source's rows, and validation says so too."""
        assert self.columns() == sorted(columns)
        here, there = (
            rows(end, self.schema, "t", list(columns)) for end in (self.source, self.target)
        )
        assert here == there
        assert unequal(self.source, self.target) == {}
        with moving(self.source, self.target) as migrator:
            assert migrator.control.suspended() == {}


@pytest.fixture(params=list(DIRECTIONS))
def ends(request: Any) -> Iterator[Ends]:
    source, target = (request.getfixturevalue(name) for name in DIRECTIONS[request.param])
    mysql = [end for end in (source, target) if isinstance(end, MySqlDatabase)]
    made = Ends(source, target, mysql[0].name if mysql else "shop")
    if not is_mysql(source):
        source.execute(f"CREATE SCHEMA {made.schema}")
    made.run(
        "CREATE TABLE t (id int PRIMARY KEY, v int, w varchar(20), x varchar(9))",
        "INSERT INTO t VALUES (1, 1, 'a', 'p'), (2, 2, 'b', 'q'), (3, 3, NULL, 'r')",
    )
    loaded(source, target)
    yield made
    with moving(source, target) as migrator:
        migrator.cleanup()


def reloaded(told: Told) -> bool:
    """A table was loaded again."""
    return any(kind == "chunk" for kind, _ in told.events)


def test_columns_come_and_go(ends: Ends) -> None:
    """Without a row being loaded again, where the log tells all there is to know."""
    ends.run(
        "UPDATE t SET v = 10 WHERE id = 1",
        "ALTER TABLE t ADD COLUMN n int",
        "INSERT INTO t (id, v, n) VALUES (4, 4, 44)",
        "UPDATE t SET n = 7 WHERE id = 2",
    )
    told = ends.followed()
    assert told.findings("table-altered")
    assert not reloaded(told), told.findings("table-altered")
    ends.assert_same("id", "v", "w", "x", "n")
    ends.run(
        "UPDATE t SET v = 11 WHERE id = 1",
        "ALTER TABLE t ADD COLUMN d varchar(10) DEFAULT 'some'",
        "UPDATE t SET d = NULL WHERE id = 1",
    )
    # A log without statements does not tell since when there has been that default.
    assert reloaded(ends.followed()) is not is_mysql(ends.source)
    ends.assert_same("id", "v", "w", "x", "n", "d")
    ends.run(
        "DELETE FROM t WHERE id = 3", "ALTER TABLE t DROP COLUMN x", "DELETE FROM t WHERE id = 2"
    )
    assert not reloaded(ends.followed())
    ends.assert_same("id", "v", "w", "n", "d")


def test_a_column_is_renamed(ends: Ends) -> None:
    ends.run(
        "UPDATE t SET v = 10 WHERE id = 1",
        "ALTER TABLE t RENAME COLUMN v TO value",
        "UPDATE t SET value = 20 WHERE id = 2",
    )
    assert not reloaded(ends.followed())
    ends.assert_same("id", "value", "w", "x")


def test_a_column_gets_wider(ends: Ends) -> None:
    wider = "MODIFY v #, MODIFY w varchar(40)"
    if not is_mysql(ends.source):
        wider = "ALTER v TYPE #, ALTER w TYPE varchar(40)"
    ends.run(
        f"ALTER TABLE t {wider}",
        f"UPDATE t SET v = 5000000000, w = '{'x' * 40}' WHERE id = 2",
    )
    # PostgreSQL writes all rows anew, and does not tell by which rule.
    assert reloaded(ends.followed()) is not is_mysql(ends.source)
    ends.assert_same("id", "v", "w", "x")


@pytest.mark.parametrize(
    "statements",
    [
        ["ADD COLUMN n int DEFAULT 5", "!INSERT INTO t (id) VALUES (7)", "ALTER n SET DEFAULT 7"],
        ["ADD COLUMN n int DEFAULT 5", "!INSERT INTO t (id) VALUES (7)", "ALTER n DROP DEFAULT"],
        ["DROP COLUMN x", "ADD COLUMN x varchar(9)"],
        ["RENAME COLUMN w TO tmp", "RENAME COLUMN x TO w", "RENAME COLUMN tmp TO x"],
        ["#w int", "#w varchar(20)"],
    ],
)
def test_what_later_definitions_hide(ends: Ends, statements: list[str]) -> None:
    """The catalog of now tells another story than the log: rows are as on the source all the same."""
    ends.run("UPDATE t SET w = '012' WHERE id > 0")
    for statement in statements:
        retype = "MODIFY w" if is_mysql(ends.source) else "ALTER w TYPE"
        using = "" if is_mysql(ends.source) or "int" not in statement else " USING w::int"
        altered = statement.replace("#w", retype) + (using if "#" in statement else "")
        ends.run(statement[1:] if statement[0] == "!" else f"ALTER TABLE t {altered}")
    ends.run("UPDATE t SET v = 8 WHERE id = 1")
    ends.followed()
    ends.assert_same(*ends.columns())


def test_values_that_the_log_does_not_tell(ends: Ends) -> None:
    """Each is computed for the rows there are: they are loaded again."""
    convert = "MODIFY w int" if is_mysql(ends.source) else "ALTER w TYPE int USING w::int"
    ends.run(
        "UPDATE t SET w = '12' WHERE id > 0",
        f"ALTER TABLE t {convert}",
        "UPDATE t SET w = 13 WHERE id = 1",
    )
    assert reloaded(ends.followed())
    ends.assert_same("id", "v", "w", "x")
    ends.run(
        "UPDATE t SET v = 0 WHERE id = 1",
        "ALTER TABLE t ADD COLUMN at timestamp DEFAULT CURRENT_TIMESTAMP",
        "INSERT INTO t (id, v) VALUES (9, 9)",
    )
    assert reloaded(ends.followed())
    ends.assert_same("id", "v", "w", "x", "at")


def test_a_log_that_is_behind_several_changes(ends: Ends) -> None:
    """Rows in shapes that nobody can look up any more are passed over: newer ones are loaded."""
    ends.run(
        "ALTER TABLE t ADD COLUMN a int",
        "UPDATE t SET a = 1 WHERE id = 1",
        "ALTER TABLE t DROP COLUMN a",
        "UPDATE t SET v = 1 WHERE id = 2",
        "ALTER TABLE t ADD COLUMN a int",
        "UPDATE t SET a = 2 WHERE id = 2",
        "ALTER TABLE t RENAME COLUMN x TO y",
        "UPDATE t SET y = 'yy' WHERE id = 1",
        "ALTER TABLE t ADD COLUMN z int",
        "INSERT INTO t VALUES (20, 20, 'w', 'y', 3, 4)",
    )
    ends.followed()
    ends.assert_same("id", "v", "w", "y", "a", "z")
    ends.run("UPDATE t SET z = 5 WHERE id = 1", "DELETE FROM t WHERE id = 20")
    ends.followed()
    ends.assert_same("id", "v", "w", "y", "a", "z")


def test_between_rows_of_one_transaction(ends: Ends) -> None:
    ends.together(
        "UPDATE t SET v = 100 WHERE id = 1",
        "ALTER TABLE t ADD COLUMN n int",
        "UPDATE t SET n = 1 WHERE id = 1",
        "INSERT INTO t (id, n) VALUES (5, 5)",
    )
    ends.followed()
    ends.assert_same("id", "v", "w", "x", "n")


def test_not_to_be_repeated(ends: Ends) -> None:
    """Then the table is taken out, and taken in again when it is loaded again on request."""
    refuse = {
        "task_settings": {"ChangeProcessingDdlHandlingPolicy": {"HandleSourceTableAltered": False}}
    }
    with moving(ends.source, ends.target, **refuse) as migrator:
        migrator.resolve()
    ends.run("ALTER TABLE t DROP COLUMN x", "UPDATE t SET v = 5 WHERE id = 1")
    told = ends.followed(**refuse)
    assert not told.findings("table-altered")
    with moving(ends.source, ends.target, **refuse) as migrator:
        assert len(migrator.control.suspended()) == 1
    assert ends.columns() == ["id", "v", "w", "x"]


@pytest.mark.parametrize("ends", ["postgres-mysql", "postgres-postgres"], indirect=True)
def test_rows_written_anew_and_not_to_be_repeated(ends: Ends) -> None:
    """PostgreSQL does not tell the rule; after a load on request the table goes on."""
    refuse = {
        "task_settings": {"ChangeProcessingDdlHandlingPolicy": {"HandleSourceTableAltered": False}}
    }
    with moving(ends.source, ends.target, **refuse) as migrator:
        migrator.resolve()
    ends.run("ALTER TABLE t ALTER v TYPE int USING v * 2", "UPDATE t SET w = 'z' WHERE id = 1")
    ends.followed(**refuse)
    with moving(ends.source, ends.target, **refuse) as migrator:
        assert len(migrator.control.suspended()) == 1
        migrator.reload([f"{ends.schema}.t"])
    ends.run("UPDATE t SET w = 'y' WHERE id = 2")
    ends.followed(**refuse)
    ends.assert_same("id", "v", "w", "x")


def test_it_is_dropped(ends: Ends) -> None:
    """The target keeps what it has, and the migration goes on."""
    ends.run("UPDATE t SET v = 5 WHERE id = 1", "DROP TABLE t ")
    caught_up(ends.source, ends.target)
    with moving(ends.source, ends.target) as migrator:
        out = migrator.control.suspended()
    if is_mysql(ends.source):  # PostgreSQL's log does not tell it
        assert len(out) == 1
    found = rows(ends.target, ends.schema, "t", ["id", "v"])
    assert found[(1, 5)] == 1


@pytest.mark.parametrize("there", [False, True])
def test_a_new_table_is_taken_in(ends: Ends, there: bool) -> None:
    """On request. Rows that somebody else has in a table of that name are left alone."""
    if there:
        made = "CREATE TABLE {}.fresh (id int PRIMARY KEY, v int)"
        ends.target.execute(made.format(ends.schema))
        ends.target.execute(f"INSERT INTO {ends.schema}.fresh VALUES (99, 99)")
    ends.run(
        f"CREATE TABLE {ends.schema}.fresh (id int PRIMARY KEY, v int)",
        f"INSERT INTO {ends.schema}.fresh VALUES (1, 1), (2, 2)",
    )
    ends.followed()
    if there:
        with moving(ends.source, ends.target) as migrator, pytest.raises(LoadError):
            migrator.reload([f"{ends.schema}.fresh"])
        assert rows(ends.target, ends.schema, "fresh", ["id", "v"]) == {(99, 99): 1}
        return
    with moving(ends.source, ends.target) as migrator:
        migrator.reload([f"{ends.schema}.fresh"])
    ends.run(
        f"INSERT INTO {ends.schema}.fresh VALUES (3, 3)",
        f"UPDATE {ends.schema}.fresh SET v = 22 WHERE id = 2",
    )
    ends.followed()
    found = rows(ends.target, ends.schema, "fresh", ["id", "v"])
    assert found == {(1, 1): 1, (2, 22): 1, (3, 3): 1}
    assert unequal(ends.source, ends.target) == {}

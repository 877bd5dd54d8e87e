"""The fence keeps applications from writing, waits for who is writing, and is undone exactly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from godwit.engines.mysql.source import MySqlSource
from godwit.errors import CutoverError
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.endpoint import catalog_of, source_of

APP = "'godwit_app'@'%'"
Driver = pymysql.Connection


@pytest.fixture
def source(mysql_source: MySqlDatabase) -> Iterator[MySqlSource]:
    name = mysql_source.name
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    mysql_source.execute(f"DROP USER IF EXISTS {APP}")
    mysql_source.execute(f"CREATE USER {APP}")
    mysql_source.execute(f"GRANT SELECT, INSERT, DELETE ON {name}.t TO {APP} WITH GRANT OPTION")
    mysql_source.execute(f"GRANT UPDATE (n) ON {name}.t TO {APP}")
    with source_of(mysql_source) as source:
        try:
            yield source
        finally:
            mysql_source.execute("SET GLOBAL read_only = OFF")
            mysql_source.execute(f"DROP USER {APP}")


@pytest.fixture
def app(source: MySqlSource, mysql_source: MySqlDatabase) -> Iterator[Driver]:
    """An application's connection."""
    port = mysql_source.server.port
    connection = pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="godwit_app",
        database=mysql_source.name,
        autocommit=True,
    )
    yield connection
    if connection.open:
        connection.close()


def plan_of(source: MySqlSource, mode: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(
        json.dumps(source.plan_fence(catalog_of(source).tables, mode))
    )
    return stored


def write(app: Driver, number: int) -> None:
    with app.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (%s, 1)", (number,))


@pytest.mark.parametrize("mode", ["read-only", "revoke"])
def test_nobody_writes_behind_the_fence(source: MySqlSource, app: Driver, mode: str) -> None:
    write(app, 1)
    plan = plan_of(source, mode)
    position = source.fence(plan, patience=5)
    with pytest.raises(pymysql.MySQLError):
        write(app, 2)
    again = source.fence(plan, patience=5)
    assert again.includes(position)
    source.unfence(plan)
    source.unfence(plan)
    write(app, 3)
    assert source.position().includes(again)


def test_privileges_come_back_exactly(source: MySqlSource, mysql_source: MySqlDatabase) -> None:
    before = mysql_source.fetch(f"SHOW GRANTS FOR {APP}")
    plan = plan_of(source, "revoke")
    source.fence(plan, patience=5)
    assert mysql_source.fetch(f"SHOW GRANTS FOR {APP}") != before
    source.unfence(plan)
    assert mysql_source.fetch(f"SHOW GRANTS FOR {APP}") == before
    assert any("whole server" in line for line in plan["warnings"])


@pytest.mark.parametrize("mode", ["read-only", "revoke", "none"])
def test_an_open_transaction_is_waited_for_or_ended(
    source: MySqlSource, app: Driver, mysql_source: MySqlDatabase, mode: str
) -> None:
    app.autocommit(False)
    write(app, 1)
    plan = plan_of(source, mode)
    with pytest.raises(CutoverError, match="don't end"):
        source.fence(plan, patience=0.3)
    source.fence(plan, patience=0.3, terminate=True)
    with pytest.raises((pymysql.MySQLError, OSError)):
        app.commit()
    assert not mysql_source.fetch("SELECT * FROM t")
    source.unfence(plan)


def test_a_lock_on_tables_is_told(source: MySqlSource, mysql_source: MySqlDatabase) -> None:
    with mysql_source.connect() as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLES t WRITE")
        plan = plan_of(source, "read-only")
        with pytest.raises(CutoverError, match=r"read-only|don't end"):
            source.fence(plan, patience=1)
        source.unfence(plan)


def test_an_unknown_fence_is_refused(source: MySqlSource) -> None:
    with pytest.raises(CutoverError, match="there is no fence"):
        plan_of(source, "wall")

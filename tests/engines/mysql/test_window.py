"""Replacing the rows of a window, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.control import MySqlControl
from godwit.engines.mysql.window import replace_window
from godwit.errors import FencedError, LoadError
from godwit.model.datatypes import Kind
from godwit.protocols import Epoch
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.writing import Rows, connector_of, mapping_to


@pytest.fixture
def connector(mysql_target: MySqlDatabase) -> Iterator[Connector]:
    connector = connector_of(mysql_target)
    yield connector
    connector.close()
    mysql_target.execute(f"DROP DATABASE IF EXISTS `{mysql_target.name}_control`")


@pytest.fixture
def epoch(connector: Connector) -> Iterator[Epoch]:
    control = MySqlControl(connector, "m")
    control.install()
    yield control.take_epoch("window:t")
    control.close()


def rows_of(*rows: tuple[int, str, str]) -> Rows:
    ids, days, names = zip(*rows, strict=True) if rows else ((), (), ())
    arrays = [pa.array(ids, pa.int64()), pa.array(days, pa.string()), pa.array(names, pa.string())]
    return Rows(pa.record_batch(arrays, names=["id", "day", "name"]))


KINDS = {"id": Kind.INTEGER, "day": Kind.TIMESTAMP, "name": Kind.TEXT}


def replace(
    connector: Connector,
    database: MySqlDatabase,
    epoch: Epoch,
    rows: Rows,
    *,
    identity: tuple[str, ...] = ("id",),
    column: str = "day",
    window: tuple[str, str] = ("2024-01-01 00:00:00+00", "2024-01-02 00:00:00+00"),
) -> int:
    mapping = mapping_to(database, "t", KINDS, identity)
    return replace_window(connector, mapping, column, *window, rows, epoch)


def there(database: MySqlDatabase) -> list[tuple[Any, ...]]:
    return database.fetch("SELECT id, CAST(day AS char), name FROM t ORDER BY 1, 2, 3")


def test_rows_of_the_window_are_replaced(
    connector: Connector, mysql_target: MySqlDatabase, epoch: Epoch
) -> None:
    mysql_target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, day datetime, name varchar(20), UNIQUE (name));"
        "INSERT INTO t VALUES (1, '2024-01-01', 'gone'), (2, '2024-01-01 23:59:59', 'a'),"
        " (3, '2024-01-02', 'next day'), (4, '2023-01-01', 'moves in')"
    )
    new = rows_of(
        (2, "2024-01-01 00:00:00", "b"), (4, "2024-01-01 12:00:00", "a"), (5, "2024-01-01", "c")
    )
    assert replace(connector, mysql_target, epoch, new) == 3
    expected = [
        (2, "2024-01-01 00:00:00", "b"),
        (3, "2024-01-02 00:00:00", "next day"),
        (4, "2024-01-01 12:00:00", "a"),
        (5, "2024-01-01 00:00:00", "c"),
    ]
    assert there(mysql_target) == expected
    assert replace(connector, mysql_target, epoch, new) == 3
    assert there(mysql_target) == expected


def test_a_window_of_large_numbers(
    connector: Connector, mysql_target: MySqlDatabase, epoch: Epoch
) -> None:
    """As doubles these bounds are one."""
    mysql_target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, day datetime, name varchar(20));"
        "INSERT INTO t VALUES (9007199254740992, NULL, 'below'), (9007199254740993, NULL, 'in')"
    )
    window = ("9007199254740993", "9007199254740994")
    assert replace(connector, mysql_target, epoch, rows_of(), column="id", window=window) == 0
    assert [row[2] for row in there(mysql_target)] == ["below"]


def test_a_table_without_identity(
    connector: Connector, mysql_target: MySqlDatabase, epoch: Epoch
) -> None:
    mysql_target.execute(
        "CREATE TABLE t (id bigint, day datetime, name longtext);"
        "INSERT INTO t VALUES (1, '2024-01-01', 'a'), (1, '2024-01-01', 'a'), (1, NULL, 'a')"
    )
    new = rows_of((1, "2024-01-01", "a"), (1, "2024-01-01", "a"), (2, "2024-01-01", "é\\"))
    assert replace(connector, mysql_target, epoch, new, identity=()) == 3
    assert len(there(mysql_target)) == 4
    assert there(mysql_target)[-1][2] == "é\\"


def test_nothing_happens_when_a_row_is_refused_or_a_newer_runner_is_there(
    connector: Connector, mysql_target: MySqlDatabase, epoch: Epoch
) -> None:
    mysql_target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, day datetime, name varchar(3));"
        "INSERT INTO t VALUES (1, '2024-01-01', 'a')"
    )
    with pytest.raises(LoadError) as raised:
        replace(connector, mysql_target, epoch, rows_of((2, "2024-01-01", "topsecret")))
    assert "topsecret" not in str(raised.value)
    MySqlControl(connector, "m").take_epoch("window:t")
    with pytest.raises(FencedError):
        replace(connector, mysql_target, epoch, rows_of((2, "2024-01-01", "b")))
    assert [row[0] for row in there(mysql_target)] == [1]

"""Targets that somebody else has a hand in, and comparisons that find what is different and nothing
else: changed columns, indexes of the target's own, rows that change meanwhile, keys of every kind.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from godwit.errors import GodwitError
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import AnyDatabase, assert_same, caught_up, loaded, moving, rows, unequal

TABLE = "CREATE TABLE t (id int PRIMARY KEY, u varchar(20) UNIQUE, v int);"
FIVE = "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4), (5, 'e', 5);"
Ends = tuple[MySqlDatabase, AnyDatabase]


@pytest.fixture(params=["target_db", "mysql_target"])
def ends(request: Any, mysql_source: MySqlDatabase) -> Ends:
    """From MySQL to either engine."""
    return mysql_source, request.getfixturevalue(request.param)


def of(source: MySqlDatabase) -> dict[str, Any]:
    return {"tables": {"include": [f"{source.name}.*"]}}


def there(source: MySqlDatabase, target: AnyDatabase, table: str = "t") -> str:
    """The table on the target, where it has its source's name."""
    mark = "`" if isinstance(target, MySqlDatabase) else '"'
    return f"{mark}{source.name}{mark}.{table}"


# -- a target that others change


def test_a_target_s_table_that_somebody_changed(ends: Ends) -> None:
    """Columns and indexes of their own stay and are filled by nobody; a table of another shape is
    never written into wrongly, whatever was known of it before.
    """
    source, target = ends
    source.execute(TABLE + FIVE + "CREATE TABLE w (id int PRIMARY KEY, u varchar(20), v int)")
    loaded(source, target, **of(source))
    target.execute(f"ALTER TABLE {there(source, target)} ADD COLUMN theirs int DEFAULT 7")
    target.execute(f"CREATE INDEX own ON {there(source, target)} (v, theirs)")
    source.execute(
        "UPDATE t SET v = v + 1; INSERT INTO t VALUES (6, 'f', 6); DELETE FROM t WHERE id = 1"
    )
    caught_up(source, target, **of(source))
    assert_same(source, target, {"t": ["id", "u", "v"]}, source.name)
    assert {row[0] for row in target.fetch(f"SELECT theirs FROM {there(source, target)}")} == {7}
    target.execute(f"ALTER TABLE {there(source, target)} DROP COLUMN theirs")
    target.execute(f"ALTER TABLE {there(source, target)} DROP COLUMN v")
    source.execute("UPDATE t SET v = 9, u = CONCAT(u, '!'); INSERT INTO w VALUES (1, 'w', 1)")
    caught_up(source, target, **of(source))
    assert_same(source, target, {"w": ["id", "u", "v"]}, source.name)
    with moving(source, target, **of(source)) as migrator:
        assert [table.name for table in migrator.control.suspended()] == ["t"]


@pytest.mark.parametrize(
    ("kind", "value", "narrower"),
    [
        ("datetime(6)", "'2024-01-01 00:00:00.654321'", ("timestamp(0)", "datetime(0)")),
        ("decimal(12,4)", "1.2345", ("numeric(12,2)", "decimal(12,2)")),
        ("double", "0.1", ("real", "float")),
        ("time(6)", "'-01:00:00.654321'", ("interval(3)", "time(3)")),
        ("varchar(40)", "'0123456789'", ("varchar(9)", "varchar(9)")),
    ],
)
def test_a_narrower_table_that_is_there_already(
    ends: Ends, kind: str, value: str, narrower: tuple[str, str]
) -> None:
    """Fractions and digits that it would round away: it is named, and no such row gets in."""
    source, target = ends
    source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, odd {kind}); INSERT INTO t VALUES (1, {value})"
    )
    mysql = isinstance(target, MySqlDatabase)
    target.execute(
        f"CREATE DATABASE `{source.name}`" if mysql else f'CREATE SCHEMA "{source.name}"'
    )
    table = there(source, target)
    target.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, odd {narrower[mysql]})")
    try:
        with pytest.raises(GodwitError, match=rf"{source.name}\.t(?s:.*)\bodd\b"):
            loaded(source, target, **of(source))
        assert target.fetch(f"SELECT count(*) FROM {table}") == [(0,)]
    finally:
        if mysql:
            target.execute(f"DROP DATABASE `{source.name}`")


def test_a_unique_index_that_only_a_target_of_mysql_has(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """INSERT … ON DUPLICATE KEY UPDATE and REPLACE would take the other row; it stays as it is."""
    schema = mysql_target.name
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id int PRIMARY KEY, u text, v int);"
        f"INSERT INTO {schema}.t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)"
    )
    loaded(source_db, mysql_target)
    mysql_target.execute("CREATE UNIQUE INDEX only_here ON t (v)")
    for change in (
        f"INSERT INTO {schema}.t VALUES (8, 'h', 1), (9, 'i', 90)",
        f"UPDATE {schema}.t SET v = 3 WHERE id = 2",
        f"UPDATE {schema}.t SET u = 'z' WHERE id = 3",
    ):
        source_db.execute(change)
        caught_up(source_db, mysql_target)
    found = mysql_target.fetch("SELECT id, u, v FROM t ORDER BY id")
    assert found == [(1, "a", 1), (2, "b", 2), (3, "z", 3), (9, "i", 90)]
    kept = mysql_target.fetch(
        "SELECT `key`, error FROM godwit.apply_exceptions WHERE table_owner = %s ORDER BY `key`",
        [schema],
    )
    assert [key for key, _ in kept] == ["id=2", "id=8"]
    assert all("only_here" in error for _, error in kept)
    with moving(source_db, mysql_target) as migrator:
        migrator.cleanup()


def test_changes_of_rows_that_are_not_there(ends: Ends) -> None:
    """Deleted by somebody on the target: deletes mean nothing more, updates bring the row back."""
    source, target = ends
    source.execute(TABLE + FIVE)
    loaded(source, target, **of(source))
    target.execute(f"DELETE FROM {there(source, target)} WHERE id < 4")
    target.execute(f"UPDATE {there(source, target)} SET v = 99 WHERE id = 5")
    source.execute(
        "DELETE FROM t WHERE id = 1; UPDATE t SET v = 20 WHERE id = 2; UPDATE t SET id = 30 WHERE id = 3;"
        "UPDATE t SET u = 'fifth' WHERE id = 5; INSERT INTO t VALUES (1, 'again', 1)"
    )
    caught_up(source, target, **of(source))
    assert_same(source, target, {"t": ["id", "u", "v"]}, source.name)


# -- comparing


def test_keys_are_compared_by_no_collation(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """Two engines order text, bytes and uuids otherwise; merging by order would call half of the
    rows missing. What really differs is found by its key, bytes as digits.
    """
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE words (w text PRIMARY KEY, n int); CREATE TABLE bytes (b bytea PRIMARY KEY, n int);
        CREATE TABLE ids (u uuid, t timestamptz, n int, PRIMARY KEY (u, t));
        INSERT INTO words SELECT w || g, g FROM unnest(ARRAY['a', 'A', 'ä', 'Z', 'z', '_', '-', ' ', 'ß', 'é', '😀']) w,
          generate_series(1, 20) g;
        INSERT INTO bytes SELECT decode(md5(g::text), 'hex'), g FROM generate_series(1, 200) g;
        INSERT INTO bytes VALUES ('', 0), ('\\x00', 0), ('\\x0000', 0), ('\\xff', 0);
        INSERT INTO ids SELECT md5((g % 7)::text)::uuid, timestamptz '1999-12-31 23:00+00' + g * interval '1.000001 s', g
          FROM generate_series(1, 200) g;
    """)
    loaded(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    mysql_target.execute(
        "UPDATE words SET n = -1 WHERE w = 'A7'; DELETE FROM words WHERE w = 'ä3'; INSERT INTO words VALUES ('ä 3', 3);"
        "UPDATE bytes SET n = -1 WHERE b = 0x0000; DELETE FROM bytes WHERE b = 0xff;"
        "UPDATE ids SET n = -1 ORDER BY n LIMIT 1"
    )
    with moving(source_db, mysql_target) as migrator:
        found = {
            r.table.name: sorted(map(str, r.differences))
            for r in migrator.validate(drain=True).tables
        }
    assert len(found["words"]) == 3
    assert all(key in " ".join(found["words"]) for key in ("A7", "ä3", "ä 3"))
    assert len(found["bytes"]) == 2
    assert "0000" in found["bytes"][0] + found["bytes"][1]
    assert len(found["ids"]) == 1
    (key,) = source_db.fetch(f"SELECT u::text FROM {schema}.ids ORDER BY n LIMIT 1")
    assert key[0] in found["ids"][0]
    with moving(source_db, mysql_target) as migrator:
        migrator.validate(repair=True, drain=True)
    assert unequal(source_db, mysql_target) == {}


def test_what_is_only_late_is_no_difference(ends: Ends) -> None:
    """Rows change while they are compared, and changes are on their way: only what stays is told."""
    source, target = ends
    source.execute(TABLE + FIVE)
    source.execute(
        "CREATE TABLE hot (id int PRIMARY KEY, v bigint); INSERT INTO hot VALUES (1, 0), (2, 0)"
    )
    loaded(source, target, **of(source))
    target.execute(f"UPDATE {there(source, target)} SET v = 77 WHERE id = 3")
    stop = threading.Event()

    def write() -> None:
        with source.connect() as session, session.cursor() as cursor:
            number = 10
            while not stop.wait(0.01):
                number += 1
                cursor.execute(
                    f"UPDATE hot SET v = v + 1; INSERT INTO t VALUES ({number}, NULL, 1)"
                )
                while cursor.nextset():
                    pass

    def follow() -> None:
        with moving(source, target, **of(source)) as migrator:
            migrator.session(stop=stop.is_set)

    threads = [threading.Thread(target=work) for work in (write, follow)]
    for thread in threads:
        thread.start()
    try:
        with moving(source, target, **of(source)) as migrator:
            report = migrator.validate()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    found = {r.table.name: [key for _, key in r.differences] for r in report.tables}
    assert found["hot"] == []
    assert len(found["t"]) == 1
    assert "3" in str(found["t"][0])
    caught_up(source, target, **of(source))
    assert_same(source, target, {"hot": ["id", "v"]}, source.name)


def test_as_many_rows_of_other_content_are_different(ends: Ends) -> None:
    """Counts agree, sums agree, and the smallest changes of numbers and moments show."""
    source, target = ends
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, f double, g float, d decimal(20,6), at datetime(6), y year, s varchar(9), x varchar(9));"
        "INSERT INTO t SELECT n, n / 7, n / 7, n / 8, '2024-01-01' + INTERVAL n MICROSECOND, 2000 + n, CONCAT('s', n), CONCAT('x', n)"
        " FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7) q"
    )
    loaded(source, target, **of(source))
    assert unequal(source, target, **of(source)) == {}
    table = there(source, target)
    swap = "s = x, x = s" if isinstance(target, Database) else "s = (@s := s), s = x, x = @s"
    for change in (
        "f = f * (1 + 4e-16) WHERE id = 1",
        "g = g * 1.000001 WHERE id = 2",
        "d = d + 0.000001 WHERE id = 3",
        "at = at + INTERVAL '1 MICROSECOND' WHERE id = 4"
        if isinstance(target, Database)
        else "at = at + INTERVAL 1 MICROSECOND WHERE id = 4",
        f"{swap} WHERE id = 5",
    ):
        target.execute(f"UPDATE {table} SET {change}")
    with moving(source, target, **of(source)) as migrator:
        (report,) = migrator.validate().tables
    assert report.difference_count == 5, report
    assert rows(target, source.name, "t", ["id"]) == rows(source, source.name, "t", ["id"])

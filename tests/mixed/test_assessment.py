"""Values that the other engine cannot hold are counted before anything is written."""

from __future__ import annotations

from godwit.model.report import Finding, Severity
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import AnyDatabase, loaded, moving, unequal


def doubts(source: AnyDatabase, target: AnyDatabase, pattern: str) -> list[Finding]:
    with moving(source, target, tables={"include": [pattern]}) as migrator:
        found = migrator.assess()
    return [f for f in found.findings if f.code == "doubt"]


def test_what_mysql_cannot_hold(source_db: Database, mysql_target: MySqlDatabase) -> None:
    source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, f float8, n numeric, at timestamp, fine text);"
        "INSERT INTO t VALUES (1, 'NaN', 1, 'infinity', 'x'), (2, 'Infinity', 10 ^ 40, '0044-03-15"
        " 00:00 BC', 'y'), (3, 1, 1, '2024-01-01', 'z')"
    )
    found = doubts(source_db, mysql_target, "public.t")
    assert {f.severity for f in found} == {Severity.ERROR}
    assert {(f.subject, f.reason.partition(":")[0]) for f in found} == {
        ("public.t.f", "2 values not finite (NaN, infinity)"),
        ("public.t.n", "1 value with more than 35 digits before or 30 behind the point"),
        ("public.t.at", "1 value at infinity"),
        ("public.t.at", "1 value outside the years 1 to 9999"),
    }


def test_what_postgresql_cannot_hold(mysql_source: MySqlDatabase, target_db: Database) -> None:
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, d date, name varchar(20), fine varchar(20))"
    )
    with mysql_source.connect() as session, session.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute(
            "INSERT INTO t VALUES (1, '0000-00-00', 'a\\0b', 'x'), (2, '2024-00-01', 'b', 'y'),"
            " (3, '2024-01-01', 'c', NULL)"
        )
        session.commit()
    found = doubts(mysql_source, target_db, f"{mysql_source.name}.t")
    assert {(f.severity, f.reason.partition(":")[0]) for f in found} == {
        (Severity.WARNING, "1 value of the date 0000-00-00"),
        (Severity.WARNING, "1 value with a month or a day of zero"),
        (Severity.ERROR, "1 value with the character U+0000"),
    }


def test_an_enum_gets_the_empty_label_that_its_rows_hold(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, e enum('a'), f enum('a'))")
    with mysql_source.connect() as session, session.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("INSERT INTO t VALUES (1, 'wrong', 'a'), (2, 'a', NULL)")
        session.commit()
    tables = {"include": [f"{mysql_source.name}.t"]}
    told = loaded(mysql_source, target_db, tables=tables)
    assert [f["subject"] for f in told.findings("enum-labels")] == [f"{mysql_source.name}.t.e"]
    rows = target_db.fetch(f"SELECT id, e::text, f::text FROM {mysql_source.name}.t ORDER BY 1")
    assert rows == [(1, "", "a"), (2, "a", None)]
    assert unequal(mysql_source, target_db, tables=tables) == {}
    assert doubts(mysql_source, target_db, f"{mysql_source.name}.t") == []

"""Every type, between every two engines: the same value by load, by change data capture and by both
engines' canonical forms, and the value that a person expects.
"""

from __future__ import annotations

from typing import Any

import pytest

from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import caught_up, loaded, moving, unequal
from tests.mixed.test_shops import renamed

#: Column definition → literals in MySQL, and what PostgreSQL shows for them (None: NULL).
FROM_MYSQL: dict[str, list[tuple[str, str | None]]] = {
    "tinyint(1)": [("2", "2"), ("-128", "-128"), ("NULL", None)],
    "tinyint unsigned": [("255", "255"), ("0", "0")],
    "smallint": [("-32768", "-32768")],
    "smallint unsigned zerofill": [("65535", "65535"), ("7", "7")],
    "mediumint": [("-8388608", "-8388608")],
    "mediumint unsigned": [("16777215", "16777215")],
    "int": [("-2147483648", "-2147483648")],
    "int unsigned": [("4294967295", "4294967295")],
    "bigint": [("-9223372036854775808", "-9223372036854775808")],
    "bigint unsigned": [("18446744073709551615", "18446744073709551615"), ("0", "0")],
    "decimal(65,30)": [
        (
            "99999999999999999999999999999999999.123456789012345678901234567891",
            "99999999999999999999999999999999999.123456789012345678901234567891",
        ),
        ("-0.000000000000000000000000000001", "-0.000000000000000000000000000001"),
        ("0", "0.000000000000000000000000000000"),
    ],
    "decimal(10,0)": [("-1234567890", "-1234567890")],
    "decimal(5,5)": [("-0.00001", "-0.00001"), ("0.99999", "0.99999")],
    "float": [("0.1", "0.1"), ("16777216", "1.6777216e+07"), ("-3.4e38", "-3.4e+38")],
    "double": [("0.1", "0.1"), ("1.7976931348623157e308", "1.7976931348623157e+308")],
    "bit(1)": [("b'1'", "1"), ("b'0'", "0")],
    "bit(13)": [("b'1010000000001'", "1010000000001"), ("b'1'", "0000000000001")],
    "bit(64)": [("18446744073709551615", "1" * 64), ("1", "0" * 63 + "1")],
    "year": [("0", "0"), ("1901", "1901"), ("2155", "2155")],
    "date": [("'2024-02-29'", "2024-02-29"), ("'9999-12-31'", "9999-12-31"),
             ("'0000-00-00'", "-infinity"), ("'2024-00-15'", "-infinity"), ("'0001-01-01'", "0001-01-01")],
    "time": [("'-838:59:59'", "-838:59:59"), ("'838:59:59'", "838:59:59"), ("'00:00:00'", "00:00:00")],
    "time(6)": [("'-00:00:00.000001'", "-00:00:00.000001"), ("'23:59:59.999999'", "23:59:59.999999"),
                ("'-12:00:00.5'", "-12:00:00.5")],
    "datetime": [("'1000-01-01 00:00:00'", "1000-01-01 00:00:00"), ("'0000-00-00'", "-infinity")],
    "datetime(3)": [("'2024-03-31 02:30:00.125'", "2024-03-31 02:30:00.125")],
    "datetime(6)": [("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
                    ("'1969-12-31 23:59:59.000001'", "1969-12-31 23:59:59.000001")],
    "timestamp NULL": [("'1970-01-01 00:00:01'", "1970-01-01 00:00:01+00"), ("NULL", None)],
    "timestamp(6) NULL": [("'2038-01-19 03:14:07.999999'", "2038-01-19 03:14:07.999999+00")],
    "char(5)": [("'ab'", "ab   "), ("''", "     "), ("'é€'", "é€   ")],
    "varchar(20)": [("' a '", " a "), ("''", ""), ("'\\\\N'", "\\N"), ("'tab\\tnl\\ncr\\r'", "tab\tnl\ncr\r")],
    "varchar(20) CHARACTER SET latin1": [("'é'", "é"), ("_latin1 0x80819D", "€\x81\x9d")],
    "varchar(20) CHARACTER SET utf8mb3": [("'€'", "€")],
    "varchar(20) CHARACTER SET utf16": [("'😀é'", "😀é")],
    "varchar(20) CHARACTER SET ucs2": [("'é€'", "é€")],
    "varchar(20) CHARACTER SET utf32": [("'😀'", "😀")],
    "varchar(20) CHARACTER SET gbk": [("'中文'", "中文")],
    "varchar(20) CHARACTER SET big5": [("'中文'", "中文")],
    "varchar(20) CHARACTER SET sjis": [("'日本'", "日本")],
    "varchar(20) CHARACTER SET cp1251": [("'Привет'", "Привет")],
    "varchar(20) CHARACTER SET koi8r": [("'Привет'", "Привет")],
    "tinytext": [("'x'", "x")],
    "longtext": [("REPEAT('é', 100000)", "é" * 100000), ("'😀'", "😀")],
    "binary(4)": [("0x61000000", "\\x61000000"), ("0x00ff0a5c", "\\x00ff0a5c"), ("'a'", "\\x61000000")],
    "varbinary(10)": [("0xff00", "\\xff00"), ("''", "\\x")],
    "longblob": [("0x00010203", "\\x00010203"), ("REPEAT(0xfe, 70000)", "\\x" + "fe" * 70000)],
    "enum('a','it''s','c,d','')": [("'it''s'", "it's"), ("'c,d'", "c,d"), ("''", "")],
    "set('x','y','z')": [("'z,x'", "x,z"), ("''", "")],
    "json": [("'{\"b\": 1, \"a\": [1, 2.50, null, true]}'", None), ("'\"x\\\\u00e9\"'", None)],
    "point": [("ST_GeomFromText('POINT(1 2)')", "\\x0101000000000000000000f03f0000000000000040")],
}  # fmt: skip


def table_of(database: MySqlDatabase, kinds: dict[str, Any]) -> list[str]:
    """A table `t` with one column per type; returns the columns' names."""
    names = [f"c{n}" for n in range(len(kinds))]
    columns = ", ".join(f"{n} {kind}" for n, kind in zip(names, kinds, strict=True))
    database.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}) ROW_FORMAT=DYNAMIC")
    return names


def write(database: MySqlDatabase, names: list[str], first: int) -> None:
    """One row per case, from the number `first` on: the other columns are NULL."""
    statements = ["SET sql_mode = ''", "SET time_zone = '+00:00'"]
    number = first
    for name, cases in zip(names, FROM_MYSQL.values(), strict=True):
        for value, _ in cases:
            statements.append(f"INSERT INTO t (id, {name}) VALUES ({number}, {value})")
            number += 1
    database.execute(";".join(statements))


def test_mysql_to_postgres(mysql_source: MySqlDatabase, target_db: Database) -> None:
    names = table_of(mysql_source, FROM_MYSQL)
    write(mysql_source, names, 1)
    loaded(mysql_source, target_db)
    write(mysql_source, names, 10_001)
    # An update writes every type's image again, and one by its old value.
    mysql_source.execute("UPDATE t SET id = id + 100000 WHERE id BETWEEN 1 AND 5000 AND id % 2")
    caught_up(mysql_source, target_db)
    table = f'"{mysql_source.name}".t'
    number, wrong = 1, []
    for name, (kind, cases) in zip(names, FROM_MYSQL.items(), strict=True):
        for value, expected in cases:
            by_load = number + 100000 if number % 2 else number
            found = target_db.fetch(
                f"SELECT {name}::text, id FROM {table} WHERE id IN (%s, %s) ORDER BY id = %s",
                [by_load, 10_000 + number, by_load],
            )
            texts = [text for text, _ in found]
            if kind == "char(5)":
                texts = [t if t is None else t.ljust(5) for t in texts]
            shown = kind != "json" and texts != [expected, expected]
            if len(texts) != 2 or texts[0] != texts[1] or shown:
                wrong.append((kind, value[:40], [str(t)[:60] for t in texts], str(expected)[:60]))
            number += 1
    assert wrong == []
    assert unequal(mysql_source, target_db) == {}


def test_mysql_to_mysql(mysql_source: MySqlDatabase, mysql_target: MySqlDatabase) -> None:
    names = table_of(mysql_source, FROM_MYSQL)
    rules = renamed(mysql_source.name, mysql_target.name)
    write(mysql_source, names, 1)
    loaded(mysql_source, mysql_target, table_mappings=rules)
    write(mysql_source, names, 10_001)
    mysql_source.execute("UPDATE t SET id = id + 100000 WHERE id BETWEEN 1 AND 5000 AND id % 2")
    caught_up(mysql_source, mysql_target, table_mappings=rules)
    # Of its text: a number is rounded for HEX, and not by every server to the same one.
    shown = ", ".join(f"HEX(CONCAT({n}))" for n in names)
    query = f"SET time_zone = '+00:00'; SELECT id, {shown} FROM t ORDER BY id"
    tables = []
    for database in (mysql_source, mysql_target):
        with database.connect() as session, session.cursor() as cursor:
            cursor.execute(query)
            cursor.nextset()
            tables.append(cursor.fetchall())
    assert tables[0] == tables[1]
    assert unequal(mysql_source, mysql_target, table_mappings=rules) == {}


@pytest.mark.parametrize("policy", ["null", "reject"])
def test_zero_dates_by_policy(
    mysql_source: MySqlDatabase, target_db: Database, policy: str
) -> None:
    mysql_source.execute(
        "SET sql_mode = ''; CREATE TABLE d (id int PRIMARY KEY, d date);"
        "INSERT INTO d VALUES (1, '0000-00-00'), (2, '2024-02-01')"
    )
    source = {"conn_id": "a", "settings": {"zero_dates": policy}}
    if policy == "reject":
        with pytest.raises(Exception, match=r"(?s)\.d.*\bd\b"):
            loaded(mysql_source, target_db, source=source)
        with moving(mysql_source, target_db, source=source) as migrator:
            migrator.cleanup()
        return
    loaded(mysql_source, target_db, source=source)
    mysql_source.execute("SET sql_mode = ''; INSERT INTO d VALUES (3, '0000-00-00')")
    caught_up(mysql_source, target_db, source=source)
    table = f'"{mysql_source.name}".d'
    found = target_db.fetch(f"SELECT id, d::text FROM {table} ORDER BY id")
    assert found == [(1, None), (2, "2024-02-01"), (3, None)]
    assert unequal(mysql_source, target_db, source=source) == {}


#: Type → literals in PostgreSQL; MySQL must hold what the engine's canonical form says.
FROM_POSTGRES: dict[str, list[str]] = {
    "boolean": ["true", "false", "NULL"],
    "smallint": ["-32768"],
    "integer": ["-2147483648"],
    "bigint": ["9223372036854775807"],
    "numeric(40,10)": ["123456789012345678901234567890.0123456789", "-0.5"],
    "numeric": ["1.5", "123456789012345678901234567890.000000001", "0.000", "-7"],
    "real": ["0.1", "16777216", "3.4e38"],
    "double precision": ["0.1", "1.7976931348623157e308", "1e-300"],
    "text": [
        "''", "E'a\\tb\\nc\\\\\\rd'", "E'\\x0b\\x0c\\x08\\x1b'", "'\\N'", "'NULL'", "'é€😀'",
        "repeat('x', 70000)", "' a '", "E'quo\\'te\"'",
    ],
    "varchar(20)": ["'é'", "' a '"],
    "char(5)": ["'ab'", "''"],
    "bytea": ["'\\x'", "'\\x00ff0a5c09270d1a'", "decode(repeat('fe', 70000), 'hex')"],
    "date": ["'2024-02-29'", "'9999-12-31'", "'1000-01-01'"],
    "time(6)": ["'00:00'", "'23:59:59.999999'", "'24:00'"],
    "timetz": ["'12:34:56.5+02:30'"],
    "timestamp(6)": ["'1969-12-31 23:59:59.000001'", "'9999-12-31 23:59:59.999999'"],
    "timestamptz": ["'2024-03-31 02:30:00.125+02'", "'1900-01-01 00:00+00'"],
    "interval": ["'1 year 2 mons -3 days 04:05:06.789'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ["'{\"b\" : 1.0, \"a\": 12345678901234567890123, \"a\": null}'", "'null'"],
    "jsonb": ["'{\"b\" : 1.0, \"a\": 12345678901234567890123}'"],
    "bit(9)": ["B'100000001'"],
    "varbit": ["B'101'", "B''"],
    "int[]": ["'{1,NULL,3}'", "'[0:1]={7,8}'", "'{}'"],
    "text[]": ["ARRAY['a,b', 'c\"d', NULL, '']"],
    "inet": ["'10.0.0.1/24'", "'::1'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "int4range": ["'[1,5)'", "'empty'"],
    "tsvector": ["'a fat cat'"],
    "money": ["'12.34'"],
    "point": ["'(1,2.5)'"],
}  # fmt: skip


def test_postgres_to_mysql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    schema = mysql_target.name
    names = [f"c{n}" for n in range(len(FROM_POSTGRES))]
    columns = ", ".join(f"{n} {k}" for n, k in zip(names, FROM_POSTGRES, strict=True))
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id int PRIMARY KEY, {columns})"
    )

    def insert(first: int) -> None:
        number = first
        for name, values in zip(names, FROM_POSTGRES.values(), strict=True):
            for value in values:
                source_db.execute(f"INSERT INTO {schema}.t (id, {name}) VALUES ({number}, {value})")
                number += 1

    insert(1)
    loaded(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    insert(10_001)
    source_db.execute(f"UPDATE {schema}.t SET id = id + 100000 WHERE id < 5000 AND id % 2 = 1")
    caught_up(source_db, mysql_target)
    assert unequal(source_db, mysql_target) == {}
    shown = ", ".join(f"CAST({n} AS CHAR), HEX({n})" for n in names)
    by_load = mysql_target.fetch(
        f"SELECT {shown} FROM t WHERE id < 10000 OR id > 100000 ORDER BY IF(id > 100000, id - 100000, id)"
    )
    by_change = mysql_target.fetch(
        f"SELECT {shown} FROM t WHERE id BETWEEN 10000 AND 99999 ORDER BY id"
    )
    assert by_load == by_change

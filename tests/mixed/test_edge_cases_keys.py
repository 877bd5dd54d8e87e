"""Keys of every kind cut a table into chunks without gap or overlap, and find their rows again."""

from __future__ import annotations

import pytest

from godwit.steps import bundling
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import caught_up, loaded, moving, rows, unequal

#: What only MariaDB has, and what another server has in its place.
ELSEWHERE = {
    "varchar(20) COLLATE utf8mb4_unicode_nopad_ci": "varchar(20) COLLATE utf8mb4_0900_ai_ci",
    "uuid": "char(36) CHARACTER SET ascii",
    "inet6": "varchar(40) CHARACTER SET ascii",
}
#: Columns of a primary key, as SQL → rows of it.
KEYS: dict[str, list[str]] = {
    "bigint": ["-9223372036854775808", "9223372036854775807", "0", "-1", "5"],
    "bigint unsigned": ["0", "18446744073709551615", "9223372036854775807", "9223372036854775808"],
    "int unsigned zerofill": ["0", "4294967295", "2147483648", "7"],
    "decimal(30,10)": ["-99999999999999999999.9999999999", "0.0000000001", "0", "-0.5", "1.50"],
    "double": ["-1.7976931348623157e308", "5e-300", "0.1", "0.30000000000000004", "-0.1"],
    "float": ["0.1", "16777216", "-3.4e38", "0.2", "1e-30"],
    "bit(40)": ["b'0'", "1099511627775", "b'101'", "b'1000000000000000'"],
    "year": ["0", "1901", "2155", "2000"],
    "date": ["'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'1970-01-01'"],
    "datetime(6)": ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'", "'2024-01-01'"],
    "timestamp(3)": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07.999'", "'2024-10-27 01:30:00.5'"],
    "time(4)": ["'-838:59:59'", "'838:59:59'", "'00:00:00.0001'", "'-00:00:00.0001'", "0"],
    "enum('z','a','m''m','')": ["'z'", "'a'", "'m''m'", "''"],
    "set('z','a','m')": ["''", "'z'", "'a,m'", "'z,a,m'"],
    "binary(3)": ["0x000000", "0xffffff", "0x610000", "0x0a5c09"],
    "varbinary(9)": ["''", "0x00", "0xff", "0x6100", "0x61", "0xc328"],
    "varchar(20) COLLATE utf8mb4_general_ci": ["''", "'é'", "'Z'", "'ß'", "'a b'", "'\\\\'", "'%%_'"],
    "varchar(20) COLLATE utf8mb4_bin": ["'a'", "'A'", "'é'", "'e'", "'Z'", "' '"],
    "varchar(20) COLLATE utf8mb4_unicode_nopad_ci": ["'a'", "'a '", "' a'", "'b'"],
    "varchar(20) CHARACTER SET latin1 COLLATE latin1_german1_ci": ["'ä'", "'b'", "'ö'", "_latin1 0x80"],
    "varchar(20) CHARACTER SET gbk": ["'中'", "'文'", "'a'"],
    "varchar(20) CHARACTER SET sjis": ["'日本'", "'表'", "'a'"],
    "varchar(20) CHARACTER SET utf16": ["'😀'", "'é'", "'a'"],
    "char(8) COLLATE utf8mb4_general_ci": ["''", "'é'", "'zz'", "'a b'", "'tab\\t'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'ffffffff-0000-1111-2222-333333333333'",
             "'00000000-0000-0000-0000-000000000000'"],
    "inet6": ["'::1'", "'ffff::'", "'::ffff:10.0.0.1'"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_row_is_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "ROWS_PER_CHUNK", 1)


def test_keys_of_every_type(mysql_source: MySqlDatabase, target_db: Database) -> None:
    """One table a type: loaded in chunks, then every row updated, half of them deleted and put back,
    and the keys exchanged.
    """
    names = {f"k{n}": kind for n, kind in enumerate(KEYS)}
    elsewhere = {} if mysql_source.server.mariadb else ELSEWHERE
    for name, kind in names.items():
        declared = elsewhere.get(kind, kind)
        mysql_source.execute(
            f"SET sql_mode = '', time_zone = '+00:00'; CREATE TABLE {name} (k {declared} PRIMARY KEY, n int);"
            f"INSERT INTO {name} VALUES {', '.join(f'({v}, {n})' for n, v in enumerate(KEYS[kind]))}"
        )
    loaded(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    for name in names:
        mysql_source.execute(f"UPDATE {name} SET n = n + 100")
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    for name, kind in names.items():
        again = ", ".join(f"({v}, {n})" for n, v in enumerate(KEYS[kind]) if n % 2)
        mysql_source.execute(
            f"SET sql_mode = '', time_zone = '+00:00'; DELETE FROM {name} WHERE n % 2;"
            f"INSERT INTO {name} VALUES {again}; DELETE FROM {name} WHERE n = 100"
        )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    schema = f'"{mysql_source.name}"'
    for name, kind in names.items():
        expected = sorted(n if n % 2 else n + 100 for n in range(1, len(KEYS[kind])))
        found = target_db.fetch(f"SELECT n FROM {schema}.{name} ORDER BY n")
        assert [n for (n,) in found] == expected, kind


def test_composite_keys_whose_order_is_not_the_columns(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    mysql_source.execute(
        "CREATE TABLE t (a varchar(5), b int, c datetime(3), v int, PRIMARY KEY (c, a, b));"
        "CREATE TABLE u (z int NOT NULL, `y` varchar(5) NOT NULL, v int, UNIQUE KEY (`y`, z));"
        "INSERT INTO t SELECT CHAR(97 + a.n), b.n, '2024-01-01' + INTERVAL c.n SECOND, 1 FROM"
        " (SELECT 0 n UNION SELECT 1 UNION SELECT 2) a, (SELECT 0 n UNION SELECT -1 UNION SELECT 2) b,"
        " (SELECT 0 n UNION SELECT 1 UNION SELECT 2) c;"
        "INSERT INTO u SELECT b, a, 1 FROM t WHERE c = '2024-01-01'"
    )
    loaded(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    mysql_source.execute(
        "UPDATE t SET v = 2 WHERE b = 0; DELETE FROM t WHERE a = 'b' AND b = 2;"
        "UPDATE t SET b = b + 10 WHERE a = 'c'; UPDATE u SET z = -z, v = 3 ORDER BY z;"
        "DELETE FROM u WHERE `y` = 'a' AND z = 0"
    )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}


def test_a_unique_key_that_may_be_null_is_no_identity(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    mysql_source.execute(
        "CREATE TABLE t (u int NULL UNIQUE, v int); INSERT INTO t VALUES (NULL, 1), (NULL, 1), (1, 1)"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute(
        "INSERT INTO t VALUES (NULL, 1), (2, 1); DELETE FROM t WHERE u IS NULL LIMIT 1;"
        "UPDATE t SET u = NULL WHERE u = 1; UPDATE t SET v = 2 WHERE u IS NULL LIMIT 1"
    )
    caught_up(mysql_source, target_db)
    here, there = (
        rows(end, mysql_source.name, "t", ["u", "v"]) for end in (mysql_source, target_db)
    )
    assert here == there
    assert unequal(mysql_source, target_db) == {}


def test_names_that_need_quotes_in_every_statement(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Reserved words, dots, quotes, blanks, percent signs, capitals, and names beyond ASCII."""
    names = ["select", "a.b", 'quo"te', "bl ank", "per%cent", "Mixed", "mixed", "ünïcode", "`tick`",
             "1st", "semi;colon", "x" * 63, "{brace}", "back\\slash", "Group By"]  # fmt: skip
    folded = mysql_source.fetch("SELECT @@lower_case_table_names")[0][0]
    tables = [n for n in names if not (folded and n == "mixed")]
    for name in tables:
        table, column = (f"`{n.replace('`', '``')}`" for n in (name, name + "c"[: 63 - len(name)]))
        mysql_source.execute(
            f"CREATE TABLE {table} ({column} int PRIMARY KEY, `Order` int, `V %s` varchar(9),"
            f" KEY {column} (`Order`)); INSERT INTO {table} VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')"
        )
    loaded(mysql_source, target_db)
    for name in tables:
        table, column = (f"`{n.replace('`', '``')}`" for n in (name, name + "c"[: 63 - len(name)]))
        mysql_source.execute(
            f"UPDATE {table} SET `Order` = 9, `V %s` = '%s' WHERE {column} = 1;"
            f"UPDATE {table} SET {column} = 10 WHERE {column} = 2; DELETE FROM {table} WHERE {column} = 3;"
            f"INSERT INTO {table} VALUES (4, 4, 'd')".replace("%", "%")
        )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    with moving(mysql_source, target_db) as migrator:
        for mapping in migrator.mappings:
            schema, table = (part.replace('"', '""') for part in mapping.target)
            found = target_db.fetch(
                f'SELECT "V %s" FROM "{schema}"."{table}"'.replace("%", "%%"), []
            )
            assert sorted(v for (v,) in found) == ["%s", "b", "d"], mapping.target


def test_names_longer_than_postgresql_has_and_alike(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """64 characters, 63 bytes of which are the same; columns, indexes and foreign keys as well."""
    long = "n" * 63
    mysql_source.execute(
        f"CREATE TABLE {long}1 (id int PRIMARY KEY, {long}a int, {long}b int, KEY k ({long}a));"
        f"CREATE TABLE {long}2 (id int PRIMARY KEY, {long}a int, {long}b int, KEY k ({long}b),"
        f" CONSTRAINT {long}f FOREIGN KEY (id) REFERENCES {long}1 (id));"
        f"CREATE TABLE {'é' * 40} (id int PRIMARY KEY, {'ü' * 40} int);"
        f"INSERT INTO {long}1 VALUES (1, 2, 3), (2, 3, 4); INSERT INTO {long}2 VALUES (1, 20, 30);"
        f"INSERT INTO {'é' * 40} VALUES (1, 1)"
    )
    loaded(mysql_source, target_db)
    mysql_source.execute(
        f"UPDATE {long}1 SET {long}b = 5; UPDATE {long}2 SET {long}a = 6;"
        f"INSERT INTO {long}2 VALUES (2, 7, 8); UPDATE {'é' * 40} SET {'ü' * 40} = 2"
    )
    caught_up(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    with moving(mysql_source, target_db) as migrator:
        assert len({m.target for m in migrator.mappings}) == 3
        for mapping in migrator.mappings:
            assert len({c.target for c in mapping.columns}) == len(mapping.columns)


def test_patterns_in_names_are_no_patterns(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """`a_b` is not `axb`; a table that is called like its database; databases with one beginning."""
    server = mysql_source.server
    with server.create_database(mysql_source.name + "x") as other:
        for database in (mysql_source, other):
            database.execute("CREATE TABLE a_b (id int PRIMARY KEY); INSERT INTO a_b VALUES (1)")
            database.execute("CREATE TABLE axb (id int PRIMARY KEY); INSERT INTO axb VALUES (2)")
            database.execute(f"CREATE TABLE {mysql_source.name} (id int PRIMARY KEY)")
        tables = {
            "include": [f"{mysql_source.name}.a_b", f"{mysql_source.name}.{mysql_source.name}"]
        }
        loaded(mysql_source, target_db, tables=tables)
        for database in (mysql_source, other):
            database.execute(
                f"INSERT INTO a_b VALUES (10); INSERT INTO axb VALUES (20);"
                f"INSERT INTO {mysql_source.name} VALUES (30)"
            )
        caught_up(mysql_source, target_db, tables=tables)
        assert unequal(mysql_source, target_db, tables=tables) == {}
        schema = f'"{mysql_source.name}"'
        assert target_db.fetch(f"SELECT id FROM {schema}.a_b ORDER BY 1") == [(1,), (10,)]
        assert target_db.fetch(f"SELECT id FROM {schema}.{schema}") == [(30,)]
        assert target_db.fetch("SELECT count(*) FROM pg_tables WHERE tablename = 'axb'") == [(0,)]


def test_differences_that_a_collation_or_a_sum_hides_are_found(
    mysql_source: MySqlDatabase, target_db: Database
) -> None:
    """Case, blanks at the end, values that changed places between rows or columns, a zero byte."""
    mysql_source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a varchar(9) COLLATE utf8mb4_general_ci, b varchar(9),"
        " k varbinary(5), n int, m int);"
        "INSERT INTO t SELECT seq, CONCAT('A', seq), CONCAT('b', seq), CHAR(seq, 0), seq, -seq"
        " FROM (SELECT 1 seq UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION"
        " SELECT 6 UNION SELECT 7 UNION SELECT 8) s"
    )
    loaded(mysql_source, target_db)
    assert unequal(mysql_source, target_db) == {}
    table = f'"{mysql_source.name}".t'
    for damage in (
        "a = lower(a) WHERE id = 1",
        "a = a || ' ' WHERE id = 2",
        "n = 7 - n WHERE id IN (3, 4)",
        "n = m, m = n WHERE id = 5",
        "k = substr(k, 1, 1) WHERE id = 6",
        "b = NULL WHERE id = 7",
        "id = 80 WHERE id = 8",
    ):
        target_db.execute(f"UPDATE {table} SET {damage}")
    with moving(mysql_source, target_db) as migrator:
        (report,) = migrator.validate().tables
        found = {str(key) for _, key in report.differences}
    assert len(found) == 9, found  # 1 … 8, and 80
    with moving(mysql_source, target_db) as migrator:
        migrator.validate(repair=True)
    assert unequal(mysql_source, target_db) == {}

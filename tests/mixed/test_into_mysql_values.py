"""PostgreSQL's values in MySQL, where the two engines mean different things by the same words."""

from __future__ import annotations

import pytest

from godwit.errors import LoadError
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import caught_up, loaded, moving, rows, unequal


def test_keys_that_differ_by_case_blanks_and_accents(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE k (a text, b varchar(30), n int, big text, PRIMARY KEY (a, b));
        ALTER TABLE k ALTER big SET STORAGE EXTERNAL;
        INSERT INTO k SELECT w, 'x', n, repeat(md5(n::text), 200) FROM unnest(ARRAY['A', 'a', 'a ',
          'ä', '', E'a\\t', 'ß', 'ss', '😀', '😁', E'a\\x01', 'é', U&'e\\0301']) WITH ORDINALITY q(w, n);
        INSERT INTO k VALUES ('a', 'x ', 20, NULL), ('a', 'X', 21, '')
    """)
    loaded(source_db, mysql_target)
    source_db.execute(f"""
        SET search_path = {schema};
        UPDATE k SET n = n + 100;
        DELETE FROM k WHERE a = 'a' AND b = 'x';
        UPDATE k SET a = a || ' ' WHERE a = 'A';
        UPDATE k SET a = 'a' WHERE a = 'a ' AND b = 'x';
        INSERT INTO k VALUES ('A', 'x', 50, 'z'), ('å', 'x', 51, 'z');
        UPDATE k SET a = upper(a) WHERE a IN ('ss', 'ä')
    """)
    caught_up(source_db, mysql_target)
    columns = ["a", "b", "n", "big"]
    assert rows(source_db, schema, "k", columns) == rows(mysql_target, schema, "k", columns)
    assert unequal(source_db, mysql_target) == {}


def test_blanks_of_fixed_texts_mean_nothing(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    schema = mysql_target.name
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (a char(300) PRIMARY KEY, b char(3));"
        f" INSERT INTO {schema}.k VALUES ('q', 'z'), ('r ', '  y')"
    )
    loaded(source_db, mysql_target)
    source_db.execute(
        f"INSERT INTO {schema}.k VALUES ('s  ', ''); UPDATE {schema}.k SET a = 'rr' WHERE a = 'r';"
        f" DELETE FROM {schema}.k WHERE a = 'q'"
    )
    caught_up(source_db, mysql_target)
    found = mysql_target.fetch("SELECT CONCAT('<', a, '>'), CONCAT('<', b, '>') FROM k ORDER BY a")
    assert found == [("<rr>", "<  y>"), ("<s>", "<>")]
    assert unequal(source_db, mysql_target) == {}


def test_the_largest_and_smallest_numbers(source_db: Database, mysql_target: MySqlDatabase) -> None:
    schema = mysql_target.name
    insert = (
        f"INSERT INTO {schema}.k SELECT %s + n, r::real, r::float8 FROM unnest(ARRAY['3.4028235e38',"
        " '-3.4028235e38', '1e-45', '1.17549435e-38', '8388609', '0.3']) WITH ORDINALITY q(r, n)"
    )
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY, r real, d float8)"
    )
    source_db.execute(insert, [0])
    loaded(source_db, mysql_target)
    source_db.execute(insert, [100])
    caught_up(source_db, mysql_target)
    shown = source_db.fetch(f"SELECT id, r::float8, d FROM {schema}.k ORDER BY id")
    # The server's own shortest text of a FLOAT has six digits; a sum has them all.
    assert mysql_target.fetch("SELECT id, r * 1e0, d FROM k ORDER BY id") == shown
    assert unequal(source_db, mysql_target) == {}


def test_the_clock_of_the_target_stands_still(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    schema = mysql_target.name
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY, v int, big text,"
        f" at timestamp); ALTER TABLE {schema}.k ALTER big SET STORAGE EXTERNAL;"
        f" INSERT INTO {schema}.k SELECT g, g, repeat(md5(g::text), 300), '2020-01-01'"
        " FROM generate_series(1, 20) g"
    )
    loaded(source_db, mysql_target)
    clock = "timestamp(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6)"
    mysql_target.execute(
        f"ALTER TABLE k MODIFY at datetime(6) NULL ON UPDATE CURRENT_TIMESTAMP(6),"
        f" ADD COLUMN touched {clock}"
    )
    source_db.execute(
        f"UPDATE {schema}.k SET v = v + 1; UPDATE {schema}.k SET big = big || 'x' WHERE id < 5;"
        f" UPDATE {schema}.k SET id = id + 1000 WHERE id = 7"
    )
    caught_up(source_db, mysql_target)
    columns = ["id", "v", "big", "at"]
    assert rows(source_db, schema, "k", columns) == rows(mysql_target, schema, "k", columns)
    assert mysql_target.fetch("SELECT COUNT(*) FROM k WHERE touched IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float8", "'NaN'"),
        ("numeric", "1e40"),
        ("numeric", "1e-31"),
        ("numeric", "'NaN'"),
        ("date", "'0044-03-15 BC'"),
        ("timestamptz", "'infinity'"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(
    source_db: Database, mysql_target: MySqlDatabase, kind: str, value: str
) -> None:
    schema = mysql_target.name
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY, odd {kind});"
        f" INSERT INTO {schema}.k VALUES (1, NULL)"
    )
    loaded(source_db, mysql_target)
    source_db.execute(f"UPDATE {schema}.k SET odd = {value}; INSERT INTO {schema}.k VALUES (2)")
    caught_up(source_db, mysql_target)
    assert mysql_target.fetch("SELECT * FROM k ORDER BY id") == [(1, None), (2, None)]
    query = "SELECT statement, `key`, error FROM godwit.apply_exceptions WHERE table_owner = %s"
    ((statement, key, error),) = mysql_target.fetch(query, [schema])
    assert (statement, key) == ("UPDATE", "id=1")
    assert "odd" in error
    assert "44" not in error
    with moving(source_db, mysql_target) as migrator:
        migrator.cleanup()


def test_a_row_larger_than_a_packet_is_refused_with_the_limit(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """Where LOAD DATA is forbidden, a row is one statement."""
    schema = mysql_target.name
    (limit, local), *_ = mysql_target.fetch("SELECT @@GLOBAL.max_allowed_packet, @@local_infile")
    assert local
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY, v text);"
        f" INSERT INTO {schema}.k VALUES (1, 'a')"
    )
    loaded(source_db, mysql_target)
    mysql_target.execute("SET GLOBAL local_infile = 0, GLOBAL max_allowed_packet = 1048576")
    try:
        source_db.execute(
            f"UPDATE {schema}.k SET v = repeat('x', 1100000); INSERT INTO {schema}.k VALUES (2)"
        )
        caught_up(source_db, mysql_target)
    finally:
        mysql_target.execute(f"SET GLOBAL local_infile = 1, GLOBAL max_allowed_packet = {limit:d}")
    assert mysql_target.fetch("SELECT * FROM k ORDER BY id") == [(1, "a"), (2, None)]
    query = "SELECT `key`, error FROM godwit.apply_exceptions WHERE table_owner = %s"
    ((key, error),) = mysql_target.fetch(query, [schema])
    assert key == "id=1"
    assert "max_allowed_packet" in error


def test_json_that_only_the_source_knows_is_refused_with_the_way_out(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    schema = mysql_target.name
    nested = "[" * 200 + "]" * 200
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY, j json);"
        f" INSERT INTO {schema}.k VALUES (1, '{nested}')"
    )
    # MySQL names neither the column nor a constraint.
    who = "k_j_json" if mysql_target.server.mariadb else "JSON document exceeds the maximum depth"
    with pytest.raises(LoadError, match=rf"{who}(?s:.*)json: text"):
        loaded(source_db, mysql_target)
    with moving(source_db, mysql_target) as migrator:
        migrator.cleanup()
    mysql_target.execute("DROP TABLE k")
    target = {"conn_id": "b", "settings": {"json": "text"}}
    loaded(source_db, mysql_target, target=target)
    assert mysql_target.fetch("SELECT id, j FROM k") == [(1, nested)]


def test_bits_by_default(source_db: Database, mysql_target: MySqlDatabase) -> None:
    schema = mysql_target.name
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.k (id int PRIMARY KEY,"
        " b bit(3) DEFAULT B'101', v bit varying(9) DEFAULT '11')"
    )
    told = loaded(source_db, mysql_target)
    assert told.findings("default-left-out") == []
    mysql_target.execute("INSERT INTO k (id) VALUES (1)")
    assert mysql_target.fetch("SELECT b + 0, v FROM k") == [(5, "11")]

"""Where a load ends and the changes begin: transactions that are open across it, positions that are
asked for again, filters, partitions, foreign keys, and tables that come or grow meanwhile.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from godwit.errors import GodwitError
from godwit.steps import bundling
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import AnyDatabase, assert_same, caught_up, loaded, moving, rows, unequal
from tests.mixed.test_shops import renamed
from tests.scenarios.migrations import Told
from tests.scenarios.shaped import condition, selection, where

TABLE = "CREATE TABLE t (id int PRIMARY KEY, u varchar(20) UNIQUE, v int);"
FIVE = "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', 4), (5, 'e', 5);"
COLUMNS = {"t": ["id", "u", "v"]}
Ends = tuple[MySqlDatabase, AnyDatabase]


@pytest.fixture(params=["target_db", "mysql_target"])
def ends(request: Any, mysql_source: MySqlDatabase) -> Ends:
    """From MySQL to either engine."""
    return mysql_source, request.getfixturevalue(request.param)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows are a chunk, and a chunk is a task."""
    monkeypatch.setattr(bundling, "ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(bundling, "LEAST_BUNDLE_BYTES", 1)
    monkeypatch.setattr(bundling, "CHUNK_COST", 1 << 30)


def numbers(last: int) -> str:
    """A table of the numbers up to `last`, on every server."""
    more = f"SELECT seq + 1 FROM n WHERE seq < {last}"
    return f"(WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL {more}) SELECT seq FROM n) numbers"


def of(source: MySqlDatabase) -> dict[str, Any]:
    """The source's own database, whatever others the target's server has."""
    return {"tables": {"include": [f"{source.name}.*"]}}


# -- transactions


@pytest.mark.usefixtures("small_chunks")
def test_transactions_that_are_open_while_others_commit(ends: Ends) -> None:
    """Begun before the position is taken, before a chunk is read or in the session before: each
    arrives with its commit, whoever has begun or committed first.
    """
    source, target = ends
    source.execute(TABLE + FIVE + "CREATE TABLE w (id int PRIMARY KEY, u varchar(20), v int)")
    with source.connect(autocommit=False) as early, source.connect(autocommit=False) as late:
        before, after = early.cursor(), late.cursor()
        before.execute("INSERT INTO t VALUES (10, 'early', 0), (11, 'too', 0)")
        before.execute("UPDATE t SET v = 100 WHERE id = 1")
        told = Told()
        with moving(source, target, told, **of(source)) as migrator:
            migrator.configure_endpoints()
            migrator.convert_schema()
            bundles = migrator.plan_chunks()
            source.execute("UPDATE t SET v = 22 WHERE id = 2; INSERT INTO w VALUES (1, 'w', 1)")
            after.execute("DELETE FROM t WHERE id = 5")
            for place, bundle in enumerate(bundles):
                migrator.load(bundle)
                if place == 0:
                    early.commit()
            migrator.catch_up()
            migrator.finish_schema()
        before.execute("UPDATE t SET id = 30 WHERE id = 3")
        caught_up(source, target, **of(source))
        source.execute("INSERT INTO t VALUES (6, 'f', 6)")
        caught_up(source, target, **of(source))
        late.commit()
        after.execute("INSERT INTO t VALUES (5, 'e', 55)")
        early.commit()
        caught_up(source, target, **of(source))
        late.commit()
    caught_up(source, target, **of(source))
    assert_same(source, target, {**COLUMNS, "w": ["id", "u", "v"]}, source.name)
    assert unequal(source, target, **of(source)) == {}


def test_a_session_ends_behind_every_transaction(ends: Ends) -> None:
    """Many rows in one event, several tables in one statement, a moved key as the last change."""
    source, target = ends
    source.execute(TABLE + FIVE + "CREATE TABLE w LIKE t")
    loaded(source, target, **of(source))
    for transaction in (
        "UPDATE t SET id = id + 10 ORDER BY id DESC",
        "START TRANSACTION; INSERT INTO w SELECT * FROM t; UPDATE t SET id = 1 WHERE id = 11; COMMIT",
        "START TRANSACTION; UPDATE t JOIN w USING (u) SET t.v = 7, w.v = 8; UPDATE w SET id = id - 10"
        " ORDER BY id; COMMIT",
        "INSERT INTO t SELECT id + 100, NULL, v FROM w",
        "DELETE t, w FROM t JOIN w USING (u) WHERE t.id > 13",
        "REPLACE INTO t VALUES (1, 'a', 2), (12, 'a2', 3), (13, 'a', 4)",
    ):
        source.execute(transaction)
        caught_up(source, target, **of(source))
        assert_same(source, target, {**COLUMNS, "w": ["id", "u", "v"]}, source.name)
    assert unequal(source, target, **of(source)) == {}


@pytest.mark.usefixtures("small_chunks")
def test_the_first_position_stays_whatever_is_tried_again(ends: Ends) -> None:
    """A position that is taken anew with every attempt is behind what the first chunks lack."""
    source, target = ends
    source.execute(TABLE + FIVE)
    with moving(source, target, **of(source)) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        first = migrator.plan_chunks()
        migrator.load(first[0])
        low = migrator.control.progress().checkpoint
    source.execute(
        "UPDATE t SET v = -v; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (0, 'z', 0)"
    )
    for _ in range(2):
        with moving(source, target, **of(source)) as migrator:
            migrator.configure_endpoints()
            migrator.convert_schema()
            migrator.open_capture()
            assert migrator.plan_chunks() == first
            assert migrator.control.progress().checkpoint == low
            with pytest.raises(GodwitError):
                migrator.catch_up()
        source.execute("UPDATE t SET id = id + 7 WHERE id = 2")
    with moving(source, target, **of(source)) as migrator:
        for bundle in migrator.plan_chunks():
            migrator.load(bundle)
        migrator.catch_up()
        migrator.finish_schema()
    assert_same(source, target, COLUMNS, source.name)
    assert unequal(source, target, **of(source)) == {}


# -- filters


def test_rows_move_in_and_out_of_a_filter(ends: Ends) -> None:
    """The load and the changes choose the same rows; where they could not, it is said at once."""
    source, target = ends
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int, w varbinary(9), d date,"
        " b bigint unsigned);"
        "INSERT INTO t SELECT seq, NULLIF(seq % 20, 7), CHAR(65 + seq % 50), '2024-01-01' + INTERVAL"
        f" seq DAY, 18446744073709551615 - seq FROM {numbers(100)}"
    )
    for name in ("u", "x", "y"):
        source.execute(f"CREATE TABLE {name} LIKE t; INSERT INTO {name} SELECT * FROM t")
    filters = {
        "t": (where("n", condition("gte", "5")), "n >= 5"),
        "u": (where("n", condition("notbetween", "4", "12")), "n NOT BETWEEN 4 AND 12"),
        "x": (where("d", condition("lt", "2024-02-20"), condition("null")), "d < '2024-02-20' OR d IS NULL"),
        "y": (where("b", condition("gt", "18446744073709551575")), "b > 18446744073709551575"),
    }  # fmt: skip
    rules = [
        selection(f"{source.name}.{table}", filters=[rule]) for table, (rule, _) in filters.items()
    ]
    doubtful = selection(f"{source.name}.ci", filters=[where("w", condition("gt", "c"))])
    for number, rule in enumerate([*rules, doubtful]):
        rule |= {"rule-id": str(number), "rule-name": str(number)}
    source.execute("CREATE TABLE ci (id int PRIMARY KEY, w varchar(9) COLLATE utf8mb4_general_ci)")
    with pytest.raises(GodwitError, match=r"\.ci\.w: .* different texts for equal"):
        loaded(source, target, table_mappings={"rules": [doubtful]})
    mapped = {"table_mappings": {"rules": rules}}
    loaded(source, target, **mapped)
    for table in filters:
        source.execute(
            f"UPDATE {table} SET n = n + 6, w = LOWER(CHAR(ASCII(w) + 2)), d = d + INTERVAL 9 DAY, b = b - 9"
            f" WHERE id % 3 = 0; UPDATE {table} SET n = NULL, d = NULL WHERE id % 8 = 0;"
            f"UPDATE {table} SET id = id + 1000, n = 9 WHERE id % 10 = 1; DELETE FROM {table} WHERE id % 7 = 0;"
            f"INSERT INTO {table} SELECT id + 5000, n - 3, w, d, b FROM {table} WHERE id % 5 = 0"
        )
    caught_up(source, target, **mapped)
    for table, (_, sql) in filters.items():
        wanted = dict.fromkeys(source.fetch(f"SELECT id FROM {table} WHERE {sql}"), 1)
        assert rows(target, source.name, table, ["id"]) == wanted, table
        assert len(wanted) > 5
    assert unequal(source, target, **mapped) == {}


# -- tables that come or grow


def test_a_table_that_is_made_while_others_are_followed(ends: Ends) -> None:
    """It is told, stays out, and comes with a migration of its own that does not touch the others."""
    source, target = ends
    source.execute(TABLE + FIVE)
    loaded(source, target, **of(source))
    source.execute("CREATE TABLE later (id int PRIMARY KEY, u varchar(20), v int);"
                   "INSERT INTO later VALUES (1, 'x', 1); UPDATE t SET v = 7")  # fmt: skip
    told = Told()
    with moving(source, target, told, **of(source)) as migrator:
        migrator.configure_endpoints()
        migrator.follow(migrator.source.position())
    assert [f["subject"] for f in told.findings("table-new")] == [f"{source.name}.later"]
    own = {"name": f"l_{source.name}", "tables": {"include": [f"{source.name}.later"]}}
    loaded(source, target, **own)
    source.execute("UPDATE t SET v = 8 WHERE id < 3; UPDATE later SET v = 2; DELETE FROM t WHERE id = 5;"
                   "INSERT INTO later VALUES (2, 'y', 2)")  # fmt: skip
    caught_up(source, target, **of(source))
    caught_up(source, target, **own)
    assert_same(source, target, {**COLUMNS, "later": ["id", "u", "v"]}, source.name)
    assert unequal(source, target, **own) == {}
    with moving(source, target, **own) as migrator:
        migrator.cleanup(control_tables=False)


@pytest.mark.usefixtures("small_chunks")
def test_a_table_that_grows_behind_its_last_chunk(ends: Ends) -> None:
    """Rows with ever larger keys, as counters make them, and below the first as well."""
    source, target = ends
    source.execute(TABLE + FIVE)
    with moving(source, target, **of(source)) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        bundles = migrator.plan_chunks()
        for number, bundle in enumerate(bundles):
            first = 1000 * (number + 1)
            source.execute(f"INSERT INTO t SELECT seq + {first}, NULL, 1 FROM {numbers(50)};"
                           f"INSERT INTO t VALUES (-{first}, NULL, 0)")  # fmt: skip
            migrator.load(bundle)
        migrator.catch_up()
        migrator.finish_schema()
    assert_same(source, target, COLUMNS, source.name)
    assert unequal(source, target, **of(source)) == {}


def test_keys_in_heaps_and_far_apart(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value for nearly all rows, and gaps of the whole range: no chunk without rows."""
    monkeypatch.setattr(bundling, "ROWS_PER_CHUNK", 20)
    monkeypatch.setattr(bundling, "LEAST_BUNDLE_BYTES", 1)
    monkeypatch.setattr(bundling, "CHUNK_COST", 1 << 30)
    source, target = ends
    source.execute(
        "CREATE TABLE heap (a varchar(9), b int, v int, PRIMARY KEY (a, b));"
        f"INSERT INTO heap SELECT IF(seq < 190, 'same', CONCAT('k', seq)), seq, 1 FROM {numbers(200)};"
        "CREATE TABLE far (id bigint PRIMARY KEY, b int, v int);"
        f"INSERT INTO far SELECT IF(seq % 2, 1, -1) * (4611686018427387904 + CAST(seq AS SIGNED) * 7919), seq, 1 FROM {numbers(100)};"
        "INSERT INTO far VALUES (0, 0, 1), (1, 0, 1), (-9223372036854775808, 0, 1)"
    )
    with moving(source, target, **of(source)) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        bundles = migrator.plan_chunks()
        lines = [line for bundle in bundles for line in migrator.load(bundle)]
        migrator.catch_up()
        migrator.finish_schema()
    assert len(lines) >= 8
    assert all(line.rows for line in lines), [(line.chunk.label, line.rows) for line in lines]
    assert_same(source, target, {"heap": ["a", "b", "v"], "far": ["id", "b", "v"]}, source.name)


# -- what belongs together


def test_foreign_keys_that_changes_meet_in_the_wrong_order(ends: Ends) -> None:
    """Children first, rings, rows that refer to themselves, parents changed behind their backs."""
    source, target = ends
    source.execute(
        "CREATE TABLE a (id int PRIMARY KEY, b int, up int, FOREIGN KEY (up) REFERENCES a (id));"
        "CREATE TABLE b (id int PRIMARY KEY, a int, c int, FOREIGN KEY (a) REFERENCES a (id));"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (id);"
        "CREATE TABLE c (x int, y int, a int, PRIMARY KEY (x, y), UNIQUE KEY (y, x));"
        "CREATE TABLE d (id int PRIMARY KEY, y int, x int, FOREIGN KEY (y, x) REFERENCES c (y, x));"
        "SET foreign_key_checks = 0;"
        "INSERT INTO a VALUES (1, 1, 2), (2, NULL, 2), (3, 2, 1); INSERT INTO b VALUES (1, 3, 0), (2, 1, 0);"
        "INSERT INTO c VALUES (1, 2, 0), (2, 1, 0); INSERT INTO d VALUES (1, 2, 1), (2, 1, 2)"
    )
    loaded(source, target, **of(source))
    source.execute(
        "SET foreign_key_checks = 0; START TRANSACTION; INSERT INTO d VALUES (3, 9, 8);"
        "INSERT INTO a VALUES (4, 4, 4), (5, 4, 6); INSERT INTO b VALUES (4, 5, 1);"
        "INSERT INTO a VALUES (6, NULL, 5); INSERT INTO c VALUES (8, 9, 0); COMMIT;"
        "START TRANSACTION; DELETE FROM a WHERE id = 3; UPDATE b SET a = 4 WHERE a = 3; COMMIT;"
        "UPDATE c SET x = 80 WHERE x = 8; UPDATE d SET x = 80 WHERE x = 8;"
        "DELETE FROM b WHERE id = 1; UPDATE a SET b = 2 WHERE b = 1"
    )
    caught_up(source, target, **of(source))
    tables = {"a": ["id", "b", "up"], "b": ["id", "a", "c"], "c": ["x", "y"], "d": ["id", "y", "x"]}
    assert_same(source, target, tables, source.name)
    assert unequal(source, target, **of(source)) == {}


def test_partitions_of_partitions(ends: Ends) -> None:
    """Every row once, empty parts, rows that move between parts, parts that are emptied or dropped."""
    source, target = ends
    source.execute(
        "CREATE TABLE t (id int, at date, v int, PRIMARY KEY (id, at))"
        " PARTITION BY RANGE (YEAR(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 3"
        " (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN (2010),"
        "  PARTITION p2 VALUES LESS THAN (2020), PARTITION p3 VALUES LESS THAN MAXVALUE);"
        f"INSERT INTO t SELECT seq, '2005-01-01' + INTERVAL (seq % 20) YEAR, 1 FROM {numbers(60)}"
    )
    loaded(source, target, **of(source))
    columns = {"t": ["id", "at", "v"]}
    source.execute(
        "UPDATE t SET at = at + INTERVAL 9 YEAR, v = 2 WHERE id % 4 = 0; UPDATE t SET id = id + 100 WHERE id < 9;"
        "DELETE FROM t WHERE id % 10 = 5; INSERT INTO t VALUES (500, '1990-01-01', 5);"
        "ALTER TABLE t REORGANIZE PARTITION p3 INTO (PARTITION p3 VALUES LESS THAN (2030),"
        " PARTITION p4 VALUES LESS THAN MAXVALUE); UPDATE t SET v = v + 1"
    )
    caught_up(source, target, **of(source))
    assert_same(source, target, columns, source.name)
    assert unequal(source, target, **of(source)) == {}
    source.execute(
        "ALTER TABLE t TRUNCATE PARTITION p1; ALTER TABLE t DROP PARTITION p0; UPDATE t SET v = 9"
    )
    caught_up(source, target, **of(source))
    with moving(source, target, **of(source)) as migrator:
        if not migrator.control.suspended():
            assert_same(source, target, columns, source.name)


def test_heirs_and_partitions_of_postgresql(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """A parent is not read with its heirs; a partitioned table is one; a table may have no column."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE parent (id int PRIMARY KEY, v int);
        CREATE TABLE heir (extra text, PRIMARY KEY (id)) INHERITS (parent);
        CREATE TABLE grandchild (more int, PRIMARY KEY (id)) INHERITS (heir);
        CREATE TABLE p (id int, at date, v int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE p_old PARTITION OF p FOR VALUES FROM (MINVALUE) TO ('2010-01-01');
        CREATE TABLE p_new PARTITION OF p FOR VALUES FROM ('2010-01-01') TO (MAXVALUE)
          PARTITION BY LIST (id);
        CREATE TABLE p_new_1 (v int, at date NOT NULL, id int NOT NULL);
        ALTER TABLE p_new ATTACH PARTITION p_new_1 FOR VALUES IN (1, 2, 3);
        CREATE TABLE p_new_x PARTITION OF p_new DEFAULT;
        INSERT INTO parent VALUES (1, 1), (2, 2); INSERT INTO heir VALUES (1, 10, 'h'), (3, 30, 'i');
        INSERT INTO grandchild VALUES (1, 100, 'g', 5);
        INSERT INTO p SELECT g, date '2005-01-01' + g * 365, g FROM generate_series(1, 12) g;
    """)
    loaded(source_db, mysql_target)
    source_db.execute(f"""
        SET search_path = {schema};
        UPDATE parent SET v = v + 1; DELETE FROM ONLY parent WHERE id = 2; INSERT INTO heir VALUES (4, 4, NULL);
        UPDATE p SET at = at + 3000 WHERE id < 5; UPDATE p SET id = 3 WHERE id = 9; UPDATE p SET v = -v;
        DELETE FROM p WHERE id = 12; INSERT INTO p VALUES (2, '2030-01-01', 2), (99, '1999-01-01', 0);
    """)
    caught_up(source_db, mysql_target)
    assert_same(source_db, mysql_target, {"p": ["id", "at", "v"]}, schema)
    # A plain SELECT shows the rows of heirs as well.
    for table, columns in {
        "parent": "id, v",
        "heir": "id, v, extra",
        "grandchild": "id, v, more",
    }.items():
        here = source_db.fetch(f"SELECT {columns} FROM ONLY {schema}.{table} ORDER BY id")
        assert here == list(mysql_target.fetch(f"SELECT {columns} FROM {table} ORDER BY id")), table
    assert unequal(source_db, mysql_target) == {}


def test_a_table_without_columns_has_no_equal(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """It is told by name, and no other table has to wait for it."""
    schema = mysql_target.name
    source_db.execute(
        f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.bare (); INSERT INTO {schema}.bare DEFAULT VALUES;"
        f"CREATE TABLE {schema}.t (id int PRIMARY KEY); INSERT INTO {schema}.t VALUES (1)"
    )
    with moving(source_db, mysql_target) as migrator:
        found = [f for f in migrator.assess().findings if f.subject == f"{schema}.bare"]
    assert any("column" in f.reason for f in found), found
    loaded(source_db, mysql_target, tables={"include": ["*.*"], "exclude": ["*.bare"]})
    assert mysql_target.fetch("SELECT id FROM t") == [(1,)]


# -- several at once


def test_a_schema_that_several_workers_make_at_once(ends: Ends) -> None:
    """Every table, index and key is made once; nobody fails for what another has just made."""
    source, target = ends
    for number in range(6):
        source.execute(
            f"CREATE TABLE t{number} (id int PRIMARY KEY, u varchar(20) UNIQUE, e enum('a','b'), KEY (e));"
            f"INSERT INTO t{number} VALUES (1, 'a', 'a')"
        )
    rules = of(source)
    if isinstance(target, MySqlDatabase):
        rules = {"table_mappings": renamed(source.name, target.name)}
    with moving(source, target, **rules) as migrator:
        migrator.configure_endpoints()
    barrier = threading.Barrier(4)

    def work(_: int) -> None:
        with moving(source, target, **rules) as migrator:
            barrier.wait()
            migrator.convert_schema()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with moving(source, target, **rules) as migrator:
        for bundle in migrator.plan_chunks():
            migrator.load(bundle)
        migrator.catch_up()
        migrator.finish_schema()
    assert unequal(source, target, **rules) == {}


# -- what PostgreSQL's log tells in its own way


def test_truncations_of_postgresql(source_db: Database, mysql_target: MySqlDatabase) -> None:
    """Of several tables, with those that refer to them, of a partitioned table and of one part."""
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE a (id serial PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
        CREATE TABLE c (id int PRIMARY KEY, v int); CREATE TABLE d (id int PRIMARY KEY, v int);
        CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
        CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
        INSERT INTO a (v) VALUES (1), (2); INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1);
        INSERT INTO d VALUES (1, 1); INSERT INTO p VALUES (1, 1), (2, 2);
    """)
    loaded(source_db, mysql_target)
    source_db.execute(f"""
        SET search_path = {schema}; INSERT INTO a (v) VALUES (3); UPDATE d SET v = 2;
        TRUNCATE a CASCADE; INSERT INTO a (v) VALUES (9);
        BEGIN; INSERT INTO c VALUES (2, 2); TRUNCATE c, d RESTART IDENTITY; INSERT INTO c VALUES (2, 3); COMMIT;
        BEGIN; TRUNCATE d; INSERT INTO d VALUES (7, 7); ROLLBACK; INSERT INTO d VALUES (8, 8)
    """)
    caught_up(source_db, mysql_target)
    tables = {
        "a": ["id", "v"],
        "b": ["id", "a"],
        "c": ["id", "v"],
        "d": ["id", "v"],
        "p": ["id", "k"],
    }
    assert_same(source_db, mysql_target, tables, schema)
    assert unequal(source_db, mysql_target) == {}
    source_db.execute(f"TRUNCATE {schema}.p2; UPDATE {schema}.a SET v = 10")
    caught_up(source_db, mysql_target)
    with moving(source_db, mysql_target) as migrator:
        out = {table.name: why for table, why in migrator.control.suspended().items()}
    # The rows of the other part never go with it.
    assert rows(mysql_target, schema, "p", ["id", "k"])[(1, 1)] == 1
    assert set(out) == {"p"}
    assert "p2" in out["p"]
    assert mysql_target.fetch("SELECT v FROM a") == [(10,)]


def test_values_that_are_kept_outside_of_their_rows(
    source_db: Database, mysql_target: MySqlDatabase
) -> None:
    """An update does not tell them unless they changed: in later batches, with a new key, and told
    apart from NULL and from nothing.
    """
    schema = mysql_target.name
    source_db.execute(f"""
        CREATE SCHEMA {schema}; SET search_path = {schema};
        CREATE TABLE t (id int PRIMARY KEY, big text, raw bytea, v int);
        ALTER TABLE t ALTER big SET STORAGE EXTERNAL; ALTER TABLE t ALTER raw SET STORAGE EXTERNAL;
        INSERT INTO t SELECT g, repeat(md5(g::text), 300), decode(repeat(md5(g::text), 300), 'hex'), 1
          FROM generate_series(1, 8) g;
    """)
    loaded(source_db, mysql_target)
    columns = {"t": ["id", "big", "raw", "v"]}
    for change in (
        "INSERT INTO t SELECT g, repeat(md5(g::text), 300), '\\x00', 1 FROM generate_series(9, 12) g",
        "UPDATE t SET v = 2",
        "UPDATE t SET id = id + 100, v = 3 WHERE id % 2 = 0",
        "UPDATE t SET big = NULL WHERE id = 1; UPDATE t SET big = '' WHERE id = 3; UPDATE t SET raw = '' WHERE id = 5",
        "BEGIN; UPDATE t SET big = repeat('n', 9000) WHERE id = 7; UPDATE t SET v = 4 WHERE id = 7; UPDATE t SET id = 8 WHERE id = 7; COMMIT",
        "BEGIN; UPDATE t SET id = id + 1000 WHERE id = 102; INSERT INTO t VALUES (102, 'short', NULL, 0); UPDATE t SET v = 9 WHERE id > 1000; COMMIT",
        "DELETE FROM t WHERE id = 104; INSERT INTO t VALUES (104, NULL, NULL, NULL); UPDATE t SET v = 5 WHERE id = 104",
    ):
        source_db.execute(f"SET search_path = {schema}; {change}")
        caught_up(source_db, mysql_target)
        assert_same(source_db, mysql_target, columns, schema)
    assert unequal(source_db, mysql_target) == {}

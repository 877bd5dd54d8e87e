"""Traps of applying changes: what once was lost, doubled or applied to the wrong rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from godwit.model.catalog import TableName
from godwit.protocols import ErrorPolicy
from include.demo.servers import Database
from tests.pair import CHANGE_FORMATS, OneFormat, Pair, pair_of

FORMATS = CHANGE_FORMATS


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair_of(source_db, target_db) as made:
        yield made


def run(database: Database, script: str) -> None:
    """The script over the simple protocol, so that it may hold transactions of its own."""
    with database.connect(autocommit=True) as connection:
        connection.execute(script.encode())


def test_a_suspension_is_not_forgotten_when_the_batch_is_applied_again(pair: Pair) -> None:
    """Another table's refused row makes the batch run twice; the shape change is in both."""
    pair.both("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY)")
    pair.open()
    pair.target_db.execute("ALTER TABLE b ADD CHECK (id > 0)")
    run(
        pair.source_db,
        "BEGIN; ALTER TABLE a ADD c int; INSERT INTO a VALUES (1); INSERT INTO b VALUES (-1), (1);"
        " COMMIT",
    )
    pair.drain()
    assert list(pair.control.suspended()) == [TableName("public", "a")]
    assert pair.target_db.fetch("SELECT id FROM b") == [(1,)]


def test_a_table_suspended_for_missing_rows_stays_as_it_is(pair: Pair) -> None:
    pair.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1), (2)")
    pair.open()
    pair.policy = ErrorPolicy(update="SUSPEND_TABLE")
    pair.target_db.execute("DELETE FROM t WHERE id = 2")
    run(pair.source_db, "UPDATE t SET v = 'x'")
    # One session: the table is suspended by the first batch, the second must not reach it.
    session = pair.session()
    batches = 0

    def stop() -> bool:
        nonlocal batches
        if session.batches == 1 and batches == 0:
            batches = 1
            run(pair.source_db, "INSERT INTO t VALUES (3)")
        return session.batches >= 2

    session.stop = stop
    session.run()
    assert list(pair.control.suspended()) == [TableName("public", "t")]
    assert pair.target_db.fetch("SELECT count(*) FROM t WHERE id = 3") == [(0,)]


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_rows_of_inheriting_tables_are_left_alone(pair: Pair, format: object) -> None:
    pair.both(
        "CREATE TABLE parent (id int PRIMARY KEY, v text, w text);"
        "ALTER TABLE parent ALTER w SET STORAGE EXTERNAL;"
        "CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);"
        "CREATE TABLE heap (v text); ALTER TABLE heap REPLICA IDENTITY FULL;"
        "CREATE TABLE heir () INHERITS (heap); ALTER TABLE heir REPLICA IDENTITY FULL;"
        "INSERT INTO parent SELECT i, 'p', repeat('p', 3000) FROM generate_series(1, 4) i;"
        "INSERT INTO child SELECT i, 'c', repeat('c', 3000) FROM generate_series(1, 4) i;"
        "INSERT INTO heap VALUES ('same'), ('other'); INSERT INTO heir VALUES ('same'), ('same')"
    )
    pair.open()
    target = OneFormat(pair.target, format)  # type: ignore[arg-type]
    changes = (
        "UPDATE ONLY parent SET v = 'changed' WHERE id = 1; DELETE FROM ONLY parent WHERE id = 2;"
        "UPDATE ONLY parent SET id = 30 WHERE id = 3; DELETE FROM ONLY heap WHERE v = 'same'"
    )
    for script in (changes, "TRUNCATE ONLY parent, ONLY heap"):
        run(pair.source_db, script)
        pair.drain(target=target)
        for table in ("parent", "child", "heap", "heir"):
            name = TableName("public", table)
            query = f"SELECT t::text FROM ONLY {table} t ORDER BY 1"
            assert pair.target_db.fetch(query) == pair.source_db.fetch(query), name
    assert pair.control.exceptions() == []


@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_a_moved_key_does_not_take_columns_from_the_next_owner_of_its_old_key(
    pair: Pair, format: object
) -> None:
    """The load read the new owner already; the log then tells of the one before it."""
    pair.both("CREATE TABLE t (id int PRIMARY KEY, v text, w text)")
    pair.both("ALTER TABLE t ALTER w SET STORAGE EXTERNAL")
    pair.both("INSERT INTO t VALUES (1, 'first', repeat('1', 3000))")
    pair.open(exact=False)
    run(
        pair.source_db,
        "UPDATE t SET id = 2 WHERE id = 1; INSERT INTO t VALUES (1, 'second', repeat('2', 3000))",
    )
    # A chunk with key 1 was read after both, that with key 2 before.
    pair.target_db.execute("UPDATE t SET v = 'second', w = repeat('2', 3000)")
    pair.drain(target=OneFormat(pair.target, format))  # type: ignore[arg-type]
    pair.assert_equal()


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_a_missing_row_whose_update_tells_little_is_made_again(
    pair: Pair, format: object, careful: bool
) -> None:
    """Even where rows are replaced instead of updated: identity columns, refused neighbours."""
    pair.both(
        "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text, w text);"
        "ALTER TABLE t ALTER w SET STORAGE EXTERNAL;"
        "CREATE TABLE u (id int PRIMARY KEY, v text, w text);"
        "ALTER TABLE u ALTER w SET STORAGE EXTERNAL;"
        "INSERT INTO t (id, v, w) SELECT i, 'v', repeat('w', 3000) FROM generate_series(1, 3) i;"
        "INSERT INTO u SELECT i, 'v', repeat('w', 3000) FROM generate_series(1, 3) i"
    )
    pair.open()
    pair.target_db.execute("DELETE FROM t WHERE id = 2; DELETE FROM u WHERE id = 2")
    if careful:
        pair.target_db.execute(
            "ALTER TABLE t ADD CHECK (id < 90); ALTER TABLE u ADD CHECK (id < 90)"
        )
        more = "; INSERT INTO t (id) VALUES (99); INSERT INTO u VALUES (99)"
    else:
        more = ""
    run(pair.source_db, f"BEGIN; UPDATE t SET v = 'x'; UPDATE u SET v = 'x'{more}; COMMIT")
    pair.drain(target=OneFormat(pair.target, format))  # type: ignore[arg-type]
    query = "SELECT id, v, w FROM {} WHERE id < 90 ORDER BY id"
    for table in ("t", "u"):
        mine = query.format(table)
        assert pair.target_db.fetch(mine) == pair.source_db.fetch(mine), table


def test_catching_up_with_unique_keys_on_the_target_logs_nothing(pair: Pair) -> None:
    """Rows are there already, and a swap makes the batch run with care."""
    pair.both(
        "CREATE TABLE t (id int PRIMARY KEY, code text UNIQUE);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')"
    )
    pair.open(exact=False)
    run(
        pair.source_db,
        "BEGIN; UPDATE t SET code = 'x' WHERE id = 1; UPDATE t SET code = 'a' WHERE id = 2;"
        "UPDATE t SET code = 'b' WHERE id = 1; INSERT INTO t VALUES (3, 'c'); COMMIT",
    )
    pair.target_db.execute("INSERT INTO t VALUES (3, 'c')")
    pair.drain()
    pair.assert_equal()
    assert pair.control.exceptions() == []


def test_an_old_version_that_cannot_come_back_is_told(pair: Pair) -> None:
    """Its unique value has gone to another row by then."""
    pair.both(
        "CREATE TABLE t (id int PRIMARY KEY, code text UNIQUE);"
        " INSERT INTO t VALUES (1, 'b'), (2, 'a')"
    )
    pair.open()
    pair.target_db.execute("ALTER TABLE t ADD CHECK (code <> 'bad')")
    run(
        pair.source_db,
        "BEGIN; UPDATE t SET code = 'bad' WHERE id = 2;"
        "UPDATE t SET code = 'a' WHERE id = 1; COMMIT",
    )
    pair.drain()
    assert pair.target_db.fetch("SELECT id, code FROM t") == [(1, "a")]
    assert {(e.operation, e.key) for e in pair.control.exceptions()} == {("UPDATE", "id=2")}


@pytest.mark.parametrize(
    ("ddl", "then"),
    [
        ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key", "DELETE FROM t WHERE id = 1"),
        (
            "ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key",
            "UPDATE t SET id = 10 WHERE id = 1",
        ),
        (
            "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (code)",
            "UPDATE t SET id = 10 WHERE id = 1",
        ),
        ("ALTER TABLE h REPLICA IDENTITY DEFAULT", "INSERT INTO h VALUES (3)"),
        ("ALTER TABLE t RENAME TO t2", "INSERT INTO t2 VALUES (3, 'c')"),
        ("CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s", "INSERT INTO s.t VALUES (3, 'c')"),
    ],
)
def test_a_table_that_tells_its_rows_apart_otherwise_is_suspended(
    pair: Pair, ddl: str, then: str
) -> None:
    pair.both(
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE);"
        "CREATE TABLE h (v int); ALTER TABLE h REPLICA IDENTITY FULL;"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO h VALUES (1)"
    )
    pair.open()
    run(pair.source_db, f"UPDATE t SET code = code || '1'; {ddl}")
    run(pair.source_db, then)
    pair.drain()
    changed = "h" if " h " in ddl else "t"
    assert list(pair.control.suspended()) == [TableName("public", changed)]


def test_replica_identity_full_made_on_the_way_is_no_change(pair: Pair) -> None:
    pair.both("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1), (2), (3)")
    pair.open()
    run(
        pair.source_db,
        "UPDATE t SET v = 'a'; ALTER TABLE t REPLICA IDENTITY FULL;"
        "UPDATE t SET id = 10 WHERE id = 1; DELETE FROM t WHERE id = 2;"
        "ALTER TABLE t REPLICA IDENTITY DEFAULT; UPDATE t SET id = 20 WHERE id = 3",
    )
    pair.drain()
    pair.assert_equal()
    assert pair.control.suspended() == {}


def test_truncate_of_a_table_with_partitions_of_partitions(pair: Pair) -> None:
    pair.both(
        "CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) PARTITION BY LIST (k);"
        "CREATE TABLE p11 PARTITION OF p1 FOR VALUES IN (1);"
        "CREATE TABLE p12 PARTITION OF p1 FOR VALUES IN (2);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
        "INSERT INTO p VALUES (1, 1), (1, 2), (11, 1)"
    )
    pair.open()
    run(pair.source_db, "TRUNCATE p1; INSERT INTO p VALUES (2, 2)")
    pair.drain()
    pair.assert_equal()
    run(pair.source_db, "TRUNCATE p; INSERT INTO p VALUES (3, 1)")
    pair.drain()
    pair.assert_equal()
    assert pair.control.suspended() == {}


@pytest.mark.parametrize("careful", [False, True])
def test_a_table_the_target_refuses_altogether_is_suspended(pair: Pair, careful: bool) -> None:
    """Errors that say nothing about a row are never counted as refused rows."""
    pair.both("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE o (id int PRIMARY KEY)")
    pair.open()
    pair.target_db.execute("ALTER TABLE t RENAME COLUMN v TO other" if careful else "DROP TABLE t")
    run(pair.source_db, "INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO o VALUES (1)")
    pair.drain()
    assert list(pair.control.suspended()) == [TableName("public", "t")]
    assert pair.control.exceptions() == []
    assert pair.target_db.fetch("SELECT id FROM o") == [(1,)]


def test_a_truncated_partition_that_the_target_lacks_suspends_the_table(pair: Pair) -> None:
    script = (
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE {} PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE o (id int PRIMARY KEY)"
    )
    pair.source_db.execute(script.format("p1"))
    pair.target_db.execute(script.format("other"))
    pair.open()
    run(pair.source_db, "INSERT INTO p VALUES (1); TRUNCATE p1; INSERT INTO o VALUES (1)")
    pair.drain()
    assert list(pair.control.suspended()) == [TableName("public", "p")]
    assert pair.target_db.fetch("SELECT id FROM o") == [(1,)]


def test_rows_without_identity_that_are_not_there_are_told(pair: Pair) -> None:
    pair.both("CREATE TABLE h (v int); ALTER TABLE h REPLICA IDENTITY FULL")
    pair.both("INSERT INTO h VALUES (1), (2)")
    pair.open()
    pair.target_db.execute("DELETE FROM h WHERE v = 1")
    run(pair.source_db, "UPDATE h SET v = 10 WHERE v = 1")
    pair.drain()
    assert pair.control.exception_count() == 1


def test_refusals_in_later_parts_of_a_huge_transaction(pair: Pair) -> None:
    """What an earlier part did stays, what was refused is told once, and all is one commit."""
    pair.both(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE s (id int PRIMARY KEY, v text);"
        "CREATE TABLE h (v text); ALTER TABLE h REPLICA IDENTITY FULL"
    )
    pair.open()
    pair.target_db.execute("ALTER TABLE t ADD CHECK (v <> 'bad'); ALTER TABLE s ADD CHECK (id < 9)")
    pad = "INSERT INTO h SELECT repeat('x', 1000) FROM generate_series(1, 800)"
    run(
        pair.source_db,
        f"BEGIN; INSERT INTO t VALUES (1, 'bad'), (2, 'good'); {pad};"
        f"INSERT INTO t VALUES (3, 'bad'), (4, 'good'); {pad}; DELETE FROM t WHERE id = 2;"
        f"TRUNCATE s; INSERT INTO s VALUES (10), (1); {pad}; ALTER TABLE s ADD c int;"
        f"INSERT INTO s VALUES (2); INSERT INTO t VALUES (5, 'bad'); {pad}; COMMIT",
    )
    summary = pair.drain(batch_bytes=1 << 18)
    assert (summary.transactions, summary.batches) == (1, 1)
    assert pair.target_db.fetch("SELECT id FROM t") == [(4,)]
    assert pair.target_db.fetch("SELECT count(*) FROM h") == [(3200,)]
    assert list(pair.control.suspended()) == [TableName("public", "s")]
    logged = sorted((e.table.name, e.key[-1]) for e in pair.control.exceptions())
    assert logged == [("t", "1"), ("t", "3"), ("t", "5")]


def test_a_huge_transaction_is_left_alone_when_its_session_stops(pair: Pair) -> None:
    pair.both("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.open()
    run(pair.source_db, "INSERT INTO t SELECT i, repeat('x', 900) FROM generate_series(1, 3000) i")
    until = pair.source.position()
    looks = 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    pair.session(until=until, stop=stop, batch_bytes=1 << 18).run()
    assert pair.target_db.fetch("SELECT count(*) FROM t") == [(0,)]
    assert not pair.source.parse_position(pair.control.progress().checkpoint or "").includes(until)
    pair.session(until=until, batch_bytes=1 << 18).run()
    pair.assert_equal()

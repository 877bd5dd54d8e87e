"""Net changes arrive: every kind, on a target that is exact and on one that is catching up."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from godwit.engines.mysql.apply import repair
from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS
from godwit.errors import ApplyError, EndpointError, FencedError, SchemaChangedError
from godwit.model.catalog import TableName
from godwit.model.changes import Format, Payload, ShapeChange, TableChanges, Truncation
from godwit.protocols import ErrorPolicy
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.applying import (
    SCHEMA,
    At,
    Bench,
    Row,
    as_texts,
    bench_on,
    instant,
    rows,
    table,
)


@pytest.fixture
def bench(mysql_target: MySqlDatabase) -> Iterator[Bench]:
    with bench_on(mysql_target) as made:
        yield made


FORMATS = pytest.mark.parametrize("format", [COLUMNS, MYSQL_COLUMNS], ids=lambda f: f.name)
MODES = pytest.mark.parametrize("exact", [True, False], ids=["exact", "catching up"])

ITEM = "CREATE TABLE item (id int PRIMARY KEY, name varchar(40), note longtext)"


def with_items(bench: Bench, count: int = 5) -> None:
    bench.add(table("item", "id int, name text, note text", key="id"), ITEM)
    values = ", ".join(f"({i}, 'n{i}', 'o{i}')" for i in range(1, count + 1))
    bench.database.execute(f"INSERT INTO item VALUES {values}")
    bench.source["item"] = {(i,): (i, f"n{i}", f"o{i}") for i in range(1, count + 1)}


@FORMATS
@MODES
def test_inserts_updates_and_deletes_with_the_checkpoint(
    bench: Bench, exact: bool, format: Format
) -> None:
    bench.format = format
    with_items(bench)
    changes = bench.changes(
        "item",
        inserts=rows("id, name, note", (10, "new", None), (11, "", "tab\tline\n\\N back\\slash")),
        updates=(rows("id, name, note", (1, "u1", None), (2, "u2", "é😀")),),
        deletes=rows("id", (3,), (4,)),
    )
    applied = bench.apply(changes, exact=exact, commits=[1_700_000_000.5])
    assert applied.rows == 6
    assert bench.fetch("SELECT * FROM item ORDER BY id") == [
        (1, "u1", None),
        (2, "u2", "é😀"),
        (5, "n5", "o5"),
        (10, "new", None),
        (11, "", "tab\tline\n\\N back\\slash"),
    ]
    progress = bench.control.progress()
    assert (progress.checkpoint, progress.transactions, progress.changes) == ("1", 1, 1)
    assert progress.commit_time == datetime.datetime.fromtimestamp(1_700_000_000.5, datetime.UTC)
    assert bench.logged == set()


@MODES
def test_partial_updates_touch_nothing_else(bench: Bench, exact: bool) -> None:
    with_items(bench)
    bench.source["item"][(99,)] = (99, "made", "again")
    changes = bench.changes(
        "item",
        updates=(rows("id, name", (1, "x"), (99, "newer"), (98, "gone since")), rows("id", (2,))),
    )
    bench.apply(changes, exact=exact)
    assert bench.fetch("SELECT * FROM item WHERE id IN (1, 2, 98, 99) ORDER BY id") == [
        (1, "x", "o1"),
        (2, "n2", "o2"),
        (99, "made", "again"),
    ]
    assert bench.read_again == [("item", [(98,), (99,)])] or bench.read_again == [
        ("item", [(99,), (98,)])
    ]
    assert bench.logged == ({("UPDATE", "")} if exact else set())


def test_updates_that_change_nothing_are_met(bench: Bench) -> None:
    """The server counts rows changed unless it is asked for rows found."""
    with_items(bench)
    for _ in range(2):
        bench.apply(bench.changes("item", updates=(rows("id, name, note", (1, "same", "same")),)))
    assert bench.control.exceptions() == []
    assert bench.read_again == []


@MODES
def test_unique_values_swapped_in_a_batch(bench: Bench, exact: bool) -> None:
    bench.add(
        table("code", "id int, code text", key="id"),
        "CREATE TABLE code (id int PRIMARY KEY, code varchar(20) UNIQUE);"
        "INSERT INTO code VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    )
    changes = bench.changes(
        "code",
        updates=(rows("id, code", (1, "b"), (2, "a"), (3, "free")),),
        inserts=rows("id, code", (9, "c"), (10, "d")),
        deletes=rows("id", (4,)),
    )
    bench.apply(changes, exact=exact)
    assert bench.fetch("SELECT * FROM code ORDER BY id") == [
        (1, "b"),
        (2, "a"),
        (3, "free"),
        (9, "c"),
        (10, "d"),
    ]
    assert bench.logged == set()


def test_partial_updates_that_swap_unique_values(bench: Bench) -> None:
    bench.add(
        table("code", "id int, code text, note text", key="id"),
        "CREATE TABLE code (id int PRIMARY KEY, code varchar(20) UNIQUE, note text);"
        "INSERT INTO code VALUES (1, 'a', 'A'), (2, 'b', 'B')",
    )
    bench.source["code"] = {(3,): (3, "c", "C")}
    bench.apply(bench.changes("code", updates=(rows("id, code", (1, "b"), (2, "a"), (3, "x")),)))
    assert bench.fetch("SELECT * FROM code ORDER BY id") == [
        (1, "b", "A"),
        (2, "a", "B"),
        (3, "c", "C"),
    ]


@MODES
def test_catching_up_is_idempotent(bench: Bench, exact: bool) -> None:
    with_items(bench)
    changes = bench.changes(
        "item",
        inserts=rows("id, name, note", (1, "there", "already"), (20, "n", None)),
        updates=(rows("id, name, note", (2, "u", "u"), (30, "not", "there")),),
        deletes=rows("id", (3,), (300,)),
        cancelled=rows("id", (4,)),
        lenient=exact,
    )
    for _ in range(2):
        bench.apply(changes, exact=exact)
        assert bench.fetch("SELECT * FROM item ORDER BY id") == [
            (1, "there", "already"),
            (2, "u", "u"),
            (5, "n5", "o5"),
            (20, "n", None),
            (30, "not", "there"),
        ]
    assert bench.control.exceptions() == []


def test_an_upsert_never_takes_a_row_by_another_unique_key(bench: Bench) -> None:
    """E8: ON DUPLICATE KEY UPDATE takes the row of any unique key."""
    bench.add(
        table("code", "id int, code text", key="id"),
        "CREATE TABLE code (id int PRIMARY KEY, code varchar(20) UNIQUE);"
        "INSERT INTO code VALUES (1, 'a')",
    )
    bench.apply(bench.changes("code", inserts=rows("id, code", (2, "a"))), exact=False)
    assert bench.fetch("SELECT * FROM code") == [(1, "a")]
    assert bench.logged == {("INSERT", "id=2")}


@MODES
def test_identities_of_many_kinds(bench: Bench, exact: bool) -> None:
    columns = "a timestamp, b bytes, c decimal, d text, e date, v int"
    bench.add(
        table("k", columns, key="a, b, c, d, e"),
        "CREATE TABLE k (a datetime(6), b varbinary(20), c decimal(30,10),"
        " d varchar(20) CHARACTER SET latin1, e date, v int, PRIMARY KEY (e, d, c, b, a))",
    )
    day = datetime.date(2024, 2, 29)
    moment = datetime.datetime.fromisoformat("2024-02-29 23:59:59.999999")

    def key(i: int) -> Row:
        return (moment, bytes([0, i, 10, 92, 0]), Decimal(f"1.50{i}"), f"é\t{i}", day)

    names = "a, b, c, d, e"
    bench.apply(
        bench.changes("k", inserts=rows(f"{names}, v", *((*key(i), i) for i in range(5)))),
        exact=exact,
    )
    bench.apply(
        bench.changes(
            "k",
            updates=(rows(f"{names}, v", (*key(1), 100)),),
            deletes=rows(names, key(2), key(3)),
        ),
        exact=exact,
    )
    assert bench.fetch("SELECT b, v FROM k ORDER BY b") == [
        (b"\0\0\n\\\0", 0),
        (b"\0\x01\n\\\0", 100),
        (b"\0\x04\n\\\0", 4),
    ]
    assert bench.logged == set()


@MODES
def test_a_moved_identity_keeps_columns_that_the_log_does_not_tell(
    bench: Bench, exact: bool
) -> None:
    with_items(bench)
    bench.source["item"] |= {(100,): (100, "n1", "o1"), (200,): (200, "moved", "new")}
    bench.apply(
        bench.move("item", rows("id", (1,)), rows("id", (100,))),
        bench.move("item", rows("id", (2,)), rows("id, name", (200, "moved"))),
        exact=exact,
    )
    expected = [
        (100, "n1", "o1"),
        (200, "moved", "o2" if exact else "new"),
    ]
    assert bench.fetch("SELECT * FROM item WHERE id >= 100 ORDER BY id") == expected
    assert bench.fetch("SELECT id FROM item WHERE id < 3") == []


def test_a_chain_of_moves_and_one_that_meets_no_row(bench: Bench) -> None:
    with_items(bench, 2)
    bench.source["item"] = {(9,): (9, "from", "source")}
    bench.apply(
        bench.move("item", rows("id", (1,)), rows("id", (3,))),
        bench.move("item", rows("id", (2,)), rows("id", (1,))),
        bench.move("item", rows("id", (3,)), rows("id", (2,))),
        bench.move("item", rows("id", (7,)), rows("id", (8,))),
        bench.move("item", rows("id", (6,)), rows("id", (9,))),
    )
    assert bench.fetch("SELECT * FROM item ORDER BY id") == [
        (1, "n2", "o2"),
        (2, "n1", "o1"),
        (9, "from", "source"),
    ]


LOG = "at int, line text, n float, j json"
LOG_DDL = "CREATE TABLE log (at int, line varchar(20), n float, j json)"


@pytest.mark.parametrize("index", ["", "KEY (line)", "KEY (at), KEY (line)"])
def test_tables_without_identity_are_multisets(bench: Bench, index: str) -> None:
    ddl = LOG_DDL[:-1] + (f", {index})" if index else ")")
    bench.add(table("log", LOG), ddl)
    same, other = (1, "same", 0.1, '{"a": 1}'), (1, "SAME", 0.1, '{"a": 1}')
    null = (None, None, None, None)
    close = (2, "f", 16777216.0, None), (2, "f", 16777218.0, None)
    bench.apply(
        bench.changes("log", inserts=rows("at, line, n, j", *[same] * 5, other, null, null, *close))
    )
    bench.apply(
        bench.changes(
            "log",
            deletes=rows("at, line, n, j", same, same, other, null, close[1]),
            inserts=rows("at, line, n, j", (3, "new", None, None)),
        )
    )
    found = bench.fetch(
        "SELECT at, MIN(line), count(*) FROM log GROUP BY at, CAST(line AS BINARY), n"
    )
    assert sorted(found, key=str) == sorted(
        [(1, "same", 3), (None, None, 1), (2, "f", 1), (3, "new", 1)], key=str
    )
    assert bench.fetch("SELECT n + 0e0 FROM log WHERE at = 2") == [(16777216.0,)]
    assert bench.logged == set()


def test_many_rows_without_a_value_in_the_indexed_column(bench: Bench) -> None:
    """Each of them looked for among all the others would be twenty million hashes."""
    bench.add(table("log", LOG), LOG_DDL[:-1] + ", KEY (at))")
    lines = [(None, f"line {n // 2}", n % 2 / 4, None) for n in range(8000)]
    twice = [(None, "twice", None, None)] * 3
    bench.apply(bench.changes("log", inserts=rows("at, line, n, j", *lines, *twice)))
    began = time.monotonic()
    bench.apply(bench.changes("log", deletes=rows("at, line, n, j", *lines[:5000], *twice[:2])))
    assert time.monotonic() - began < 20
    assert bench.fetch("SELECT COUNT(*), COUNT(DISTINCT line), SUM(line = 'twice') FROM log") == [
        (3001, 1501, 1)
    ]
    assert bench.logged == set()


def test_rows_missing_from_a_multiset_are_told(bench: Bench) -> None:
    bench.add(table("log", "v int"), "CREATE TABLE log (v int); INSERT INTO log VALUES (1)")
    bench.apply(bench.changes("log", deletes=rows("v", (1,), (1,), (2,))))
    assert bench.fetch("SELECT * FROM log") == []
    (line,) = bench.control.exceptions()
    assert line.operation == "UPDATE or DELETE"
    assert line.error.startswith("2 row(s)")


def test_a_truncation_is_part_of_the_transaction(bench: Bench) -> None:
    with_items(bench)
    bench.add(
        table("part", "id int, v int", key="id", parts=["p_low", "p_high"]),
        "CREATE TABLE part (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)"
        " (PARTITION p_low VALUES LESS THAN (10), PARTITION p_high VALUES LESS THAN (20));"
        "INSERT INTO part VALUES (1, 1), (2, 2), (11, 11)",
    )
    first = bench.changes("item", inserts=rows("id, name, note", (50, "before", "")))
    last = bench.changes("item", inserts=rows("id, name, note", (51, "after", "")))
    part = Truncation((TableName(SCHEMA, "p_low"),))
    bench.apply(first, Truncation((TableName(SCHEMA, "item"),)), last, part, final=False)
    assert len(bench.fetch("SELECT * FROM item")) == 5
    bench.again()
    assert len(bench.fetch("SELECT * FROM item")) == 5
    bench.apply(first, Truncation((TableName(SCHEMA, "item"),)), last, part)
    assert bench.fetch("SELECT id FROM item") == [(51,)]
    assert bench.fetch("SELECT id FROM part") == [(11,)]


def test_a_truncated_part_that_the_target_lacks_suspends_the_table(bench: Bench) -> None:
    with_items(bench)
    bench.add(
        table("part", "id int", key="id", parts=["p1"]), "CREATE TABLE part (id int PRIMARY KEY)"
    )
    bench.apply(
        Truncation((TableName(SCHEMA, "p1"),)), bench.changes("item", deletes=rows("id", (1,)))
    )
    assert list(bench.control.suspended()) == [TableName(SCHEMA, "part")]
    assert len(bench.fetch("SELECT * FROM item")) == 4


def test_a_changed_shape_suspends_the_table(bench: Bench) -> None:
    with_items(bench)
    name = TableName(SCHEMA, "item")
    changes = bench.changes("item", deletes=rows("id", (1,)))
    applied = bench.apply(changes, ShapeChange(name, "a column came"), changes)
    assert applied.suspended == (name,)
    assert "a column came" in bench.control.suspended()[name]
    assert len(bench.fetch("SELECT * FROM item")) == 4
    bench.apply(bench.changes("item", deletes=rows("id", (2,))))
    assert len(bench.fetch("SELECT * FROM item")) == 4


def test_a_changed_shape_may_stop_the_session(bench: Bench) -> None:
    with_items(bench)
    bench.policy = ErrorPolicy(table="STOP_TASK", alteration="refuse")
    with pytest.raises(SchemaChangedError, match="a column came"):
        bench.apply(ShapeChange(TableName(SCHEMA, "item"), "a column came"))
    assert bench.checkpoint == "0"


def test_parts_of_a_huge_transaction_are_one_commit(bench: Bench) -> None:
    with_items(bench)
    one = bench.changes("item", inserts=rows("id, name, note", (50, "x", "")))
    two = bench.changes(
        "item",
        deletes=rows("id", (1,)),
        updates=(rows("id, name, note", (50, "y", "")),),
    )
    assert bench.apply(one, final=False).durable is None
    assert bench.apply(two, final=False).durable is None
    assert len(bench.fetch("SELECT * FROM item")) == 5
    assert bench.checkpoint == "0"
    bench.apply(bench.changes("item", deletes=rows("id", (2,))))
    assert bench.fetch("SELECT id FROM item ORDER BY id") == [(3,), (4,), (5,), (50,)]
    assert bench.checkpoint == "1"


def test_a_refused_row_in_a_later_part(bench: Bench) -> None:
    with_items(bench)
    bench.database.execute("ALTER TABLE item ADD CHECK (name <> 'bad')")
    bench.apply(bench.changes("item", inserts=rows("id, name, note", (50, "x", ""))), final=False)
    bench.apply(
        bench.changes("item", inserts=rows("id, name, note", (51, "bad", ""), (52, "y", "")))
    )
    assert bench.fetch("SELECT id FROM item WHERE id > 5 ORDER BY id") == [(50,), (52,)]
    assert bench.logged == {("INSERT", "id=51")}


def test_refused_rows_are_found_and_logged_and_the_others_arrive(bench: Bench) -> None:
    with_items(bench)
    bench.database.execute("ALTER TABLE item ADD CHECK (name <> 'bad')")
    news = [(i, "bad" if i in (15, 77) else "good", None) for i in range(10, 100)]
    applied = bench.apply(
        bench.changes(
            "item",
            inserts=rows("id, name, note", *news),
            updates=(
                rows("id, name, note", (1, "bad", "x"), (2, "fine", "x")),
                rows("id, name", (3, "bad"), (4, "fine")),
            ),
        )
    )
    assert applied.exceptions == 4
    assert bench.logged == {
        ("INSERT", "id=15"),
        ("INSERT", "id=77"),
        ("UPDATE", "id=1"),
        ("UPDATE", "id=3"),
    }
    assert bench.fetch("SELECT * FROM item WHERE id < 6 ORDER BY id") == [
        (1, "n1", "o1"),
        (2, "fine", "x"),
        (3, "n3", "o3"),
        (4, "fine", "o4"),
        (5, "n5", "o5"),
    ]
    assert bench.fetch("SELECT count(*) FROM item WHERE id > 9") == [(88,)]


def test_values_that_do_not_fit_are_refused_not_bent(bench: Bench) -> None:
    """LOAD DATA LOCAL cuts, rounds and zeroes with no more than a warning."""
    bench.add(
        table("t", "id int, s text, n int, d decimal, e text, z text, at instant", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, s varchar(3), n tinyint, d decimal(4,1),"
        " e enum('x','y'), z varchar(20) NOT NULL, at timestamp(6) NOT NULL)",
    )
    now = instant("2024-02-29 12:00:00.123456")
    good = ("abc", 1, Decimal("1.5"), "x", "z", now)
    bad: list[Row] = [
        ("abcd", *good[1:]),
        (good[0], 300, *good[2:]),
        (*good[:2], Decimal("99999.5"), *good[3:]),
        (*good[:3], "nix", *good[4:]),
        (*good[:4], None, now),
        (*good[:5], None),
        (*good[:5], instant("2150-01-01 00:00:00")),
    ]
    names = "id, s, n, d, e, z, at"
    for operation in ("INSERT", "UPDATE"):
        values = [(1, *good), *((i + 2, *row) for i, row in enumerate(bad))]
        if operation == "INSERT":
            bench.apply(bench.changes("t", inserts=rows(names, *values)))
            bench.database.execute(
                "INSERT INTO t VALUES "
                + ", ".join(f"({i + 2}, 'o', 0, 0, 'y', 'o', '2000-01-01')" for i in range(7))
            )
        else:
            bench.apply(bench.changes("t", updates=(rows(names, *values),)))
        logged = {key for word, key in bench.logged if word == operation}
        assert logged == {f"id={i + 2}" for i in range(len(bad))}
    assert bench.fetch("SELECT s, n, d, e, z, at FROM t WHERE id = 1") == [
        ("abc", 1, Decimal("1.5"), "x", "z", now.replace(tzinfo=None))
    ]
    assert bench.fetch("SELECT count(*) FROM t WHERE s = 'o' AND e = 'y'") == [(7,)]
    assert not any("nix" in e.error or "abcd" in e.error for e in bench.control.exceptions())


@pytest.mark.parametrize("policy", ["SUSPEND_TABLE", "STOP_TASK", "IGNORE_RECORD"])
def test_refused_rows_may_suspend_the_table_or_stop(bench: Bench, policy: str) -> None:
    with_items(bench)
    bench.add(table("other", "id int", key="id"), "CREATE TABLE other (id int PRIMARY KEY)")
    bench.database.execute("ALTER TABLE item ADD CHECK (name <> 'bad')")
    bench.policy = ErrorPolicy(insert=policy)
    changes = (
        bench.changes("item", inserts=rows("id, name, note", (50, "bad", ""), (51, "good", ""))),
        bench.changes("other", inserts=rows("id", (1,))),
    )
    if policy == "STOP_TASK":
        with pytest.raises(ApplyError, match=r"src\.item, key id=50"):
            bench.apply(*changes)
        assert bench.checkpoint == "0"
        assert bench.fetch("SELECT * FROM other") == []
        return
    applied = bench.apply(*changes)
    assert bench.fetch("SELECT * FROM other") == [(1,)]
    assert bench.control.exceptions() == []
    if policy == "SUSPEND_TABLE":
        assert applied.suspended == (TableName(SCHEMA, "item"),)
        assert len(bench.fetch("SELECT * FROM item")) == 5
    else:
        assert len(bench.fetch("SELECT * FROM item")) == 6


def test_inserts_of_rows_that_are_there(bench: Bench) -> None:
    with_items(bench)
    changes = bench.changes("item", inserts=rows("id, name, note", (1, "newer", ""), (60, "x", "")))
    bench.apply(changes)
    assert bench.logged == {("INSERT", "id=1")}
    assert bench.fetch("SELECT name FROM item WHERE id IN (1, 60) ORDER BY id") == [("n1",), ("x",)]
    bench.again()
    bench.database.execute("DELETE FROM item WHERE id = 60")
    bench.policy = ErrorPolicy(insert="INSERT_RECORD")
    bench.apply(changes)
    assert bench.fetch("SELECT name FROM item WHERE id IN (1, 60) ORDER BY id") == [
        ("newer",),
        ("x",),
    ]


@pytest.mark.parametrize("kind", ["inserts", "deletes"])
def test_a_table_that_is_gone_is_suspended_and_the_others_go_on(bench: Bench, kind: str) -> None:
    with_items(bench)
    bench.add(table("other", "id int", key="id"), "CREATE TABLE other (id int PRIMARY KEY)")
    bench.database.execute("DROP TABLE other")
    bench.apply(
        bench.changes("other", **{kind: rows("id", (1,))}),
        bench.changes("item", deletes=rows("id", (1,))),
    )
    assert list(bench.control.suspended()) == [TableName(SCHEMA, "other")]
    assert len(bench.fetch("SELECT * FROM item")) == 4


def test_a_stale_runner_commits_nothing(bench: Bench) -> None:
    with_items(bench)
    bench.apply(bench.changes("item", deletes=rows("id", (1,))))
    bench.control.take_epoch("apply")
    with pytest.raises(FencedError):
        bench.apply(bench.changes("item", deletes=rows("id", (2,))))
    with pytest.raises(FencedError):
        bench.applier._store(At(9), 0.0)
    assert len(bench.fetch("SELECT * FROM item")) == 4
    assert bench.checkpoint == "1"


def test_what_is_durable(bench: Bench) -> None:
    with_items(bench)
    for i in (1, 2):
        applied = bench.apply(bench.changes("item", deletes=rows("id", (i,))))
    assert applied.durable is not None
    bench.control.set_stop(At(7))
    bench.control.set_settled(At(1))
    applied = bench.applier.idle(At(3))
    assert (applied.stop_at, applied.settled) == ("7", "1")
    assert bench.applier.close() == At(3)
    bench._applier = None
    assert bench.checkpoint == "3"


def test_idle_after_a_cleanup_is_fenced(bench: Bench) -> None:
    with_items(bench)
    bench.apply(bench.changes("item", deletes=rows("id", (1,))))
    bench.control.drop()
    with pytest.raises(FencedError):
        bench.applier.idle(At(2))


def test_a_connection_that_was_cut_is_told_and_nothing_is_half_done(bench: Bench) -> None:
    with_items(bench)
    bench.apply(bench.changes("item", deletes=rows("id", (1,))), final=False)
    thread = bench.applier._session.thread_id()
    bench.database.execute(f"KILL {thread}")
    with pytest.raises(EndpointError, match="broke off"):
        bench.apply(bench.changes("item", deletes=rows("id", (2,))))
    assert len(bench.fetch("SELECT * FROM item")) == 5
    bench.again()
    bench.apply(bench.changes("item", deletes=rows("id", (2,))))
    assert len(bench.fetch("SELECT * FROM item")) == 4


def test_repair_makes_rows_as_the_source_has_them(bench: Bench) -> None:
    with_items(bench)
    bench.database.execute(
        "UPDATE item SET name = 'wrong' WHERE id = 1; DELETE FROM item WHERE id = 2"
    )
    mapping = bench.mappings["item"]
    epoch = bench.control.take_epoch("repair")
    found = rows("id, name, note", (1, "n1", "o1"), (2, "n2", "o2"))
    gone = rows("id", (5,))
    assert repair(bench.connector, mapping, COLUMNS, found, gone, epoch) == 3
    assert bench.fetch("SELECT id, name FROM item ORDER BY id") == [
        (1, "n1"),
        (2, "n2"),
        (3, "n3"),
        (4, "n4"),
    ]
    bench.control.take_epoch("repair")
    with pytest.raises(FencedError):
        repair(bench.connector, mapping, COLUMNS, found, rows("id", (1,)), epoch)
    assert len(bench.fetch("SELECT * FROM item")) == 4


def test_repair_of_a_table_without_identity(bench: Bench) -> None:
    mapping = bench.add(
        table("log", "v int"), "CREATE TABLE log (v int); INSERT INTO log VALUES (1), (1), (2)"
    )
    touched = repair(
        bench.connector, mapping, COLUMNS, rows("v", (3,), (3,)), rows("v", (1,), (2,)), None
    )
    assert touched == 4
    assert bench.fetch("SELECT v FROM log ORDER BY v") == [(1,), (3,), (3,)]


@pytest.mark.parametrize("seed", range(4))
def test_random_batches_end_as_the_model_has_it(bench: Bench, seed: int) -> None:
    """Moving unique values, partial updates, keys that come and go; typed and as text."""
    bench.add(
        table("t", "id int, code text, n int, v bytes", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, code varchar(20) NOT NULL UNIQUE, n bigint,"
        " v longblob) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_bin",
    )
    dice = random.Random(seed)
    held: dict[int, Row] = {}
    for _ in range(12):
        before = dict(held)
        _change(dice, held)
        changes = _net(dice, before, held)
        bench.source["t"] = {(k,): row for k, row in held.items()}
        exact = dice.random() < 0.7
        bench.apply(bench.changes("t", **changes), exact=exact)
        assert bench.fetch("SELECT * FROM t ORDER BY id") == [held[k] for k in sorted(held)]
    assert bench.logged == set()


def _change(dice: random.Random, held: dict[int, Row]) -> None:
    codes = [f"c{i}" for i in range(60)]
    free = [c for c in codes if c not in {row[1] for row in held.values()}]
    dice.shuffle(free)
    for key in dice.sample(range(40), dice.randrange(1, 15)):
        if key in held and dice.random() < 0.4:
            free.append(held.pop(key)[1])
        elif key not in held:
            held[key] = (key, free.pop(), dice.randrange(1 << 60), bytes(dice.randbytes(5)))
        else:
            other = dice.choice(list(held))
            mine, theirs = list(held[key]), list(held[other])
            mine[1], theirs[1] = theirs[1], mine[1]
            held[key], held[other] = tuple(mine), tuple(theirs)
            held[key] = (*held[key][:2], dice.choice([None, 7]), held[key][3])


def _net(dice: random.Random, before: dict[int, Row], after: dict[int, Row]) -> dict[str, object]:
    names = "id, code, n, v"
    new = [after[k] for k in after.keys() - before.keys()]
    gone = [(k,) for k in before.keys() - after.keys()]
    updated = [after[k] for k in after.keys() & before.keys() if after[k] != before[k]]
    whole = [row for row in updated if dice.random() < 0.5]
    # Their last column has not changed.
    part = [row[:3] for row in updated if row not in whole]
    as_told = as_texts if dice.random() < 0.5 else _same
    updates = [as_told(rows(names, *whole))] if whole else []
    updates += [as_told(rows("id, code, n", *part))] if part else []
    return {
        "inserts": as_told(rows(names, *new)) if new else None,
        "updates": tuple(updates),
        "deletes": as_told(rows("id", *gone)) if gone else None,
    }


def _same(payload: Payload) -> Payload:
    return payload


def test_nothing_at_all(bench: Bench) -> None:
    with_items(bench)
    bench.apply()
    bench.apply(TableChanges(TableName(SCHEMA, "item")))
    assert bench.checkpoint == "2"

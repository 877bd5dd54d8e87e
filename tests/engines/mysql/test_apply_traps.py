"""Traps of applying changes: what servers of this kind do silently, and must not do here."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

import pymysql
import pytest

from godwit.engines.mysql import durability
from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.refusals import refusal
from godwit.errors import ApplyError
from godwit.failpoints import VARIABLE
from godwit.model.catalog import ForeignKey, TableName
from godwit.model.changes import Cascade
from godwit.model.endpoint import connection_from_text
from godwit.protocols import ErrorPolicy
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.applying import SCHEMA, At, Bench, bench_on, rows, table


@pytest.fixture
def bench(mysql_target: MySqlDatabase) -> Iterator[Bench]:
    with bench_on(mysql_target) as made:
        yield made


MODES = pytest.mark.parametrize("exact", [True, False], ids=["exact", "catching up"])


@MODES
def test_the_clock_does_not_touch_rows(bench: Bench, exact: bool) -> None:
    """E15: ON UPDATE CURRENT_TIMESTAMP acts on every UPDATE that does not name the column."""
    bench.add(
        table("t", "id int, v int, at timestamp, ts instant", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, v int,"
        " at datetime(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),"
        " ts timestamp(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6));"
        "INSERT INTO t VALUES (1, 1, '2001-01-01', '2001-01-01'),"
        " (2, 2, '2001-01-01', '2001-01-01'), (3, 3, '2001-01-01', '2001-01-01')",
    )
    old = datetime.datetime.fromisoformat("2001-01-01")
    bench.apply(
        bench.changes(
            "t",
            updates=(
                rows("id, v", (1, 10)),
                rows("id, v, at, ts", (2, 20, None, old.replace(tzinfo=datetime.UTC))),
            ),
            inserts=rows("id, v, at, ts", (4, 4, None, None)),
        ),
        bench.move("t", rows("id", (3,)), rows("id, v", (30, 30))),
        exact=True,
    )
    assert bench.fetch("SELECT * FROM t ORDER BY id") == [
        (1, 10, old, old),
        (2, 20, None, old),
        (4, 4, None, None),
        (30, 30, old, old),
    ]
    if not exact:
        bench.apply(bench.changes("t", updates=(rows("id, v", (1, 11)),)), exact=False)
        assert bench.fetch("SELECT at, ts FROM t WHERE id = 1") == [(old, old)]


@MODES
def test_keys_that_are_equal_by_the_target_s_collation(bench: Bench, exact: bool) -> None:
    """E5: another writing of a key is the same row, whatever was told as deleted and made."""
    bench.add(
        table("t", "k text!, v int", key="k"),
        "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v int);"
        "INSERT INTO t VALUES ('a', 1), ('B', 2), ('c', 3), ('é', 4)",
    )
    bench.apply(
        bench.changes(
            "t",
            deletes=rows("k", ("a",), ("C",)),
            inserts=rows("k, v", ("A", 10)),
            updates=(rows("k, v", ("b", 20)), rows("k", ("É",))),
        ),
        exact=exact,
    )
    assert bench.fetch("SELECT CAST(k AS BINARY), v FROM t ORDER BY v") == [
        ("é".encode(), 4),
        (b"A", 10),
        (b"b", 20),
    ]
    assert bench.control.exceptions() == []


def test_keys_that_only_the_target_calls_equal_are_refused(bench: Bench) -> None:
    bench.add(
        table("t", "k text, v int", key="k"),
        "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v int)",
    )
    bench.apply(bench.changes("t", inserts=rows("k, v", ("x", 1), ("X", 2), ("y", 3))))
    assert bench.fetch("SELECT k, v FROM t ORDER BY v") == [("x", 1), ("y", 3)]
    assert bench.logged == {("INSERT", "k=X")}
    (line,) = bench.control.exceptions()
    assert "PRIMARY" in line.error
    assert "'X'" not in line.error


def test_trailing_blanks_and_case_stay_as_they_are(bench: Bench) -> None:
    bench.add(
        table("t", "k text!, v text", key="k"),
        "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(20));"
        "INSERT INTO t VALUES ('k', 'v')",
    )
    bench.apply(bench.changes("t", updates=(rows("k, v", ("K ", "V ")),)))
    assert bench.fetch("SELECT HEX(k), HEX(v) FROM t") == [("4B20", "5620")]


def test_generated_columns_counters_and_zeros(bench: Bench) -> None:
    bench.add(
        table("t", "id int, v int", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v int,"
        " twice int GENERATED ALWAYS AS (v * 2) STORED, half int GENERATED ALWAYS AS (v / 2),"
        " KEY (twice))",
    )
    bench.apply(bench.changes("t", inserts=rows("id, v", (0, 1), (5, 2), (-1, 3))))
    bench.apply(bench.changes("t", updates=(rows("id, v", (0, 10)),), deletes=rows("id", (-1,))))
    bench.apply(bench.changes("t", inserts=rows("id, v", (0, 20), (7, 7))), exact=False)
    assert bench.fetch("SELECT id, v, twice FROM t ORDER BY id") == [
        (0, 20, 40),
        (5, 2, 4),
        (7, 7, 14),
    ]


@MODES
def test_foreign_keys_do_not_act(bench: Bench, exact: bool) -> None:
    """The source's log told what its own have done."""
    bench.add(
        table("parent", "id int, v int", key="id"),
        "CREATE TABLE parent (id int PRIMARY KEY, v int); INSERT INTO parent VALUES (1, 1), (2, 2)",
    )
    bench.add(
        table("child", "id int, p int", key="id"),
        "CREATE TABLE child (id int PRIMARY KEY, p int,"
        " FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);"
        "INSERT INTO child VALUES (1, 1), (2, 2)",
    )
    bench.apply(
        bench.changes("child", inserts=rows("id, p", (3, 77))),
        bench.changes("parent", deletes=rows("id", (1,)), updates=(rows("id, v", (2, 3)),)),
        exact=exact,
    )
    bench.apply(bench.move("parent", rows("id", (2,)), rows("id, v", (20, 3))))
    assert bench.fetch("SELECT * FROM child ORDER BY id") == [(1, 1), (2, 2), (3, 77)]


def with_a_family(bench: Bench) -> None:
    """A parent, its children (whose key holds the parent's), theirs, and a table of friends."""

    def key(columns: str, referenced: str, to: str, action: str) -> ForeignKey:
        return ForeignKey(
            f"fk_{columns}",
            tuple(columns.split(", ")),
            TableName(SCHEMA, referenced),
            tuple(to.split(", ")),
            on_delete=action,
            on_update=action,
        )

    bench.add(
        table("parent", "id text, v int", key="id"),
        "CREATE TABLE parent (id varchar(9) PRIMARY KEY, v int);"
        "INSERT INTO parent VALUES ('a', 1), ('b', 2), ('c', 3)",
    )
    bench.add(
        table(
            "child",
            "p text, n int, up text, at timestamp",
            key="p, n",
            foreign=[
                key("p", "parent", "id", "CASCADE"),
                key("up, n", "child", "p, n", "CASCADE"),
            ],
        ),
        "CREATE TABLE child (p varchar(9), n int, up varchar(9),"
        " at datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (p, n));"
        "INSERT INTO child VALUES ('a', 1, NULL, '2001-01-01'), ('b', 1, 'a', '2001-01-01'),"
        " ('b', 2, NULL, '2001-01-01'), ('c', 1, 'b', '2001-01-01')",
    )
    bench.add(
        table(
            "toy",
            "id int, p text, n int",
            key="id",
            foreign=[key("p, n", "child", "p, n", "CASCADE")],
        ),
        "CREATE TABLE toy (id int PRIMARY KEY, p varchar(9), n int);"
        "INSERT INTO toy VALUES (1, 'a', 1), (2, 'b', 1), (3, 'b', 2), (4, 'c', 1), (5, NULL, 1)",
    )
    bench.add(
        table("friend", "id int, p text", key="id", foreign=[key("p", "parent", "id", "SET NULL")]),
        "CREATE TABLE friend (id int PRIMARY KEY, p varchar(9));"
        "INSERT INTO friend VALUES (1, 'a'), (2, 'b'), (3, NULL)",
    )


def test_rows_follow_a_parent_that_is_gone(bench: Bench) -> None:
    with_a_family(bench)
    bench.apply(
        bench.changes("parent", deletes=rows("id", ("a",))),
        Cascade(TableName(SCHEMA, "parent"), rows("v, id", (1, "a"))),
    )
    # Of b, the first child had looked up to a's; c's had looked up to that one.
    assert bench.fetch("SELECT p, n FROM child") == [("b", 2)]
    assert bench.fetch("SELECT id FROM toy ORDER BY id") == [(3,), (5,)]
    assert bench.fetch("SELECT id, p FROM friend ORDER BY id") == [(1, None), (2, "b"), (3, None)]


def test_rows_follow_a_parent_that_has_another_key(bench: Bench) -> None:
    with_a_family(bench)
    name = TableName(SCHEMA, "parent")
    # A value passes from one to the other.
    bench.apply(
        Cascade(name, rows("id", ("c",), ("b",), ("a",)), rows("id", ("z",), ("c",), ("b",))),
    )
    assert bench.fetch("SELECT p, n, up FROM child ORDER BY p, n") == [
        ("b", 1, None),
        ("c", 1, "b"),
        ("c", 2, None),
        ("z", 1, "c"),
    ]
    assert bench.fetch("SELECT DISTINCT at FROM child") == [
        (datetime.datetime.fromisoformat("2001-01-01"),)
    ]
    assert bench.fetch("SELECT id, p, n FROM toy ORDER BY id") == [
        (1, "b", 1),
        (2, "c", 1),
        (3, "c", 2),
        (4, "z", 1),
        (5, None, 1),
    ]
    assert bench.fetch("SELECT id, p FROM friend ORDER BY id") == [(1, None), (2, None), (3, None)]


@MODES
def test_odd_names(bench: Bench, exact: bool) -> None:
    bench.add(
        table("odd`%s", "a%s int, sel`ect text, godwit_n int", key="a%s"),
        "CREATE TABLE `odd``%s` (`a%s` int PRIMARY KEY, `sel``ect` varchar(9), `godwit_n` int);"
        "INSERT INTO `odd``%s` VALUES (1, 'x', 1), (2, 'y', 2)",
    )
    bench.add(
        table("log%d", "a%s int, v%d text"),
        "CREATE TABLE `log%d` (`a%s` int, `v%d` varchar(9), KEY (`a%s`));"
        "INSERT INTO `log%d` VALUES (1, 'x'), (1, 'x')",
    )
    bench.source["odd`%s"] = {(9,): (9, "nine", 9)}
    bench.apply(
        bench.changes(
            "odd`%s",
            updates=(rows("a%s, sel`ect", (1, "u"), (9, "later")),),
            deletes=rows("a%s", (2,)),
            inserts=rows("a%s, sel`ect, godwit_n", (3, "i", 3)),
        ),
        bench.changes("log%d", deletes=rows("a%s, v%d", (1, "x"))),
        exact=exact,
    )
    assert bench.fetch("SELECT * FROM `odd``%s` ORDER BY 1") == [
        (1, "u", 1),
        (3, "i", 3),
        (9, "nine", 9),
    ]
    assert bench.fetch("SELECT count(*) FROM `log%d`") == [(1,)]


def test_names_that_differ_in_case_are_two_tables(bench: Bench) -> None:
    bench.add(table("t", "id int", key="id"), "CREATE TABLE t (id int PRIMARY KEY)")
    bench.add(
        table("T", "id int, v int, w int", key="v"),
        "CREATE TABLE T (id int, v int PRIMARY KEY, w int UNIQUE)",
    )
    for exact in (True, False):
        bench.apply(
            bench.changes("t", inserts=rows("id", (int(exact),))),
            bench.changes("T", inserts=rows("id, v, w", (1, int(exact), int(exact)))),
            exact=exact,
        )
    assert bench.fetch("SELECT * FROM t ORDER BY 1") == [(0,), (1,)]
    assert bench.fetch("SELECT v FROM T ORDER BY 1") == [(0,), (1,)]
    assert bench.control.suspended() == {}


@MODES
def test_keys_of_texts_without_length(bench: Bench, exact: bool) -> None:
    """The target has a key of a prefix only: it cannot tell rows apart, values must."""
    bench.add(
        table("t", "k text, v int", key="k"),
        "CREATE TABLE t (k longtext COLLATE utf8mb4_bin, v int, KEY (k(10)))",
    )
    long = "x" * 2000
    bench.apply(
        bench.changes("t", inserts=rows("k, v", (long + "1", 1), (long + "2", 2), ("", 3))),
        exact=exact,
    )
    bench.apply(
        bench.changes("t", updates=(rows("k, v", (long + "1", 10)),), deletes=rows("k", ("",))),
        exact=exact,
    )
    assert bench.fetch("SELECT RIGHT(k, 1), v FROM t ORDER BY v") == [("2", 2), ("1", 10)]


@MODES
def test_other_character_sets_and_types(bench: Bench, exact: bool) -> None:
    bench.add(
        table("t", "id int, l text, g text, b bits, j json, f float, y int", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, l varchar(20) CHARACTER SET latin1,"
        " g char(9) CHARACTER SET utf16, b bit(9), j json, f float, y year)",
    )
    names = "id, l, g, b, j, f, y"
    one = (1, "€é", "😀 x", "100000001", '{"k": [1, 2]}', 0.1, 1999)
    two = (2, None, None, None, None, None, None)
    bench.apply(bench.changes("t", inserts=rows(names, one, two)), exact=exact)
    bench.apply(
        bench.changes("t", updates=(rows(names, (2, *one[1:]), (1, *two[1:])),)), exact=exact
    )
    found = bench.fetch("SELECT id, l, g, b + 0, j, f, y FROM t ORDER BY id")
    assert found == [(1, *two[1:]), (2, "€é", "😀 x", 257, '{"k": [1, 2]}', 0.1, 1999)]


def test_a_row_larger_than_a_packet_of_ours(bench: Bench) -> None:
    bench.add(
        table("t", "id int, v bytes", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, v longblob)",
    )
    value = bytes(range(256)) * 12_000
    bench.apply(bench.changes("t", inserts=rows("id, v", (1, value), (2, b""))))
    bench.apply(bench.changes("t", updates=(rows("id, v", (2, value)),)))
    assert bench.fetch("SELECT LENGTH(v) FROM t") == [(len(value),), (len(value),)]
    assert bench.fetch("SELECT COUNT(DISTINCT v) FROM t") == [(1,)]


def test_an_old_version_that_cannot_come_back_is_told(bench: Bench) -> None:
    bench.add(
        table("t", "id int, code text", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, code varchar(9) UNIQUE, CHECK (code <> 'bad'));"
        "INSERT INTO t VALUES (1, 'b'), (2, 'a')",
    )
    bench.apply(bench.changes("t", updates=(rows("id, code", (1, "a"), (2, "bad")),)))
    assert bench.fetch("SELECT id, code FROM t") == [(1, "a")]
    assert bench.logged == {("UPDATE", "id=2")}
    assert len(bench.control.exceptions()) == 2


def test_a_suspension_is_not_forgotten_when_the_batch_is_applied_again(bench: Bench) -> None:
    bench.add(table("a", "id int", key="id"), "CREATE TABLE a (id int PRIMARY KEY)")
    bench.add(table("b", "id int", key="id"), "CREATE TABLE b (id int PRIMARY KEY, CHECK (id > 0))")
    bench.policy = ErrorPolicy(update="SUSPEND_TABLE")
    bench.source["a"] = {}
    bench.apply(
        bench.changes("a", updates=(rows("id", (1,)),)),
        bench.changes("b", inserts=rows("id", (-1,), (1,))),
        bench.changes("a", inserts=rows("id", (5,))),
    )
    assert list(bench.control.suspended()) == [TableName(SCHEMA, "a")]
    assert bench.fetch("SELECT id FROM a") == []
    assert bench.fetch("SELECT id FROM b") == [(1,)]


def test_a_table_without_transactions_is_refused(bench: Bench) -> None:
    bench.add(table("t", "id int", key="id"), "CREATE TABLE t (id int PRIMARY KEY) ENGINE=MyISAM")
    bench.policy = ErrorPolicy(table="STOP_TASK")
    with pytest.raises(ApplyError, match="InnoDB"):
        bench.apply(bench.changes("t", updates=(rows("id", (1,)),)))
    with pytest.raises(ApplyError, match="InnoDB"):
        bench.apply(bench.changes("t", inserts=rows("id", (1,))))
    assert bench.fetch("SELECT * FROM t") == []


def test_a_transaction_that_loses_against_another_is_repeated(bench: Bench) -> None:
    bench.add(
        table("t", "id int, v int", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    bench.add(table("busy", "id int", key="id"), "CREATE TABLE busy (id int PRIMARY KEY)")
    bench.apply(bench.changes("t", inserts=rows("id, v", (3, 3))))
    applier = bench.applier._session.thread_id()
    with bench.database.connect(autocommit=False) as other, other.cursor() as cursor:
        # The transaction that has changed less is the one that gives way.
        cursor.executemany("INSERT INTO busy VALUES (%s)", [(i,) for i in range(500)])
        cursor.execute("UPDATE t SET v = v + 100 WHERE id = 2")
        first = bench.changes("t", updates=(rows("id, v", (1, 10)),))
        second = bench.changes("t", deletes=rows("id", (2,)))
        applying = threading.Thread(target=lambda: bench.apply(first, second))
        applying.start()
        _until_waiting(bench, applier)
        cursor.execute("UPDATE t SET v = v + 1000 WHERE id = 1")
        other.commit()
        applying.join(30)
    assert not applying.is_alive()
    assert bench.fetch("SELECT * FROM t ORDER BY id") == [(1, 10), (3, 3)]
    assert bench.checkpoint == "2"
    assert bench.control.exceptions() == []


def _until_waiting(bench: Bench, thread: int) -> None:
    deadline = time.monotonic() + 20
    query = (
        "SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = %s"
        " AND trx_state = 'LOCK WAIT'"
    )
    while not bench.database.fetch(query, [thread]):
        assert time.monotonic() < deadline
        # Who asks again within a tenth of a second gets the same answer as before.
        time.sleep(0.15)


@pytest.mark.parametrize("place", ["apply.before_commit", "apply.after_commit"])
def test_a_killed_process_leaves_all_or_nothing(bench: Bench, place: str) -> None:
    bench.add(
        table("t", "id int, v int", key="id"),
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)",
    )
    bench.control.set_low(At(0))
    bench.control.close()
    bench.connector.close()
    changes = bench.changes("t", updates=(rows("id, v", (1, 10)),), inserts=rows("id, v", (2, 20)))

    def child() -> None:
        os.environ[VARIABLE] = place
        bench.apply(changes)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    epoch = bench.control.take_epoch("apply")
    bench.control.confirm_epoch(epoch)
    done = place == "apply.after_commit"
    assert bench.checkpoint == ("1" if done else "0")
    assert bench.fetch("SELECT * FROM t ORDER BY id") == ([(1, 10), (2, 20)] if done else [(1, 1)])


@pytest.mark.parametrize(
    ("number", "message", "shown"),
    [
        (1062, "Duplicate entry 'o'hara' for key 't.uk'", "Duplicate entry … for key 't.uk'"),
        (
            1366,
            "Incorrect integer value: 'se'cret' for column `d`.`t`.`c` at row 7",
            "Incorrect integer value for column `d`.`t`.`c` at row 7",
        ),
        (1264, "Out of range value for column 'c' at row 3", None),
        (1406, "Data too long for column 'c' at row 3", None),
        (4025, "CONSTRAINT `t_chk` failed for `d`.`t`", None),
        (3819, "Check constraint 't_chk' is violated.", None),
        (1644, "the value 'secret' is bad", "the value … is bad"),
        (1146, "Table 'd.t' doesn't exist", None),
        (
            1064,
            "You have an error near 'VALUES ('secret')' at line 1",
            "You have an error near … at line 1",
        ),
    ],
)
def test_a_complaint_shows_no_value(number: int, message: str, shown: str | None) -> None:
    told = refusal(pymysql.err.OperationalError(number, message))
    assert told.reason == f"{shown or message} (error {number})"
    assert told.code == number


def test_what_a_complaint_is_about() -> None:
    told = refusal(
        pymysql.err.DataError(1366, "Incorrect integer value: 'x' for column `d`.`t`.`c` at row 7")
    )
    assert (told.line, told.column, told.of_a_row, told.of_a_value) == (7, "c", True, True)
    assert told.place == " line 7 column c"
    key = refusal(pymysql.err.IntegrityError(1062, "Duplicate entry 'x' for key 't.uk'"))
    assert (key.constraint, key.of_a_row, key.of_a_value) == ("t.uk", True, False)
    assert refusal(pymysql.err.OperationalError(1213, "Deadlock found")).transient
    assert refusal(BrokenPipeError(32, "Broken pipe")).lost
    assert refusal(pymysql.err.InterfaceError(0, "")).lost


def test_without_the_privilege_to_flush_what_is_old_enough_is_durable(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = f"u{bench.database.name[-10:]}"
    server = bench.database.server
    bench.database.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
    try:
        connection = connection_from_text("u", f"mysql://{user}:pw@127.0.0.1:{server.port}/")
        session = Connector(connection, {}).connect(role="target")
        durable = durability.Durability(session)
        assert not durable.at_commit
        durable.committed(At(1))
        assert durable.position() is None
        durable.committed(At(2))
        durable.settle()
        assert durable.position() is None
        monkeypatch.setattr(durability, "OLD_ENOUGH", 0.0)
        assert str(durable.position()) == "2"
        session.close()
    finally:
        bench.database.execute(f"DROP USER {user}@'%'")

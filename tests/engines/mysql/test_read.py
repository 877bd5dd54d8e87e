"""Reading chunks: ranges, filters, snapshots, marks, huge rows, and what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pymysql
import pytest

from godwit.engines.mysql import table_lock
from godwit.engines.mysql.capture import parse_position
from godwit.engines.mysql.read import formats, read, shared_snapshot
from godwit.errors import LoadError
from godwit.model.chunks import Chunk
from godwit.model.mapping import Condition, RowFilter
from godwit.steps.filters import filter_mask
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.reading import (
    COLUMNS,
    MYSQL_COLUMNS,
    Log,
    loaded,
    mapping_of,
    source_of,
    table_of,
)

_DEADLINE = 20.0


def _fill(database: MySqlDatabase, name: str, rows: int) -> None:
    """Rows 1 … n of ``(id int, v varchar)``."""
    database.execute(f"INSERT INTO {name} (id, v) VALUES (1, 'value 1')")
    have = 1
    while have < rows:
        database.execute(
            f"INSERT INTO {name} (id, v) SELECT id + {have}, CONCAT('value ', id + {have})"
            f" FROM {name} WHERE id + {have} <= {rows}"
        )
        have *= 2


def test_a_table_is_read_in_batches_of_bounded_size(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30))")
    _fill(mysql_source, "t", 50_000)
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    with read(source, Chunk("", mapping.source.name), mapping, COLUMNS) as rows:
        batches = list(rows)
        assert rows.mark is None
        assert rows.bytes > 50_000 * 10
    assert sum(b.num_rows for b in batches) == 50_000
    assert max(b.num_rows for b in batches) <= 200_000
    whole = pa.Table.from_batches(batches)
    assert whole["id"].to_pylist() == list(range(1, 50_001))
    assert whole["v"].to_pylist()[-1] == "value 50000"
    assert formats(mapping.source, ["id"]) == (MYSQL_COLUMNS, COLUMNS)


def test_an_empty_table_has_no_batches(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = source_of(mysql_source)
    assert loaded(source, mapping_of(table_of(source, "t"))).num_rows == 0


def test_names_and_columns_of_every_kind(mysql_source: MySqlDatabase) -> None:
    """Odd names, invisible columns (read), generated ones (not), percent signs, backticks."""
    mysql_source.execute(
        "CREATE TABLE `odd ``%s name` (`a``b` int PRIMARY KEY, `100%` varchar(9), `s` int AS"
        " (`a``b` + 1) STORED, `v` int AS (`a``b` + 2) VIRTUAL, `hidden` int INVISIBLE DEFAULT 7)"
    )
    mysql_source.execute("INSERT INTO `odd ``%s name` (`a``b`, `100%`) VALUES (1, 'x')")
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "odd `%s name"))
    assert loaded(source, mapping).to_pydict() == {"a`b": [1], "100%": ["x"], "hidden": [7]}


def test_key_ranges_cover_the_table_once(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute(
        "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci, n int, b varbinary(4),"
        " PRIMARY KEY (k, n, b))"
    )
    keys = ["a", "A", "\u00e9", "E", "z", "", "Z z", "\U0001f600", "%s", "\\", "'"]
    for n, key in enumerate(keys):
        mysql_source.execute("INSERT INTO t VALUES (%s, %s, %s)", (key, n, bytes([n])))
    source = source_of(mysql_source)
    table = table_of(source, "t")
    ordered = mysql_source.fetch("SELECT k, n, HEX(b) FROM t ORDER BY k, n, b")
    bounds = [None, *((k, str(n), h) for k, n, h in ordered[2::3]), None]
    found: list[tuple[str, int]] = []
    for lower, upper in pairwise(bounds):
        chunk = Chunk("", table.name, None, "key", ("k", "n", "b"), lower, upper)
        rows = loaded(source, mapping_of(table), chunk=chunk).to_pylist()
        assert len(rows) <= 3
        found += [(row["k"], row["n"]) for row in rows]
    assert sorted(found) == sorted((k, n) for k, n, _ in ordered)


def test_a_bound_that_is_no_value_is_named(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = source_of(mysql_source)
    table = table_of(source, "t")
    chunk = Chunk("", table.name, None, "key", ("id",), ("1; DROP TABLE t",), None)
    with pytest.raises(LoadError, match="not an integer"):
        loaded(source, mapping_of(table), chunk=chunk)


# -- filters

_CASES = [
    Condition("s", "eq", ("abc",)),
    Condition("s", "noteq", ("abc",)),
    Condition("s", "gte", ("a",)),
    Condition("s", "between", ("A", "b")),
    Condition("s", "notbetween", ("A", "b")),
    Condition("s", "eq", ("abc ",)),
    Condition("c", "eq", ("abc  ",)),
    Condition("c", "lt", ("b",)),
    Condition("l", "eq", ("\u00e9",)),
    Condition("l", "gt", ("\u20ac",)),
    Condition("l", "eq", ("\U0001f600",)),
    Condition("i", "gte", ("2",)),
    Condition("i", "null"),
    Condition("i", "notnull"),
    Condition("u", "eq", ("18446744073709551615",)),
    Condition("m", "eq", ("1.10",)),
    Condition("m", "gt", ("1e0",)),
    Condition("f", "eq", ("0.1",)),
    Condition("d", "lte", ("0.1",)),
    Condition("e", "gte", ("low",)),
    Condition("e", "eq", ("high",)),
    Condition("t", "gt", ("2024-01-01 00:00:00.5",)),
    Condition("z", "ste", ("2024-01-01 01:00:00+01",)),
    Condition("y", "between", ("2024-01-01", "2024-12-31")),
]


@pytest.fixture
def filtered(mysql_source: MySqlDatabase) -> MySqlDatabase:
    mysql_source.execute(
        "CREATE TABLE f (id int PRIMARY KEY, s varchar(20), c char(9), l varchar(9) CHARACTER SET"
        " latin1, i int, u bigint unsigned, m decimal(20,5), f float, d double,"
        " e enum('high', 'low', 'a'), t datetime(6), z timestamp(6) NULL, y date)"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    )
    rows = [
        ("abc", "abc", "\u00e9", 1, 0, "1.1", 0.1, 0.1, "high", "2024-01-01 00:00:00.5"),
        ("ABC", "Abc", "E", 2, 2**64 - 1, "1.10001", 0.5, 0.2, "low", "2024-01-01 00:00:00.500001"),
        ("abc ", "b", "\u20ac", -3, 7, "-9", -0.1, -5, "a", "2023-01-01"),
        ("\u00e4bc", "", "\u00ff", None, None, None, None, None, None, None),
        ("\U0001f600", "z", "", 5, 1, "0", 0, 0, "low", "2025-06-07 01:02:03"),
        ("\uffee", "zz", "e", 6, 1, "0.00001", 1e10, 1e300, "a", "2024-01-01"),
    ]
    for n, row in enumerate(rows):
        marks = ", ".join(["%s"] * 13)
        values = (n, *row, row[-1], row[-1] and row[-1][:10])
        mysql_source.execute(f"INSERT INTO f VALUES ({marks})", values)
    return mysql_source


@pytest.mark.parametrize("condition", _CASES, ids=lambda c: f"{c.column}-{c.operator}-{c.values}")
def test_filters_choose_the_rows_that_changes_choose(
    filtered: MySqlDatabase, condition: Condition
) -> None:
    source = source_of(filtered)
    table = table_of(source, "f")
    every = loaded(source, mapping_of(table), COLUMNS).combine_chunks().to_batches()[0]
    mapping = mapping_of(table, RowFilter(((condition,),)))
    wanted = every.filter(filter_mask(every, mapping)).column("id").to_pylist()
    found = loaded(source, mapping, COLUMNS)
    assert (found["id"].to_pylist() if found.num_rows else []) == wanted


def test_groups_of_a_filter_all_hold(filtered: MySqlDatabase) -> None:
    source = source_of(filtered)
    either = (Condition("i", "lt", ("0",)), Condition("i", "gt", ("1",)))
    row_filter = RowFilter((either, (Condition("e", "eq", ("low",)),)))
    mapping = mapping_of(table_of(source, "f"), row_filter)
    assert loaded(source, mapping, COLUMNS)["id"].to_pylist() == [1, 4]


def test_a_filter_value_of_another_type_is_named(filtered: MySqlDatabase) -> None:
    source = source_of(filtered)
    row_filter = RowFilter(((Condition("i", "eq", ("1 OR 1=1",)),),))
    with pytest.raises(LoadError, match="column i"):
        loaded(source, mapping_of(table_of(source, "f"), row_filter), COLUMNS)


# -- snapshots and marks


def test_a_chunk_is_one_snapshot_of_a_table_that_changes(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30))")
    _fill(mysql_source, "t", 100_000)
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    with read(source, Chunk("", mapping.source.name), mapping, COLUMNS) as rows:
        batches = iter(rows)
        count = next(batches).num_rows
        mysql_source.execute("DELETE FROM t WHERE id > 10")
        mysql_source.execute("INSERT INTO t VALUES (0, 'new')")
        count += sum(batch.num_rows for batch in batches)
    assert count == 100_000


def test_sessions_are_as_before_after_a_read(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30) CHARACTER SET latin1)")
    mysql_source.execute("INSERT INTO t VALUES (1, '\u00e9')")
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    assert loaded(source, mapping)["v"].to_pylist() == ["\u00e9"]
    with source.lease() as session:
        number = session.thread_id()
        assert session.value("SELECT v FROM t") == "\u00e9"
        assert not session.in_transaction
    loaded(source, mapping)
    with source.lease() as session:
        assert session.thread_id() == number
    assert mysql_source.fetch("SHOW STATUS LIKE 'Prepared_stmt_count'")[0][1] == "0"


def test_a_read_that_is_left_ends_its_session(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30))")
    _fill(mysql_source, "t", 100_000)
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    with read(source, Chunk("", mapping.source.name), mapping, COLUMNS) as rows:
        next(iter(rows))
    assert loaded(source, mapping).num_rows == 100_000


def test_a_table_without_key_is_tied_to_a_position(mysql_source: MySqlDatabase) -> None:
    """Writers go on all the time; what the chunk has seen and what follows the mark is all."""
    mysql_source.execute("CREATE TABLE t (n int)")
    source = source_of(mysql_source)
    table = table_of(source, "t")
    log = Log(source, table)
    stop = threading.Event()

    def write() -> None:
        with mysql_source.connect(autocommit=False) as session, session.cursor() as cursor:
            n = 0
            while not stop.is_set():
                for _ in range(3):
                    cursor.execute("INSERT INTO t VALUES (%s)", (n,))
                    n += 1
                session.commit()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        deadline = time.monotonic() + _DEADLINE
        while mysql_source.fetch("SELECT COUNT(*) FROM t")[0][0] < 60:
            assert time.monotonic() < deadline
        marks = []
        for _ in range(5):
            with read(source, Chunk("", table.name), mapping_of(table), COLUMNS) as rows:
                marks.append((rows.mark, sum(batch.num_rows for batch in rows)))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    for mark, seen in marks:
        assert mark is not None
        at = getattr(parse_position(mark), "at", None)
        assert at is not None
        assert _inserted_until(log, at.file, int(str(at).rpartition(":")[2])) == seen


def _inserted_until(log: Log, file: str, offset: int) -> int:
    """How many rows the log has until then. (Not by where events end: newer ones don't say.)"""
    session = log._connector.connect()
    try:
        rows = session.rows(f"SHOW BINLOG EVENTS IN '{file}' FROM {log._offset}")
    finally:
        session.close()
    return sum(1 for row in rows if row[2].startswith("Write_rows") and row[1] < offset)


def test_a_lock_that_cannot_be_had_is_named(
    mysql_source: MySqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_source.execute("CREATE TABLE t (n int)")
    monkeypatch.setattr(table_lock, "LOCK_SECONDS", 1)
    monkeypatch.setattr(table_lock, "LOCK_PATIENCE", 0.0)
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    with mysql_source.connect(autocommit=False) as session, session.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(LoadError, match="long transaction"):
            loaded(source, mapping)
        session.commit()
    assert loaded(source, mapping)["n"].to_pylist() == [1]


def test_a_missing_privilege_is_named(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (n int)")
    name = f"reader_{mysql_source.name}"[:32]
    mysql_source.execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'secret'")
    try:
        mysql_source.execute(f"GRANT SELECT ON `{mysql_source.name}`.* TO {name}@'%'")
        source = source_of(mysql_source)
        table = table_of(source, "t")
        source.connection.__dict__.update(login=name, password="secret")
        source.close()
        with pytest.raises(LoadError, match="GRANT LOCK TABLES"):
            loaded(source, mapping_of(table))
    finally:
        mysql_source.execute(f"DROP USER {name}@'%'")


# -- what goes wrong


def test_bytes_that_are_no_text_are_an_error(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varbinary(30))")
    mysql_source.execute("INSERT INTO t VALUES (1, x'8180'), (2, 'fine')")
    # From binary to text nothing is checked when only the definition changes …
    mysql_source.execute("ALTER TABLE t MODIFY v varchar(30) CHARACTER SET gbk")
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    assert loaded(source, mapping).num_rows == 2
    mysql_source.execute("CREATE TABLE u (id int PRIMARY KEY, v varchar(30) CHARACTER SET gbk)")
    # … and gbk has codes without a character.
    mysql_source.execute("INSERT INTO u VALUES (1, _gbk x'a2a1'), (2, _gbk x'fefe')")
    with pytest.raises(LoadError, match="column v") as error:
        loaded(source, mapping_of(table_of(source, "u")))
    assert "fefe" not in str(error.value).lower()


def test_a_dropped_table_is_gone(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    mysql_source.execute("DROP TABLE t")
    with pytest.raises(LoadError, match="gone"):
        loaded(source, mapping)


def test_a_killed_session_is_an_error(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30))")
    _fill(mysql_source, "t", 200_000)
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))

    def broken() -> None:
        with read(source, Chunk("", mapping.source.name), mapping, COLUMNS) as rows:
            batches = iter(rows)
            next(batches)
            running = mysql_source.fetch(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE()"
                " AND ID <> CONNECTION_ID()"
            )
            for (number,) in running:
                mysql_source.execute(f"KILL {number}")
            list(batches)

    with pytest.raises(LoadError, match="cannot be read"):
        broken()
    assert loaded(source, mapping).num_rows == 200_000


def test_reads_that_share_a_snapshot(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30))")
    _fill(mysql_source, "t", 100)
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    chunk = Chunk("", mapping.source.name)
    seen = []
    with shared_snapshot(source) as snapshot:
        for _ in range(2):
            with read(source, chunk, mapping, COLUMNS, snapshot) as rows:
                seen.append((sum(batch.num_rows for batch in rows), rows.mark))
            mysql_source.execute("DELETE FROM t LIMIT 10")
    assert seen == [(100, seen[0][1])] * 2
    assert seen[0][1] is not None
    with pytest.raises(LoadError, match="ended"), read(source, chunk, mapping, COLUMNS, snapshot):
        pass


@pytest.fixture
def roomy(mysql_source: MySqlDatabase) -> Iterator[MySqlDatabase]:
    """A server that sends rows of more than a packet's 16 MiB."""
    before = mysql_source.fetch("SELECT @@global.max_allowed_packet")[0][0]
    mysql_source.execute(f"SET GLOBAL max_allowed_packet = {64 << 20}")
    yield mysql_source
    mysql_source.execute(f"SET GLOBAL max_allowed_packet = {before}")


def test_rows_longer_than_a_packet(roomy: MySqlDatabase) -> None:
    roomy.execute("CREATE TABLE t (id int PRIMARY KEY, v longtext, b longblob)")
    sizes = [5, 0xFFFFFF - 100, 0xFFFFFF, 20 << 20, 7]
    for n, size in enumerate(sizes):
        roomy.execute(f"INSERT INTO t VALUES ({n}, REPEAT('x', {size}), REPEAT('y', 1000000))")
    source = source_of(roomy)
    rows = loaded(source, mapping_of(table_of(source, "t")))
    assert [len(v) for v in rows["v"].to_pylist()] == sizes
    assert {len(v) for v in rows["b"].to_pylist()} == {1_000_000}
    assert rows["id"].to_pylist() == list(range(len(sizes)))


@pytest.mark.matrix
def test_reading_over_tls(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as database:
        database.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(30))")
        _fill(database, "t", 100_000)
        source = source_of(database)
        source.connection.__dict__["extra"] = {"ssl_mode": "REQUIRED"}
        mapping = mapping_of(table_of(source, "t"))
        with source.lease() as session:
            assert session.encrypted
        assert loaded(source, mapping)["id"].to_pylist() == list(range(1, 100_001))


def test_a_lost_connection_before_the_statement(mysql_source: MySqlDatabase) -> None:
    mysql_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = source_of(mysql_source)
    mapping = mapping_of(table_of(source, "t"))
    with source.lease() as session:
        number = session.thread_id()
    mysql_source.execute(f"KILL {number}")
    with pymysql.connect(unix_socket=None, **_address(mysql_source)) as other:
        assert other.open
    deadline = time.monotonic() + _DEADLINE
    while mysql_source.fetch(
        "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s", (number,)
    ):
        assert time.monotonic() < deadline
    assert loaded(source, mapping).num_rows == 0


def _address(database: MySqlDatabase) -> dict[str, object]:
    return {"host": "127.0.0.1", "port": database.server.port, "user": "root"}

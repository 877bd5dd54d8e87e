"""Changes as the stream tells them: net, complete, and never past what was not understood."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from godwit.engines.mysql import events
from godwit.engines.mysql.capture import current_position
from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS
from godwit.engines.mysql.gtid import FilePosition, LogPoint, parse_position
from godwit.engines.mysql.relations import Relations
from godwit.engines.mysql.statements import Statements
from godwit.engines.mysql.tracks import Cursor, track_from
from godwit.engines.mysql.transactions import Transactions
from godwit.errors import CaptureError, CaptureLostError
from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, Idle, ShapeChange, TableChanges, Truncation
from godwit.protocols import Wanted
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.reading import loaded, source_of
from tests.engines.mysql.streaming import Followed, Replica, rows_of

FLAVOURS = ["mariadb", pytest.param("mysql97", marks=pytest.mark.matrix)]


@pytest.fixture(params=FLAVOURS)
def source(request: pytest.FixtureRequest) -> Iterator[MySqlDatabase]:
    server: MySqlServer = request.getfixturevalue(request.param)
    with server.create_database() as database:
        yield database


@pytest.fixture
def table(source: MySqlDatabase) -> MySqlDatabase:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40), n int)")
    return source


def run(source: MySqlDatabase, *statements: str) -> None:
    """In one session."""
    with source.connect() as session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def only(batches: list[ChangeBatch]) -> TableChanges:
    """The one table's changes of the one batch."""
    (batch,) = batches
    (stage,) = batch.stages
    assert isinstance(stage, TableChanges)
    return stage


def test_inserts_updates_and_deletes(table: MySqlDatabase) -> None:
    table.execute("INSERT INTO t VALUES (1, 'old', 1), (2, 'old', 2), (3, 'old', 3)")
    followed = Followed(table, "t")
    run(
        table,
        "BEGIN",
        "INSERT INTO t VALUES (4, 'new', 4)",
        "UPDATE t SET v = 'changed' WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "UPDATE t SET id = 30 WHERE id = 3",
        "INSERT INTO t VALUES (5, 'gone', 5)",
        "DELETE FROM t WHERE id = 5",
        "COMMIT",
    )
    batches = followed.all_batches()
    changes = only(batches)
    assert rows_of(changes.inserts) == [
        {"id": 4, "v": "new", "n": 4},
        {"id": 30, "v": "old", "n": 3},
    ]
    assert [rows_of(p) for p in changes.updates] == [[{"id": 1, "v": "changed", "n": 1}]]
    assert rows_of(changes.deletes) == [{"id": 2}, {"id": 3}]
    assert rows_of(changes.cancelled) == [{"id": 5}]
    (batch,) = batches
    assert (batch.transactions, batch.changes, batch.final) == (1, 6, True)
    assert abs(batch.commits[0] - time.time()) < 60


def test_deleted_and_inserted_again_is_an_update(table: MySqlDatabase) -> None:
    table.execute("INSERT INTO t VALUES (1, 'old', 1)")
    followed = Followed(table, "t")
    table.execute("REPLACE INTO t VALUES (1, 'new', 2)")
    changes = only(followed.all_batches())
    assert [rows_of(p) for p in changes.updates] == [[{"id": 1, "v": "new", "n": 2}]]
    assert changes.inserts is None
    assert changes.deletes is None


def test_keys_that_a_collation_holds_equal_are_deleted_and_inserted(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE t (k varchar(10) PRIMARY KEY, n int)")
    source.execute("INSERT INTO t VALUES ('a', 1)")
    followed = Followed(source, "t")
    source.execute("UPDATE t SET k = 'A'")
    changes = only(followed.all_batches())
    assert rows_of(changes.deletes) == [{"k": "a"}]
    assert rows_of(changes.inserts) == [{"k": "A", "n": 1}]


def test_rows_without_identity_are_counted(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE t (v varchar(10), n int)")
    source.execute("INSERT INTO t VALUES ('a', 1), ('a', 1), ('b', NULL)")
    followed = Followed(source, "t")
    replica = Replica(
        followed.mappings[0], loaded(followed.connector, followed.mappings[0]).to_pylist()
    )
    run(
        source,
        "DELETE FROM t WHERE v = 'a' LIMIT 1",
        "UPDATE t SET n = 5 WHERE v = 'b'",
        "INSERT INTO t VALUES ('c', 1), ('c', 1), (NULL, NULL)",
        "DELETE FROM t WHERE v = 'c' LIMIT 1",
    )
    batches = followed.all_batches()
    assert replica.apply(batches)() == followed.rows_now()


STATEMENTS = st.lists(
    st.one_of(
        st.builds("INSERT IGNORE INTO t VALUES ({}, '{}', {})".format, *[st.integers(1, 6)] * 3),
        st.builds("REPLACE INTO t VALUES ({}, '{}', {})".format, *[st.integers(1, 6)] * 3),
        st.builds("UPDATE t SET n = n + 1 WHERE id <= {}".format, st.integers(1, 6)),
        st.builds("UPDATE IGNORE t SET id = {} WHERE id = {}".format, *[st.integers(1, 8)] * 2),
        st.builds("DELETE FROM t WHERE id = {}".format, st.integers(1, 8)),
        st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s"]),
    ),
    max_size=14,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(statements=STATEMENTS, cuts=st.booleans())
def test_any_history_comes_to_the_same_rows(
    table: MySqlDatabase, statements: list[str], cuts: bool
) -> None:
    table.execute("DELETE FROM t")
    table.execute("INSERT INTO t VALUES (1, 'x', 0), (3, 'y', 0)")
    followed = Followed(table, "t")
    before = loaded(followed.connector, followed.mappings[0], COLUMNS).to_pylist()
    replica = Replica(followed.mappings[0], before)
    with table.connect() as session, session.cursor() as cursor, followed.stream() as stream:
        saved = False
        for statement in statements:
            saved = statement == "SAVEPOINT s" or (
                saved and statement not in {"COMMIT", "BEGIN", "ROLLBACK"}
            )
            if statement == "ROLLBACK TO s" and not saved:
                continue
            if statement == "SAVEPOINT s" and not _in_transaction(session):
                saved = False
                continue
            cursor.execute(statement)
            if cuts:
                replica.apply(followed.drain(stream))
        session.rollback()
        replica.apply(followed.drain(stream))
    assert replica() == followed.rows_now()


def _in_transaction(session: Any) -> bool:
    return bool(session.server_status & 1)


def test_rolled_back_to_a_savepoint_beside_a_table_without_transactions(
    mariadb_source: MySqlDatabase,
) -> None:
    """Then the log holds the rows, and that they were taken back. (MySQL with GTIDs refuses it.)"""
    mariadb_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40), n int)")
    mariadb_source.execute("CREATE TABLE m (id int PRIMARY KEY) ENGINE = MyISAM")
    followed = Followed(mariadb_source, "t", "m")
    run(
        mariadb_source,
        "BEGIN",
        "INSERT INTO t VALUES (1, 'kept', 1)",
        "SAVEPOINT a",
        "INSERT INTO m VALUES (1)",
        "INSERT INTO t VALUES (2, 'lost', 1)",
        "ROLLBACK TO a",
        "INSERT INTO t VALUES (3, 'kept', 1)",
        "COMMIT",
        "BEGIN",
        "INSERT INTO t VALUES (4, 'lost', 1)",
        "INSERT INTO m VALUES (2)",
        "ROLLBACK",
    )
    batches = followed.all_batches()
    for index in (0, 1):
        assert Replica(followed.mappings[index]).apply(batches)() == followed.rows_now(index)


@pytest.mark.parametrize("positions", ["auto", "file"])
def test_a_restart_goes_on_behind_the_checkpoint(table: MySqlDatabase, positions: str) -> None:
    followed = Followed(table, "t", positions=positions)
    replica = Replica(followed.mappings[0])
    table.execute("INSERT INTO t VALUES (1, 'a', 1)")
    first = followed.all_batches()
    replica.apply(first)
    table.execute("INSERT INTO t VALUES (2, 'a', 1)")
    table.execute("FLUSH BINARY LOGS")
    table.execute("UPDATE t SET v = 'b'")
    second = followed.all_batches(first[-1].position)
    assert sum(b.changes for b in second) == 3
    assert replica.apply(second)() == followed.rows_now()
    assert second[-1].position.includes(first[-1].position)


@pytest.mark.parametrize("positions", ["auto", "file"])
def test_changes_of_xa_transactions_count_at_their_commit(
    table: MySqlDatabase, positions: str
) -> None:
    table.execute("INSERT INTO t VALUES (50, 'a', 1), (51, 'a', 1)")
    followed = Followed(table, "t", positions=positions)
    start = loaded(followed.connector, followed.mappings[0], COLUMNS).to_pylist()
    _prepare(table, "one", "INSERT INTO t VALUES (1, 'xa', 1)")
    table.execute("INSERT INTO t VALUES (2, 'plain', 1)")
    _prepare(table, "two", "DELETE FROM t WHERE id = 50")
    replica = Replica(followed.mappings[0], start)
    first = followed.all_batches()
    assert replica.apply(first)() == followed.rows_now()
    # A restart must read again what is prepared, and nothing else.
    table.execute("INSERT INTO t VALUES (3, 'plain', 1)")
    run(table, "XA COMMIT 'one'")
    second = followed.all_batches(first[-1].position)
    assert replica.apply(second)() == followed.rows_now()
    third = followed.all_batches(second[-1].position)
    assert third == []
    run(table, "XA ROLLBACK 'two'")
    table.execute("UPDATE t SET v = 'after' WHERE id = 50")
    fourth = followed.all_batches(second[-1].position)
    assert replica.apply(fourth)() == followed.rows_now()
    assert ";" not in str(fourth[-1].position).partition(";at=")[2]


def test_one_phase_xa_transactions_are_plain_ones(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    run(
        table,
        "XA START 'x'",
        "INSERT INTO t VALUES (1, 'xa', 1)",
        "XA END 'x'",
        "XA COMMIT 'x' ONE PHASE",
    )
    assert Replica(followed.mappings[0]).apply(followed.all_batches())() == followed.rows_now()


def _prepare(source: MySqlDatabase, name: str, statement: str) -> None:
    run(source, f"XA START '{name}'", statement, f"XA END '{name}'", f"XA PREPARE '{name}'")


def test_an_xa_commit_without_its_rows_stops(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    _prepare(table, "early", "INSERT INTO t VALUES (1, 'xa', 1)")
    later = current_position(followed.connector)
    run(table, "XA COMMIT 'early'")
    with pytest.raises(CaptureLostError, match="prepared before the capture"):
        followed.all_batches(later)


def test_transactions_of_other_tables_move_the_position(table: MySqlDatabase) -> None:
    table.execute("CREATE TABLE o (id int PRIMARY KEY)")
    followed = Followed(table, "t")
    with followed.stream() as stream:
        for number in range(5):
            table.execute("INSERT INTO o VALUES (%s)", (number,))
        assert followed.drain(stream) == []
        table.execute("INSERT INTO t VALUES (1, 'a', 1)")
        (batch,) = followed.drain(stream)
        assert batch.changes == 1


def test_idle_when_everything_has_been_read(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    table.execute("INSERT INTO t VALUES (1, 'a', 1)")
    with followed.stream() as stream:
        (batch,) = followed.drain(stream)
        deadline = time.monotonic() + 10
        item = None
        while not isinstance(item, Idle) and time.monotonic() < deadline:
            item = stream.read(lambda: Wanted.ANY)
        assert isinstance(item, Idle)
        assert item.position.includes(batch.position)
        assert parse_position(str(item.position)) == item.position


def test_nothing_is_handed_over_unless_wanted(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    with followed.stream() as stream:
        for number in range(20):
            table.execute("INSERT INTO t VALUES (%s, 'a', 1)", (number,))
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            assert not isinstance(stream.read(lambda: Wanted.NOTHING), ChangeBatch)
        (batch,) = followed.drain(stream)
        assert batch.transactions == 20
        assert len(batch.commits) == 20


def test_a_huge_transaction_comes_in_parts(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    digits = (
        "(SELECT 0 i UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5)"
    )
    run(
        table,
        "BEGIN",
        "INSERT INTO t SELECT a.i + 6 * b.i + 36 * c.i + 216 * d.i + 1296 * e.i, REPEAT('x', 40), 1"
        f" FROM {digits} a, {digits} b, {digits} c, {digits} d, {digits} e",
        "UPDATE t SET n = 2 WHERE id < 100",
        "COMMIT",
        "DELETE FROM t WHERE id = 7",
    )
    with followed.stream(batch_bytes=64 << 10) as stream:
        batches = followed.drain(stream, Wanted.FULL)
    parts = [b for b in batches if not b.final]
    assert len(parts) >= 2
    assert all(followed.start.includes(b.position) for b in parts)
    assert all(b.bytes < 256 << 10 for b in batches)
    assert sum(b.transactions for b in batches) == 2
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


def test_marks_leave_out_what_was_loaded(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE k (v varchar(10))")
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    followed = Followed(source, "k", "t")
    run(source, "INSERT INTO k VALUES ('before')", "INSERT INTO t VALUES (1)")
    mark = str(current_position(followed.connector))
    run(source, "INSERT INTO k VALUES ('after')", "INSERT INTO t VALUES (2)")
    batches = followed.all_batches(marks={TableName(source.name, "k"): mark})
    counted = Replica(followed.mappings[0]).apply(batches)()
    assert sum(counted.values()) == 1
    assert "after" in next(iter(counted))
    assert Replica(followed.mappings[1]).apply(batches)() == followed.rows_now(1)


@pytest.mark.parametrize("image", ["MINIMAL", "NOBLOB"])
def test_incomplete_images_stop_the_stream(source: MySqlDatabase, image: str) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v text, n int)")
    source.execute("INSERT INTO t VALUES (1, 'a', 1)")
    followed = Followed(source, "t")
    run(source, f"SET SESSION binlog_row_image = {image}", "UPDATE t SET n = 2")
    with pytest.raises(CaptureError, match="does not tell the whole row") as caught:
        followed.all_batches()
    assert "binlog_row_image" in caught.value.why
    assert f"{source.name}.t" in caught.value.where


@pytest.mark.matrix
def test_partial_json_stops_the_stream(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as source:
        source.execute("CREATE TABLE t (id int PRIMARY KEY, j json)")
        source.execute("""INSERT INTO t VALUES (1, '{"a": 1, "b": "some longer text here"}')""")
        followed = Followed(source, "t")
        run(
            source,
            "SET SESSION binlog_row_value_options = PARTIAL_JSON",
            "UPDATE t SET j = JSON_SET(j, '$.a', 2)",
        )
        with pytest.raises(CaptureError, match="does not tell the whole row"):
            followed.all_batches()


@pytest.mark.matrix
def test_compressed_transactions_and_tags(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as source:
        source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40), n int)")
        followed = Followed(source, "t")
        run(
            source,
            "SET SESSION binlog_transaction_compression = ON",
            "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
            "UPDATE t SET v = 'c' WHERE id = 1",
            "SET gtid_next = 'AUTOMATIC:nightly'",
            "INSERT INTO t VALUES (3, 'tagged', 1)",
        )
        batches = followed.all_batches()
        assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()
        assert "nightly" in str(batches[-1].position)
        assert followed.all_batches(batches[-1].position) == []


def test_mariadbs_compressed_events_and_domains(mariadb_source: MySqlDatabase) -> None:
    mariadb_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(900), n int)")
    followed = Followed(mariadb_source, "t")
    mariadb_source.execute("SET GLOBAL log_bin_compress = ON")
    try:
        run(
            mariadb_source,
            "INSERT INTO t VALUES (1, REPEAT('a', 900), 1), (2, REPEAT('b', 900), 2)",
            "SET gtid_domain_id = 3",
            "UPDATE t SET v = REPEAT('c', 900)",
            "DELETE FROM t WHERE id = 2",
        )
    finally:
        mariadb_source.execute("SET GLOBAL log_bin_compress = OFF")
    batches = followed.all_batches()
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()
    assert followed.all_batches(batches[-1].position) == []


@pytest.mark.parametrize("checksum", ["NONE", "CRC32"])
def test_checksums_are_read_from_the_format(table: MySqlDatabase, checksum: str) -> None:
    """They change from one file to the next, under a session that goes on."""
    followed = Followed(table, "t")
    with followed.stream() as stream:
        table.execute("INSERT INTO t VALUES (1, 'a', 1)")
        table.execute(f"SET GLOBAL binlog_checksum = {checksum}")
        try:
            table.execute("INSERT INTO t VALUES (2, 'a', 1)")
            batches = followed.drain(stream)
        finally:
            table.execute("SET GLOBAL binlog_checksum = CRC32")
        table.execute("INSERT INTO t VALUES (3, 'a', 1)")
        batches += followed.drain(stream)
    table.execute("INSERT INTO t VALUES (4, 'a', 1)")
    batches += followed.all_batches(batches[-1].position)
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


DECLARED_PERIOD = """
    id int PRIMARY KEY, v varchar(20), a timestamp(6) GENERATED ALWAYS AS ROW START,
    b timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (a, b)
"""


@pytest.mark.parametrize(
    "columns",
    [
        "id int PRIMARY KEY, v varchar(20)",
        "id int, v varchar(20)",
        DECLARED_PERIOD,
    ],
)
def test_versions_of_rows_are_no_rows(mariadb_source: MySqlDatabase, columns: str) -> None:
    """The log of a system-versioned table inserts what has ended, and updates what is deleted."""
    mariadb_source.execute(f"CREATE TABLE t ({columns}) WITH SYSTEM VERSIONING")
    mariadb_source.execute("INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    followed = Followed(mariadb_source, "t")
    mapping = followed.mappings[0]
    replica = Replica(mapping, loaded(followed.connector, mapping, COLUMNS).to_pylist())
    with followed.stream() as stream:
        for statement in (
            "UPDATE t SET v = 'x' WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "INSERT INTO t (id, v) VALUES (2, 'again'), (4, 'd')",
            "UPDATE t SET id = 30 WHERE id = 3",
            "DELETE HISTORY FROM t",
            "ALTER TABLE t DROP SYSTEM VERSIONING" if "PERIOD" not in columns else "DO 1",
            "DELETE FROM t WHERE id = 4",
        ):
            run(mariadb_source, "SET system_versioning_alter_history = KEEP", statement)
            replica.apply(followed.drain(stream))
            assert replica() == followed.rows_now(), statement


# -- shapes


def test_truncation_is_a_stage_of_its_own(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    run(table, "INSERT INTO t VALUES (1, 'a', 1)", "TRUNCATE t", "INSERT INTO t VALUES (2, 'a', 1)")
    batches = followed.all_batches()
    stages = [s for b in batches for s in b.stages]
    assert [type(s) for s in stages if not isinstance(s, TableChanges)] == [Truncation]
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


def test_statements_nobody_can_parse_do_not_stop_the_stream(table: MySqlDatabase) -> None:
    followed = Followed(table, "t")
    run(
        table,
        "CREATE PROCEDURE p() BEGIN DECLARE x int; INSERT INTO t VALUES (99, 'p', 1); END",
        "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW SET @x = 1",
        "CREATE VIEW w AS SELECT * FROM t",
        "GRANT SELECT ON *.* TO root@localhost",
        "CALL p()",
        "DROP PROCEDURE p",
        "ANALYZE TABLE t",
        "/* a comment */ CREATE /*!32302 TEMPORARY */ TABLE tmp (id int)",
        "INSERT INTO t VALUES (1, 'a', 1)",
    )
    batches = followed.all_batches()
    assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now()


@pytest.mark.parametrize("mode", ["STATEMENT", "MIXED"])
def test_rows_changed_by_statements_are_told(table: MySqlDatabase, mode: str) -> None:
    table.execute("CREATE TABLE o (id int PRIMARY KEY)")
    followed = Followed(table, "t")
    run(table, f"SET SESSION binlog_format = {mode}", "INSERT INTO o VALUES (1)")
    assert followed.stages() == []
    run(table, f"SET SESSION binlog_format = {mode}", "INSERT INTO t VALUES (1, 'a', 1)")
    (change,) = followed.stages()
    assert isinstance(change, ShapeChange)
    assert "binlog_format" in change.description


def test_both_formats_agree_with_the_load(source: MySqlDatabase) -> None:
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, d date, dt datetime(6), ts timestamp(3) NULL,"
        " dec1 decimal(20,5), f float, b bit(5), j json, g geometry, bin binary(4), ti time(2))"
    )
    for format in (COLUMNS, MYSQL_COLUMNS):
        source.execute("DELETE FROM t")
        followed = Followed(source, "t", format=format)
        run(
            source,
            "SET sql_mode = ''",
            "INSERT INTO t VALUES (1, '0000-00-00', '2024-02-00 01:02:03.5',"
            " '2024-01-02 03:04:05.678', -1.5, 0.1, b'101', '{\"a\": [1, null]}',"
            " ST_GeomFromText('POINT(1 2)'), 'a\\0', '-838:59:59.00')",
        )
        batches = followed.all_batches()
        assert Replica(followed.mappings[0]).apply(batches)() == followed.rows_now(), format.name


# -- what must never be passed over


def event(kind: int, body: bytes = b"", *, flags: int = 0, end: int = 0) -> bytes:
    size = events.HEADER + len(body) + 4
    data = struct.pack("<IBIIIH", 1, kind, 1, size, end, flags) + body
    return data + struct.pack("<I", zlib.crc32(data))


def transactions(source: MySqlDatabase, *tables: TableName) -> Transactions:
    connector = source_of(source)
    relations = Relations(connector, [], {}, COLUMNS, folded=False)
    point = LogPoint(1, 4)
    return Transactions(relations, Statements(tables), track_from(FilePosition(point)), point)


@pytest.mark.parametrize("kind", [43, 99, 172, 200])
def test_unknown_events_stop_the_stream(mysql_source: MySqlDatabase, kind: int) -> None:
    work = transactions(mysql_source)
    with pytest.raises(CaptureError, match=f"not known \\(type {kind}\\)"):
        work.feed(event(kind, b"what", end=100))
    assert str(work.position()) == "file:binlog.000001:4"


def test_unknown_events_that_may_be_ignored_are(mysql_source: MySqlDatabase) -> None:
    work = transactions(mysql_source)
    work.feed(event(43, b"large transaction header", flags=events.IS_IGNORABLE, end=100))


def test_an_incident_stops_the_stream(mysql_source: MySqlDatabase) -> None:
    with pytest.raises(CaptureLostError, match="incident"):
        transactions(mysql_source).feed(event(events.INCIDENT, b"\1\0\0", end=100))


def test_a_damaged_event_stops_the_stream(mysql_source: MySqlDatabase) -> None:
    data = bytearray(event(events.XID, bytes(8), end=100))
    data[-8] ^= 1
    with pytest.raises(CaptureError, match="wrong checksum"):
        transactions(mysql_source).feed(bytes(data))


def test_a_transaction_cut_off_by_a_crash_never_happened(mysql_source: MySqlDatabase) -> None:
    name = TableName(mysql_source.name, "t")
    work = transactions(mysql_source, name)
    status = struct.pack("<IIBHH", 1, 0, len(name.schema), 0, 0)
    begin = event(events.QUERY, status + name.schema.encode() + b"\0BEGIN", end=200)
    work.feed(begin)
    assert work.pending
    version = struct.pack("<H50sIB", 4, b"9.7.4", 0, events.HEADER) + bytes(41) + b"\1"
    work.feed(event(events.FORMAT_DESCRIPTION, version, end=300))
    assert not work.pending
    assert not work.complete


def test_offsets_pass_four_gigabytes() -> None:
    cursor = Cursor(LogPoint(3, (1 << 32) - 50))
    cursor.advance((1 << 32) - 10)
    cursor.advance(90)
    assert cursor.point() == LogPoint(3, (1 << 32) + 90)
    assert cursor.point(100) == LogPoint(3, (1 << 32) - 10)
    cursor.move("binlog.1000000", 4)
    assert cursor.point() == LogPoint(1_000_000, 4)

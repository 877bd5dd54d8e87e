"""Events as real servers write them, and as they must not be."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from godwit.engines.mysql import events
from godwit.engines.mysql.binlog import dump
from godwit.engines.mysql.capture import current_position
from godwit.engines.mysql.read import character_sets
from godwit.engines.mysql.table_maps import TableMap, label_texts, table_map
from godwit.errors import CaptureError
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.reading import source_of

FLAVOURS = ["mariadb", pytest.param("mysql97", marks=pytest.mark.matrix)]


@pytest.fixture(params=FLAVOURS)
def source(request: pytest.FixtureRequest) -> Iterator[MySqlDatabase]:
    server: MySqlServer = request.getfixturevalue(request.param)
    with server.create_database() as database:
        yield database


def logged(source: MySqlDatabase, *statements: str) -> list[bytes]:
    """The events that the statements leave in the log, without checksums."""
    connector = source_of(source, positions="file")
    start = current_position(connector)
    with source.connect() as session, session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    end = current_position(connector)
    wire = dump(connector, "events", start)
    found: list[bytes] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for event in wire.receive(0.1):
            kind = event[4]
            if kind in (events.ROTATE, events.FORMAT_DESCRIPTION):
                continue
            if kind in (events.HEARTBEAT, events.HEARTBEAT_V2):
                assert str(end)
                wire.close()
                return found
            assert events.checksummed(event)
            found.append(event[:-4])
    raise AssertionError("no heartbeat came")


def of_kind(found: list[bytes], kind: int) -> list[bytes]:
    return [event for event in found if event[4] == kind]


def body(event: bytes) -> bytes:
    return event[events.HEADER + 8 :]


@given(st.integers(0, (1 << 64) - 1))
def test_varints(value: int) -> None:
    bits = max(value.bit_length(), 1)
    size = min((bits + 6) // 7, 9)
    if size == 9:
        data = b"\xff" + struct.pack("<Q", value)
    else:
        number = value << size | ((1 << (size - 1)) - 1)
        data = number.to_bytes(size, "little")
    assert events.varint(data + b"rest", 0) == (value, size)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xfa", 250),
        (b"\xfc\xfb\x00", 251),
        (b"\xfd\x00\x00\x01", 65536),
        (b"\xfe" + struct.pack("<Q", 1 << 40), 1 << 40),
    ],
)
def test_lengths(data: bytes, value: int) -> None:
    assert events.length(data + b"x", 0) == (value, len(data))


@pytest.mark.parametrize("size", [0, 1, 300, 70_000])
def test_compressed_parts(size: int) -> None:
    text = b"abc" * size
    width = max((len(text).bit_length() + 7) // 8, 1)
    data = bytes([0x80 | width]) + len(text).to_bytes(width, "big") + zlib.compress(text)
    assert events.inflated(data) == text
    with pytest.raises(CaptureError, match="cannot be read"):
        events.inflated(data[:-3])
    with pytest.raises(CaptureError, match="cannot be read"):
        events.inflated(b"\x90" + data[1:])


MARIADB_ONLY = "uu uuid, i6 inet6,"
MYSQL_ONLY = "vec vector(3),"
COLUMNS = """
    id int PRIMARY KEY, y year, u int unsigned, d decimal(10,2) unsigned, f float, dt datetime(3),
    ts timestamp(6) NULL, ti time(2), da date, e enum('a','bé') CHARACTER SET latin1,
    st set('x','ÿ,z'), vc varchar(30), c char(10) CHARACTER SET latin1, b binary(5),
    vb varbinary(300), tb tinyblob, mt mediumtext, j json, g geometry, {more}
    bt bit(12), long_char char(200), l2 char(3) CHARACTER SET cp1251, v int AS (id + 1) VIRTUAL,
    s int AS (id + 2) STORED
"""


def charsets_of(source: MySqlDatabase) -> dict[int, str]:
    with source_of(source).lease() as session:
        return character_sets(session)


def test_a_table_map_tells_all(source: MySqlDatabase) -> None:
    mariadb = source.server.mariadb
    labels = COLUMNS.replace("'ÿ,z'", "'ÿz'").format(more=MARIADB_ONLY if mariadb else MYSQL_ONLY)
    source.execute(f"CREATE TABLE t ({labels})")
    found = logged(source, "INSERT INTO t (id) VALUES (1)")
    told = table_map(body(of_kind(found, events.TABLE_MAP)[0]), mariadb=mariadb)
    assert told.named
    assert tuple(told.name) == (source.name, "t")
    expected = source.fetch(
        "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE LIKE '%%unsigned%%', CHARACTER_SET_NAME"
        " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s ORDER BY ORDINAL_POSITION",
        (source.name,),
    )
    names = charsets_of(source)
    assert [c.name for c in told.columns] == [row[0] for row in expected]
    for column, (_, kind, unsigned, charset) in zip(told.columns, expected, strict=True):
        if kind in ("int", "decimal", "float"):
            assert column.unsigned == bool(unsigned), column.name
        if charset is not None:
            assert column.collation is not None, column.name
            assert names[column.collation] == charset, column.name
    assert labels_of(told, "e", names) == ("a", "bé")
    assert labels_of(told, "st", names) == ("x", "ÿz")


def labels_of(told: TableMap, name: str, charsets: dict[int, str]) -> tuple[str, ...]:
    column = next(c for c in told.columns if c.name == name)
    assert column.labels is not None
    assert column.collation is not None
    return label_texts(column.labels, charsets[column.collation])


def test_a_table_map_without_names(source: MySqlDatabase) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, u int unsigned)")
    least = "NO_LOG" if source.server.mariadb else "MINIMAL"
    before = source.fetch("SELECT @@global.binlog_row_metadata")[0][0]
    source.execute(f"SET GLOBAL binlog_row_metadata = {least}")
    try:
        found = logged(source, "INSERT INTO t VALUES (1, 1)")
    finally:
        source.execute(f"SET GLOBAL binlog_row_metadata = {before}")
    told = table_map(body(of_kind(found, events.TABLE_MAP)[0]), mariadb=source.server.mariadb)
    assert not told.named
    assert [c.name for c in told.columns] == ["", ""]
    assert told.columns[1].unsigned is (None if source.server.mariadb else True)


def test_statements_and_their_database(source: MySqlDatabase) -> None:
    found = logged(source, "CREATE TABLE é (id int)")
    query = events.query(of_kind(found, events.QUERY)[-1])
    assert query.text == "CREATE TABLE é (id int)"
    assert query.database == source.name


@pytest.mark.parametrize("kind", ["INSERT", "UPDATE", "DELETE"])
def test_row_events(source: MySqlDatabase, kind: str) -> None:
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))")
    source.execute("INSERT INTO t VALUES (1, 'a')")
    statement = {
        "INSERT": "INSERT INTO t VALUES (2, 'b')",
        "UPDATE": "UPDATE t SET v = 'b'",
        "DELETE": "DELETE FROM t",
    }[kind]
    (event,) = [e for e in logged(source, statement) if e[4] in events.ROWS]
    rows = events.rows(event)
    assert rows.columns == 2
    assert [b & 3 for b in (*rows.before, *rows.after)] == [3, 3]
    expected = {"INSERT": events.WRITE, "UPDATE": events.UPDATE, "DELETE": events.DELETE}
    assert rows.kind == expected[kind]


def test_mariadb_compresses_events(mariadb_source: MySqlDatabase) -> None:
    mariadb_source.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(900))")
    mariadb_source.execute("SET GLOBAL log_bin_compress = ON")
    try:
        comment = "x" * 600
        found = logged(
            mariadb_source,
            "INSERT INTO t VALUES (1, REPEAT('a', 900))",
            "UPDATE t SET v = REPEAT('b', 900)",
            "DELETE FROM t",
            f"CREATE TABLE u (id int) COMMENT '{comment}'",
        )
    finally:
        mariadb_source.execute("SET GLOBAL log_bin_compress = OFF")
    rows = [events.rows(e) for e in found if e[4] in events.ROWS]
    assert all(events.ROWS[e[4]][2] for e in found if e[4] in events.ROWS)
    assert [r.kind for r in rows] == [events.WRITE, events.UPDATE, events.DELETE]
    assert rows[0].images.endswith(b"a" * 900)
    (query,) = of_kind(found, events.QUERY_COMPRESSED)
    assert comment in events.query(query, compressed=True).text


@pytest.mark.matrix
def test_mysql_compresses_transactions(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as source:
        source.execute("CREATE TABLE t (id int PRIMARY KEY, v longtext)")
        found = logged(
            source,
            "SET SESSION binlog_transaction_compression = ON",
            "INSERT INTO t VALUES (1, REPEAT('a', 5000000)), (2, 'b')",
        )
        (event,) = of_kind(found, events.TRANSACTION_PAYLOAD)
        kinds = [inner[4] for inner in events.payload(event)]
        assert kinds[0] == events.QUERY
        assert kinds[-1] == events.XID
        assert events.WRITE in kinds
        with pytest.raises(CaptureError, match="cannot be read"):
            list(events.payload(event[:-10]))


@pytest.mark.matrix
def test_gtids_with_and_without_tags(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as source:
        source.execute("CREATE TABLE t (id int PRIMARY KEY)")
        own = source.fetch("SELECT @@server_uuid")[0][0]
        found = logged(
            source,
            "INSERT INTO t VALUES (1)",
            "SET gtid_next = 'AUTOMATIC:night_job'",
            "INSERT INTO t VALUES (2)",
        )
        plain = events.gtid(of_kind(found, events.GTID)[0])
        tagged = events.tagged_gtid(of_kind(found, events.GTID_TAGGED)[0])
        assert (plain.uuid, plain.tag) == (own, "")
        assert (tagged.uuid, tagged.tag) == (own, "night_job")
        assert tagged.number >= 1
        executed = source.fetch("SELECT @@global.gtid_executed")[0][0]
        assert "night_job:1" in executed
        for gtid in (plain, tagged):
            assert gtid.committed is not None
            assert abs(gtid.committed - time.time()) < 60


def test_mariadbs_gtids(mariadb_source: MySqlDatabase) -> None:
    mariadb_source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    found = logged(
        mariadb_source,
        "INSERT INTO t VALUES (1)",
        "SET gtid_domain_id = 7",
        "INSERT INTO t VALUES (2)",
        "ALTER TABLE t ADD v int",
    )
    rows, other, ddl = [events.maria_gtid(e) for e in of_kind(found, events.MARIA_GTID)]
    own = int(mariadb_source.fetch("SELECT @@server_id")[0][0])
    assert (rows.domain, rows.server) == (0, own)
    assert not rows.flags & events.STANDALONE
    assert other.domain == 7
    assert ddl.flags & events.STANDALONE
    assert ddl.number == other.number + 1

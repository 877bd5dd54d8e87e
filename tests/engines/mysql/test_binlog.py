"""The connection that dumps the log: packets of any size, TLS, errors by name."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from godwit.engines.mysql.binlog import Wire, dump, refuse
from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.gtid import FilePosition, LogPoint
from godwit.errors import CaptureError, CaptureLostError
from godwit.model.changes import TableChanges
from godwit.model.endpoint import connection_from_text
from include.demo.mysql_servers import MySqlDatabase, MySqlServer
from tests.engines.mysql.streaming import Followed, Replica, rows_of

MAX_PACKET = 0xFFFFFF
FLAVOURS = ["mariadb", pytest.param("mysql97", marks=pytest.mark.matrix)]


@pytest.fixture(params=FLAVOURS)
def source(request: pytest.FixtureRequest) -> Iterator[MySqlDatabase]:
    server: MySqlServer = request.getfixturevalue(request.param)
    with server.create_database() as database:
        yield database


class Plugged:
    """What a wire needs of a session: its socket, here one end of a pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def _force_close(self) -> None:
        self._sock.close()


def packets(payload: bytes) -> bytes:
    """A payload in the protocol's packets."""
    made, p, number = [], 0, 0
    while True:
        part = payload[p : p + MAX_PACKET]
        made.append(struct.pack("<I", len(part))[:3] + bytes([number & 0xFF]) + part)
        p, number = p + len(part), number + 1
        if len(part) < MAX_PACKET:
            return b"".join(made)


def received(data: bytes, cuts: list[int]) -> list[bytes]:
    """What a wire makes of these bytes when they come in pieces."""
    ours, theirs = socket.socketpair()
    wire = Wire(Plugged(ours))  # type: ignore[arg-type]
    found: list[bytes] = []
    try:
        edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
        for begin, end in pairwise(edges):
            piece = memoryview(data)[begin:end]
            while piece:
                piece = piece[theirs.send(piece[: 64 << 10]) :]
                found += wire.receive(0)
        return found
    finally:
        wire.close()
        theirs.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.lists(st.integers(0, 9999)))
def test_events_come_out_whole(events: list[bytes], cuts: list[int]) -> None:
    assert received(b"".join(packets(b"\0" + event) for event in events), cuts) == events


@pytest.mark.parametrize("size", [MAX_PACKET - 2, MAX_PACKET - 1, MAX_PACKET, 2 * MAX_PACKET - 1])
def test_events_larger_than_a_packet(size: int) -> None:
    event = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    data = packets(b"\0" + event) + packets(b"\0next")
    assert received(data, []) == [event, b"next"]


def test_what_came_before_an_error_is_not_lost() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(Plugged(ours), "file:binlog.000001:4")  # type: ignore[arg-type]
    error = b"\xff" + struct.pack("<H", 1236) + b"#HY000Log event entry exceeded"
    theirs.sendall(packets(b"\0one") + packets(error))
    assert wire.receive(1) == [b"one"]
    with pytest.raises(CaptureError, match="error 1236: Log event entry exceeded"):
        wire.receive(1)
    wire.close()
    theirs.close()


def test_an_ended_connection_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    wire = Wire(Plugged(ours))  # type: ignore[arg-type]
    assert wire.receive(0) == []
    theirs.close()
    with pytest.raises(CaptureError, match="closed the connection"):
        wire.receive(1)
    wire.close()


@pytest.mark.parametrize(
    "message",
    [
        "Could not find first log file name in binary log index file",
        "The slave uses auto position, but the master has purged binary logs with GTIDs it needs",
        "Client requested master to start replication from impossible position; the first event",
    ],
)
def test_lost_logs_are_recognised(message: str) -> None:
    with pytest.raises(CaptureLostError) as caught:
        refuse(1236, message, "file:binlog.000001:4")
    assert not caught.value.retryable


def test_a_file_that_never_was(source: MySqlDatabase) -> None:
    connector = Connector(connection_from_text("source", source.conn_uri))
    wire = dump(connector, "m", FilePosition(LogPoint(999_999, 4)))
    assert wire.receive(5) == []
    with pytest.raises(CaptureLostError, match="no longer has the binary log"):
        wire.receive(5)
    wire.close()


def test_a_row_larger_than_a_packet(source: MySqlDatabase) -> None:
    """17 MB twice in one update: the event spans three packets."""
    source.execute("CREATE TABLE t (id int PRIMARY KEY, b longblob)")
    followed = Followed(source, "t")
    limit = source.fetch("SELECT @@global.max_allowed_packet")[0][0]
    source.execute("SET GLOBAL max_allowed_packet = 1 << 26")
    try:
        with source.connect(max_allowed_packet=1 << 26) as session, session.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (1, REPEAT('0123456789abcdef', 1100000))")
            cursor.execute("UPDATE t SET b = CONCAT(b, '!')")
            cursor.execute("INSERT INTO t VALUES (2, 'small')")
        rows = {}
        for stage in followed.stages():
            assert isinstance(stage, TableChanges)
            for payload in (stage.inserts, *stage.updates):
                rows |= {row["id"]: row["b"] for row in rows_of(payload)}
        assert rows == {1: b"0123456789abcdef" * 1_100_000 + b"!", 2: b"small"}
    finally:
        source.execute(f"SET GLOBAL max_allowed_packet = {limit}")


@pytest.mark.matrix
def test_over_tls(mysql97: MySqlServer) -> None:
    with mysql97.create_database() as database:
        database.execute("CREATE TABLE t (id int PRIMARY KEY, v longtext)")
        followed = Followed(database, "t")
        extra = '{"ssl_mode": "REQUIRED"}'
        connection = connection_from_text("tls", f"{database.conn_uri}?__extra__={extra}")
        followed.connector = Connector(connection)
        with followed.connector.lease() as session:
            assert session.encrypted
        database.execute("INSERT INTO t VALUES (1, REPEAT('x', 300000)), (2, REPEAT('y', 70000))")
        for number in range(3, 200):
            database.execute("INSERT INTO t VALUES (%s, 'z')", (number,))
        assert Replica(followed.mappings[0]).apply(followed.all_batches())() == followed.rows_now()

"""The connection that dumps the binary log: asked as a replica asks, read in large blocks.

PyMySQL logs in and sends the command; what comes then is split into events here. Reading packet by
packet with the driver costs more than everything else that is done with them.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import select
import ssl
import struct
import uuid
import zlib
from collections.abc import Mapping
from typing import Any, NoReturn

import pymysql
from pymysql.constants import COMMAND

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.gtid import DomainPosition, FilePosition, GtidPosition, LogPosition
from godwit.errors import CaptureError, CaptureLostError

COM_BINLOG_DUMP_GTID = 0x1E
#: Seconds of silence after which the server says that it is still there.
HEARTBEAT = 0.1
#: What MariaDB is told so that it sends its own events as they are: GTIDs and all others.
_CAPABILITY = 4
_THROUGH_GTID = 0x04
_FIRST = 4
_MAX_PACKET = 0xFFFFFF
_BLOCK = 1 << 20
_ROOM = 64 << 10
_OK, _EOF, _ERROR = 0x00, 0xFE, 0xFF
#: Server ids that Godwit gives itself; people rarely number their servers that high.
_SERVER_IDS = 0x6000_0000
RELOAD = (
    "load the tables again: `godwit cleanup` and start the migration again, or `godwit reload` for "
    "single tables once a new capture is open; keep the log longer (binlog_expire_logs_seconds)"
)
#: How the servers say that the log no longer holds what is asked for.
_LOST = re.compile(
    r"could not find first log|could not find next log|purged|could not find gtid state"
    r"|not in the master's binlog|impossible position|larger than .* file size"
    r"|which is not in the|from position >|has been reset",
    re.IGNORECASE,
)


def server_id(migration: str, settings: Mapping[str, Any]) -> int:
    """The number a migration has as a replica: the setting ``server_id``, else one of its name."""
    chosen = settings.get("server_id")
    if chosen is not None:
        return int(chosen)
    return _SERVER_IDS + (zlib.crc32(migration.encode()) & 0x0FFF_FFFF)


def report_host(migration: str) -> str:
    """What the list of replicas calls the migration; at most 60 bytes."""
    return f"godwit:{migration}".encode()[:60].decode(errors="ignore")


def dump(connector: Connector, migration: str, start: LogPosition) -> Wire:
    """Ask for the log after `start` (from where its `resume` or `held` need it).

    Raises:
        CaptureError: the server refuses.
    """
    session = connector.connect()
    number = server_id(migration, connector.settings)
    try:
        _prepare(session, migration, start)
        _register(session, migration, number)
        session._execute_command(*_command(start, number))  # noqa: SLF001 - no public way
    except pymysql.MySQLError as cause:
        session.close()
        refuse(int(cause.args[0]), str(cause.args[-1]), str(start))
    except BaseException:
        session.close()
        raise
    return Wire(session, str(start))


def _prepare(session: Session, migration: str, start: LogPosition) -> None:
    # Both spellings: the servers read the one they know.
    for side in ("master", "source"):
        session.run(
            f"SET @{side}_binlog_checksum = @@global.binlog_checksum,"
            f" @{side}_heartbeat_period = {int(HEARTBEAT * 1e9)}"
        )
    own = str(uuid.UUID(bytes=hashlib.sha256(f"godwit {migration}".encode()).digest()[:16]))
    session.run("SET @slave_uuid = %s, @replica_uuid = %s", (own, own))
    if isinstance(start, DomainPosition):
        session.run(
            "SET @slave_connect_state = %s, @slave_gtid_strict_mode = 1,"
            " @slave_gtid_ignore_duplicates = 0",
            (str(start.resume or start.domains),),
        )
    session.run(f"SET @mariadb_slave_capability = {_CAPABILITY}")


def _register(session: Session, migration: str, number: int) -> None:
    host = report_host(migration).encode()
    data = struct.pack("<IB", number, len(host)) + host + struct.pack("<BBHII", 0, 0, 0, 0, 0)
    session._execute_command(COMMAND.COM_REGISTER_SLAVE, data)  # noqa: SLF001 - no public way
    session._read_ok_packet()  # noqa: SLF001 - no public way


def _command(start: LogPosition, number: int) -> tuple[int, bytes]:
    if isinstance(start, GtidPosition):
        gtids = start.gtids.minus(start.held).encoded()
        head = struct.pack("<HIIQI", _THROUGH_GTID, number, 0, _FIRST, len(gtids))
        return COM_BINLOG_DUMP_GTID, head + gtids
    file, offset = "", _FIRST
    if isinstance(start, FilePosition):
        point = start.resume or start.point
        file = point.file
        # The command has 32 bits for the offset; beyond them the whole file is read again.
        offset = point.offset if point.offset < 1 << 32 else _FIRST
    return COMMAND.COM_BINLOG_DUMP, struct.pack("<IHI", offset, 0, number) + file.encode()


def refuse(code: int, message: str, where: str) -> NoReturn:
    """Raise what an error of the server means."""
    text = " ".join(message.split())
    if _LOST.search(text):
        raise CaptureLostError(
            "the source no longer has the binary log that is needed",
            where=f"position {where}",
            why=f"error {code}: {text}",
            hint=RELOAD,
        )
    hint = "it is opened again from the checkpoint"
    if code == 1227:
        hint = "GRANT REPLICATION SLAVE ON *.* TO the connection's user"
    elif "same server" in text:
        hint = (
            "another reader took over; if it is no runner of this migration, give this one another "
            "number with the endpoint setting server_id"
        )
    raise CaptureError(
        "the source ended the replication",
        where=f"position {where}",
        why=f"error {code}: {text}",
        hint=hint,
    )


class Wire:
    """The connection while it dumps: events come out whole, without their packets."""

    def __init__(self, session: Session, where: str = "") -> None:
        self._session, self._where = session, where
        self._socket = session._sock  # noqa: SLF001 - the driver has read all it had to
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._buffer = bytearray(2 * _BLOCK)
        self._begin = self._filled = 0
        #: Of an event that spans packets, each of them 16 MB but the last.
        self._parts: list[bytes] = []
        self._end: tuple[int, str] | None = None

    def receive(self, timeout: float) -> list[bytes]:
        """The next events with their status byte removed; none when nothing came in time.

        Raises:
            CaptureError: the stream has ended.
        """
        if self._end is not None:
            refuse(*self._end, self._where)
        if not self._readable(timeout):
            return []
        self._make_room()
        with memoryview(self._buffer) as view:
            size = self._socket.recv_into(view[self._filled :])
            while size and (more := self._pending(self._filled + size)):
                size += self._socket.recv_into(view[self._filled + size :], more)
        if not size:
            raise CaptureError(
                "the source closed the connection",
                where=f"position {self._where}",
                hint="it is opened again from the checkpoint",
            )
        self._filled += size
        return self._split()

    def _readable(self, timeout: float) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(self._poll.poll(timeout * 1000))

    def _pending(self, filled: int) -> int:
        """Bytes that TLS has already decrypted and that fit."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return 0
        return min(self._socket.pending(), len(self._buffer) - filled)

    def _make_room(self) -> None:
        if self._begin == self._filled:
            self._begin = self._filled = 0
        if len(self._buffer) - self._filled >= _ROOM:
            return
        rest = self._filled - self._begin
        self._buffer[:rest] = self._buffer[self._begin : self._filled]
        self._begin, self._filled = 0, rest
        if len(self._buffer) - rest < _BLOCK:
            self._buffer.extend(bytes(len(self._buffer)))

    def _split(self) -> list[bytes]:
        events: list[bytes] = []
        p, end = self._begin, self._filled
        with memoryview(self._buffer) as view:
            buffer = self._buffer
            while end - p >= 4:
                size = buffer[p] | buffer[p + 1] << 8 | buffer[p + 2] << 16
                body, after = p + 4, p + 4 + size
                if after > end:
                    break
                if self._parts or size == _MAX_PACKET:
                    self._parts.append(bytes(view[body:after]))
                    if size < _MAX_PACKET:
                        events.append(b"".join(self._parts)[1:])
                        self._parts = []
                elif buffer[body] == _OK:
                    events.append(bytes(view[body + 1 : after]))
                else:
                    self._end = _ending(bytes(view[body:after]))
                    after = end
                p = after
        self._begin = p
        return events

    def close(self) -> None:
        """Close at once; the server notices."""
        with contextlib.suppress(Exception):
            self._session._force_close()  # noqa: SLF001 - no farewell while the server talks


def _ending(packet: bytes) -> tuple[int, str]:
    if packet[0] == _ERROR:
        text = packet[3:].decode("utf-8", "replace")
        return int.from_bytes(packet[1:3], "little"), text[6:] if text[:1] == "#" else text
    return 0, "the server says that the log has ended"

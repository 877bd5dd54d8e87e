"""A prepared statement's rows, read in blocks from the connection's own socket.

The driver prepares and stays idle meanwhile: it has read every answer to its end, so nothing of the
result is left in a buffer of its own. Works the same over TLS.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import pymysql
from pymysql.constants import COMMAND

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.decode import scan

#: Bytes received at most at once, and what a block of rows has at least while more are coming.
RECEIVE = 1 << 20
BLOCK_BYTES = 2 << 20
BLOCK_ROWS = 20_000

_OK, _END, _ERROR = 0x00, 0xFE, 0xFF
_EXECUTE = struct.Struct("<IBI").pack
_DEFINITION = struct.Struct("<HIBHB").unpack_from
_NO_CURSOR = 0
_UNSIGNED = 32


@dataclass(frozen=True)
class Definition:
    """A result's column as the server defines it; `collation` and `type_code` are its numbers."""

    name: str
    type_code: int
    collation: int
    unsigned: bool
    decimals: int


class Result:
    """Executes one statement; `definitions` are its columns, `blocks` its rows.

    Raises:
        pymysql.MySQLError: the server refuses.
        OSError: the connection is lost.
    """

    def __init__(self, session: Session, statement: str) -> None:
        self._session = session
        self._buffer = bytearray(BLOCK_BYTES + RECEIVE)
        self._start = self._end = 0
        self.bytes = 0
        #: The whole result has been read: the session can be used again.
        self.ended = False
        self._statement = self._prepare(statement)
        session._execute_command(  # noqa: SLF001
            COMMAND.COM_STMT_EXECUTE, _EXECUTE(self._statement, _NO_CURSOR, 1)
        )
        self.definitions = self._definitions()

    def _prepare(self, statement: str) -> int:
        session = self._session
        session._execute_command(COMMAND.COM_STMT_PREPARE, statement)  # noqa: SLF001
        answer = session._read_packet().get_all_data()  # noqa: SLF001
        number, columns, parameters = struct.unpack_from("<IHH", answer, 1)
        for count in (parameters, columns):
            for _ in range(count + 1 if count else 0):
                session._read_packet()  # noqa: SLF001
        return int(number)

    def _definitions(self) -> tuple[Definition, ...]:
        head = self._packet()
        if head[0] == _ERROR:
            self._fail(head)
        count, _ = _length(head, 0)
        found = tuple(_definition(self._packet()) for _ in range(count))
        self._packet()
        return found

    def _packet(self) -> bytes:
        """The next packet's payload (only small ones come before the rows)."""
        while True:
            have = self._end - self._start
            if have >= 4:
                size = int.from_bytes(self._buffer[self._start : self._start + 3], "little")
                if have >= 4 + size:
                    begin = self._start + 4
                    self._start = begin + size
                    return bytes(self._buffer[begin : begin + size])
            self._receive()

    def blocks(self) -> Iterator[tuple[bytearray, array[int]]]:
        """`(buffer, starts)` of some rows at a time; both are good until the next is asked for."""
        starts = array("q")
        position = self._start
        while True:
            more, position, stop = scan(self._buffer, position, self._end)
            starts.extend(more)
            full = position - self._start >= BLOCK_BYTES or len(starts) >= BLOCK_ROWS
            if starts and (full or stop >= 0):
                self.bytes += position - self._start
                yield self._buffer, starts
                starts = array("q")
                self._start = position
            if stop >= 0:
                self._finish()
                return
            before = self._start
            self._receive()
            position += self._start - before
            if before != self._start:
                starts = array("q", [start + self._start - before for start in starts])

    def _finish(self) -> None:
        packet = self._packet()
        if packet[0] == _ERROR:
            self._fail(packet)
        self.ended = True
        self.close()

    def close(self) -> None:
        """Forget the statement on the server; a result that has not ended needs its session closed
        instead.
        """
        if self.ended and self._statement >= 0:
            self._session._execute_command(  # noqa: SLF001
                COMMAND.COM_STMT_CLOSE, struct.pack("<I", self._statement)
            )
            self._statement = -1

    def _fail(self, packet: bytes) -> None:
        self.ended = True
        pymysql.err.raise_mysql_exception(packet)

    def _receive(self) -> None:
        """At least one more byte. May move what is unread to the buffer's front."""
        if len(self._buffer) - self._end < RECEIVE // 4:
            self._make_room()
        with memoryview(self._buffer) as view:
            count = self._session._sock.recv_into(view[self._end : self._end + RECEIVE])  # noqa: SLF001
        if not count:
            raise pymysql.err.OperationalError(2013, "the server has closed the connection")
        self._end += count

    def _make_room(self) -> None:
        unread = self._end - self._start
        if self._start:
            self._buffer[:unread] = self._buffer[self._start : self._end]
            self._start, self._end = 0, unread
        if len(self._buffer) - unread < RECEIVE:
            self._buffer.extend(bytes(len(self._buffer)))


def _length(data: bytes, p: int) -> tuple[int, int]:
    """A length-encoded integer and where it ends."""
    first = data[p]
    if first < 0xFB:
        return first, p + 1
    width = {0xFC: 2, 0xFD: 3}.get(first, 8)
    return int.from_bytes(data[p + 1 : p + 1 + width], "little"), p + 1 + width


def _definition(packet: bytes) -> Definition:
    p, texts = 0, []
    for _ in range(6):  # catalog, schema, table, its real name, name, its real name
        size, p = _length(packet, p)
        texts.append(packet[p : p + size])
        p += size
    _, p = _length(packet, p)
    collation, _size, code, flags, decimals = _DEFINITION(packet, p)
    return Definition(
        texts[4].decode("utf-8", "replace"), code, collation, bool(flags & _UNSIGNED), decimals
    )

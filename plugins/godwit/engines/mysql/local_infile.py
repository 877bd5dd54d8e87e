"""LOAD DATA LOCAL without a file: the server asks for one, and rows are what it gets.

``LOCAL`` makes the server forgiving: it skips duplicates, cuts what is too long, makes zeros of
what is no number, and tells it by warnings only. So a warning is an error here.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from queue import Queue
from typing import NamedTuple

import pymysql
from pymysql.constants import COMMAND
from pymysql.protocol import OKPacketWrapper

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.refusals import WarnedError

#: Bytes sent in one packet; the server may allow less.
PACKET = 1 << 18
_HEADER = 1 << 10
#: SHOW WARNINGS rows that are looked at.
_SHOWN = 20
_TRUNCATED = 1265
#: Bytes of an INSERT of many rows.
INSERT = 1 << 20


class Stored(NamedTuple):
    """What a statement stored: rows, and how many warnings it gave (65,535 means that or more)."""

    rows: int
    warnings: int


def load_data(session: Session, statement: str, blocks: Iterable[bytes], limit: int) -> Stored:
    """Execute a LOAD DATA LOCAL statement and send it these blocks.

    When `blocks` raises, the connection is closed: whatever ends the file regularly would make the
    half a whole.

    Raises:
        pymysql.MySQLError: the server refused, or the connection was lost.
    """
    session._execute_command(COMMAND.COM_QUERY, statement)  # noqa: SLF001 - no public way
    packet = session._read_packet()  # noqa: SLF001 - no public way
    if not packet.is_load_local_packet():
        raise pymysql.err.ProgrammingError(0, "the server did not ask for the rows")
    size = max(min(PACKET, limit - _HEADER), 512)
    try:
        _send_all(session, iter(blocks), size)
        session.write_packet(b"")
    except BaseException:
        if session.open:
            session._force_close()  # noqa: SLF001 - no farewell: it would end the file
        raise
    return _answer(session)


def _send_all(session: Session, blocks: Iterator[bytes], size: int) -> None:
    """Send the blocks; of several, the next one is made while the one before is on its way."""
    first, second = next(blocks, b""), next(blocks, None)
    if second is None:
        _send(session, first, size)
        return
    sender = _Sender(session, size)
    try:
        for block in chain((first, second), blocks):
            sender.send(block)
        sender.finish()
    finally:
        sender.stop()


def _send(session: Session, block: bytes, size: int) -> None:
    view = memoryview(block)
    for start in range(0, len(view), size):
        session.write_packet(bytes(view[start : start + size]))


class _Sender:
    """Sends blocks in a thread of its own."""

    def __init__(self, session: Session, size: int) -> None:
        self._session, self._size = session, size
        self._waiting: Queue[bytes | None] = Queue(1)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load-data", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (block := self._waiting.get()) is not None:
            # After a failure the rest is taken and left, so that nobody waits.
            if self._failure is None:
                try:
                    _send(self._session, block, self._size)
                except BaseException as failure:  # noqa: BLE001
                    self._failure = failure

    def send(self, block: bytes) -> None:
        """Have a block sent; raises what the one before met."""
        self._check()
        self._waiting.put(block)

    def finish(self) -> None:
        """Wait until all is sent."""
        self._waiting.put(None)
        self._thread.join()
        self._check()

    def stop(self) -> None:
        """End at once, if it has not ended; the connection is of no use then."""
        if not self._thread.is_alive():
            return
        with suppress(OSError, AttributeError):
            self._session._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - the thread waits in it
        self._waiting.put(None)
        self._thread.join()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _answer(session: Session) -> Stored:
    answer = OKPacketWrapper(session._read_packet())  # noqa: SLF001 - no public way
    session.server_status = answer.server_status
    return Stored(int(answer.affected_rows), int(answer.warning_count))


def check_stored(session: Session, stored: Stored, sent: int, expected: int = 0) -> None:
    """Make sure the statement just executed stored every row as it was.

    `expected`: warnings that are meant; they say that data were truncated.

    Raises:
        WarnedError: it did not; says what the server said first. The caller rolls back.
    """
    if stored == (sent, 0) and not expected:
        return
    if session.value("SHOW COUNT(*) WARNINGS") == expected and stored.rows == sent:
        return
    told = session.rows(f"SHOW WARNINGS LIMIT {_SHOWN}")
    odd = [row for row in told if not expected or row[1] != _TRUNCATED] or told
    # What was left out matters more than what was cut on the way.
    for level in ("Error", "Warning", "Note"):
        for found, code, message in odd:
            if found == level:
                raise WarnedError(int(code), str(message))
    raise WarnedError(1062, f"{sent - stored.rows} of {sent} rows were left out")


def insert_rows(
    session: Session, head: str, rows: Iterable[bytes], limit: int
) -> Iterator[tuple[Stored, int]]:
    """INSERT rows (lists of values in brackets), many by one statement.

    Yields what each statement stored and how many rows it had; nothing is sent to the session
    before the caller comes back for the next.

    Raises:
        WarnedError: a row alone is larger than what the server accepts.
    """
    first = head.encode()
    most = min(limit - 1, INSERT)
    pending: list[bytes] = []
    size = len(first)
    for row in rows:
        if len(first) + len(row) > limit - 1:
            raise too_large(len(row), limit)
        if pending and size + len(row) + 1 > most:
            yield _insert(session, first, pending), len(pending)
            pending, size = [], len(first)
        pending.append(row)
        size += len(row) + 1
    if pending:
        yield _insert(session, first, pending), len(pending)


def _insert(session: Session, head: bytes, rows: list[bytes]) -> Stored:
    session._execute_command(COMMAND.COM_QUERY, head + b",".join(rows))  # noqa: SLF001
    return _answer(session)


def too_large(size: int, limit: int) -> WarnedError:
    """A row is larger than ``max_allowed_packet``."""
    return WarnedError(
        1153,
        f"a row of about {size} bytes is larger than the server's max_allowed_packet of {limit}",
    )

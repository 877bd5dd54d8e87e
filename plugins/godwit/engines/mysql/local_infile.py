"""LOAD DATA LOCAL without a file: the server asks for one, and rows are what it gets.

``LOCAL`` makes the server forgiving: it skips duplicates, cuts what is too long, makes zeros of
what is no number, and tells it by warnings only. So a warning is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
#: The OK packet counts warnings no further.
_MANY = 65_535


def available(session: Session) -> bool:
    """Whether the server accepts LOAD DATA LOCAL."""
    return bool(session.value("SELECT @@GLOBAL.local_infile"))


def packet_limit(session: Session) -> int:
    """The largest packet the server accepts (``max_allowed_packet``)."""
    return int(session.value("SELECT @@max_allowed_packet"))


def load_data(session: Session, statement: str, blocks: Iterable[bytes], limit: int) -> int:
    """Execute a LOAD DATA LOCAL statement and send it these blocks; returns the rows stored.

    Warnings stay to be looked at by `check_warnings`. When `blocks` raises, the connection is
    closed: whatever ends the file regularly would make the half a whole.

    Raises:
        pymysql.MySQLError: the server refused, or the connection was lost.
    """
    session._execute_command(COMMAND.COM_QUERY, statement)
    packet = session._read_packet()
    if not packet.is_load_local_packet():
        raise pymysql.err.ProgrammingError(0, "the server did not ask for the rows")
    size = max(min(PACKET, limit - _HEADER), 512)
    try:
        for block in blocks:
            view = memoryview(block)
            for start in range(0, len(view), size):
                session.write_packet(bytes(view[start : start + size]))
        session.write_packet(b"")
    except BaseException:
        if session.open:
            session._force_close()
        raise
    answer = OKPacketWrapper(session._read_packet())
    session.server_status = answer.server_status
    return int(answer.affected_rows)


def check_warnings(session: Session, sent: int, stored: int, expected: int = 0) -> None:
    """Make sure the last statement stored every row as it was.

    `expected`: warnings that are meant; they say that data were truncated.

    Raises:
        WarnedError: it did not; says what the server said first. The caller rolls back.
    """
    count = int(session.value("SHOW COUNT(*) WARNINGS"))
    if count == expected and stored == sent:
        return
    told = session.rows(f"SHOW WARNINGS LIMIT {_SHOWN}")
    odd = [row for row in told if not expected or row[1] != _TRUNCATED] or told
    # A note goes with nearly every warning; what was left out matters more than what was cut.
    for level in ("Error", "Warning", "Note"):
        for found, code, message in odd:
            if found == level:
                raise WarnedError(int(code), str(message))
    raise WarnedError(1062, f"{sent - stored} of {sent} rows were left out without a warning")


def insert_rows(
    session: Session, head: str, rows: Iterable[Sequence[bytes]], limit: int,
    checked: Callable[[int, int], None],
) -> int:  # fmt: skip
    """INSERT rows, each a ready list of values in brackets, many by one statement.

    Raises:
        WarnedError: a row alone is larger than what the server accepts.
    """
    first = head.encode()
    total = size = 0
    pending: list[bytes] = []

    def flush() -> None:
        session._execute_command(COMMAND.COM_QUERY, first + b",".join(pending))
        answer = OKPacketWrapper(session._read_packet())
        session.server_status = answer.server_status
        checked(len(pending), int(answer.affected_rows))
        pending.clear()

    for group in rows:
        for row in group:
            if len(first) + len(row) + 2 > limit:
                raise too_large(len(row), limit)
            if pending and len(first) + size + len(row) + 2 > min(limit, 1 << 20):
                flush()
                size = 0
            pending.append(row)
            size += len(row) + 1
            total += 1
    if pending:
        flush()
    return total


def too_large(size: int, limit: int) -> WarnedError:
    """A row is larger than ``max_allowed_packet``."""
    return WarnedError(
        1153,
        f"a row of about {size} bytes is larger than the server's max_allowed_packet of {limit}",
    )

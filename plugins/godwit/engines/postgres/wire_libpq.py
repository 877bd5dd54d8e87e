"""COPY through libpq, for encrypted connections; waits without Python's lock."""

from __future__ import annotations

import select
from collections.abc import Iterator

import psycopg
from psycopg import pq

from godwit.engines.postgres.connection import BLOCK, Session
from godwit.engines.postgres.refusals import CopyRefusedError, lost


class _Libpq:
    _opened: pq.ExecStatus

    def __init__(self, session: Session, statement: bytes) -> None:
        self._pgconn = session.pgconn
        result = self._pgconn.exec_(statement)
        if result.status != self._opened:
            raise _refused(result)

    def close(self) -> None:
        """Nothing of its own is open."""

    def _wait(self, *, writing: bool = False) -> None:
        number = self._pgconn.socket
        readable = select.select([number], [number] if writing else [], [])[0]
        if readable:
            try:
                self._pgconn.consume_input()
            except psycopg.OperationalError as cause:
                raise lost(cause) from None

    def _end(self) -> int:
        """Read the results to the end; returns the rows of the command."""
        rows, refused = 0, None
        while True:
            while self._pgconn.is_busy():
                self._wait()
            result = self._pgconn.get_result()
            if result is None:
                break
            if result.status == pq.ExecStatus.COMMAND_OK:
                rows = result.command_tuples or 0
            elif result.status == pq.ExecStatus.FATAL_ERROR and refused is None:
                refused = _refused(result)
            if self._pgconn.status == pq.ConnStatus.BAD:
                break
        if refused is not None:
            raise refused
        return rows


def _refused(result: pq.abc.PGresult) -> CopyRefusedError:
    letters = {
        "C": pq.DiagnosticField.SQLSTATE,
        "M": pq.DiagnosticField.MESSAGE_PRIMARY,
        "W": pq.DiagnosticField.CONTEXT,
        "c": pq.DiagnosticField.COLUMN_NAME,
        "n": pq.DiagnosticField.CONSTRAINT_NAME,
    }
    found = {letter: result.error_field(field) for letter, field in letters.items()}
    fields = {letter: text.decode("utf-8", "replace") for letter, text in found.items() if text}
    return CopyRefusedError(fields or {"C": "08006", "M": result.get_error_message()})


class LibpqOut(_Libpq):
    """A COPY TO STDOUT."""

    _opened = pq.ExecStatus.COPY_OUT

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """See `godwit.engines.postgres.wire.CopyOut`."""
        pieces: list[bytes] = []
        size = 0
        while True:
            count, data = self._pgconn.get_copy_data(1)
            if count > 0:
                pieces.append(bytes(data))
                size += count
                if size >= BLOCK:
                    yield b"".join(pieces), 0
                    pieces, size = [], 0
            elif count == 0:
                self._wait()
            else:
                break
        if pieces:
            yield b"".join(pieces), 0
        self._end()


class LibpqIn(_Libpq):
    """A COPY FROM STDIN."""

    _opened = pq.ExecStatus.COPY_IN

    def write(self, block: bytes) -> None:
        """See `godwit.engines.postgres.wire.CopyIn`."""
        self._pgconn.nonblocking = 1
        try:
            self._pgconn.put_copy_data(block)
            self._flush()
        except psycopg.OperationalError:
            # libpq leaves the COPY as soon as it has read the server's complaint.
            self._end()
            raise

    def _flush(self) -> None:
        while self._pgconn.flush():
            self._wait(writing=True)

    def finish(self) -> int:
        """See `godwit.engines.postgres.wire.CopyIn`."""
        self._pgconn.put_copy_end()
        self._flush()
        return self._end()

    def abort(self) -> None:
        """See `godwit.engines.postgres.wire.CopyIn`."""
        try:
            self._pgconn.put_copy_end(b"given up")
            self._flush()
            self._end()
        except (psycopg.OperationalError, CopyRefusedError):
            pass

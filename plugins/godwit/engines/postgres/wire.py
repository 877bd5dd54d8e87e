"""COPY in both directions, in blocks.

libpq hands COPY data out row by row, and the driver holds Python's lock while it waits. So the
protocol's few messages are spoken here on the connection's own socket: libpq is idle before and
after and never learns of it. An encrypted connection goes through libpq instead.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator
from typing import Protocol

import psycopg
from psycopg import pq

from godwit.engines.postgres.connection import Session

#: Bytes read at once; what is passed on is a little less.
BLOCK = 1 << 18
#: Waiting is up to the servers and their keepalives.
_PATIENCE = 30 * 86400.0

_LENGTH = struct.Struct(">I").unpack_from
_HEADER = struct.Struct(">cI").pack
_DATA = ord("d")
_SMALL = 8192


class CopyRefusedError(psycopg.DatabaseError):
    """The server's answer to a COPY, with what is safe to show apart from what isn't.

    `fields` are those of the protocol's ErrorResponse by their one-letter names.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", "the connection was lost"))
        self.fields = fields


class CopyOut(Protocol):
    """Blocks of a COPY TO STDOUT."""

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """`(block, tail)`: `tail` bytes at the block's end belong to a row that isn't complete."""
        ...

    def close(self) -> None:
        """Let go of the socket; a session whose COPY hasn't ended is of no more use."""
        ...


class CopyIn(Protocol):
    """A COPY FROM STDIN under way."""

    def write(self, block: bytes) -> None:
        """Send data.

        Raises:
            CopyRefusedError: the server has refused something sent earlier.
        """
        ...

    def finish(self) -> int:
        """End the data; returns the rows the server took. Raises CopyRefusedError."""
        ...

    def abort(self) -> None:
        """Give up; the server's transaction is aborted."""
        ...

    def close(self) -> None:
        """Let go of the socket."""
        ...


def copy_out(session: Session, statement: bytes) -> CopyOut:
    """Start a COPY TO STDOUT on an idle session or in its open transaction."""
    return (_SocketOut if _plain(session) else _LibpqOut)(session, statement)


def copy_in(session: Session, statement: bytes) -> CopyIn:
    """Start a COPY FROM STDIN."""
    return (_SocketIn if _plain(session) else _LibpqIn)(session, statement)


def _plain(session: Session) -> bool:
    """Whether the socket carries the protocol itself, not TLS or GSSAPI around it."""
    no_gss = session.info.get_parameters().get("gssencmode") == "disable"
    return no_gss and not session.pgconn.ssl_in_use


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse."""
    parts = [part for part in body.split(b"\0") if part]
    return {chr(part[0]): part[1:].decode("utf-8", "replace") for part in parts}


def _rows(tag: bytes) -> int:
    words = tag.rstrip(b"\0").split()
    return int(words[1]) if len(words) > 1 else 0


class _Socket:
    """The session's socket while libpq is idle: messages in, bytes out."""

    def __init__(self, session: Session, statement: bytes) -> None:
        # Only a timeout makes Python wait on a socket that libpq needs non-blocking.
        self._socket = socket.socket(fileno=os.dup(session.pgconn.socket))
        self._socket.settimeout(_PATIENCE)
        self._input = b""
        self.rows = 0
        self._send(_HEADER(b"Q", len(statement) + 5) + statement + b"\0")

    def close(self) -> None:
        self._socket.close()

    def _begin(self, wanted: bytes) -> None:
        try:
            self._expect(wanted)
        except BaseException:
            self.close()
            raise

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as cause:
            raise _lost(cause) from None

    def _receive(self, into: memoryview) -> int:
        try:
            count = self._socket.recv_into(into)
        except OSError as cause:
            raise _lost(cause) from None
        if not count:
            raise _lost("the server closed it")
        return count

    def _message(self) -> tuple[bytes, bytes]:
        """The next whole message, `(kind, body)`; waits for it."""
        room = memoryview(bytearray(_SMALL))
        while len(self._input) < 5 or len(self._input) < 1 + _LENGTH(self._input, 1)[0]:
            self._input += room[: self._receive(room)]
        end = 1 + _LENGTH(self._input, 1)[0]
        kind, body = self._input[:1], self._input[5:end]
        self._input = self._input[end:]
        return kind, body

    def _expect(self, wanted: bytes) -> None:
        """Read up to a message of that kind; an error is read to its end and raised."""
        while True:
            kind, body = self._message()
            if kind == wanted:
                return
            if kind == b"E":
                self._fail(body)
            if kind == b"C":
                self.rows = _rows(body)

    def _fail(self, body: bytes) -> None:
        fields = error_fields(body)
        try:
            while self._message()[0] != b"Z":
                pass
        except CopyRefusedError:
            pass  # A fatal error also ends the connection: the first answer says more.
        raise CopyRefusedError(fields)


def _lost(cause: object) -> CopyRefusedError:
    return CopyRefusedError({"C": "08006", "M": f"the connection was lost: {cause}"})


class _SocketOut(_Socket):
    def __init__(self, session: Session, statement: bytes) -> None:
        super().__init__(session, statement)
        self._begin(b"H")

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        buffer = bytearray(BLOCK + _SMALL)
        view = memoryview(buffer)
        end = len(self._input)
        buffer[:end] = self._input
        left = 0  # bytes of the current row still to come
        while True:
            pieces: list[memoryview] = []
            p = 0
            if left:
                pieces.append(view[: min(left, end)])
                p = len(pieces[0])
                left -= p
            while end - p >= 5 and buffer[p] == _DATA:
                stop = p + 1 + _LENGTH(buffer, p + 1)[0]
                p += 5
                if stop > end:
                    pieces.append(view[p:end])
                    left = stop - end
                    p = end
                    break
                pieces.append(view[p:stop])
                p = stop
            if pieces:
                yield b"".join(pieces), len(pieces[-1]) if left else 0
            if end - p >= 5 and buffer[p] != _DATA:
                self._input = bytes(view[p:end])
                if self._ended():
                    return
                p, end = 0, len(self._input)
                buffer[:end] = self._input
                continue
            rest = end - p
            buffer[:rest] = buffer[p:end]
            end = rest + self._receive(view[rest:BLOCK])

    def _ended(self) -> bool:
        """Take one message that isn't data; True when the COPY is over."""
        kind, body = self._message()
        if kind == b"E":
            self._fail(body)
        if kind != b"c":
            return False  # A notice or a changed setting.
        self._expect(b"Z")
        return True


class _SocketIn(_Socket):
    def __init__(self, session: Session, statement: bytes) -> None:
        super().__init__(session, statement)
        self._begin(b"G")

    def write(self, block: bytes) -> None:
        if select.select([self._socket], [], [], 0)[0]:
            # During COPY the server speaks only to complain (or to notify).
            kind, body = self._message()
            if kind == b"E":
                self._fail(body)
        header = _HEADER(b"d", len(block) + 4)
        try:
            sent = self._socket.sendmsg([header, block])
        except OSError as cause:
            raise self._last_words(cause) from None
        total = len(header) + len(block)
        if sent < len(header):
            self._send(header[sent:] + block)
        elif sent < total:
            self._send(memoryview(block)[sent - len(header) :])  # type: ignore[arg-type]

    def _last_words(self, cause: OSError) -> CopyRefusedError:
        """What the server said before it hung up."""
        try:
            kind, body = self._message()
        except CopyRefusedError:
            return _lost(cause)
        return CopyRefusedError(error_fields(body)) if kind == b"E" else _lost(cause)

    def finish(self) -> int:
        self._send(_HEADER(b"c", 4))
        self._expect(b"Z")
        return self.rows

    def abort(self) -> None:
        reason = b"given up\0"
        try:
            self._send(_HEADER(b"f", len(reason) + 4) + reason)
            self._expect(b"Z")
        except CopyRefusedError:
            pass


class _Libpq:
    """The same through libpq, for encrypted connections; waits without Python's lock."""

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
                raise _lost(cause) from None

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


class _LibpqOut(_Libpq):
    _opened = pq.ExecStatus.COPY_OUT

    def blocks(self) -> Iterator[tuple[bytes, int]]:
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


class _LibpqIn(_Libpq):
    _opened = pq.ExecStatus.COPY_IN

    def write(self, block: bytes) -> None:
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
        self._pgconn.put_copy_end()
        self._flush()
        return self._end()

    def abort(self) -> None:
        try:
            self._pgconn.put_copy_end(b"given up")
            self._flush()
            self._end()
        except (psycopg.OperationalError, CopyRefusedError):
            pass

"""COPY spoken on the connection's own socket.

libpq is idle before and after, and never learns of it: its buffers are empty while no command runs.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterator

from godwit.engines.postgres.connection import BLOCK, Session
from godwit.engines.postgres.refusals import CopyRefusedError, error_fields, lost
from godwit.engines.postgres.unframe import unframe

#: Waiting is up to the servers and their keepalives.
_PATIENCE = 30 * 86400.0

_LENGTH = struct.Struct(">I").unpack_from
_HEADER = struct.Struct(">cI").pack
_SMALL = 8192


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
            raise lost(cause) from None

    def _receive(self, into: memoryview) -> int:
        try:
            count = self._socket.recv_into(into)
        except OSError as cause:
            raise lost(cause) from None
        if not count:
            raise lost("the server closed it")
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


class SocketOut(_Socket):
    """A COPY TO STDOUT."""

    def __init__(self, session: Session, statement: bytes) -> None:
        super().__init__(session, statement)
        self._begin(b"H")

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """See `godwit.engines.postgres.wire.CopyOut`."""
        buffer = bytearray(BLOCK + _SMALL)
        view = memoryview(buffer)
        end = len(self._input)
        buffer[:end] = self._input
        left = 0  # bytes of the current row still to come
        while True:
            block, p, left, tail = unframe(buffer, end, left)
            if block:
                yield block, tail
            if end - p >= 5:
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


class SocketIn(_Socket):
    """A COPY FROM STDIN."""

    def __init__(self, session: Session, statement: bytes) -> None:
        super().__init__(session, statement)
        self._begin(b"G")

    def write(self, block: bytes) -> None:
        """See `godwit.engines.postgres.wire.CopyIn`."""
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
            return lost(cause)
        return CopyRefusedError(error_fields(body)) if kind == b"E" else lost(cause)

    def finish(self) -> int:
        """See `godwit.engines.postgres.wire.CopyIn`."""
        self._send(_HEADER(b"c", 4))
        self._expect(b"Z")
        return self.rows

    def abort(self) -> None:
        """See `godwit.engines.postgres.wire.CopyIn`."""
        reason = b"given up\0"
        try:
            self._send(_HEADER(b"f", len(reason) + 4) + reason)
            self._expect(b"Z")
        except CopyRefusedError:
            pass

"""COPY in both directions, in blocks.

libpq hands COPY data out row by row, and the driver holds Python's lock while it waits. So the
protocol's few messages are spoken on the connection's own socket (`wire_socket`); an encrypted
connection goes through libpq (`wire_libpq`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from godwit.engines.postgres.connection import Session, unencrypted
from godwit.engines.postgres.wire_libpq import LibpqIn, LibpqOut
from godwit.engines.postgres.wire_socket import SocketIn, SocketOut


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
    return (SocketOut if _plain(session) else LibpqOut)(session, statement)


def copy_in(session: Session, statement: bytes) -> CopyIn:
    """Start a COPY FROM STDIN."""
    return (SocketIn if _plain(session) else LibpqIn)(session, statement)


def _plain(session: Session) -> bool:
    return unencrypted(session)

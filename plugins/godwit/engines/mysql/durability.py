"""When a commit is on the target's disk: only then may the source forget it.

A server that flushes its log at every commit has it there when COMMIT returns. One that doesn't
(``innodb_flush_log_at_trx_commit`` other than 1, or a binary log that isn't synced, for then the
recovery takes back what the binary log lost) is asked to flush now and then, or, without the
privilege for that, trusted with what is some seconds old.
"""

from __future__ import annotations

import time

import pymysql

from godwit.engines.mysql.connection import Session
from godwit.model.changes import Position

#: Seconds between flushes asked for.
FLUSH_SECONDS = 1.0
#: Seconds after which a server that flushes by the clock (once a second, by default) has done it.
OLD_ENOUGH = 10.0


class Durability:
    """What is durable of one session's commits.

    Attributes:
        known: the last position found durable; None = none yet.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._at_commit: bool | None = None
        self._may_flush = True
        self._flushed = 0.0
        self._pending: list[tuple[Position, float]] = []
        self.known: Position | None = None

    @property
    def at_commit(self) -> bool:
        """A commit is durable when it returns."""
        if self._at_commit is None:
            self._at_commit = flushes_at_commit(self._session)
        return self._at_commit

    def committed(self, position: Position) -> None:
        """Everything up to `position` is committed."""
        if self.at_commit:
            self.known = position
        else:
            self._pending.append((position, time.monotonic()))

    def position(self) -> Position | None:
        """Everything up to here is durable. Called between transactions."""
        now = time.monotonic()
        if self._pending and self._may_flush and now - self._flushed >= FLUSH_SECONDS:
            self.settle()
        while self._pending and now - self._pending[0][1] >= OLD_ENOUGH:
            self.known = self._pending.pop(0)[0]
        return self.known

    def settle(self) -> None:
        """Have the server flush its log, if it may be asked to."""
        if not self._pending or not self._may_flush:
            return
        try:
            with self._session.cursor() as cursor:
                cursor.execute("FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS")
        except pymysql.MySQLError as cause:
            if not cause.args or cause.args[0] not in {1044, 1142, 1227, 1290, 1370}:
                raise
            self._may_flush = False
            return
        self._flushed = time.monotonic()
        self.known = self._pending[-1][0]
        self._pending.clear()


def flushes_at_commit(session: Session) -> bool:
    """Whether this server has a commit on disk when it answers."""
    with session.cursor() as cursor:
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog")
        at_commit, log, sync = cursor.fetchone() or (0, 1, 0)
    return int(at_commit) == 1 and (not int(log) or int(sync) == 1)

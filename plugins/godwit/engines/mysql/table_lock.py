"""A brief lock that ties a snapshot of a table to a position in the log.

While the lock is held nobody has uncommitted changes of the table and nobody can make any, so a
snapshot taken then has seen exactly the table's changes up to the position read then.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, suppress
from types import TracebackType

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.refusals import refusal
from godwit.errors import LoadError
from godwit.model.catalog import TableName

#: Writers queue behind a lock that waits itself, so it is asked for only so long at a time …
LOCK_SECONDS = 3
#: … and again for so long in all.
LOCK_PATIENCE = 300.0
_PAUSE = 0.5
_WAITED = 1205
_RIGHTS = frozenset({1044, 1142, 1227})
#: Engines whose snapshots hold after the lock is gone.
_SNAPSHOTS = frozenset({"innodb", "rocksdb", "tokudb"})


class TableLock(AbstractContextManager["TableLock"]):
    """LOCK TABLES … READ in a session of its own; entered before the snapshot is taken."""

    def __init__(self, connector: Connector, table: TableName) -> None:
        self._table, self._connector = table, connector
        self._where = f"source table {table}"
        self._session: Session | None = connector.connect(role="source")
        self._kept = False

    def __enter__(self) -> TableLock:
        assert self._session is not None
        try:
            engine = self._session.value(
                "SELECT ENGINE FROM information_schema.TABLES"
                " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                tuple(self._table),
            )
            self._kept = str(engine or "").lower() not in _SNAPSHOTS
            self._lock(self._session)
        except BaseException as error:
            self.release()
            if isinstance(error, pymysql.MySQLError):
                raise self._refused(error) from None
            raise
        return self

    def _lock(self, session: Session) -> None:
        session.run(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                session.run(f"LOCK TABLES {quoted(*self._table)} READ")
            except pymysql.MySQLError as error:
                if error.args[0] != _WAITED or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def position(self) -> str:
        """The end of the log, as text; asked for while the lock is held."""
        from godwit.engines.mysql.capture import end_of_log

        assert self._session is not None
        return str(end_of_log(self._session, self._connector))

    def release(self, *, kept: bool = False) -> None:
        """Let writers go on. `kept`: unless the table's engine has no snapshots."""
        if self._session is None or (kept and self._kept):
            return
        with suppress(Exception):
            self._session.close()
        self._session = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _refused(self, error: pymysql.MySQLError) -> LoadError:
        told = refusal(error)
        if told.code in _RIGHTS:
            hint = (
                "GRANT LOCK TABLES ON the database TO the connection's user, or add a primary key"
            )
        elif told.code == _WAITED:
            hint = "end the long transaction that has written to the table, then run the task again"
        else:
            hint = told.hint
        return LoadError(
            "the table cannot be locked for a moment",
            where=self._where,
            why=f"it has no key, so its load must be tied to a position of the log: {told.reason}",
            hint=hint,
        )

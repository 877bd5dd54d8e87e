"""One snapshot for several reads of one table: one session, which they take in turn.

The servers have no snapshot that several sessions could use. The first read opens it, under the
brief lock that ties it to a position in the log.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.table_lock import TableLock
from godwit.errors import LoadError
from godwit.model.catalog import Table, TableName

_SHARED: dict[str, Shared] = {}
Begin = Callable[[Connector, Session], None]


@contextmanager
def shared_snapshot(connector: Connector) -> Iterator[str]:
    """The name of a snapshot that reads of one table can use while the context lasts."""
    name = secrets.token_hex(8)
    snapshot = _SHARED[name] = Shared(connector)
    try:
        yield name
    finally:
        del _SHARED[name]
        snapshot.close()


def shared(name: str) -> Shared:
    """The snapshot of that name.

    Raises:
        LoadError: it has ended.
    """
    try:
        return _SHARED[name]
    except KeyError:
        raise LoadError(
            "the snapshot has ended", where=f"snapshot {name}", hint="load the table again"
        ) from None


class Shared:
    """A snapshot that opens with its first read."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._turn = threading.Lock()
        self._session: Session | None = None
        self._lock: TableLock | None = None
        self._table: TableName | None = None
        self._mark: str | None = None

    @contextmanager
    def turn(self, table: Table, begin: Begin) -> Iterator[tuple[Session, str | None]]:
        """The session, and the log position of what it sees (None when the login may not lock a
        table, which one with a key can do without, or when there is no log).

        Raises:
            LoadError: the snapshot is of another table, or lost.
        """
        with self._turn:
            if self._session is None:
                self._open(table, begin)
            assert self._session is not None
            if self._table != table.name or not self._session.open:
                raise LoadError(
                    "the snapshot is lost",
                    where=f"source table {table.name}",
                    why="another chunk of it could not be read",
                    hint="load the table again",
                )
            yield self._session, self._mark

    def _open(self, table: Table, begin: Begin) -> None:
        session = self._connector.connect(role="source")
        try:
            if session.value("SELECT @@log_bin"):
                self._lock = self._locked(table)
            begin(self._connector, session)
            if self._lock is not None:
                self._mark = self._lock.position()
                self._lock.release(kept=True)
        except BaseException as error:
            self.close()
            session.close()
            if isinstance(error, (pymysql.MySQLError, OSError)):
                raise LoadError(
                    "a snapshot cannot be opened",
                    where=f"source table {table.name}",
                    why=str(error.args[-1] if error.args else error),
                ) from None
            raise
        self._session, self._table = session, table.name

    def _locked(self, table: Table) -> TableLock | None:
        lock = TableLock(self._connector, table.name)
        try:
            return lock.__enter__()
        except LoadError:
            if table.identity:
                return None
            raise

    def close(self) -> None:
        """End it."""
        if self._lock is not None:
            self._lock.release()
        if self._session is not None:
            with suppress(Exception):
                self._session.close()

"""Who is writing on the source: transactions that have changed something, and locks on tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import pymysql

from godwit.engines.mysql.connection import Session
from godwit.errors import EndpointError

_GONE = 1094
#: A transaction that has no row changed yet may still hold rows for an update to come.
_TRANSACTIONS = (
    "SELECT trx_mysql_thread_id, trx_id FROM information_schema.INNODB_TRX"
    " WHERE trx_mysql_thread_id <> CONNECTION_ID()"
    " AND (trx_rows_modified > 0 OR trx_rows_locked > 0 OR trx_state <> 'RUNNING')"
)
#: Statements that run now (of applications; our own sessions write nothing on a source).
_RUNNING = (
    "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID()"
    " AND COMMAND IN ('Query', 'Execute') AND INFO REGEXP"
    " '^[[:space:]]*(insert|update|delete|replace|load|truncate|alter|drop|create|rename|call)'"
)


@dataclass(frozen=True)
class Writer:
    """One that is still busy; `thread` is None for what no session holds."""

    name: str
    thread: int | None


class Writers:
    """Finds and ends them.

    Args:
        session: of ours.
        tables: `(database, name)`s that are to stay as they are.
        everything: all transactions count (nobody may write at all), else those that exist now.
    """

    def __init__(
        self, session: Session, tables: Sequence[Sequence[str]], *, everything: bool
    ) -> None:
        self._session = session
        self._tables = tables
        self._everything = everything
        self._older: set[str] | None = None

    def busy(self) -> list[Writer]:
        """Those that may still write or commit.

        Which tables a transaction has changed the servers don't tell: those count that were open
        when the fence was put up. Without privileges taken from the whole server, new ones keep
        coming.
        """
        try:
            found = {str(trx): int(t) for t, trx in self._session.rows(_TRANSACTIONS)}
            running = [int(row[0]) for row in self._session.rows(_RUNNING)]
        except pymysql.MySQLError:
            raise EndpointError(
                "the running transactions of the source cannot be seen",
                where="information_schema.INNODB_TRX",
                hint="GRANT PROCESS ON *.* TO the login of the connection",
            ) from None
        now = {*found, *(f"statement {thread}" for thread in running)}
        if self._older is None or self._everything:
            self._older = now
        self._older &= now
        writers = [
            Writer(f"connection {t}", t)
            for trx, t in found.items()
            if t and trx in now and trx in self._older
        ]
        writers += [
            Writer(f"connection {t}", t) for t in running if f"statement {t}" in self._older
        ]
        return [*dict.fromkeys(writers), *self._prepared()]

    def _prepared(self) -> list[Writer]:
        """Transactions prepared by XA belong to nobody and can be committed at any time."""
        rows = []
        with suppress(pymysql.MySQLError):  # MySQL asks for XA_RECOVER_ADMIN
            rows = (
                self._session.rows("XA RECOVER CONVERT XID")
                if not _is_mariadb(self._session)
                else self._session.rows("XA RECOVER")
            )
        return [Writer(f"XA transaction {row[3]}", None) for row in rows]

    def end(self, writers: Sequence[Writer]) -> None:
        """Kill the sessions.

        Raises:
            EndpointError: that isn't allowed to the login.
        """
        for thread in dict.fromkeys(w.thread for w in writers if w.thread is not None):
            try:
                self._session.run(f"KILL CONNECTION {thread:d}")
            except pymysql.MySQLError as cause:
                if cause.args[0] != _GONE:
                    raise EndpointError(
                        "a session of the source can't be ended",
                        where=f"connection {thread}",
                        why=f"the source answers with error {cause.args[0]}",
                        hint="GRANT CONNECTION ADMIN (MySQL: CONNECTION_ADMIN) ON *.* TO the login "
                        "of the connection, or end the session by hand",
                    ) from None


def _is_mariadb(session: Session) -> bool:
    return "mariadb" in str(session.get_server_info()).lower()

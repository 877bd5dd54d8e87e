"""How a PostgreSQL server is reached, and the session settings every road relies on.

Values travel as text in several places (CSV, keys, bounds, hashes), so every session pins the
settings that shape text: the same value has the same text on every server and in every session.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq

from godwit.errors import EndpointError
from godwit.model.changes import Format
from godwit.model.endpoint import Connection

#: A COPY BINARY stream. `Payload.data` of this format holds tuples only: no signature, no trailer.
BINARY = Format("postgres-binary")
#: COPY CSV with every value quoted: NULL is the unquoted empty field, an empty text is ``""``.
CSV = Format("postgres-csv")
#: Record batches of text columns that hold PostgreSQL's own text of each value; NULL is null.
TEXT_COLUMNS = Format("postgres-columns", columnar=True)

#: Bytes of rows that are read from a connection, and passed on, at once.
BLOCK = 1 << 18

APPLICATION_NAME = "godwit"
CONNECT_SECONDS = 30

#: A psycopg connection of ours.
Session = psycopg.Connection[Any]

_SETTINGS = {
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "timezone": "UTC",
    "lc_monetary": "C",
    "xmloption": "content",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # Row security must never hide rows from a migration: with `off` the server raises instead.
    "row_security": "off",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "search_path": "pg_catalog",
}
_SINCE = {140000: ("idle_session_timeout", "0"), 170000: ("transaction_timeout", "0")}

_ROLES = ("source", "target")


class Connector:
    """Opens connections to one endpoint. May be used by several threads.

    Args:
        connection: the Airflow connection; libpq's own parameters (``sslmode``, ``sslrootcert``,
            ``sslcert``, ``sslkey``, ``target_session_attrs`` …) are read from its extra.
        settings: the endpoint's settings in the definition.
    """

    def __init__(self, connection: Connection, settings: Mapping[str, Any] | None = None) -> None:
        self.connection = connection
        self.settings = dict(settings or {})
        self._version: int | None = None
        self._replica_role: bool | None = None
        self._lock = threading.Lock()
        self._idle: dict[str, list[Session]] = {role: [] for role in _ROLES}

    def __repr__(self) -> str:
        return f"Connector({self.where})"

    @property
    def where(self) -> str:
        """The endpoint for messages, without secrets."""
        c = self.connection
        return f"connection {c.conn_id!r} ({c.host or 'local'}:{c.port or 5432}/{c.database})"

    @property
    def version(self) -> int:
        """The server's version number, e.g. 160004."""
        if self._version is None:
            with self.connect() as session:
                return session.info.server_version
        return self._version

    @property
    def replica_role(self) -> bool:
        """Whether target sessions may set ``session_replication_role`` (triggers stay silent)."""
        if self._replica_role is None:
            self.connect(role="target").close()
        return bool(self._replica_role)

    def connect(
        self,
        *,
        autocommit: bool = True,
        replication: bool = False,
        role: str = "source",
        **options: Any,
    ) -> Session:
        """A new connection with Godwit's session settings.

        Args:
            autocommit: no transaction unless one is opened.
            replication: a connection that also speaks the replication protocol.
            role: ``source`` or ``target``; target sessions silence triggers where they may.
            options: passed on to `psycopg.connect`.

        Raises:
            EndpointError: the server cannot be reached or refuses; says why, without secrets.
        """
        if role not in _ROLES:
            raise ValueError(f"role {role!r}")
        parameters = self._parameters()
        if replication:
            parameters["replication"] = "database"
        try:
            session: Session = psycopg.connect(**{**parameters, "autocommit": True, **options})
        except psycopg.Error as cause:
            raise self._unreachable(cause) from None
        try:
            self._prepare(session, role)
            session.autocommit = autocommit
        except psycopg.Error as cause:
            session.close()
            raise self._unreachable(cause) from None
        except BaseException:
            session.close()
            raise
        return session

    @contextmanager
    def lease(self, role: str = "source") -> Iterator[Session]:
        """A session for a short while, kept open for the next who asks; autocommit.

        It must be given back idle: one left in a transaction, or by an exception, is closed.
        """
        with self._lock:
            session = self._idle[role].pop() if self._idle[role] else None
        if session is None or not _alive(session):
            session = self.connect(role=role)
        try:
            yield session
        except BaseException:
            session.close()
            raise
        if session.closed:
            return
        if session.info.transaction_status != pq.TransactionStatus.IDLE:
            session.close()
            return
        with self._lock:
            self._idle[role].append(session)

    def close(self) -> None:
        """Close the sessions kept open; the connector stays usable."""
        with self._lock:
            idle = [session for sessions in self._idle.values() for session in sessions]
            for sessions in self._idle.values():
                sessions.clear()
        for session in idle:
            session.close()

    def _parameters(self) -> dict[str, Any]:
        known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
        parameters: dict[str, Any] = {
            key: str(value)
            for key, value in self.connection.extra.items()
            if key in known and value is not None
        }
        c = self.connection
        own = {
            "host": c.host,
            "port": c.port,
            "user": c.login,
            "password": c.password,
            "dbname": c.database,
        }
        parameters.update({key: value for key, value in own.items() if value})
        parameters.setdefault("connect_timeout", CONNECT_SECONDS)
        parameters.setdefault("gssencmode", "disable")
        parameters["application_name"] = APPLICATION_NAME
        # Settings of the user's environment (PGOPTIONS) must not reach our sessions unnoticed.
        parameters.setdefault("options", "")
        return parameters

    def _prepare(self, session: Session, role: str) -> None:
        """Pin the session; by simple queries, as replication connections know no others."""
        version = session.info.server_version
        self._version = version
        settings = dict(_SETTINGS)
        settings["extra_float_digits"] = "1" if version >= 120000 else "3"
        settings.update(pair for since, pair in _SINCE.items() if version >= since)
        statement = "; ".join(f"SET {name} = {_value(value)}" for name, value in settings.items())
        _simple(session, statement)
        if role == "target":
            try:
                _simple(session, "SET session_replication_role = replica")
            except psycopg.errors.InsufficientPrivilege:
                self._replica_role = False
            else:
                self._replica_role = True

    def _unreachable(self, cause: psycopg.Error) -> EndpointError:
        reason = " ".join(str(cause).split())
        if self.connection.password:
            reason = reason.replace(self.connection.password, "…")
        return EndpointError(
            "the PostgreSQL server cannot be used",
            where=self.where,
            why=reason,
            hint="check host, port, database, login and TLS settings of the connection, and that "
            "the server's pg_hba.conf admits this host",
        )


def unencrypted(session: Session) -> bool:
    """Whether the socket carries the protocol itself, not TLS or GSSAPI around it."""
    # Not `info.get_parameters()`: it leaves out what equals libpq's default, here "disable".
    options = {option.keyword: option.val for option in session.pgconn.info}
    no_gss = options.get(b"gssencmode", b"disable") == b"disable"
    return no_gss and not session.pgconn.ssl_in_use


def _alive(session: Session) -> bool:
    """Whether an idle session is still connected: an ended one has something to read."""
    if session.closed:
        return False
    # Notices may wait there as well; then a new session costs some milliseconds, no harm.
    if select.select([session.fileno()], [], [], 0)[0]:
        session.close()
        return False
    return True


def _value(text: str) -> str:
    # `SET datestyle = 'ISO, MDY'` takes the list as one string as well.
    return "'" + text.replace("'", "''") + "'"


def _simple(session: Session, statement: str) -> None:
    result = session.pgconn.exec_(statement.encode())
    if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
        raise psycopg.errors.error_from_result(result)

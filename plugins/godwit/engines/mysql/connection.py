"""How a MySQL or MariaDB server is reached, and the session settings every road relies on.

Every session pins what shapes values (character set, time zone, SQL mode), so that the same value
has the same text on every server and in every session.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pymysql
from pymysql.connections import Connection as _Driver
from pymysql.constants import CLIENT, ER, SERVER_STATUS

from godwit.engines.mysql.tls import tls_options
from godwit.errors import EndpointError
from godwit.model.changes import COLUMNS, Format
from godwit.model.endpoint import Connection

#: As COLUMNS, but between two servers of this engine: zero and partial dates as the server writes
#: them, geometry in the server's own bytes, JSON as the server's text.
MYSQL_COLUMNS = Format("mysql-columns", columnar=True)

__all__ = ["COLUMNS", "MYSQL_COLUMNS", "Connector", "Session", "Version"]

APPLICATION_NAME = "godwit"
CONNECT_SECONDS = 30
PORT = 3306
#: A session that was idle for so many seconds is asked whether it is still there, for so many.
IDLE_SECONDS = 30.0
ANSWER_SECONDS = 15.0

_DAY = 86_400
_ROLES = ("source", "target")

#: What every server knows and everybody may set.
_SETTINGS = {
    "time_zone": "'+00:00'",
    "net_read_timeout": str(_DAY),
    "net_write_timeout": str(_DAY),
    "wait_timeout": str(7 * _DAY),
    "lock_wait_timeout": "300",
    "group_concat_max_len": str(1 << 30),
    "sql_safe_updates": "0",
    "sql_select_limit": "DEFAULT",
    "sql_big_selects": "1",
    "sql_quote_show_create": "1",
    "completion_type": "'NO_CHAIN'",
}
#: Nothing else lets a source's zero dates, division by zero and old definitions be read. With it a
#: date such as 2024-02-31, which a source may hold, can be compared.
_SOURCE = {"sql_mode": "'ALLOW_INVALID_DATES'"}
_TARGET = {
    "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,"
    "ALLOW_INVALID_DATES'",
    "foreign_key_checks": "0",
    "unique_checks": "1",
    "innodb_lock_wait_timeout": "120",
    "default_storage_engine": "'InnoDB'",
}
#: What only some servers know or need a privilege for; set where possible.
_TOLERATED = {
    "max_execution_time": "0",
    "max_statement_time": "0",
    "idle_transaction_timeout": "0",
    "idle_readonly_transaction_timeout": "0",
    "idle_write_transaction_timeout": "0",
    # Statistics and counters as they are now, not as they were up to a day ago.
    "information_schema_stats_expiry": "0",
}
_TOLERATED_TARGET = {
    "explicit_defaults_for_timestamp": "1",
    # Tables come as the plan says, without a key of the server's own making.
    "sql_require_primary_key": "0",
    "sql_generate_invisible_primary_key": "0",
}
#: The last is of what was sent and never acknowledged, in milliseconds.
_KEEPALIVE = {
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 8,
    "TCP_USER_TIMEOUT": 180_000,
}
_ISOLATION = {"source": "REPEATABLE READ", "target": "READ COMMITTED"}


@dataclass(frozen=True)
class Version:
    """A server's version: `text` as the server says it, `mariadb` the flavour."""

    numbers: tuple[int, int, int]
    mariadb: bool
    text: str

    @classmethod
    def parse(cls, text: str) -> Version:
        """From ``SELECT VERSION()``."""
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", text.removeprefix("5.5.5-"))
        numbers = (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)
        return cls(numbers, "mariadb" in text.lower(), text)

    @property
    def flavour(self) -> str:
        """``mysql`` or ``mariadb``."""
        return "mariadb" if self.mariadb else "mysql"

    def since(
        self, *, mysql: tuple[int, ...] | None = None, mariadb: tuple[int, ...] | None = None
    ) -> bool:
        """Whether the server is at least this version of its flavour (None: never)."""
        wanted = mariadb if self.mariadb else mysql
        return wanted is not None and self.numbers >= wanted

    def __str__(self) -> str:
        return f"{'MariaDB' if self.mariadb else 'MySQL'} {'.'.join(map(str, self.numbers))}"


class Session(_Driver):  # type: ignore[misc]  # the driver has no types
    """A PyMySQL connection of ours."""

    #: TLS was asked for: the driver itself would go on without when the server has none.
    tls_required = False
    #: Where the control tables are, when this is a target's session.
    control_database = "godwit"
    #: The driver's own: seconds to wait for an answer.
    _read_timeout: float | None
    #: When it was last given back to its connector.
    idle_since = 0.0

    def _request_authentication(self) -> None:
        if self.tls_required and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.err.OperationalError(
                2026, "the server offers no TLS, which the connection requires"
            )
        super()._request_authentication()

    @cached_property
    def loading(self) -> tuple[bool, int]:
        """Whether the server takes LOAD DATA from here, and the bytes of its largest packet."""
        row = self.row("SELECT @@GLOBAL.local_infile, @@max_allowed_packet")
        return (bool(row[0]), int(row[1])) if row else (False, 1024)

    @property
    def encrypted(self) -> bool:
        """Whether TLS is around the protocol."""
        return isinstance(self._sock, ssl.SSLSocket)

    @property
    def in_transaction(self) -> bool:
        """Whether the server says that a transaction is open."""
        return bool(self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    def alive(self) -> bool:
        """Whether this idle session is still connected: an ended one has something to read."""
        if not self.open:
            return False
        if select.select([self._sock], [], [], 0)[0]:
            self._force_close()
            return False
        return time.monotonic() - self.idle_since < IDLE_SECONDS or self._answers()

    def _answers(self) -> bool:
        """Behind a tunnel that has died without a word, a question would wait for ever."""
        limit, self._read_timeout = self._read_timeout, ANSWER_SECONDS
        try:
            self.ping(reconnect=False)
        except (pymysql.MySQLError, OSError):
            self._force_close()
            return False
        finally:
            self._read_timeout = limit
        return True

    def keep_alive(self) -> None:
        """Notice within some minutes that the other side has vanished."""
        if self._sock.family == socket.AF_UNIX:
            return
        for option, value in _KEEPALIVE.items():
            with suppress(OSError, AttributeError):
                self._sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def row(self, sql: str, parameters: Any = None) -> tuple[Any, ...] | None:
        """The first row of a query, None when there is none."""
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            found: tuple[Any, ...] | None = cursor.fetchone()
            return found

    def value(self, sql: str, parameters: Any = None) -> Any:
        """The first column of the first row, None when there is none."""
        found = self.row(sql, parameters)
        return found[0] if found else None

    def run(self, sql: str, parameters: Any = None) -> int:
        """Execute a statement; returns the rows affected."""
        with self.cursor() as cursor:
            return int(cursor.execute(sql, parameters))


class Connector:
    """Opens connections to one endpoint. May be used by several threads.

    Args:
        connection: the Airflow connection. From its extra: ``unix_socket``, ``ssl_mode``
            (``DISABLED``, ``PREFERRED``, ``REQUIRED``, ``VERIFY_CA``, ``VERIFY_IDENTITY``) and
            ``ssl`` (``ca``, ``cert``, ``key``, ``cipher``), ``connect_timeout``.
        settings: the endpoint's settings in the definition.
    """

    def __init__(self, connection: Connection, settings: Mapping[str, Any] | None = None) -> None:
        self.connection = connection
        self.settings = dict(settings or {})
        self._version: Version | None = None
        self._refused: set[str] = set()
        self._lock = threading.Lock()
        self._idle: dict[str, list[Session]] = {role: [] for role in _ROLES}

    def __repr__(self) -> str:
        return f"Connector({self.where})"

    @property
    def where(self) -> str:
        """The endpoint for messages, without secrets."""
        c = self.connection
        return f"connection {c.conn_id!r} ({c.host or 'local'}:{c.port or PORT}/{c.database})"

    @property
    def version(self) -> Version:
        """The server's version and flavour."""
        if self._version is None:
            self.connect().close()
        assert self._version is not None
        return self._version

    def connect(self, *, autocommit: bool = True, role: str = "source", **options: Any) -> Session:
        """A new connection with Godwit's session settings.

        Args:
            autocommit: no transaction unless one is opened.
            role: ``source`` or ``target``; target sessions are strict, check no foreign keys and
                may load data from this side (the driver itself still refuses to read a file).
            options: passed on to PyMySQL.

        Raises:
            EndpointError: the server cannot be reached or refuses; says why, without secrets.
        """
        if role not in _ROLES:
            raise ValueError(f"role {role!r}")
        parameters, required = self._parameters(role)
        parameters.update(options)
        session = Session(**parameters, defer_connect=True)
        session.tls_required = required
        session.control_database = str(self.settings.get("control_database") or "godwit")
        try:
            session.connect()
            self._prepare(session, role)
            session.autocommit(autocommit)
        except BaseException as cause:
            with suppress(Exception):
                session.close()
            if isinstance(cause, (pymysql.MySQLError, OSError, RuntimeError)):
                raise self._unreachable(cause) from None
            raise
        return session

    @contextmanager
    def lease(self, role: str = "source") -> Iterator[Session]:
        """A session for a short while, kept open for the next who asks; autocommit.

        It must be given back idle: one left in a transaction, or by an exception, is closed.
        """
        with self._lock:
            session = self._idle[role].pop() if self._idle[role] else None
        if session is None or not session.alive():
            session = self.connect(role=role)
        try:
            yield session
        except BaseException:
            _close(session)
            raise
        if not session.open:
            return
        if session.in_transaction or not session.get_autocommit():
            _close(session)
            return
        session.idle_since = time.monotonic()
        with self._lock:
            self._idle[role].append(session)

    def close(self) -> None:
        """Close the sessions kept open; the connector stays usable."""
        with self._lock:
            idle = [session for sessions in self._idle.values() for session in sessions]
            for sessions in self._idle.values():
                sessions.clear()
        for session in idle:
            _close(session)

    def _parameters(self, role: str) -> tuple[dict[str, Any], bool]:
        c = self.connection
        path = str(c.extra.get("unix_socket") or (c.host if c.host.startswith("/") else ""))
        tls, required = tls_options(c.extra, self.where, local=bool(path))
        parameters: dict[str, Any] = {
            "host": c.host if c.host and not path else "localhost",
            "port": c.port or PORT,
            "user": c.login,
            # The driver would take a text for latin1; the server's own programs send UTF-8.
            "password": c.password.encode(),
            "database": c.database or None,
            "charset": "utf8mb4",
            "collation": "utf8mb4_bin",
            "binary_prefix": True,
            "connect_timeout": int(c.extra.get("connect_timeout") or CONNECT_SECONDS),
            "program_name": APPLICATION_NAME,
            # The capability, not the driver's permission: it reads no file a server asks for.
            "client_flag": CLIENT.LOCAL_FILES if role == "target" else 0,
            **tls,
        }
        if path:
            parameters["unix_socket"] = path
        return parameters, required

    def _prepare(self, session: Session, role: str) -> None:
        if self._version is None:
            self._version = Version.parse(str(session.value("SELECT VERSION()")))
        session.keep_alive()
        session.run(f"SET SESSION TRANSACTION ISOLATION LEVEL {_ISOLATION[role]}, READ WRITE")
        own = _SOURCE if role == "source" else _TARGET
        session.run(_set({**_SETTINGS, **own}))
        tolerated = {**_TOLERATED, **(_TOLERATED_TARGET if role == "target" else {})}
        self._tolerated(session, tolerated)

    def _tolerated(self, session: Session, settings: Mapping[str, str]) -> None:
        """Set what the server knows and allows; what it refused once isn't asked again."""
        wanted = {k: v for k, v in settings.items() if k not in self._refused}
        with suppress(pymysql.MySQLError):
            if wanted:
                session.run(_set(wanted))
            return
        for name, value in wanted.items():
            try:
                session.run(_set({name: value}))
            except pymysql.MySQLError as cause:
                if cause.args and 2000 <= int(cause.args[0]) < 3000:  # the connection is gone
                    raise
                self._refused.add(name)

    def _unreachable(self, cause: BaseException) -> EndpointError:
        reason = " ".join(str(cause.args[-1] if cause.args else cause).split())
        if self.connection.password:
            reason = reason.replace(self.connection.password, "…")
        return EndpointError(
            "the MySQL or MariaDB server cannot be used",
            where=self.where,
            why=reason,
            hint=_hint(cause),
        )


def _hint(cause: BaseException) -> str:
    code = cause.args[0] if cause.args else None
    if code in (ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR):
        return (
            "check login and password of the connection, that the account exists for this host "
            "('user'@'host') and that it has been granted a privilege on the database"
        )
    if code == ER.BAD_DB_ERROR:
        return "create the database, or correct the schema of the connection"
    return (
        "check host, port, login and TLS settings (ssl_mode, ssl) of the connection, and that the "
        "server listens on this address (bind_address, skip_networking)"
    )


def _set(settings: Mapping[str, str]) -> str:
    return "SET " + ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())


def _close(session: Session) -> None:
    with suppress(Exception):
        if session.open:
            session.close()

"""The state store: a small database of its own that the UI and the CLI read."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from godwit.errors import EndpointError
from godwit.state import queries, recording
from godwit.state.reporter import StateReporter
from godwit.state.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from godwit.state.recording import Event

CREATE_ATTEMPTS = 20
BUSY_SECONDS = 10
FILE_DIALECT = "sqlite"
WRITES = "godwit_writes"


def default_url() -> str:
    """``GODWIT_STATE_URL``, else a file in Airflow's home, else in the user's home."""
    given = os.environ.get("GODWIT_STATE_URL", "").strip()
    if given:
        return given
    airflow = os.environ.get("AIRFLOW_HOME", "").strip()
    folder = Path(airflow, "godwit") if airflow else Path.home() / ".godwit"
    return f"{FILE_DIALECT}:///{folder / 'state.db'}"


class StateStore:
    """The state store at a SQLAlchemy URL; tables are made when they are first needed.

    Several processes may use it at once. Every method may raise what SQLAlchemy raises, except
    those of a `reporter`.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = url or default_url()
        self._engine: sa.Engine | None = None
        self._pruned: dict[str, int] = {}

    @property
    def where(self) -> str:
        """The URL without its password, for people."""
        return sa.make_url(self.url).render_as_string(hide_password=True)

    def reporter(self, migration: str) -> StateReporter:
        """A reporter that writes in the background; close it to write the rest."""
        return StateReporter(self, migration)

    def record(self, migration: str, batch: Sequence[Event]) -> None:
        """Write events in one transaction; keeps the histories within their bounds."""
        with self._begin() as connection:
            recording.record(connection, migration, batch)
            seen = self._pruned.get(migration, recording.PRUNE_EVERY) + len(batch)
            if seen >= recording.PRUNE_EVERY:
                recording.prune(connection, migration)
                seen = 0
        self._pruned[migration] = seen

    def forget(self, migration: str) -> None:
        """Remove every line of a migration."""
        with self._begin() as connection:
            recording.forget(connection, migration)

    # what the UI reads

    def overview(self) -> list[dict[str, Any]]:
        """One line a migration: type, phase, tables, rows, lag, findings by severity."""
        with self._connect() as connection:
            return queries.overview(connection)

    def migration(self, migration: str) -> dict[str, Any] | None:
        """The overview's line of one migration, with its instance; None when it isn't known."""
        with self._connect() as connection:
            return queries.migration(connection, migration)

    def tables(self, migration: str) -> list[dict[str, Any]]:
        """Table statistics with loaded rows and bytes, and the last validation of each table."""
        with self._connect() as connection:
            return queries.tables(connection, migration)

    def chunks(self, migration: str, limit: int = 1000) -> list[dict[str, Any]]:
        """Loaded chunks, newest first."""
        with self._connect() as connection:
            return queries.chunks(connection, migration, limit)

    def lag(self, migration: str, limit: int = 600) -> list[dict[str, Any]]:
        """Lag history, oldest first; seconds."""
        with self._connect() as connection:
            return queries.lag(connection, migration, limit)

    def findings(self, migration: str) -> list[dict[str, Any]]:
        """Findings, worst first."""
        with self._connect() as connection:
            return queries.findings(connection, migration)

    def events(self, migration: str, limit: int = 200, after: int = 0) -> list[dict[str, Any]]:
        """Events with an id above `after`, newest first."""
        with self._connect() as connection:
            return queries.events(connection, migration, limit, after)

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def forked(self) -> None:
        """Leave the parent's connections to the parent."""
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with self._open().connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with _writing(self._open()) as connection:
            yield connection

    def _open(self) -> sa.Engine:
        if self._engine is None:
            engine = _engine(self.url)
            _create(engine)
            self._engine = engine
        return self._engine


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        # Plain JSON is promised, but a picture is no place to be strict.
        writer = partial(json.dumps, default=str)
        if parsed.get_backend_name() != FILE_DIALECT:
            return sa.create_engine(parsed, json_serializer=writer, pool_pre_ping=True)
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).expanduser().parent.mkdir(parents=True, exist_ok=True)
        connect = {"timeout": BUSY_SECONDS, "check_same_thread": False}
        engine = sa.create_engine(parsed, json_serializer=writer, connect_args=connect)
    except (sa.exc.ArgumentError, NoSuchModuleError, ModuleNotFoundError, OSError) as problem:
        raise EndpointError(
            "the state store cannot be opened",
            where="GODWIT_STATE_URL",
            why=f"{type(problem).__name__}: {_reason(problem)}",
            hint="use a SQLAlchemy URL whose driver is installed (dialect+driver://…), or a file",
        ) from None
    sa.event.listen(engine, "connect", _prepare_file)
    sa.event.listen(engine, "begin", _begin_file)
    return engine


def _reason(problem: Exception) -> str:
    # A URL that cannot be parsed is quoted in the message, with its password.
    return "not a database URL" if isinstance(problem, sa.exc.ArgumentError) else str(problem)


def _prepare_file(connection: Any, _record: Any) -> None:
    # The driver's own idea of transactions would open them late and let a reader's lock turn into a
    # writer's, which fails at once instead of waiting.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_file(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        yield connection


def _create(engine: sa.Engine) -> None:
    """Make missing tables. Two processes may do it at once: the loser looks again."""
    refused = (DBAPIError, engine.dialect.loaded_dbapi.Error)
    for attempt in range(CREATE_ATTEMPTS):
        try:
            with _writing(engine) as connection:
                metadata.create_all(connection)
        except refused:
            if attempt == CREATE_ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - only to part two processes
        else:
            return

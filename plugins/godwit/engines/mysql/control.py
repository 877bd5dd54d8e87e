"""The control tables on the target: what must be true together with the data.

Checkpoint, chunk ledger and epochs are written by the transactions that write the rows they speak
of; everything here is small and read often. DDL ends a transaction on these servers: only
`MySqlControl.install` and `MySqlControl.drop` run any, in sessions of their own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import pymysql

from godwit.engines.mysql.checks_target import CONTROL_PRIVILEGES
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.control_tables import DDL, TABLES, collation, control_table
from godwit.engines.mysql.names import parameterless, quoted
from godwit.engines.mysql.refusals import refusal
from godwit.errors import EndpointError, FencedError
from godwit.model.catalog import TableName
from godwit.model.changes import Position
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.protocols import Epoch, Progress, RowException

T = TypeVar("T")

#: Keys of the memory that ask for a table to be loaded again.
_RELOAD = "reload:"
#: One maker or remover of control tables at a time. Names of locks are the whole server's.
_INSTALL_LOCK = "godwit control tables"
_INSTALL_SECONDS = 60
_NO_DATABASE, _NO_TABLE = 1049, 1146
_NOT_ALLOWED = frozenset({1044, 1142})


def lost(session: Session, error: pymysql.MySQLError) -> bool:
    """Whether `error` means that the session is gone (not that the server refused something)."""
    return not session.open or refusal(error).lost


def run(session: Session, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Execute one statement and return its rows. A ``%`` in it is written ``%%``."""
    with session.cursor() as cursor:
        cursor.execute(query, tuple(values))
        return list(cursor.fetchall())


@contextmanager
def transaction(session: Session) -> Iterator[Session]:
    """One commit on an autocommit session; rolled back on any exception."""
    run(session, "START TRANSACTION")
    try:
        yield session
        run(session, "COMMIT")
    except BaseException:
        if session.open:
            try:
                run(session, "ROLLBACK")
            except pymysql.MySQLError:
                session.close()
        raise


def check_epoch(session: Session, epoch: Epoch, *, hold: bool = True) -> None:
    """Make sure `epoch` is the newest of its role; called inside the transaction it protects.

    With `hold` nobody can take a newer epoch before this transaction has ended, so do it last.

    Raises:
        FencedError: a newer runner has taken over.
    """
    # FOR SHARE is not known everywhere; this is, and means the same.
    query = (
        f"SELECT 1 FROM {control_table(session, 'epochs')}"
        " WHERE migration = %s AND role = %s AND epoch = %s"
    )
    # A plain read would see the transaction's snapshot; a locking one sees what is committed.
    lock = " LOCK IN SHARE MODE" if hold else ""
    if not run(session, query + lock, [epoch.migration, epoch.role, epoch.number]):
        raise _taken_over(epoch)


def _taken_over(epoch: Epoch) -> FencedError:
    return FencedError(
        "a newer runner of this migration has taken over",
        where=f"migration {epoch.migration}, role {epoch.role}, epoch {epoch.number}",
        why="the same work was started again while this runner was still busy",
        hint="nothing: the newer runner goes on, this one has written nothing since",
    )


def lock_epoch(session: Session, epoch: Epoch) -> bool:
    """Take the epoch's lock alone, in the session's transaction; whether it is still the newest.

    A commit shares that lock, so it is had once every commit under way has ended.
    """
    rows = run(
        session,
        f"SELECT epoch FROM {control_table(session, 'epochs')}"
        " WHERE migration = %s AND role = %s FOR UPDATE",
        [epoch.migration, epoch.role],
    )
    return rows == [(epoch.number,)]


def ledger_line(session: Session, migration: str, chunk_id: str) -> LoadedChunk | None:
    """The ledger's line of one chunk, read in the session's transaction."""
    rows = run(
        session,
        f"SELECT chunk, `rows`, bytes, seconds, mark FROM {control_table(session, 'chunks')}"
        " WHERE migration = %s AND chunk_id = %s",
        [migration, chunk_id],
    )
    return _loaded(rows[0]) if rows else None


def write_ledger_line(session: Session, epoch: Epoch, loaded: LoadedChunk) -> None:
    """Write a chunk's line in the transaction that wrote its rows."""
    chunk = loaded.chunk
    run(
        session,
        f"INSERT INTO {control_table(session, 'chunks')} (migration, chunk_id, table_schema,"
        " table_name, label, chunk, `rows`, bytes, seconds, mark, epoch, loaded_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, UTC_TIMESTAMP(6))",
        [
            epoch.migration,
            chunk.id,
            chunk.table.schema,
            chunk.table.name,
            chunk.label,
            _json(chunk.to_json()),
            loaded.rows,
            loaded.bytes,
            loaded.seconds,
            loaded.mark,
            epoch.number,
        ],
    )


def remove_ledger_lines(session: Session, migration: str, chunks: Sequence[str]) -> None:
    """Remove the lines of these chunks in the session's transaction."""
    if chunks:
        places = ", ".join(["%s"] * len(chunks))
        run(
            session,
            f"DELETE FROM {control_table(session, 'chunks')}"
            f" WHERE migration = %s AND chunk_id IN ({places})",
            [migration, *chunks],
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _reload_key(table: TableName) -> str:
    return _RELOAD + _json(list(table))


def _loaded(row: Sequence[Any]) -> LoadedChunk:
    return LoadedChunk(Chunk.from_json(json.loads(row[0])), row[1], row[2], row[3], row[4])


def _instant(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


class MySqlControl:
    """The control tables of one migration; see `godwit.protocols.Control`. Thread-safe.

    Reading before `install` finds nothing, as if all were empty.
    """

    def __init__(self, connector: Connector, migration: str) -> None:
        self.migration = migration
        self._connector = connector
        self._lock = threading.Lock()
        self._session: Session | None = None

    # -- running statements

    def _done(self, work: Callable[[Session], T]) -> T:
        """Do some work; a connection that was cut is opened again, once.

        All work here may be done twice: the first time it may have been committed or not.
        """
        with self._lock:
            for attempt in (1, 2):
                session = self._connected()
                try:
                    return work(session)
                except pymysql.MySQLError as error:
                    if error.args and error.args[0] in _NOT_ALLOWED:
                        raise self._not_allowed(session) from None
                    if not lost(session, error):
                        raise
                    self._forget()
                    if attempt == 2:
                        raise
        raise AssertionError("unreachable")

    def _not_allowed(self, session: Session) -> EndpointError:
        database = quoted(session.control_database)
        return EndpointError(
            "the control tables cannot be used",
            where=f"database {session.control_database}",
            why=f"the login {self._connector.connection.login!r} lacks a privilege",
            hint=f"CREATE DATABASE IF NOT EXISTS {database}; "
            f"GRANT {', '.join(CONTROL_PRIVILEGES)} ON {database}.* TO the login",
        )

    def _committed(self, work: Callable[[Session], T]) -> T:
        """Do some work in one transaction."""

        def whole(session: Session) -> T:
            with transaction(session):
                return work(session)

        return self._done(whole)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement by itself; ``{name}`` stands for the control table of that name."""
        return self._done(lambda session: run(session, _with_tables(session, query), values))

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._rows(query, values)
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in {_NO_DATABASE, _NO_TABLE}:
                return []
            raise

    def _connected(self) -> Session:
        if self._session is None or not self._session.open:
            self._session = self._connector.connect(role="target")
        return self._session

    def _forget(self) -> None:
        if self._session is not None and self._session.open:
            self._session.close()
        self._session = None

    def close(self) -> None:
        """Close the connection; the next call opens one again."""
        with self._lock:
            self._forget()

    # -- installing

    def install(self) -> None:
        """Make what is missing. Safe to run by two workers at once."""
        self._done(self._install)

    def _install(self, session: Session) -> None:
        if set(self._present(session)) == set(TABLES):
            return
        database = session.control_database
        with self._alone(session):
            known = run(
                session, "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s",
                [database],
            )  # fmt: skip
            # Who was given a database made by somebody else may lack the privilege to make one.
            if not known:
                name = parameterless(quoted(database))
                run(session, f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4")
            exact = collation(self._connector.version)
            for name, shape in DDL.items():
                run(
                    session,
                    f"CREATE TABLE IF NOT EXISTS {control_table(session, name)} ({shape})"
                    f" ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {exact}",
                )

    def _present(self, session: Session) -> list[str]:
        rows = run(
            session,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s",
            [session.control_database],
        )
        return [name for (name,) in rows if name in TABLES]

    @contextmanager
    def _alone(self, session: Session) -> Iterator[None]:
        """Nobody else makes or removes control tables meanwhile."""
        if run(session, "SELECT GET_LOCK(%s, %s)", [_INSTALL_LOCK, _INSTALL_SECONDS]) != [(1,)]:
            raise EndpointError(
                "the control tables cannot be made now",
                where=self._connector.where,
                why=f"another worker has been at it for {_INSTALL_SECONDS} seconds",
                hint="run the task again; if it stays, look for a hanging session on the server",
            )
        try:
            yield
        finally:
            if session.open:
                run(session, "DO RELEASE_LOCK(%s)", [_INSTALL_LOCK])

    def restart(self, keep: Sequence[str] = ()) -> None:
        """Forget how far the migration has come; see `godwit.protocols.Control`."""

        def forget(session: Session) -> None:
            def execute(query: str, values: Sequence[Any]) -> None:
                run(session, _with_tables(session, query), values)

            # The epochs stay, so that a worker of before never finds its own again.
            execute("UPDATE {epochs} SET epoch = epoch + 1 WHERE migration = %s", [self.migration])
            for name in ("plans", "chunks", "checkpoints", "suspended_tables", "journal"):
                execute(f"DELETE FROM {{{name}}} WHERE migration = %s", [self.migration])
            places = ", ".join(["%s"] * len(keep))
            kept = f" AND `key` NOT IN ({places})" if keep else ""
            execute("DELETE FROM {memory} WHERE migration = %s" + kept, [self.migration, *keep])

        self._committed(forget)

    def drop(self, *, everything: bool = False) -> None:
        """Remove this migration's lines; `everything` removes the tables too when all are empty."""

        def remove(session: Session) -> None:
            with self._alone(session):
                names = self._present(session)
                with transaction(session):
                    for name in names:
                        run(
                            session,
                            f"DELETE FROM {control_table(session, name)} WHERE {TABLES[name]} = %s",
                            [self.migration],
                        )
                if everything and names:
                    _drop_empty(session, names)

        self._done(remove)

    # -- epochs and progress

    def take_epoch(self, role: str) -> Epoch:
        """Fence every earlier runner of this role.

        The first epoch is the time in microseconds: after a cleanup no number comes again, or a
        runner from before it could pass for one of the new migration.
        """

        def take(session: Session) -> int:
            table = control_table(session, "epochs")
            run(
                session,
                f"INSERT INTO {table} (migration, role, epoch, taken_at)"
                " VALUES (%s, %s, FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000), UTC_TIMESTAMP(6))"
                " ON DUPLICATE KEY UPDATE epoch = epoch + 1, taken_at = UTC_TIMESTAMP(6)",
                [self.migration, role],
            )
            # The row is locked: what is read is what this transaction wrote.
            rows = run(
                session,
                f"SELECT epoch FROM {table} WHERE migration = %s AND role = %s",
                [self.migration, role],
            )
            return int(rows[0][0])

        return Epoch(self.migration, role, self._committed(take))

    def confirm_epoch(self, epoch: Epoch) -> None:
        """Wait for whatever this runner's own lost connections may still commit."""
        if not self._committed(lambda session: lock_epoch(session, epoch)):
            raise _taken_over(epoch)

    def progress(self) -> Progress:
        """Checkpoint and watermarks."""
        rows = self._read(
            "SELECT low, settled, checkpoint, stop_at, transactions, changes, applied_at,"
            " commit_time, session_at FROM {checkpoints} WHERE migration = %s",
            [self.migration],
        )
        if not rows:
            return Progress()
        row = rows[0]
        return Progress(*row[:6], *map(_instant, row[6:]))

    def set_low(self, position: Position) -> None:
        """Store the low watermark and make it the checkpoint, once: the first one stays."""
        text = str(position)
        self._rows(
            # Assignments take effect from left to right: `low` comes last.
            "INSERT INTO {checkpoints} (migration, low, checkpoint) VALUES (%s, %s, %s)"
            " ON DUPLICATE KEY UPDATE"
            " checkpoint = IF(low IS NULL, COALESCE(checkpoint, %s), checkpoint),"
            " low = COALESCE(low, %s)",
            [self.migration, text, text, text, text],
        )

    def set_settled(self, position: Position | None) -> None:
        """Move `settled` to that position, taken after the last row was loaded.

        Any position taken after the load is a true one, so the later writer simply wins.
        """
        self._set("settled", position)

    def set_stop(self, position: Position | None) -> None:
        """Ask the session to end at `position`; None takes it back."""
        self._set("stop_at", position)

    def _set(self, column: str, position: Position | None) -> None:
        text = None if position is None else str(position)
        self._rows(
            f"INSERT INTO {{checkpoints}} (migration, {column}) VALUES (%s, %s)"
            f" ON DUPLICATE KEY UPDATE {column} = %s",
            [self.migration, text, text],
        )

    # -- plan and ledger

    def save_plan(self, bundles: Sequence[Bundle]) -> tuple[Bundle, ...]:
        """Store the plan; if there is one already, that one is returned."""
        self._rows(
            "INSERT INTO {plans} (migration, plan, made_at) VALUES (%s, %s, UTC_TIMESTAMP(6))"
            " ON DUPLICATE KEY UPDATE migration = migration",
            [self.migration, _json([bundle.to_json() for bundle in bundles])],
        )
        return self.plan() or ()

    def replan(self, bundles: Sequence[Bundle]) -> None:
        """Store another plan in place of the one there is."""
        self._rows(
            "UPDATE {plans} SET plan = %s WHERE migration = %s",
            [_json([bundle.to_json() for bundle in bundles]), self.migration],
        )

    def plan(self) -> tuple[Bundle, ...] | None:
        """The stored plan."""
        rows = self._read("SELECT plan FROM {plans} WHERE migration = %s", [self.migration])
        return tuple(Bundle.from_json(b) for b in json.loads(rows[0][0])) if rows else None

    def loaded(self) -> dict[str, LoadedChunk]:
        """The chunk ledger by chunk id."""
        rows = self._read(
            "SELECT chunk, `rows`, bytes, seconds, mark, chunk_id FROM {chunks}"
            " WHERE migration = %s",
            [self.migration],
        )
        return {row[5]: _loaded(row) for row in rows}

    def forget_chunks(self, chunks: Sequence[str], epoch: Epoch) -> None:
        """Remove ledger lines (their rows are removed by the caller)."""

        def forget(session: Session) -> None:
            remove_ledger_lines(session, self.migration, chunks)
            check_epoch(session, epoch)

        self._committed(forget)

    # -- suspended tables and refused rows

    def suspend(self, table: TableName, reason: str) -> None:
        """Take a table out of the migration."""
        self._rows(
            "INSERT INTO {suspended_tables} (migration, table_schema, table_name, reason,"
            " suspended_at) VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6))"
            " ON DUPLICATE KEY UPDATE migration = migration",
            [self.migration, *table, reason],
        )

    def suspended(self) -> dict[TableName, str]:
        """Suspended tables and why."""
        rows = self._read(
            "SELECT table_schema, table_name, reason FROM {suspended_tables}"
            " WHERE migration = %s ORDER BY 1, 2",
            [self.migration],
        )
        return {TableName(schema, name): reason for schema, name, reason in rows}

    def resume(self, table: TableName, epoch: Epoch | None = None) -> None:
        """Take a suspended table in again; a reload that was asked for is done."""
        self._end_reload(
            table,
            epoch,
            "DELETE FROM {suspended_tables}"
            " WHERE migration = %s AND table_schema = %s AND table_name = %s",
            [self.migration, *table],
        )

    def ask_reload(self, table: TableName) -> None:
        """Ask whoever applies the changes to load the table again. It is suspended until then."""

        def ask(session: Session) -> None:
            ((now,),) = run(session, "SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)")
            run(
                session,
                f"INSERT INTO {control_table(session, 'memory')} (migration, `key`, value)"
                " VALUES (%s, %s, %s) ON DUPLICATE KEY UPDATE migration = migration",
                [self.migration, _reload_key(table), _json([*table, now])],
            )
            reason = "it is to be loaded again"
            run(
                session,
                f"INSERT INTO {control_table(session, 'suspended_tables')} (migration,"
                " table_schema, table_name, reason, suspended_at)"
                " VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE reason = %s",
                [self.migration, *table, reason, reason],
            )

        self._committed(ask)

    def reloads(self) -> tuple[TableName, ...]:
        """Tables to be loaded again, the first asked for first."""
        rows = self._read(
            "SELECT value FROM {memory} WHERE migration = %s AND LEFT(`key`, %s) = %s",
            [self.migration, len(_RELOAD), _RELOAD],
        )
        asked = sorted((json.loads(value) for (value,) in rows), key=lambda v: (v[2], v[:2]))
        return tuple(TableName(schema, name) for schema, name, _at in asked)

    def refuse_reload(self, table: TableName, reason: str, epoch: Epoch) -> None:
        """The table cannot be loaded again: it stays suspended, for this reason."""
        self._end_reload(
            table,
            epoch,
            "UPDATE {suspended_tables} SET reason = %s"
            " WHERE migration = %s AND table_schema = %s AND table_name = %s",
            [reason, self.migration, *table],
        )

    def _end_reload(
        self, table: TableName, epoch: Epoch | None, query: str, values: Sequence[Any]
    ) -> None:
        def end(session: Session) -> None:
            run(session, _with_tables(session, query), values)
            run(
                session,
                f"DELETE FROM {control_table(session, 'memory')}"
                " WHERE migration = %s AND `key` = %s",
                [self.migration, _reload_key(table)],
            )
            if epoch is not None:
                check_epoch(session, epoch)

        self._committed(end)

    def show_life(self) -> None:
        """The session is at work, though it applies nothing."""
        self._rows(
            "UPDATE {checkpoints} SET session_at = UTC_TIMESTAMP(6) WHERE migration = %s",
            [self.migration],
        )

    def exceptions(self, limit: int = 100) -> list[RowException]:
        """Rows refused so far, the latest first."""
        rows = self._read(
            "SELECT table_owner, table_name, statement, `key`, error, position, error_time"
            " FROM {apply_exceptions} WHERE task_name = %s ORDER BY id DESC LIMIT %s",
            [self.migration, limit],
        )
        return [
            RowException(TableName(schema, name), operation, key, error, position, _instant(at))
            for schema, name, operation, key, error, position, at in rows
        ]

    def exception_count(self) -> int:
        """How many rows were refused."""
        rows = self._read(
            "SELECT COUNT(*) FROM {apply_exceptions} WHERE task_name = %s", [self.migration]
        )
        return int(rows[0][0]) if rows else 0

    # -- journal and memory

    def journal(self, step: str, state: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write a line of the journal (step, ``started``/``done``/``undone``/``failed``)."""
        self._rows(
            "INSERT INTO {journal} (migration, step, state, detail, at)"
            " VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6))",
            [self.migration, step, state, _json(dict(detail or {}))],
        )

    def journal_states(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The last state of each step, with its detail; the step written last comes last."""
        rows = self._read(
            "SELECT step, state, detail FROM {journal} WHERE id IN (SELECT last FROM"
            " (SELECT MAX(id) AS last FROM {journal} WHERE migration = %s GROUP BY step) AS l)"
            " ORDER BY id",
            [self.migration],
        )
        return {step: (state, json.loads(detail)) for step, state, detail in rows}

    def remember(self, key: str, value: Any) -> None:
        """Store a small JSON value of this migration."""
        text = _json(value)
        self._rows(
            "INSERT INTO {memory} (migration, `key`, value) VALUES (%s, %s, %s)"
            " ON DUPLICATE KEY UPDATE value = %s",
            [self.migration, key, text, text],
        )

    def recall(self, key: str) -> Any:
        """The value stored under `key`, or None."""
        rows = self._read(
            "SELECT value FROM {memory} WHERE migration = %s AND `key` = %s",
            [self.migration, key],
        )
        return json.loads(rows[0][0]) if rows else None


def _with_tables(session: Session, query: str) -> str:
    return query.format_map({name: control_table(session, name) for name in TABLES})


def _drop_empty(session: Session, names: Sequence[str]) -> None:
    tables = [control_table(session, name) for name in names]
    run(session, "LOCK TABLES " + ", ".join(f"{table} WRITE" for table in tables))
    try:
        # A table that is locked once may be named once in a statement.
        if any(run(session, f"SELECT 1 FROM {table} LIMIT 1") for table in tables):
            return
        run(session, "DROP TABLE " + ", ".join(tables))
    finally:
        if session.open:
            run(session, "UNLOCK TABLES")
    database = session.control_database
    others = run(
        session,
        "SELECT 1 FROM information_schema.tables WHERE table_schema = %s UNION ALL"
        " SELECT 1 FROM information_schema.routines WHERE routine_schema = %s LIMIT 1",
        [database, database],
    )
    if not others:
        run(session, f"DROP DATABASE {parameterless(quoted(database))}")

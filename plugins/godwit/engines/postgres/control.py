"""The control tables on the target: what must be true together with the data.

Checkpoint, chunk ledger and epochs are written by the transactions that write the rows they speak
of; everything here is small and read often.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from godwit.engines.postgres.connection import Connector, Session
from godwit.errors import FencedError
from godwit.model.catalog import TableName
from godwit.model.changes import Position
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.protocols import Epoch, Progress, RowException

SCHEMA = "godwit"
#: Keys of the memory that ask for a table to be loaded again.
_RELOAD = "reload:"

#: In order; every statement may be repeated.
DDL = """
CREATE SCHEMA IF NOT EXISTS godwit;
CREATE TABLE IF NOT EXISTS godwit.epochs (
    migration text, role text, epoch bigint NOT NULL, taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (migration, role));
CREATE TABLE IF NOT EXISTS godwit.checkpoints (
    migration text PRIMARY KEY, low text, settled text, checkpoint text, stop_at text,
    transactions bigint NOT NULL DEFAULT 0, changes bigint NOT NULL DEFAULT 0,
    commit_time timestamptz, applied_at timestamptz, session_at timestamptz);
CREATE TABLE IF NOT EXISTS godwit.plans (
    migration text PRIMARY KEY, plan jsonb NOT NULL, made_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS godwit.chunks (
    migration text, chunk_id text, table_schema text NOT NULL, table_name text NOT NULL,
    label text NOT NULL, chunk jsonb NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL,
    seconds double precision NOT NULL, mark text, epoch bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (migration, chunk_id));
CREATE TABLE IF NOT EXISTS godwit.suspended_tables (
    migration text, table_schema text, table_name text, reason text NOT NULL,
    suspended_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (migration, table_schema, table_name));
CREATE TABLE IF NOT EXISTS godwit.apply_exceptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_name text NOT NULL,
    table_owner text NOT NULL, table_name text NOT NULL,
    error_time timestamptz NOT NULL DEFAULT clock_timestamp(), statement text NOT NULL,
    error text NOT NULL, key text NOT NULL DEFAULT '', position text NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS apply_exceptions_task ON godwit.apply_exceptions (task_name, id);
CREATE TABLE IF NOT EXISTS godwit.journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, migration text NOT NULL,
    step text NOT NULL, state text NOT NULL, detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX IF NOT EXISTS journal_migration ON godwit.journal (migration, id);
CREATE TABLE IF NOT EXISTS godwit.memory (
    migration text, key text, value jsonb, PRIMARY KEY (migration, key));
"""

#: Every control table and the column that names the migration.
TABLES = {
    "epochs": "migration",
    "checkpoints": "migration",
    "plans": "migration",
    "chunks": "migration",
    "suspended_tables": "migration",
    "apply_exceptions": "task_name",
    "journal": "migration",
    "memory": "migration",
}

_INSTALL_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('godwit control tables', 0))"


def check_epoch(session: Session, epoch: Epoch, *, hold: bool = True) -> None:
    """Make sure `epoch` is the newest of its role; called inside the transaction it protects.

    With `hold` nobody can take a newer epoch before this transaction has ended, so do it last.

    Raises:
        FencedError: a newer runner has taken over.
    """
    query = "SELECT 1 FROM godwit.epochs WHERE migration = %s AND role = %s AND epoch = %s"
    row = session.execute(
        query + (" FOR SHARE" if hold else ""), [epoch.migration, epoch.role, epoch.number]
    ).fetchone()
    if row is None:
        raise _taken_over(epoch)


def _taken_over(epoch: Epoch) -> FencedError:
    return FencedError(
        "a newer runner of this migration has taken over",
        where=f"migration {epoch.migration}, role {epoch.role}, epoch {epoch.number}",
        why="the same work was started again while this runner was still busy",
        hint="nothing: the newer runner goes on, this one has written nothing since",
    )


def ledger_line(session: Session, migration: str, chunk_id: str) -> LoadedChunk | None:
    """The ledger's line of one chunk, read in the session's transaction."""
    row = session.execute(
        "SELECT chunk, rows, bytes, seconds, mark FROM godwit.chunks "
        "WHERE migration = %s AND chunk_id = %s",
        [migration, chunk_id],
    ).fetchone()
    return _loaded(row) if row else None


def write_ledger_line(session: Session, epoch: Epoch, loaded: LoadedChunk) -> None:
    """Write a chunk's line in the transaction that wrote its rows."""
    chunk = loaded.chunk
    session.execute(
        "INSERT INTO godwit.chunks (migration, chunk_id, table_schema, table_name, label, chunk,"
        " rows, bytes, seconds, mark, epoch) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            epoch.migration,
            chunk.id,
            chunk.table.schema,
            chunk.table.name,
            chunk.label,
            Jsonb(chunk.to_json()),
            loaded.rows,
            loaded.bytes,
            loaded.seconds,
            loaded.mark,
            epoch.number,
        ],
    )


def _reload_key(table: TableName) -> str:
    return _RELOAD + json.dumps(list(table))


def _loaded(row: Sequence[Any]) -> LoadedChunk:
    return LoadedChunk(Chunk.from_json(row[0]), row[1], row[2], row[3], row[4])


class PostgresControl:
    """The control tables of one migration; see `godwit.protocols.Control`. Thread-safe.

    Reading before `install` finds nothing, as if all were empty.
    """

    def __init__(self, connector: Connector, migration: str) -> None:
        self.migration = migration
        self._connector = connector
        self._lock = threading.Lock()
        self._session: Session | None = None

    # -- running statements

    def _rows(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Run one statement by itself; a connection that was cut is opened again, once."""
        with self._lock:
            for attempt in (1, 2):
                session = self._connected()
                try:
                    cursor = session.execute(query.encode(), values)
                    return cursor.fetchall() if cursor.description else []
                except psycopg.OperationalError:
                    # Every statement here may run twice; the first may have been done or not.
                    if attempt == 2 or not session.broken:
                        raise
        raise AssertionError("unreachable")

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._rows(query, values)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return []

    def _connected(self) -> Session:
        if self._session is None or self._session.closed:
            # Nothing is prepared: a pooler in between may hand out another server session.
            self._session = self._connector.connect(role="target", prepare_threshold=None)
        return self._session

    def close(self) -> None:
        """Close the connection; the next call opens one again."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    # -- installing

    def install(self) -> None:
        """Make what is missing. Safe to run by two workers at once."""
        with self._lock:
            session = self._connected()
            present = session.execute(
                "SELECT count(*) FROM unnest(%s::text[]) AS t(name)"
                " WHERE to_regclass('godwit.' || name) IS NOT NULL",
                [list(TABLES)],
            ).fetchone()
            if present and present[0] == len(TABLES):
                return
            with session.transaction():
                # IF NOT EXISTS alone races: two creators meet in the catalog's unique index.
                session.execute(_INSTALL_LOCK)
                session.execute(DDL.encode())

    def restart(self, keep: Sequence[str] = ()) -> None:
        """Forget how far the migration has come; see `godwit.protocols.Control`."""
        with self._lock:
            session = self._connected()
            with session.transaction():
                # The epochs stay, so that a worker of before never finds its own again.
                session.execute(
                    "UPDATE godwit.epochs SET epoch = epoch + 1 WHERE migration = %s",
                    [self.migration],
                )
                for name in ("plans", "chunks", "checkpoints", "suspended_tables", "journal"):
                    query = f"DELETE FROM godwit.{name} WHERE migration = %s"
                    session.execute(query.encode(), [self.migration])
                session.execute(
                    "DELETE FROM godwit.memory WHERE migration = %s AND key <> ALL (%s)",
                    [self.migration, list(keep)],
                )

    def drop(self, *, everything: bool = False) -> None:
        """Remove this migration's lines; `everything` removes the schema too when it is empty."""
        with self._lock:
            session = self._connected()
            with session.transaction():
                session.execute(_INSTALL_LOCK)
                present = session.execute(
                    "SELECT name FROM unnest(%s::text[]) AS t(name)"
                    " WHERE to_regclass('godwit.' || name) IS NOT NULL",
                    [list(TABLES)],
                ).fetchall()
                names = [name for (name,) in present]
                for name in names:
                    query = f"DELETE FROM godwit.{name} WHERE {TABLES[name]} = %s"
                    session.execute(query.encode(), [self.migration])
                if everything and names:
                    self._drop_empty(session, names)

    def _drop_empty(self, session: Session, names: Sequence[str]) -> None:
        tables = ", ".join(f"godwit.{name}" for name in names)
        session.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE".encode())
        used = " OR ".join(f"EXISTS (SELECT FROM godwit.{name})" for name in names)
        row = session.execute(f"SELECT {used}".encode()).fetchone()
        if row and row[0]:
            return
        session.execute(f"DROP TABLE {tables}".encode())
        others = session.execute(
            "SELECT 1 FROM pg_class WHERE relnamespace = to_regnamespace('godwit')"
            " UNION ALL SELECT 1 FROM pg_proc WHERE pronamespace = to_regnamespace('godwit')"
            " LIMIT 1"
        ).fetchone()
        if others is None:
            session.execute("DROP SCHEMA godwit")

    # -- epochs and progress

    def take_epoch(self, role: str) -> Epoch:
        """Fence every earlier runner of this role.

        The first epoch is the time in microseconds: after a cleanup no number comes again, or a
        runner from before it could pass for one of the new migration.
        """
        rows = self._rows(
            "INSERT INTO godwit.epochs AS e (migration, role, epoch)"
            " VALUES (%s, %s, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)"
            " ON CONFLICT (migration, role)"
            " DO UPDATE SET epoch = e.epoch + 1, taken_at = clock_timestamp() RETURNING epoch",
            [self.migration, role],
        )
        return Epoch(self.migration, role, rows[0][0])

    def confirm_epoch(self, epoch: Epoch) -> None:
        """Wait for whatever this runner's own lost connections may still commit.

        A commit shares the lock on its epoch, so this lock is only had once it has ended.
        """
        held = self._rows(
            "SELECT 1 FROM godwit.epochs WHERE migration = %s AND role = %s AND epoch = %s"
            " FOR UPDATE",
            [epoch.migration, epoch.role, epoch.number],
        )
        if not held:
            raise _taken_over(epoch)

    def progress(self) -> Progress:
        """Checkpoint and watermarks."""
        rows = self._read(
            "SELECT low, settled, checkpoint, stop_at, transactions, changes, applied_at,"
            " commit_time, session_at FROM godwit.checkpoints WHERE migration = %s",
            [self.migration],
        )
        return Progress(*rows[0]) if rows else Progress()

    def set_low(self, position: Position) -> None:
        """Store the low watermark and make it the checkpoint, once: the first one stays."""
        self._rows(
            "INSERT INTO godwit.checkpoints AS c (migration, low, checkpoint)"
            " VALUES (%(migration)s, %(low)s, %(low)s) ON CONFLICT (migration) DO UPDATE"
            " SET low = excluded.low, checkpoint = coalesce(c.checkpoint, excluded.checkpoint)"
            " WHERE c.low IS NULL",
            {"migration": self.migration, "low": str(position)},
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
            f"INSERT INTO godwit.checkpoints (migration, {column}) VALUES (%s, %s)"
            f" ON CONFLICT (migration) DO UPDATE SET {column} = excluded.{column}",
            [self.migration, text],
        )

    # -- plan and ledger

    def save_plan(self, bundles: Sequence[Bundle]) -> tuple[Bundle, ...]:
        """Store the plan; if there is one already, that one is returned."""
        self._rows(
            "INSERT INTO godwit.plans (migration, plan) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [self.migration, Jsonb([bundle.to_json() for bundle in bundles])],
        )
        return self.plan() or ()

    def replan(self, bundles: Sequence[Bundle]) -> None:
        """Store another plan in place of the one there is."""
        self._rows(
            "UPDATE godwit.plans SET plan = %s WHERE migration = %s",
            [Jsonb([b.to_json() for b in bundles]), self.migration],
        )

    def plan(self) -> tuple[Bundle, ...] | None:
        """The stored plan."""
        rows = self._read("SELECT plan FROM godwit.plans WHERE migration = %s", [self.migration])
        return tuple(Bundle.from_json(bundle) for bundle in rows[0][0]) if rows else None

    def loaded(self) -> dict[str, LoadedChunk]:
        """The chunk ledger by chunk id."""
        rows = self._read(
            "SELECT chunk, rows, bytes, seconds, mark, chunk_id FROM godwit.chunks"
            " WHERE migration = %s",
            [self.migration],
        )
        return {row[5]: _loaded(row) for row in rows}

    def forget_chunks(self, chunks: Sequence[str], epoch: Epoch) -> None:
        """Remove ledger lines (their rows are removed by the caller)."""
        with self._lock:
            session = self._connected()
            with session.transaction():
                session.execute(
                    "DELETE FROM godwit.chunks WHERE migration = %s AND chunk_id = ANY(%s)",
                    [self.migration, list(chunks)],
                )
                check_epoch(session, epoch)

    # -- suspended tables and refused rows

    def suspend(self, table: TableName, reason: str) -> None:
        """Take a table out of the migration."""
        self._rows(
            "INSERT INTO godwit.suspended_tables (migration, table_schema, table_name, reason)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [self.migration, *table, reason],
        )

    def suspended(self) -> dict[TableName, str]:
        """Suspended tables and why."""
        rows = self._read(
            "SELECT table_schema, table_name, reason FROM godwit.suspended_tables"
            " WHERE migration = %s ORDER BY 1, 2",
            [self.migration],
        )
        return {TableName(schema, name): reason for schema, name, reason in rows}

    def resume(self, table: TableName, epoch: Epoch | None = None) -> None:
        """Take a suspended table in again; a reload that was asked for is done."""
        self._end_reload(
            table,
            epoch,
            "DELETE FROM godwit.suspended_tables"
            " WHERE migration = %s AND table_schema = %s AND table_name = %s",
            [self.migration, *table],
        )

    def ask_reload(self, table: TableName) -> None:
        """Ask whoever applies the changes to load the table again. It is suspended until then."""
        self._rows(
            "WITH asked AS (INSERT INTO godwit.memory (migration, key, value)"
            " SELECT %(migration)s, %(key)s,"
            " jsonb_build_array(%(schema)s::text, %(name)s::text, clock_timestamp())"
            " ON CONFLICT DO NOTHING)"
            " INSERT INTO godwit.suspended_tables (migration, table_schema, table_name, reason)"
            " VALUES (%(migration)s, %(schema)s, %(name)s, %(reason)s)"
            " ON CONFLICT (migration, table_schema, table_name)"
            " DO UPDATE SET reason = excluded.reason",
            {
                "migration": self.migration,
                "key": _reload_key(table),
                "schema": table.schema,
                "name": table.name,
                "reason": "it is to be loaded again",
            },
        )

    def reloads(self) -> tuple[TableName, ...]:
        """Tables to be loaded again, the first asked for first."""
        rows = self._read(
            "SELECT value ->> 0, value ->> 1 FROM godwit.memory"
            " WHERE migration = %s AND starts_with(key, %s)"
            " ORDER BY (value ->> 2)::timestamptz, 1, 2",
            [self.migration, _RELOAD],
        )
        return tuple(TableName(*row) for row in rows)

    def refuse_reload(self, table: TableName, reason: str, epoch: Epoch) -> None:
        """The table cannot be loaded again: it stays suspended, for this reason."""
        self._end_reload(
            table,
            epoch,
            "UPDATE godwit.suspended_tables SET reason = %s"
            " WHERE migration = %s AND table_schema = %s AND table_name = %s",
            [reason, self.migration, *table],
        )

    def _end_reload(
        self, table: TableName, epoch: Epoch | None, query: str, values: Sequence[Any]
    ) -> None:
        with self._lock:
            session = self._connected()
            with session.transaction():
                session.execute(query.encode(), values)
                session.execute(
                    "DELETE FROM godwit.memory WHERE migration = %s AND key = %s",
                    [self.migration, _reload_key(table)],
                )
                if epoch is not None:
                    check_epoch(session, epoch)

    def show_life(self) -> None:
        """The session is at work, though it applies nothing."""
        self._rows(
            "UPDATE godwit.checkpoints SET session_at = clock_timestamp() WHERE migration = %s",
            [self.migration],
        )

    def exceptions(self, limit: int = 100) -> list[RowException]:
        """Rows refused so far, the latest first."""
        rows = self._read(
            "SELECT table_owner, table_name, statement, key, error, position, error_time"
            " FROM godwit.apply_exceptions WHERE task_name = %s ORDER BY id DESC LIMIT %s",
            [self.migration, limit],
        )
        return [RowException(TableName(row[0], row[1]), *row[2:]) for row in rows]

    def exception_count(self) -> int:
        """How many rows were refused."""
        rows = self._read(
            "SELECT count(*) FROM godwit.apply_exceptions WHERE task_name = %s", [self.migration]
        )
        return int(rows[0][0]) if rows else 0

    # -- journal and memory

    def journal(self, step: str, state: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write a line of the journal (step, ``started``/``done``/``undone``/``failed``)."""
        self._rows(
            "INSERT INTO godwit.journal (migration, step, state, detail) VALUES (%s, %s, %s, %s)",
            [self.migration, step, state, Jsonb(dict(detail or {}))],
        )

    def journal_states(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The last state of each step, with its detail; the step written last comes last."""
        rows = self._read(
            "SELECT step, state, detail FROM (SELECT DISTINCT ON (step) id, step, state, detail"
            " FROM godwit.journal WHERE migration = %s ORDER BY step, id DESC) last ORDER BY id",
            [self.migration],
        )
        return {step: (state, detail) for step, state, detail in rows}

    def remember(self, key: str, value: Any) -> None:
        """Store a small JSON value of this migration."""
        self._rows(
            "INSERT INTO godwit.memory (migration, key, value) VALUES (%s, %s, %s)"
            " ON CONFLICT (migration, key) DO UPDATE SET value = excluded.value",
            [self.migration, key, Jsonb(value)],
        )

    def recall(self, key: str) -> Any:
        """The value stored under `key`, or None."""
        rows = self._read(
            "SELECT value FROM godwit.memory WHERE migration = %s AND key = %s",
            [self.migration, key],
        )
        return rows[0][0] if rows else None

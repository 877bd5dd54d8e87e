"""Writing rows: a chunk and its ledger line are one commit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from godwit.engines.postgres.connection import BINARY, CSV, TEXT_COLUMNS, Connector, Session
from godwit.engines.postgres.control import check_epoch, ledger_line, write_ledger_line
from godwit.engines.postgres.incoming import Incoming, copy_columns
from godwit.engines.postgres.read import identifier
from godwit.engines.postgres.refusals import Refusal, refusal
from godwit.engines.postgres.text_columns import batch_csv
from godwit.engines.postgres.wire import copy_in
from godwit.errors import EndpointError, FencedError, GodwitError, LoadError
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.changes import COLUMNS, Format
from godwit.model.chunks import Chunk, LoadedChunk
from godwit.model.mapping import TableMapping
from godwit.protocols import Epoch, RowStream

UNIQUE_VIOLATION = "23505"
_RECONNECT_SECONDS = 30.0
_RECONNECT_PAUSE = 0.5


# -- formats


def formats(connector: Connector, mapping: TableMapping) -> tuple[Format, ...]:
    """How rows can be written, fastest exact way first: binary only between equal types."""
    with connector.lease("target") as session:
        types = column_types(session, mapping.target)
    for column in mapping.columns:
        if column.source is None:
            return CSV, TEXT_COLUMNS, COLUMNS
        native = mapping.source.column(column.source).native
        if _bare(native) != _bare(types.get(column.target, "")):
            return CSV, TEXT_COLUMNS, COLUMNS
    return BINARY, CSV, TEXT_COLUMNS, COLUMNS


def column_types(session: Session, table: TableName) -> dict[str, str]:
    """Column name → type as format_type() spells it; empty when there is no such table."""
    rows = session.execute(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped",
        list(table),
    ).fetchall()
    return dict(rows)


def _bare(native: str) -> str:
    """The type without its modifier: the server applies that to binary values as well."""
    head, opened, rest = native.partition("(")
    return head + rest.partition(")")[2] if opened else native


# -- loading


def load(
    connector: Connector, chunk: Chunk, mapping: TableMapping, rows: RowStream, epoch: Epoch
) -> LoadedChunk:
    """Write a chunk and its ledger line in one commit; see `godwit.protocols.Target.load`."""
    started = time.monotonic()
    try:
        with connector.lease("target") as session:
            session.execute("BEGIN")
            done = ledger_line(session, epoch.migration, chunk.id)
            if done is not None:
                session.execute("ROLLBACK")
                return done
            check_epoch(session, epoch, hold=False)
            destination = _destination(session, chunk, mapping, rows)
            freeze = chunk.how == "whole" and _emptied(session, destination)
            count, size = write_rows(
                session, mapping, destination, rows, connector.settings, freeze=freeze
            )
            loaded = LoadedChunk(chunk, count, size, time.monotonic() - started, rows.mark)
            check_epoch(session, epoch)
            write_ledger_line(session, epoch, loaded)
            return _commit(connector, session, loaded, epoch)
    except psycopg.Error as error:
        raise _refused(connector, refusal(error), chunk, mapping, epoch) from None


def _commit(
    connector: Connector, session: Session, loaded: LoadedChunk, epoch: Epoch
) -> LoadedChunk:
    failpoint("load.before_commit")
    try:
        session.execute("COMMIT")
    except psycopg.OperationalError:
        # The answer got lost, or the commit did: the ledger knows.
        found = _settled_line(connector, loaded.chunk, epoch)
        if found is None:
            raise
        return found
    failpoint("load.after_commit")
    return loaded


def _settled_line(connector: Connector, chunk: Chunk, epoch: Epoch) -> LoadedChunk | None:
    """The chunk's ledger line once the lost session's transaction has ended."""
    deadline = time.monotonic() + _RECONNECT_SECONDS
    while True:
        try:
            with connector.connect(role="target") as session, session.transaction():
                # That transaction shares the lock on its epoch: who gets it alone comes after it.
                session.execute(
                    "SELECT 1 FROM godwit.epochs WHERE migration = %s AND role = %s FOR UPDATE",
                    [epoch.migration, epoch.role],
                )
                return ledger_line(session, epoch.migration, chunk.id)
        except (EndpointError, psycopg.OperationalError):
            if time.monotonic() > deadline:
                raise
            time.sleep(_RECONNECT_PAUSE)


def _refused(
    connector: Connector, told: Refusal, chunk: Chunk, mapping: TableMapping, epoch: Epoch
) -> GodwitError:
    """The error to raise; a duplicate row may only mean that a newer runner was faster."""
    where = f"chunk {chunk.label} into {mapping.target}{told.place}"
    if told.sqlstate != UNIQUE_VIOLATION:
        return LoadError(
            "the target refused the rows", where=where, why=told.reason, hint=told.hint
        )
    try:
        with connector.lease("target") as session:
            check_epoch(session, epoch, hold=False)
    except FencedError as fenced:
        return fenced
    return LoadError(
        "rows of this chunk are on the target already",
        where=where,
        why=told.reason,
        hint="empty the table (TargetTablePrepMode TRUNCATE_BEFORE_LOAD) and load it again",
    )


def write_rows(
    session: Session,
    mapping: TableMapping,
    destination: TableName,
    rows: RowStream,
    settings: Mapping[str, Any],
    *,
    freeze: bool = False,
) -> tuple[int, int]:
    """COPY the stream, whatever its format; returns rows and bytes."""
    if rows.format == COLUMNS:
        incoming = Incoming(session, mapping, settings)
        return copy_columns(session, incoming, destination, rows, freeze=freeze)
    return copy_rows(session, mapping, destination, rows, freeze=freeze)


def copy_rows(
    session: Session,
    mapping: TableMapping,
    destination: TableName,
    rows: RowStream,
    *,
    freeze: bool = False,
) -> tuple[int, int]:
    """COPY a stream of PostgreSQL's own formats; returns rows and bytes."""
    columnar = rows.format.columnar
    columns = rows.columns if columnar else tuple(c.target for c in mapping.columns)
    options = "FORMAT binary" if rows.format == BINARY else "FORMAT csv"
    statement = sql.SQL("COPY {}{} FROM STDIN ({})").format(
        identifier(destination),
        _column_list(columns),
        sql.SQL(options + (", FREEZE" if freeze else "")),
    )
    copy = copy_in(session, statement.as_bytes(session))
    size = 0
    try:
        for block in rows:
            data = block if isinstance(block, bytes) else batch_csv(block)
            copy.write(data)
            size += len(data)
        return copy.finish(), size
    except psycopg.Error:
        raise
    except BaseException:
        # The source failed, or nobody wants it any more: never let the half become a whole.
        copy.abort()
        raise
    finally:
        copy.close()


def _column_list(columns: Sequence[str]) -> sql.Composable:
    if not columns:
        return sql.SQL("")
    return sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))


# -- where rows go


def _destination(
    session: Session, chunk: Chunk, mapping: TableMapping, rows: RowStream
) -> TableName:
    """The leaf itself when the target has the same one: that spares routing every row."""
    bounds = getattr(rows, "bounds", None)
    if chunk.part is None or bounds is None:
        return mapping.target
    renamed = mapping.target.schema != mapping.source.name.schema
    leaf = TableName(mapping.target.schema, chunk.part.name) if renamed else chunk.part
    row = session.execute(
        "SELECT pg_get_partition_constraintdef(c.oid), pn.nspname, pc.relname"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_class pc ON pc.oid = pg_partition_root(c.oid)"
        " JOIN pg_namespace pn ON pn.oid = pc.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'r' AND c.relispartition",
        list(leaf),
    ).fetchone()
    if row is None or row[0] != bounds or TableName(row[1], row[2]) != mapping.target:
        return mapping.target
    return leaf


def _emptied(session: Session, table: TableName) -> bool:
    """Make sure the table may be loaded with frozen rows: ours alone, empty, truncated here."""
    row = session.execute(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'r'"
        " AND NOT EXISTS (SELECT FROM pg_constraint f"
        "   WHERE f.contype = 'f' AND f.confrelid = c.oid AND f.conrelid <> c.oid)",
        list(table),
    ).fetchone()
    if row is None:
        return False
    name = identifier(table)
    try:
        with session.transaction():
            session.execute(
                sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE NOWAIT").format(name)
            )
            used = session.execute(sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(name))
            if (used.fetchone() or (True,))[0]:
                raise psycopg.Rollback
            session.execute(sql.SQL("TRUNCATE ONLY {}").format(name))
            return True
    except (
        psycopg.errors.LockNotAvailable,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.FeatureNotSupported,
    ):
        return False
    return False

"""Emptying target tables: before the load, and when a table has to be loaded again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from godwit.engines.postgres.connection import Connector, Session
from godwit.engines.postgres.control import check_epoch
from godwit.engines.postgres.narrowing import narrows, narrows_kind
from godwit.engines.postgres.read import identifier
from godwit.engines.postgres.refusals import refusal
from godwit.engines.postgres.write import column_types
from godwit.errors import LoadError
from godwit.model.catalog import TableName
from godwit.model.mapping import TableMapping
from godwit.protocols import Epoch


@contextmanager
def fenced(connector: Connector, epoch: Epoch, where: str) -> Iterator[Session]:
    """One commit under the epoch's fence; a refusal becomes a LoadError."""
    try:
        with connector.lease("target") as session, session.transaction():
            yield session
            check_epoch(session, epoch)
    except psycopg.Error as error:
        told = refusal(error)
        raise LoadError(
            "the target refused", where=where + told.place, why=told.reason, hint=told.hint
        ) from None


def prepare_tables(
    connector: Connector, mappings: Sequence[TableMapping], mode: str, epoch: Epoch
) -> None:
    """Empty or look at tables of which nothing is loaded yet; see `Target.prepare_tables`."""
    for mapping in mappings:
        with fenced(connector, epoch, str(mapping.target)) as session:
            truncate = mode == "TRUNCATE_BEFORE_LOAD"
            _lock(session, mapping.target, "ACCESS EXCLUSIVE" if truncate else "SHARE")
            if _ours(session, mapping, epoch):
                continue
            _keeps_values(session, mapping)
            if truncate:
                empty_table(session, mapping.target)
            elif _has_rows(session, mapping.target):
                raise LoadError(
                    "the target table already has rows",
                    where=str(mapping.target),
                    why=f"TargetTablePrepMode is {mode} and they are not this migration's",
                    hint="empty the table, or set TargetTablePrepMode to TRUNCATE_BEFORE_LOAD or "
                    "DROP_AND_CREATE",
                )


def _keeps_values(session: Session, mapping: TableMapping) -> None:
    """The target's columns, where they were there before, take every value as it is."""
    types = column_types(session, mapping.target)
    narrow = [
        f"{c.target} ({there.native} → {types[c.target]})"
        for c in mapping.columns
        if c.plain and c.source is not None and c.target in types
        for there in [mapping.source.column(c.source)]
        if narrows(there.native, types[c.target]) or narrows_kind(there.type, types[c.target])
    ]
    if narrow:
        raise LoadError(
            "the target's columns would silently round or cut values",
            where=f"{mapping.target}: {', '.join(narrow)}",
            why="the table was there before, with narrower types than the source's",
            hint="change these columns on the target, or say with a change-data-type rule that it "
            "is meant",
        )


def _ours(session: Session, mapping: TableMapping, epoch: Epoch) -> bool:
    """Whether the ledger knows rows of this table."""
    row = session.execute(
        "SELECT EXISTS (SELECT FROM godwit.chunks"
        " WHERE migration = %s AND table_schema = %s AND table_name = %s)",
        [epoch.migration, *mapping.source.name],
    ).fetchone()
    return bool(row and row[0])


def _lock(session: Session, table: TableName, mode: str) -> None:
    # A load under way ends first: afterwards the ledger tells all.
    session.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(identifier(table), sql.SQL(mode)))


def without_heirs(session: Session, table: TableName) -> sql.Composable:
    """The table without its heirs; a partitioned one with its leaves."""
    row = session.execute(
        "SELECT c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s",
        list(table),
    ).fetchone()
    shape = "{}" if row and row[0] else "ONLY {}"
    return sql.SQL(shape).format(identifier(table))


def _has_rows(session: Session, table: TableName) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(without_heirs(session, table))
    row = session.execute(query).fetchone()
    return bool(row and row[0])


def empty_table(session: Session, table: TableName) -> None:
    """Remove every row: TRUNCATE, or DELETE where a foreign key or a privilege is in its way."""
    name = without_heirs(session, table)
    try:
        with session.transaction():
            session.execute(sql.SQL("TRUNCATE {}").format(name))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.InsufficientPrivilege):
        session.execute(sql.SQL("DELETE FROM {}").format(name))


def clear_rows(
    connector: Connector, mapping: TableMapping, chunks: Sequence[str], epoch: Epoch
) -> None:
    """Remove all rows of the table and these ledger lines, in one commit."""
    with fenced(connector, epoch, str(mapping.target)) as session:
        session.execute(
            "DELETE FROM godwit.chunks WHERE migration = %s AND chunk_id = ANY(%s)",
            [epoch.migration, list(chunks)],
        )
        empty_table(session, mapping.target)

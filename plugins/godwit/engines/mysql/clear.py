"""Emptying target tables: before the load, and when a table has to be loaded again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.control import check_epoch, remove_ledger_lines, run, transaction
from godwit.engines.mysql.control_tables import control_table
from godwit.engines.mysql.encode import Destination, destinations
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.refusals import refusal
from godwit.errors import LoadError
from godwit.model.catalog import TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import TableMapping
from godwit.protocols import Epoch

#: The privilege for TRUNCATE (DROP) or LOCK TABLES is missing, or another table refers to this one.
_NOT_SO = frozenset({1044, 1142, 1227, 1701})


@contextmanager
def fenced(connector: Connector, epoch: Epoch, where: str) -> Iterator[Session]:
    """One commit under the epoch's fence; a refusal becomes a LoadError."""
    with refusing(where), connector.lease("target") as session, transaction(session):
        yield session
        check_epoch(session, epoch)


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """What the server refuses becomes a LoadError."""
    try:
        yield
    except pymysql.MySQLError as error:
        told = refusal(error)
        raise LoadError(
            "the target refused", where=where + told.place, why=told.reason, hint=told.hint
        ) from None


def prepare_tables(
    connector: Connector, mappings: Sequence[TableMapping], mode: str, epoch: Epoch
) -> None:
    """Empty or look at tables of which nothing is loaded yet; see `Target.prepare_tables`."""
    truncate = mode == "TRUNCATE_BEFORE_LOAD"
    for mapping in mappings:
        where = str(mapping.target)
        # The lock's session is another one than the fence's: who locks tables sees no others.
        with (
            refusing(where),
            _locked(connector, mapping.target, "WRITE" if truncate else "READ") as holder,
            fenced(connector, epoch, where) as session,
        ):
            if _ours(session, mapping, epoch):
                continue
            _keeps_values(session, mapping)
            if truncate:
                check_epoch(session, epoch)
                empty_table(holder, session, mapping.target)
            elif _has_rows(holder or session, mapping.target):
                raise LoadError(
                    "the target table already has rows",
                    where=where,
                    why=f"TargetTablePrepMode is {mode} and they are not this migration's",
                    hint="empty the table, or set TargetTablePrepMode to TRUNCATE_BEFORE_LOAD or "
                    "DROP_AND_CREATE",
                )


@contextmanager
def _locked(connector: Connector, table: TableName, mode: str) -> Iterator[Session | None]:
    """A session that holds the table's lock; None when it may not lock tables.

    A load under way ends first: afterwards the ledger tells all.
    """
    holder = connector.connect(role="target")
    try:
        try:
            holder.run(f"LOCK TABLES {quoted(*table)} {mode}")
        except pymysql.MySQLError as error:
            if refusal(error).code not in _NOT_SO:
                raise
            yield None
        else:
            yield holder
            holder.run("UNLOCK TABLES")
    finally:
        with suppress(pymysql.MySQLError):
            holder.close()


def empty_table(holder: Session | None, session: Session, table: TableName) -> None:
    """Remove every row: TRUNCATE by the session that holds the lock, else DELETE in the fence's."""
    if holder is not None:
        try:
            holder.run(f"TRUNCATE TABLE {quoted(*table)}")
        except pymysql.MySQLError as error:
            if refusal(error).code not in _NOT_SO:
                raise
            holder.run(f"DELETE FROM {quoted(*table)}")
        return
    session.run(f"DELETE FROM {quoted(*table)}")


def _ours(session: Session, mapping: TableMapping, epoch: Epoch) -> bool:
    """Whether the ledger knows rows of this table."""
    return bool(
        run(
            session,
            f"SELECT 1 FROM {control_table(session, 'chunks')}"
            " WHERE migration = %s AND table_schema = %s AND table_name = %s LIMIT 1",
            [epoch.migration, *mapping.source.name],
        )
    )


def _has_rows(session: Session, table: TableName) -> bool:
    return session.row(f"SELECT 1 FROM {quoted(*table)} LIMIT 1") is not None


def _keeps_values(session: Session, mapping: TableMapping) -> None:
    """The target's columns, where they were there before, take every value as it is.

    What the server tells of by a warning, and what the encoder sees, is refused when it comes;
    here is what nobody would notice.
    """
    plain = [c for c in mapping.columns if c.plain and c.source is not None]
    found = destinations(session, mapping.target, mapping, [c.target for c in plain])
    narrow = []
    for column, there in zip(plain, found, strict=True):
        source = mapping.source.column(str(column.source))
        if _narrows(source.type, there):
            narrow.append(f"{there.name} ({source.native} → {there.native})")
    if narrow:
        raise LoadError(
            "the target's columns would silently round or cut values",
            where=f"{mapping.target}: {', '.join(narrow)}",
            why="the table was there before, with narrower types than the source's",
            hint="change these columns on the target, or say with a change-data-type rule that it "
            "is meant",
        )


def _narrows(kind: DataType, there: Destination) -> bool:
    """Whether values would lose something without a warning."""
    if there.word == "float":
        return kind.kind is Kind.FLOAT and kind.bits != 32
    if there.word == "char":
        # Trailing blanks go.
        return kind.kind is Kind.TEXT and not kind.fixed
    # Zeros are added at the end.
    return there.word == "binary" and kind.kind is Kind.BINARY and not kind.fixed


def clear_rows(
    connector: Connector, mapping: TableMapping, chunks: Sequence[str], epoch: Epoch
) -> None:
    """Remove all rows of the table and these ledger lines, in one commit.

    By DELETE: a TRUNCATE would be a commit of its own.
    """
    with fenced(connector, epoch, str(mapping.target)) as session:
        remove_ledger_lines(session, epoch.migration, chunks)
        session.run(f"DELETE FROM {quoted(*mapping.target)}")

"""Reading rows: one chunk is one COPY statement, and so one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pyarrow as pa
from psycopg import sql

from godwit.engines.postgres.connection import BINARY, CSV, TEXT_COLUMNS, Connector, Session
from godwit.engines.postgres.exchange import to_columns
from godwit.engines.postgres.refusals import refusal
from godwit.engines.postgres.text_columns import csv_batch
from godwit.engines.postgres.wire import CopyOut, copy_out
from godwit.errors import LoadError
from godwit.model.catalog import Table, TableName
from godwit.model.changes import COLUMNS, Format
from godwit.model.chunks import Bound, Chunk
from godwit.model.datatypes import Kind
from godwit.model.mapping import Condition, RowFilter, TableMapping

#: Bytes of CSV that become one record batch, as long as no single row is larger.
BATCH_BYTES = 1 << 21

_OPERATORS = {"eq": "=", "noteq": "<>", "lte": "<=", "ste": "<=", "gte": ">=", "gt": ">", "lt": "<"}


def formats(table: Table, columns: Sequence[str]) -> tuple[Format, ...]:
    """How these columns can be read, fastest exact way first."""
    if all(table.column(name).native_safe for name in columns):
        return BINARY, CSV, TEXT_COLUMNS, COLUMNS
    return CSV, TEXT_COLUMNS, COLUMNS


# -- statements


def identifier(table: TableName) -> sql.Composable:
    """The quoted name."""
    return sql.Identifier(*table)


def typed(table: Table, column: str, text: str) -> sql.Composable:
    """A value's text as a literal of the column's type."""
    # The type's spelling comes from format_type(), which quotes what needs it.
    return sql.SQL("{}::{}").format(sql.Literal(text), _type(table, column))


def _type(table: Table, column: str) -> sql.Composable:
    return sql.SQL(table.column(column).native)


def read_columns(mapping: TableMapping, format: Format) -> tuple[str, ...]:
    """Source columns that are read: as mapped, or all that a transformation may look at."""
    if not format.columnar:
        return tuple(c.source for c in mapping.columns if c.source is not None)
    return mapping.read_columns


def relation(chunk: Chunk, mapping: TableMapping) -> sql.Composable:
    """What a chunk reads FROM: a leaf, the whole partitioned table, or the table without heirs."""
    if chunk.part is None and mapping.source.parts:
        return identifier(chunk.table)
    return sql.SQL("ONLY {}").format(identifier(chunk.part or chunk.table))


def predicate(chunk: Chunk, mapping: TableMapping) -> sql.Composable | None:
    """The chunk's range and the mapping's row filter as one condition; None = every row."""
    terms: list[sql.Composable] = []
    if chunk.how == "block":
        terms += _block_range(chunk.lower, chunk.upper)
    elif chunk.how == "key":
        terms += _key_range(mapping.source, chunk)
    if mapping.row_filter is not None:
        terms += filter_terms(mapping.source, mapping.row_filter)
    return sql.SQL(" AND ").join(terms) if terms else None


def _block_range(lower: Bound | None, upper: Bound | None) -> Iterator[sql.Composable]:
    for operator, bound in ((">=", lower), ("<", upper)):
        if bound is not None:
            point = sql.Literal(f"({int(bound[0])},0)")
            yield sql.SQL(f"ctid {operator} {{}}::tid").format(point)


def _key_range(table: Table, chunk: Chunk) -> Iterator[sql.Composable]:
    # `key >= bound` of a row with nulls may be unknown. "Is it true" still splits the table: what
    # is at or above a bound for certain is at or above every smaller one; the rest lies below.
    nullable = any(table.column(name).nullable for name in chunk.columns)
    if chunk.lower is not None:
        yield sql.SQL("{}").format(compare(table, chunk.columns, ">=", chunk.lower))
    if chunk.upper is not None and nullable:
        above = compare(table, chunk.columns, ">=", chunk.upper)
        yield sql.SQL("({}) IS NOT TRUE").format(above)
    elif chunk.upper is not None:
        yield compare(table, chunk.columns, "<", chunk.upper)


def compare(table: Table, columns: Sequence[str], operator: str, bound: Bound) -> sql.Composable:
    """`(columns) operator (bound)`, compared by the server in the columns' own order."""
    left = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    values = (typed(table, name, text) for name, text in zip(columns, bound, strict=True))
    right = sql.SQL(", ").join(values)
    shape = "({}) {} ({})" if len(columns) > 1 else "{} {} {}"
    return sql.SQL(shape).format(left, sql.SQL(operator), right)


def filter_terms(table: Table, row_filter: RowFilter) -> Iterator[sql.Composable]:
    """One condition per group of the filter; all must hold."""
    for group in row_filter.groups:
        parts = [_condition(table, condition) for condition in group]
        yield sql.SQL("({})").format(sql.SQL(" OR ").join(parts))


def _condition(table: Table, condition: Condition) -> sql.Composable:
    column: sql.Composable = sql.Identifier(condition.column)
    operator = condition.operator
    if operator in {"null", "notnull"}:
        return sql.SQL("{} IS NULL" if operator == "null" else "{} IS NOT NULL").format(column)
    column = _compared(table, condition.column, operator)
    values = [typed(table, condition.column, value) for value in condition.values]
    if operator in {"between", "notbetween"}:
        word = "BETWEEN" if operator == "between" else "NOT BETWEEN"
        return sql.SQL(f"{{}} {word} {{}} AND {{}}").format(column, *values)
    return sql.SQL(f"{{}} {_OPERATORS[operator]} {{}}").format(column, *values)


def _compared(table: Table, name: str, operator: str) -> sql.Composable:
    """The column as filters compare it: text in the order of its code points, as on changes."""
    ordered = operator not in {"eq", "noteq"} and table.column(name).type.kind is Kind.TEXT
    return sql.SQL('{} COLLATE "C"' if ordered else "{}").format(sql.Identifier(name))


def copy_statement(
    chunk: Chunk, mapping: TableMapping, columns: Sequence[str], format: Format, *, ordinary: bool
) -> sql.Composable:
    """The chunk's COPY. A whole ordinary table is copied as such, which spares the executor."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    where = predicate(chunk, mapping)
    stored = {c.name for c in mapping.source.stored_columns}
    options = "FORMAT binary" if format == BINARY else "FORMAT csv, FORCE_QUOTE *"
    if where is None and ordinary and stored.issuperset(columns):
        listed = sql.SQL(" ({})").format(names) if columns else sql.SQL("")
        what = sql.SQL("{}{}").format(identifier(chunk.part or chunk.table), listed)
    else:
        condition = sql.SQL(" WHERE {}").format(where) if where is not None else sql.SQL("")
        what = sql.SQL("(SELECT {} FROM {}{})").format(names, relation(chunk, mapping), condition)
    return sql.SQL("COPY {} TO STDOUT ({})").format(what, sql.SQL(options))


# -- rows


class PostgresRows:
    """Rows of one chunk; see `godwit.protocols.RowStream`. BINARY and CSV blocks form one stream.

    `kinds`: of the columns, to give them the form of `COLUMNS`. `bounds`: the partition constraint
    of the leaf that is read.
    """

    def __init__(
        self,
        copy: CopyOut,
        format: Format,
        columns: tuple[str, ...],
        *,
        kinds: Sequence[Kind],
        mark: str | None,
        bounds: str | None,
        where: str,
    ) -> None:
        self.format = format
        self.columns = columns
        self._kinds = kinds
        self.mark = mark
        self.bounds = bounds
        self.bytes = 0
        self.ended = False
        self._copy = copy
        self._where = where

    def __iter__(self) -> Iterator[bytes | pa.RecordBatch]:
        try:
            yield from self._batches() if self.format.columnar else self._blocks()
        except psycopg.Error as error:
            raise _unreadable(error, self._where) from None
        self.ended = True

    def _blocks(self) -> Iterator[bytes]:
        for block, _tail in self._copy.blocks():
            self.bytes += len(block)
            yield block

    def _batches(self) -> Iterator[pa.RecordBatch]:
        gathered: list[bytes] = []
        size = tail = 0
        for block, rest in self._copy.blocks():
            self.bytes += len(block)
            gathered.append(block)
            size += len(block)
            tail = tail + rest if rest == len(block) else rest
            if size - tail >= BATCH_BYTES:
                data = b"".join(gathered)
                yield self._batch(data[: size - tail])
                gathered, size = [data[size - tail :]], tail
        if size:
            yield self._batch(b"".join(gathered))

    def _batch(self, lines: bytes) -> pa.RecordBatch:
        # A row without columns is an empty line; others have as many lines or more.
        batch = csv_batch(self.columns, lines, lines.count(b"\n"))
        return to_columns(batch, self._kinds) if self.format == COLUMNS else batch


def _unreadable(error: psycopg.Error, where: str) -> LoadError:
    told = refusal(error)
    return LoadError(
        "the source's rows cannot be read", where=where, why=told.reason, hint=told.hint
    )


@contextmanager
def read(
    connector: Connector,
    chunk: Chunk,
    mapping: TableMapping,
    format: Format,
    snapshot: str | None = None,
) -> Iterator[PostgresRows]:
    """Read one chunk in one snapshot; see `godwit.protocols.Source.read`.

    Raises:
        LoadError: the source refuses, or the connection is lost.
    """
    where = f"source chunk {chunk.label}"
    columns = read_columns(mapping, format)
    with connector.lease("source") as session:
        try:
            _begin(session, snapshot)
            _lock(session, chunk, mapping)
            # The mark is read first: it pins the snapshot that the COPY then uses.
            # Under a snapshot of its own, a chunk of many would need one mark each.
            marked = snapshot is not None or not mapping.source.identity
            mark = current_snapshot(session) if marked else None
            kind, bounds = _facts(session, chunk.part or chunk.table)
            statement = copy_statement(chunk, mapping, columns, format, ordinary=kind == "r")
            copy = copy_out(session, statement.as_bytes(session))
        except psycopg.Error as error:
            session.close()
            raise _unreadable(error, where) from None
        kinds = [mapping.source.column(name).type.kind for name in columns]
        rows = PostgresRows(
            copy, format, columns, kinds=kinds, mark=mark, bounds=bounds, where=where
        )
        try:
            yield rows
        finally:
            copy.close()
            if not rows.ended:
                session.close()
        if rows.ended:
            session.execute("COMMIT")


def _begin(session: Session, snapshot: str | None) -> None:
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if snapshot is not None:
        session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))


def _lock(session: Session, chunk: Chunk, mapping: TableMapping) -> None:
    """Keep the table as it is until the chunk is read. A snapshot taken before the lock was had
    would see nothing of a table rewritten meanwhile.
    """
    try:
        session.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relation(chunk, mapping))
        )
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise _gone(chunk.part or chunk.table) from None


def current_snapshot(session: Session) -> str:
    """The transaction's snapshot as text: the mark of chunks that all see this one state."""
    # txid_current_snapshot() is its name before 13; both print 64-bit transaction ids.
    row = session.execute("SELECT txid_current_snapshot()::text").fetchone()
    return str(row[0]) if row else ""


def _facts(session: Session, table: TableName) -> tuple[str, str | None]:
    # The catalog's row is the snapshot's, the function looks at the table as it is.
    row = session.execute(
        "SELECT c.relkind::text, pg_get_partition_constraintdef(c.oid),"
        " c.relfilenode IN (0, pg_relation_filenode(c.oid)) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        list(table),
    ).fetchone()
    if row is None:
        raise _gone(table)
    if not row[2]:
        raise LoadError(
            "the table was rewritten while its chunks were read",
            where=str(table),
            why="VACUUM FULL, CLUSTER, TRUNCATE or ALTER TABLE gave its rows other places",
            hint="run the task again: it loads the whole table anew",
        )
    return row[0], row[1]


def _gone(table: TableName) -> LoadError:
    return LoadError(
        "the table is gone",
        where=str(table),
        why="it was dropped or renamed on the source after the plan was made",
        hint="start the migration's load again, so that the tables are read anew",
    )


@contextmanager
def shared_snapshot(connector: Connector) -> Iterator[str]:
    """A snapshot that several `read`s can use while the context lasts."""
    with connector.connect() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            row = session.execute("SELECT pg_export_snapshot()").fetchone()
        except psycopg.Error as error:
            raise _unreadable(error, connector.where) from None
        yield str(row[0]) if row else ""
        session.rollback()

"""Reading rows: one chunk is one prepared statement under one snapshot.

The server sends texts as they are stored and says in which character set; they are decoded here, by
the same code as those of the binary log. (It would put question marks in the place of what it
cannot convert, without a word.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from weakref import WeakKeyDictionary

import pyarrow as pa
import pymysql

from godwit.engines.mysql.bounds import key_range
from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS, Connector, Session
from godwit.engines.mysql.decode import RowDecoder, result_field
from godwit.engines.mysql.filters import filter_terms
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.prepared import Result
from godwit.engines.mysql.refusals import refusal
from godwit.engines.mysql.sharing import shared, shared_snapshot
from godwit.engines.mysql.table_lock import TableLock
from godwit.errors import GodwitError, LoadError
from godwit.model.catalog import Table
from godwit.model.changes import Format
from godwit.model.chunks import Chunk
from godwit.model.mapping import TableMapping

__all__ = ["MySqlRows", "bound_predicate", "filter_terms", "formats", "read", "shared_snapshot"]

_NO_SUCH_TABLE = frozenset({1049, 1051, 1146})
#: What each endpoint's collations are collations of; it stays the same while a server runs.
_CHARACTER_SETS: WeakKeyDictionary[Connector, dict[int, str]] = WeakKeyDictionary()


def formats(table: Table, columns: Sequence[str]) -> tuple[Format, ...]:
    """How these columns can be read, fastest exact way first."""
    del table, columns
    return MYSQL_COLUMNS, COLUMNS


# -- statements


def bound_predicate(chunk: Chunk, mapping: TableMapping) -> str:
    """The chunk's range and the mapping's row filter as one condition; "" = every row.

    Raises:
        LoadError: a bound or a value of the filter is none of its column's type.
    """
    terms = []
    if chunk.how == "key":
        try:
            terms.append(key_range(mapping.source, chunk.columns, chunk.lower, chunk.upper))
        except ValueError as reason:
            raise LoadError(
                "a chunk's bound cannot be read as its column's type",
                where=f"{chunk.table} ({', '.join(chunk.columns)})",
                why=str(reason),
                hint="correct the boundaries of the table's parallel-load rule",
            ) from None
    if mapping.row_filter is not None:
        terms += filter_terms(mapping.source, mapping.row_filter)[0]
    return " AND ".join(term for term in terms if term)


def select_statement(chunk: Chunk, mapping: TableMapping, columns: Sequence[str]) -> str:
    """The chunk's SELECT. Named columns are read even when they are invisible."""
    names = ", ".join(map(quoted, columns)) or "1"
    where = bound_predicate(chunk, mapping)
    condition = f" WHERE {where}" if where else ""
    return f"SELECT {names} FROM {quoted(*(chunk.part or chunk.table))}{condition}"


def character_sets(session: Session) -> dict[int, str]:
    """The character set of each of the server's collations, by number."""
    own = session.rows(
        "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL"
        " AND CHARACTER_SET_NAME IS NOT NULL"
    )
    found = {int(number): str(name) for number, name in own}
    with suppress(pymysql.MySQLError):  # MariaDB's newer collations serve several character sets
        more = session.rows(
            "SELECT ID, CHARACTER_SET_NAME"
            " FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL"
        )
        found.update({int(number): str(name) for number, name in more})
    return found


# -- rows


class MySqlRows:
    """Rows of one chunk; see `godwit.protocols.RowStream`.

    `mark`: the log position of a table without identity: what it has seen, its changes until then
    included.
    """

    def __init__(
        self,
        result: Result,
        decoder: RowDecoder,
        format: Format,
        columns: tuple[str, ...],
        *,
        mark: str | None,
        where: str,
    ) -> None:
        self.format = format
        self.columns = columns
        self.mark = mark
        self._result = result
        self._decoder = decoder
        self._where = where

    @property
    def bytes(self) -> int:
        """Bytes read so far."""
        return self._result.bytes

    @property
    def ended(self) -> bool:
        """Every row has been read."""
        return self._result.ended

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for buffer, starts in self._result.blocks():
                yield self._decoder.results(buffer, starts, self.columns)
        except (pymysql.MySQLError, OSError) as error:
            raise _unreadable(error, self._where) from None


def _unreadable(error: Exception, where: str) -> LoadError:
    told = refusal(error)
    if told.code in _NO_SUCH_TABLE:
        return LoadError(
            "the table is gone",
            where=where,
            why="it was dropped or renamed on the source after the plan was made",
            hint="start the migration's load again, so that the tables are read anew",
        )
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
) -> Iterator[MySqlRows]:
    """Read one chunk in one snapshot; see `godwit.protocols.Source.read`.

    Raises:
        LoadError: the source refuses, the connection is lost, or a value cannot be decoded.
    """
    where = f"source chunk {chunk.label}"
    columns = mapping.read_columns
    statement = select_statement(chunk, mapping, columns)
    native = format == MYSQL_COLUMNS
    if snapshot is not None:
        with shared(snapshot).turn(mapping.source, begin) as (session, mark):
            try:
                result = Result(session, statement)
            except (pymysql.MySQLError, OSError) as error:
                session.close()
                raise _unreadable(error, where) from None
            decoder = decoder_of(connector, mapping.source, columns, result, native=native)
            rows = MySqlRows(result, decoder, format, columns, mark=mark, where=where)
            try:
                yield rows
            finally:
                if not rows.ended:
                    session.close()
        return
    with connector.lease("source") as session, _lock(connector, session, chunk, mapping) as lock:
        try:
            begin(connector, session)
            mark = lock.position() if lock else None
            result = Result(session, statement)
            if lock:
                lock.release(kept=True)
        except (pymysql.MySQLError, OSError) as error:
            session.close()
            raise _unreadable(error, where) from None
        decoder = decoder_of(connector, mapping.source, columns, result, native=native)
        rows = MySqlRows(result, decoder, format, columns, mark=mark, where=where)
        try:
            yield rows
        finally:
            if not rows.ended:
                session.close()
        if rows.ended:
            end(session)


def _lock(
    connector: Connector, session: Session, chunk: Chunk, mapping: TableMapping
) -> TableLock | nullcontext[None]:
    """Only a table without identity needs one, and only when there is a log."""
    if mapping.source.identity or not session.value("SELECT @@log_bin"):
        return nullcontext()
    return TableLock(connector, chunk.table)


def begin(connector: Connector, session: Session) -> None:
    """Open a snapshot in which texts arrive as they are stored."""
    if connector not in _CHARACTER_SETS:
        _CHARACTER_SETS[connector] = character_sets(session)
    session.run("SET SESSION character_set_results = NULL")
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")


def end(session: Session) -> None:
    """The inverse of `begin`."""
    session.run("COMMIT")
    session.run("SET SESSION character_set_results = utf8mb4")


def decoder_of(
    connector: Connector,
    table: Table,
    columns: Sequence[str],
    result: Result,
    *,
    native: bool,
    error: type[GodwitError] = LoadError,
) -> RowDecoder:
    """What decodes this result of these columns, after `begin`."""
    known = _CHARACTER_SETS[connector]
    fields = [
        result_field(
            table.column(name),
            d.type_code,
            unsigned=d.unsigned,
            charset_name=known.get(d.collation),
            decimals=d.decimals,
        )
        for name, d in zip(columns, result.definitions, strict=False)
    ]
    zero_dates = str(connector.settings.get("zero_dates") or "sentinel")
    return RowDecoder(str(table.name), fields, native=native, zero_dates=zero_dates, error=error)

"""Writing rows: a chunk and its ledger line are one commit.

For whoever else writes rows (changes are staged the same way)::

    encoder = encoder_for(session, table, mapping, columns, format, settings)   # once
    rows, size = load_rows(session, destination, encoder, batches)

`destination` is the table, or a temporary one with the same columns. A row that the server would
leave out or bend raises `godwit.engines.mysql.refusals.WarnedError`; the caller rolls back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pymysql

from godwit.engines.mysql import local_infile
from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS, Connector, Session
from godwit.engines.mysql.control import (
    check_epoch,
    ledger_line,
    lock_epoch,
    lost,
    transaction,
    write_ledger_line,
)
from godwit.engines.mysql.encode import Encoder, destinations
from godwit.engines.mysql.lines import lines
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.refusals import Refusal, refusal
from godwit.errors import EndpointError, FencedError, GodwitError, LoadError
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.changes import Format
from godwit.model.chunks import Chunk, LoadedChunk
from godwit.model.mapping import TableMapping
from godwit.protocols import Epoch, RowStream

#: A source offers the first only when it is of this engine as well.
FORMATS = (MYSQL_COLUMNS, COLUMNS)
_DUPLICATE = frozenset({1022, 1062, 1586})
#: Nothing is quoted; a backslash stands before what would end a field.
_LOAD = (
    "LOAD DATA LOCAL INFILE 'godwit' INTO TABLE {table} CHARACTER SET binary"
    " FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\'"
    " LINES STARTING BY '' TERMINATED BY '\\n' {fields}"
)
_RECONNECT_SECONDS = 30.0
_RECONNECT_PAUSE = 0.5


# -- formats


def formats(_connector: Connector, mapping: TableMapping) -> tuple[Format, ...]:
    """How rows can be written, fastest exact way first."""
    del mapping
    return FORMATS


# -- rows


def encoder_for(
    session: Session,
    table: TableName,
    mapping: TableMapping,
    columns: Sequence[str],
    format: Format,
    settings: Mapping[str, Any],
) -> Encoder:
    """The encoder for batches with these columns (target names, in this order) of a table."""
    return Encoder(destinations(session, table, mapping, columns), format, settings)


def load_rows(
    session: Session, table: TableName, encoder: Encoder, batches: Iterable[pa.RecordBatch]
) -> tuple[int, int]:
    """Write batches in the session's transaction; returns rows and bytes.

    LOAD DATA, or INSERT where the server forbids that.

    Raises:
        WarnedError: a row was left out or bent by the server, or would have been.
        pymysql.MySQLError: the server refused.
    """
    blocks = _Encoded(batches, encoder)
    if not blocks.begin():
        return 0, 0
    local, limit = session.loading
    if local:
        statement = _LOAD.format(table=quoted(*table), fields=encoder.fields)
        stored = local_infile.load_data(session, statement, blocks.lines(), limit)
        local_infile.check_stored(session, stored, blocks.rows, encoder.expected_warnings)
        return blocks.rows, blocks.size
    names = ", ".join(quoted(column.name) for column in encoder.columns)
    head = f"INSERT INTO {quoted(*table)} ({names}) VALUES "
    for stored, sent in local_infile.insert_rows(session, head, blocks.values(), limit):
        local_infile.check_stored(session, stored, sent)
    return blocks.rows, blocks.size


class _Encoded:
    """Batches on their way; `rows` and `size` (bytes) say how much has passed.

    The first one is encoded before anything is sent: a value refused there costs no connection.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], encoder: Encoder) -> None:
        self.rows = self.size = 0
        self._batches, self._encoder = iter(batches), encoder
        self._first: list[Any] = []

    def begin(self) -> bool:
        """Whether there is anything."""
        self._encoder.expected_warnings = 0
        for batch in self._batches:
            if batch.num_rows:
                self._first = [(batch, self._encoder.arrays(batch))]
                return True
        return False

    def _arrays(self) -> Iterator[list[pa.Array]]:
        while self._first:
            batch, arrays = self._first.pop()
            self.rows += batch.num_rows
            yield arrays
        for batch in self._batches:
            if batch.num_rows:
                self.rows += batch.num_rows
                yield self._encoder.arrays(batch)

    def lines(self) -> Iterator[bytes]:
        """For LOAD DATA."""
        for arrays in self._arrays():
            block = lines(arrays)
            self.size += len(block)
            yield block

    def values(self) -> Iterator[bytes]:
        """For INSERT, row by row."""
        for arrays in self._arrays():
            for row in self._encoder.bracketed(arrays):
                self.size += len(row)
                yield row


# -- loading


def load(
    connector: Connector, chunk: Chunk, mapping: TableMapping, rows: RowStream, epoch: Epoch
) -> LoadedChunk:
    """Write a chunk and its ledger line in one commit; see `godwit.protocols.Target.load`."""
    started = time.monotonic()
    try:
        with connector.lease("target") as session, binary_log(session, connector):
            session.run("START TRANSACTION")
            done = ledger_line(session, epoch.migration, chunk.id)
            if done is not None:
                session.run("ROLLBACK")
                return done
            check_epoch(session, epoch, hold=False)
            count, size = copy_rows(session, connector, mapping, mapping.target, rows)
            loaded = LoadedChunk(chunk, count, size, time.monotonic() - started, rows.mark)
            check_epoch(session, epoch)
            write_ledger_line(session, epoch, loaded)
            return _commit(connector, session, loaded, epoch)
    except pymysql.MySQLError as error:
        raise _refused(connector, refusal(error), chunk, mapping, epoch) from None


def copy_rows(
    session: Session,
    connector: Connector,
    mapping: TableMapping,
    destination: TableName,
    rows: RowStream,
) -> tuple[int, int]:
    """Write a stream of the mapping's rows; returns rows and bytes."""
    encoder = encoder_for(
        session, mapping.target, mapping, rows.columns, rows.format, connector.settings
    )
    batches = (block for block in rows if isinstance(block, pa.RecordBatch))
    return load_rows(session, destination, encoder, batches)


@contextmanager
def binary_log(session: Session, connector: Connector) -> Iterator[None]:
    """Without the server's binary log, where the setting `binary_log` is false."""
    if connector.settings.get("binary_log", True):
        yield
        return
    session.run("SET SESSION sql_log_bin = 0")
    yield
    if session.open and not session.in_transaction:
        session.run("SET SESSION sql_log_bin = 1")


def _commit(
    connector: Connector, session: Session, loaded: LoadedChunk, epoch: Epoch
) -> LoadedChunk:
    failpoint("load.before_commit")
    try:
        session.run("COMMIT")
    except pymysql.MySQLError as error:
        # The answer got lost, or the commit did: the ledger knows.
        found = _settled_line(connector, loaded.chunk, epoch) if lost(session, error) else None
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
            session = connector.connect(role="target")
            try:
                with transaction(session):
                    # That transaction shares the lock on its epoch: who gets it alone comes after.
                    lock_epoch(session, epoch)
                    return ledger_line(session, epoch.migration, chunk.id)
            finally:
                if session.open:
                    session.close()
        except (EndpointError, pymysql.MySQLError) as error:
            if time.monotonic() > deadline or (
                isinstance(error, pymysql.MySQLError) and not refusal(error).lost
            ):
                raise
            time.sleep(_RECONNECT_PAUSE)


def _refused(
    connector: Connector, told: Refusal, chunk: Chunk, mapping: TableMapping, epoch: Epoch
) -> GodwitError:
    """The error to raise; a duplicate row may only mean that a newer runner was faster."""
    where = f"chunk {chunk.label} into {mapping.target}{told.place}"
    if told.code not in _DUPLICATE:
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

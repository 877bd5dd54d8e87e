"""A running session on the binary log: receive, cut at commits, net out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import pymysql

from godwit.engines.mysql.backlog import Taken
from godwit.engines.mysql.binlog import Wire, dump
from godwit.engines.mysql.capture import check_start
from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.gtid import LogPoint, LogPosition
from godwit.engines.mysql.netting import net_stages
from godwit.engines.mysql.relations import Relations
from godwit.engines.mysql.statements import Statements
from godwit.engines.mysql.tracks import track_from
from godwit.engines.mysql.transactions import Transactions
from godwit.errors import CaptureError
from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, Format, Idle, Position
from godwit.model.mapping import TableMapping
from godwit.protocols import Wanted

#: While data pours in, batches of so many bytes are gathered, for so many seconds at most.
SMALL_BYTES = 64 << 10
GATHER_BYTES = 2 << 20
GATHER = 0.03
#: Seconds: a nap while nobody wants anything, silence after which what was sent has been read,
#: waiting for data after that, between checkpoints while only transactions of other tables come,
#: until silence is an error.
NAP = 0.002
PAUSE = 0.005
WAIT = 0.05
TELL = 1.0
SILENCE = 90.0


def open_stream(
    connector: Connector,
    migration: str,
    start: LogPosition,
    mappings: Sequence[TableMapping],
    format: Format,
    marks: Mapping[TableName, str],
    *,
    batch_bytes: int,
) -> Stream:
    """Start reading the log after `start`.

    Raises:
        CaptureLostError: the log no longer reaches back to it.
        CaptureError: reading does not start.
    """
    with connector.lease() as session:
        check_start(session, connector, migration, start)
        folded = bool(session.value("SELECT @@lower_case_table_names"))
    relations = Relations(connector, mappings, marks, format, folded=folded)
    statements = Statements(
        relations.tables,
        folded=folded,
        plain=lambda table: _is_plain(connector, table),
        columns=relations.wanted,
    )
    at = start.at or LogPoint(1, 4)
    transactions = Transactions(relations, statements, track_from(start), at)
    return Stream(dump(connector, migration, start), transactions, batch_bytes)


def _is_plain(connector: Connector, table: TableName) -> bool:
    """Whether writing to it writes to no other table: no view, no triggers."""
    with connector.lease() as session:
        return not session.value(
            "SELECT (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE"
            " EVENT_OBJECT_SCHEMA = %s AND EVENT_OBJECT_TABLE = %s) + (SELECT COUNT(*) FROM"
            " information_schema.VIEWS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s)",
            (*table, *table),
        )


class Stream:
    """See `godwit.protocols.ChangeStream`."""

    def __init__(self, wire: Wire, transactions: Transactions, batch_bytes: int) -> None:
        self._wire, self._transactions = wire, transactions
        self._limit = batch_bytes
        self._taken = self._heard = self._told = time.monotonic()
        self._flowing = self._fed = False
        #: Received while a batch has to end before them.
        self._left: deque[bytes] = deque()
        #: The position of the last batch.
        self._at = transactions.position()

    def read(self, wanted: Callable[[], Wanted]) -> ChangeBatch | Idle | None:
        """See `godwit.protocols.ChangeStream.read`."""
        try:
            return self._read(wanted)
        except (OSError, pymysql.MySQLError) as cause:
            raise CaptureError(
                "the connection to the source broke",
                where=f"position {self._transactions.position()}",
                why=str(cause.args[-1] if cause.args else cause).strip(),
                hint="it is opened again from the checkpoint",
            ) from cause

    def _read(self, wanted: Callable[[], Wanted]) -> ChangeBatch | Idle | None:
        work, want = self._transactions, wanted()
        if self._due(want):
            if want == Wanted.NOTHING:
                time.sleep(NAP)
                return None
            return self._take() if work.complete else self._take_part()
        silent = not self._feed()
        if work.pending or work.complete:
            return None
        now = time.monotonic()
        if work.caught_up or (silent and self._fed):
            # A server that is written to all the time sends no heartbeat.
            work.caught_up = self._fed = False
            self._told = now
            return Idle(work.position())
        if want == Wanted.ANY and now - self._told > TELL:
            return self._progress()
        return None

    def _due(self, want: Wanted) -> bool:
        """There is a batch, and nothing more is to be read before it is taken."""
        work = self._transactions
        if work.cut or (work.complete and want == Wanted.ANY and not self._gathers()):
            return True
        return work.kept_bytes >= self._limit and (work.complete or work.divisible)

    def _feed(self) -> bool:
        """Read what has come, up to where a table has another shape; False when nothing came."""
        work = self._transactions
        if not self._left:
            wait = NAP / 2 if work.complete else PAUSE if self._fed else WAIT
            self._left.extend(self._wire.receive(wait))
        now = time.monotonic()
        self._flowing = bool(self._left)
        if not self._left:
            if now - self._heard > SILENCE:
                raise CaptureError(
                    "the source has gone silent",
                    why=f"not even a heartbeat for {SILENCE:.0f} s",
                    hint="it is opened again from the checkpoint",
                )
            return False
        self._heard, self._fed = now, True
        while self._left and not work.cut:
            work.feed(self._left.popleft())
        return True

    def _progress(self) -> ChangeBatch | None:
        """An empty batch, when only transactions of other tables have come for a while: a restart
        need not read them again.
        """
        self._told = time.monotonic()
        position = self._transactions.position()
        if position == self._at:
            return None
        self._at = position
        return ChangeBatch((), position)

    def _gathers(self) -> bool:
        """Data pours in: a moment more makes a batch that is worth its commit."""
        much = SMALL_BYTES <= self._transactions.kept_bytes < GATHER_BYTES
        return much and self._flowing and time.monotonic() - self._taken < GATHER

    def _take(self) -> ChangeBatch:
        return self._batch(self._transactions.take(), final=True)

    def _take_part(self) -> ChangeBatch:
        return self._batch(self._transactions.take_open(), final=False)

    def _batch(self, taken: Taken, *, final: bool) -> ChangeBatch:
        self._taken = self._told = time.monotonic()
        stages, changes, size = net_stages(taken.operations)
        self._at = taken.position
        return ChangeBatch(
            stages,
            taken.position,
            final=final,
            transactions=taken.transactions,
            changes=changes,
            commits=taken.commits,
            bytes=size,
        )

    def confirm(self, position: Position) -> None:
        """Nothing to tell: the source keeps its log for a time of its own."""

    def close(self) -> None:
        """End the session."""
        self._wire.close()

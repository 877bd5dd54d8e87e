"""Applying change batches: net changes, staged, set-based, with the checkpoint in the same commit.

Everything takes the quick road first. When the target refuses something, what was done is rolled
back and the batch is applied again with care: table by table inside savepoints, by deleting and
inserting (which unique keys swapped between rows survive), and row by row where rows are refused.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.pq import TransactionStatus

from godwit.engines.postgres.capture import Lsn
from godwit.engines.postgres.careful import Careful, Refusals
from godwit.engines.postgres.cascades import Cascades
from godwit.engines.postgres.connection import TEXT_COLUMNS, Connector, Session
from godwit.engines.postgres.control import check_epoch
from godwit.engines.postgres.incoming import Incoming, converted
from godwit.engines.postgres.refusals import refusal
from godwit.engines.postgres.table_writer import TableWriter
from godwit.errors import ApplyError, EndpointError, FencedError, LoadError, SchemaChangedError
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.changes import (
    COLUMNS,
    Cascade,
    ChangeBatch,
    Format,
    KeyMove,
    Payload,
    Position,
    ShapeChange,
    Stage,
    TableChanges,
    Truncation,
)
from godwit.model.mapping import TableMapping
from godwit.protocols import Applied, Epoch, ErrorPolicy, Reselect

#: Seconds between the checkpoints of an idle session.
IDLE_CHECKPOINT = 1.0

#: One statement: the fence, the checkpoint, and what the session needs to know of the control row.
_CHECKPOINT = """
WITH fence AS (SELECT 1 FROM godwit.epochs
  WHERE migration = %(migration)s AND role = %(role)s AND epoch = %(epoch)s FOR SHARE)
UPDATE godwit.checkpoints SET checkpoint = %(position)s, transactions = transactions + %(tx)s,
  changes = changes + %(changes)s, commit_time = coalesce(%(commit)s, commit_time),
  applied_at = CASE WHEN %(tx)s > 0 THEN clock_timestamp() ELSE applied_at END,
  session_at = clock_timestamp()
FROM fence WHERE migration = %(migration)s
RETURNING stop_at, settled, pg_current_wal_flush_lsn()::text, pg_current_wal_insert_lsn()::text
"""
_LOOK = """
SELECT stop_at, settled, pg_current_wal_flush_lsn()::text, pg_current_wal_insert_lsn()::text
FROM godwit.checkpoints WHERE migration = %(migration)s
"""


class PostgresApplier:
    """See `godwit.protocols.Applier`."""

    def __init__(
        self,
        connector: Connector,
        migration: str,
        mappings: Sequence[TableMapping],
        format: Format,
        epoch: Epoch,
        policy: ErrorPolicy,
        reselect: Reselect,
    ) -> None:
        self._epoch, self._policy = epoch, policy
        self._migration = migration
        self._session = _open_session(connector)
        self._settings = connector.settings
        self._exchanged = format == COLUMNS
        self._incoming: dict[TableName, Incoming] = {}
        if self._exchanged:
            format, reselect = TEXT_COLUMNS, self._through_columns(reselect)
        self._writers = {
            m.source.name: TableWriter(self._session, m, format, reselect) for m in mappings
        }
        self._parts = {p.name: m.source.name for m in mappings for p in m.source.parts}
        self._cascades = Cascades(self._session, self._writers)
        self._refusals = Refusals(self._session, migration, policy)
        self._in_parts = False
        self._rows = 0
        #: Commits that are not known to be on disk: (position, log position after the commit).
        self._pending: list[tuple[Position, Lsn | None]] = []
        self._durable: Position | None = None
        self._stored = 0.0
        self._stored_position: Position | None = None
        self._idle_position: Position | None = None

    # -- batches

    def apply(self, batch: ChangeBatch, *, exact: bool) -> Applied:
        """See `godwit.protocols.Applier.apply`."""
        try:
            return self._apply(batch, exact=exact)
        except psycopg.Error as cause:
            self._rollback()
            raise EndpointError(
                "the target broke off while changes were applied",
                where=f"position {batch.position}",
                why=refusal(cause).reason,
                hint="it goes on from the checkpoint, whether the batch was committed or not",
            ) from None
        except BaseException:
            self._rollback()
            raise

    def _apply(self, batch: ChangeBatch, *, exact: bool) -> Applied:
        self._refusals.begin(str(batch.position))
        if self._session.info.transaction_status == TransactionStatus.IDLE:
            self._session.execute("BEGIN")
        if self._in_parts:
            self._session.execute("SAVEPOINT godwit_part")
        try:
            self._stages(batch.stages, exact=exact)
        except psycopg.OperationalError:
            raise
        except (psycopg.Error, ApplyError):
            self._again_with_care(batch, exact=exact)
        if not batch.final:
            self._in_parts = True
            return Applied(None)
        self._refusals.write()
        return self._commit(batch)

    def _again_with_care(self, batch: ChangeBatch, *, exact: bool) -> None:
        self._refusals.undo()
        if self._in_parts:
            self._session.execute("ROLLBACK TO SAVEPOINT godwit_part")
        else:
            self._session.rollback()
            self._session.execute("BEGIN")
        for writer in self._writers.values():
            writer.forget(all_of_it=not self._in_parts)
        # A column may have got another type since it was looked up.
        self._incoming.clear()
        self._stages(batch.stages, exact=exact, careful=True)

    def _stages(self, stages: Sequence[Stage], *, exact: bool, careful: bool = False) -> None:
        for stage in stages:
            if isinstance(stage, Truncation):
                self._truncate(stage, careful=careful)
            elif isinstance(stage, Cascade):
                self._cascade(stage, careful=careful)
            elif self._refusals.is_out(stage.table):
                continue
            elif isinstance(stage, ShapeChange):
                self._shape_changed(stage)
            elif careful:
                self._with_care(self._own(stage, careful=True), exact=exact)
            elif isinstance(own := self._own(stage), KeyMove):
                self._writers[own.table].move(own, exact=exact)
            else:
                self._changes(own, exact=exact)

    # -- the format COLUMNS

    def _own(
        self, stage: TableChanges | KeyMove, *, careful: bool = False
    ) -> TableChanges | KeyMove:
        """The stage in the form the writers know. With care it is text, of which the server says
        what is wrong with which row.
        """
        if not self._exchanged:
            return stage
        incoming = self._incoming_of(self._writers[stage.table].mapping)
        text = careful or isinstance(stage, KeyMove)
        try:
            return converted(stage, incoming.text_payload if text else incoming.payload)
        except LoadError as cause:
            position = self._refusals.position
            raise ApplyError(
                cause.what,
                where=f"{cause.where}, position {position}",
                why=cause.why,
                hint=cause.hint,
            ) from None
        finally:
            incoming.tell_stripped()

    def _incoming_of(self, mapping: TableMapping) -> Incoming:
        name = mapping.source.name
        if name not in self._incoming:
            self._incoming[name] = Incoming(self._session, mapping, self._settings)
        return self._incoming[name]

    def _through_columns(self, reselect: Reselect) -> Reselect:
        """The same between the writers' form and the source's."""

        def again(mapping: TableMapping, keys: Payload) -> tuple[Payload, Payload]:
            incoming = self._incoming_of(mapping)
            identity = self._writers[mapping.source.name].identity
            found, gone = reselect(mapping, incoming.exchanged(keys, identity))
            return incoming.text_payload(found), incoming.text_payload(gone)

        return again

    # -- one stage

    def _cascade(self, stage: Cascade, *, careful: bool) -> None:
        parent = self._writers[stage.table].mapping
        out = stage.without.union(n for n in self._writers if self._refusals.is_out(n))
        try:
            with self._session.transaction():
                self._rows += self._cascades.repeat(
                    parent,
                    stage.old.columns,
                    self._key_texts(parent, stage.old),
                    self._key_texts(parent, stage.new) if stage.new else None,
                    out,
                )
        except psycopg.OperationalError:
            raise
        except (ApplyError, psycopg.Error) as cause:
            if not careful:
                raise
            for table in self._cascades.followers(stage.table):
                if table not in out:
                    self._give_up(table, cause)

    def _key_texts(self, parent: TableMapping, payload: Payload) -> pa.RecordBatch:
        """A cascade's columns, which bear source names, as text."""
        if not isinstance(payload.data, pa.RecordBatch):
            raise TypeError("a cascade comes in columns")
        if not self._exchanged:
            return payload.data
        names = tuple(parent.target_names.get(c, "") for c in payload.columns)
        return self._incoming_of(parent).texts(names, payload.data, checked=False)

    def _changes(self, changes: TableChanges, *, exact: bool) -> None:
        writer = self._writers[changes.table]
        if not writer.keyed:
            counts = writer.apply_multiset(changes)
            self._rows += counts.rows
            self._refusals.missing(changes.table, counts)
        elif exact and not changes.lenient:
            counts = writer.apply_exact(changes)
            self._rows += counts.rows
            self._refusals.missing(changes.table, counts)
        else:
            self._rows += writer.apply_idempotent(changes)

    def _with_care(self, stage: TableChanges | KeyMove, *, exact: bool) -> None:
        careful = Careful(self._session, self._writers[stage.table], self._policy, self._refusals)
        try:
            with self._session.transaction():
                self._rows += careful.apply(stage, exact=exact and not _lenient(stage))
        except psycopg.OperationalError:
            raise
        except (ApplyError, psycopg.Error) as cause:
            self._writers[stage.table].forget(all_of_it=False)
            # Every row that was refused alone is dealt with; this is a table that cannot go on.
            self._give_up(stage.table, cause)

    def _give_up(self, table: TableName, cause: ApplyError | psycopg.Error) -> None:
        """Suspend a table, or stop, as the policy has it."""
        error = cause
        if isinstance(error, psycopg.Error):
            told = refusal(error)
            error = ApplyError(
                "the target refuses the table's changes",
                where=f"{table}, position {self._refusals.position}",
                why=told.reason,
                hint=told.hint,
            )
        if self._policy.table != "SUSPEND_TABLE" or "STOP_TASK" in error.hint:
            raise error from None
        self._refusals.suspend(table, str(error))

    def _shape_changed(self, change: ShapeChange) -> None:
        if self._policy.table != "SUSPEND_TABLE" and self._policy.alteration != "repeat":
            raise SchemaChangedError(
                change.reason,
                where=str(change.table),
                hint="take the change back and load the table again (`godwit reload FILE --table "
                f"{change.table}`); to migrate it as it is now, clean up and start again",
            )
        self._refusals.suspend(change.table, change.reason)

    def _truncate(self, stage: Truncation, *, careful: bool) -> None:
        """All at once: their foreign keys may point at each other. With care, one by one."""
        groups = [[n] for n in stage.tables] if careful else [list(stage.tables)]
        for names in groups:
            table = self._parts.get(names[0], names[0])
            try:
                with self._session.transaction():
                    self._empty(names, restart_identity=stage.restart_identity)
            except psycopg.OperationalError:
                raise
            except (ApplyError, psycopg.Error) as cause:
                if not careful:
                    raise
                self._give_up(table, cause)

    def _empty(self, names: Sequence[TableName], *, restart_identity: bool) -> None:
        left = [n for n in names if not self._refusals.is_out(self._parts.get(n, n))]
        roots = [self._writers[n].emptied() for n in left if n in self._writers]
        leaves = [(self._writers[self._parts[n]], n) for n in left if n in self._parts]
        targets = roots + [sql.Identifier(*w.leaf(n)) for w, n in leaves]
        if targets:
            TableWriter.truncate(self._session, targets, restart_identity=restart_identity)

    # -- commits

    def _commit(self, batch: ChangeBatch) -> Applied:
        failpoint("apply.before_commit")
        commit = datetime.fromtimestamp(batch.commits[-1], UTC) if batch.commits else None
        row = self._checkpoint(batch.position, batch.transactions, batch.changes, commit)
        self._session.commit()
        failpoint("apply.after_commit")
        self._in_parts = False
        for writer in self._writers.values():
            writer.committed()
        self._pending.append((batch.position, None))
        self._stored, self._stored_position = time.monotonic(), batch.position
        rows, self._rows = self._rows, 0
        return self._applied(row, rows)

    def _checkpoint(
        self, position: Position, transactions: int, changes: int, commit: datetime | None
    ) -> tuple[str | None, str | None, str, str]:
        values = {
            "migration": self._migration,
            "role": self._epoch.role,
            "epoch": self._epoch.number,
            "position": str(position),
            "tx": transactions,
            "changes": changes,
            "commit": commit,
        }
        row = self._session.execute(_CHECKPOINT, values).fetchone()
        if row is None:
            raise FencedError(
                "a newer runner applies the changes of this migration",
                where=f"migration {self._migration}, epoch {self._epoch.number}",
                why="the session was started again elsewhere",
                hint="nothing: the newer one goes on, this one has committed nothing since",
            )
        return row  # type: ignore[no-any-return]

    def _applied(self, row: tuple[str | None, str | None, str, str], rows: int = 0) -> Applied:
        stop_at, settled, flushed, inserted = row
        self._settle_durability(Lsn.parse(flushed), Lsn.parse(inserted))
        refused, suspended = self._refusals.taken()
        return Applied(self._durable, suspended, refused, stop_at, settled, rows)

    def _settle_durability(self, flushed: Lsn, inserted: Lsn) -> None:
        """Commits are asynchronous: one is durable when the log has been flushed past it."""
        # The statement that told `inserted` ran before the last commit, after all others.
        last = len(self._pending) - 1
        for i, (position, after) in enumerate(self._pending):
            if after is None and i < last:
                self._pending[i] = (position, inserted)
        while self._pending:
            position, after = self._pending[0]
            if after is None or flushed < after:
                break
            self._durable = position
            self._pending.pop(0)

    def idle(self, position: Position) -> Applied:
        """See `godwit.protocols.Applier.idle`."""
        now = time.monotonic()
        self._idle_position = position
        try:
            if now - self._stored >= IDLE_CHECKPOINT:
                return self._store(self._last(), now)
            row = self._session.execute(_LOOK, {"migration": self._migration}).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            row = None
        except psycopg.Error as cause:
            raise EndpointError(
                "the connection to the target broke", why=refusal(cause).reason
            ) from None
        if row is None:
            raise FencedError(
                "the control tables hold nothing of this migration any more",
                where=f"migration {self._migration}",
                hint="it was cleaned up; start it again if that was not meant",
            )
        self._pending = [
            (p, Lsn.parse(row[3]) if after is None else after) for p, after in self._pending
        ]
        return self._applied(row)

    def _last(self) -> Position:
        """Everything up to here is applied: the last commit, or what was idle after it."""
        idle, stored = self._idle_position, self._stored_position
        if stored is None or (idle is not None and idle.includes(stored)):
            assert idle is not None
            return idle
        return stored

    def _store(self, position: Position, now: float) -> Applied:
        """A synchronous checkpoint: everything before it is durable as well."""
        with self._session.transaction():
            self._session.execute("SET LOCAL synchronous_commit = on")
            row = self._checkpoint(position, 0, 0, None)
        self._pending.clear()
        self._durable = self._stored_position = position
        self._stored = now
        return self._applied(row)

    def close(self) -> Position | None:
        """See `godwit.protocols.Applier.close`."""
        try:
            if not self._session.closed:
                self._session.rollback()
                if self._pending or self._idle_position is not None:
                    self._store(self._last(), time.monotonic())
        except (psycopg.Error, FencedError):
            pass
        finally:
            self._session.close()
        return self._durable

    def _rollback(self) -> None:
        self._in_parts = False
        self._refusals.clear()
        self._rows = 0
        if not self._session.broken and not self._session.closed:
            self._session.rollback()
        for writer in self._writers.values():
            writer.forget()


def _lenient(stage: TableChanges | KeyMove) -> bool:
    return isinstance(stage, TableChanges) and stage.lenient


def _open_session(connector: Connector) -> Session:
    session = connector.connect(role="target")
    # The source is told only what is on disk here, so commits need not wait for it. Staging tables
    # have no statistics: with the joins left on, the planner reads whole target tables.
    session.execute(
        "SET synchronous_commit = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
        " SET jit = off; SET plan_cache_mode = force_custom_plan; SET temp_buffers = '32MB'"
    )
    return session


def repair(
    connector: Connector,
    mapping: TableMapping,
    format: Format,
    found: Payload,
    gone: Payload,
    epoch: Epoch | None,
) -> int:
    """Make rows as given and remove those gone, in one transaction; returns rows touched."""
    with _open_session(connector) as session, session.transaction():
        session.execute("SET LOCAL synchronous_commit = on")
        if format == COLUMNS:
            incoming = Incoming(session, mapping, connector.settings)
            found, gone = incoming.payload(found), incoming.payload(gone)
            incoming.tell_stripped()
            format = TEXT_COLUMNS
        writer = TableWriter(session, mapping, format, _nothing)
        changes = TableChanges(
            mapping.source.name,
            updates=(found,) if found.rows else (),
            deletes=gone if gone.rows else None,
        )
        rows = (
            writer.apply_idempotent(changes)
            if writer.keyed
            else writer.apply_multiset(changes).rows
        )
        if epoch is not None:
            check_epoch(session, epoch)
        return rows


def _nothing(mapping: TableMapping, _keys: Payload) -> tuple[Payload, Payload]:
    raise ApplyError("rows that were read whole cannot be missing", where=str(mapping.target))

"""Applying change batches: net changes, staged, set-based, with the checkpoint in the same commit.

Everything takes the quick road first. When the target refuses something, what was done is rolled
back and the batch is applied again with care: table by table inside savepoints, by deleting and
inserting (which unique keys swapped between rows survive), and row by row where rows are refused.
A transaction that lost against another one (a deadlock, a lock not had in time) is simply repeated.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from godwit.engines.mysql.careful import Careful, Refusals
from godwit.engines.mysql.cascade import Cascades
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.control import check_epoch, transaction
from godwit.engines.mysql.control_tables import control_table
from godwit.engines.mysql.durability import Durability
from godwit.engines.mysql.refusals import refusal
from godwit.engines.mysql.table_writer import (
    TableWriter,
    ends_transaction,
    savepoint,
)
from godwit.errors import ApplyError, EndpointError, FencedError, SchemaChangedError
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.changes import (
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
#: Seconds to wait before a transaction that lost against another one is tried again.
AGAIN = (0.0, 0.05, 0.2, 1.0, 3.0)
_NO_DATABASE, _NO_TABLE = 1049, 1146

_CHECKPOINT = """
UPDATE {checkpoints} SET checkpoint = %(position)s, transactions = transactions + %(tx)s,
  changes = changes + %(changes)s, commit_time = COALESCE(%(commit)s, commit_time),
  applied_at = IF(%(tx)s > 0, UTC_TIMESTAMP(6), applied_at), session_at = UTC_TIMESTAMP(6)
WHERE migration = %(migration)s
"""
_LOOK = "SELECT stop_at, settled FROM {checkpoints} WHERE migration = %s"


class MySqlApplier:
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
        self._writers = {
            m.source.name: TableWriter(self._session, m, format, reselect, connector.settings)
            for m in mappings
        }
        self._cascades = Cascades(self._session, self._writers, format, connector.settings)
        self._parts = {p.name: m.source.name for m in mappings for p in m.source.parts}
        self._refusals = Refusals(self._session, migration, policy)
        self._durability = Durability(self._session)
        self._open = self._in_parts = False
        self._rows = 0
        self._stored = 0.0
        self._stored_position: Position | None = None
        self._idle_position: Position | None = None

    # -- batches

    def apply(self, batch: ChangeBatch, *, exact: bool) -> Applied:
        """See `godwit.protocols.Applier.apply`."""
        tries = iter(AGAIN)
        while True:
            try:
                return self._apply(batch, exact=exact)
            except (pymysql.MySQLError, OSError) as cause:
                # Parts of the transaction that came before are not at hand any more.
                wait = None if self._in_parts or not refusal(cause).transient else next(tries, None)
                self._rollback()
                if wait is None:
                    raise self._broken(batch.position, cause) from None
                time.sleep(wait)
            except BaseException:
                self._rollback()
                raise

    def _broken(self, position: Position, cause: Exception) -> EndpointError:
        return EndpointError(
            "the target broke off while changes were applied",
            where=f"position {position}",
            why=refusal(cause).reason,
            hint="it goes on from the checkpoint, whether the batch was committed or not",
        )

    def _apply(self, batch: ChangeBatch, *, exact: bool) -> Applied:
        self._refusals.begin(str(batch.position))
        if not self._open:
            self._prepare(batch)
            self._session.run("START TRANSACTION")
            self._open = True
        if self._in_parts:
            self._session.run("SAVEPOINT godwit_part")
        try:
            self._stages(batch.stages, exact=exact)
        except (pymysql.MySQLError, ApplyError) as cause:
            if ends_transaction(cause):
                raise
            self._again_with_care(batch, exact=exact)
        if not batch.final:
            self._in_parts = True
            return Applied(None)
        self._refusals.write()
        return self._commit(batch)

    def _prepare(self, batch: ChangeBatch) -> None:
        """Have the stages there before the transaction begins."""
        for stage in batch.stages:
            if isinstance(stage, TableChanges) and not self._refusals.is_out(stage.table):
                told = (*stage.updates, stage.deletes, stage.cancelled)
                try:
                    self._writers[stage.table].prepare([p for p in told if p])
                except (pymysql.MySQLError, ApplyError) as cause:
                    if ends_transaction(cause):
                        raise
                    # The table will show the same again in its turn, where it is dealt with.

    def _again_with_care(self, batch: ChangeBatch, *, exact: bool) -> None:
        self._refusals.undo()
        if self._in_parts:
            self._session.run("ROLLBACK TO SAVEPOINT godwit_part")
        else:
            self._session.run("ROLLBACK")
            self._session.run("START TRANSACTION")
            self._rows = 0
        for writer in self._writers.values():
            writer.forget()
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
                self._with_care(stage, exact=exact)
            elif isinstance(stage, KeyMove):
                self._writers[stage.table].move(stage, exact=exact)
            else:
                self._changes(stage, exact=exact)

    def _changes(self, changes: TableChanges, *, exact: bool) -> None:
        writer = self._writers[changes.table]
        if not writer.keyed:
            counts = writer.apply_multiset(changes)
        elif exact and not changes.lenient:
            counts = writer.apply_exact(changes)
        else:
            self._rows += writer.apply_idempotent(changes)
            return
        self._rows += counts.rows
        self._refusals.missing(changes.table, counts)

    def _with_care(self, stage: TableChanges | KeyMove, *, exact: bool) -> None:
        careful = Careful(self._session, self._writers[stage.table], self._policy, self._refusals)
        try:
            with savepoint(self._session):
                self._rows += careful.apply(stage, exact=exact and not _lenient(stage))
        except (ApplyError, pymysql.MySQLError) as cause:
            if ends_transaction(cause):
                raise
            self._writers[stage.table].forget()
            # Every row that was refused alone is dealt with; this is a table that cannot go on.
            self._give_up(stage.table, cause)

    def _give_up(self, table: TableName, cause: ApplyError | pymysql.MySQLError) -> None:
        """Suspend a table, or stop, as the policy has it."""
        error = cause
        if isinstance(error, pymysql.MySQLError):
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
        for name in stage.tables:
            table = self._parts.get(name, name)
            writer = self._writers.get(table)
            if writer is None or self._refusals.is_out(table):
                continue
            try:
                with savepoint(self._session):
                    writer.truncate(name if name in self._parts else None)
            except (ApplyError, pymysql.MySQLError) as cause:
                if not careful or ends_transaction(cause):
                    raise
                self._give_up(table, cause)

    def _cascade(self, stage: Cascade, *, careful: bool) -> None:
        for writer, key in self._cascades.children(stage):
            table = writer.mapping.source.name
            if self._refusals.is_out(table):
                continue
            try:
                with savepoint(self._session):
                    self._rows += self._cascades.follow(stage, writer, key)
            except (ApplyError, pymysql.MySQLError) as cause:
                if not careful or ends_transaction(cause):
                    raise
                self._give_up(table, cause)

    # -- commits

    def _commit(self, batch: ChangeBatch) -> Applied:
        failpoint("apply.before_commit")
        commit = datetime.fromtimestamp(batch.commits[-1], UTC) if batch.commits else None
        row = self._checkpoint(batch.position, batch.transactions, batch.changes, commit)
        self._session.run("COMMIT")
        failpoint("apply.after_commit")
        self._open = self._in_parts = False
        self._durability.committed(batch.position)
        self._stored, self._stored_position = time.monotonic(), batch.position
        rows, self._rows = self._rows, 0
        return self._applied(row, rows)

    def _checkpoint(
        self, position: Position, transactions: int, changes: int, commit: datetime | None
    ) -> tuple[str | None, str | None]:
        """Write the checkpoint in the open transaction and hold the epoch until it ends."""
        check_epoch(self._session, self._epoch)
        values = {
            "migration": self._migration,
            "position": str(position),
            "tx": transactions,
            "changes": changes,
            "commit": None if commit is None else commit.replace(tzinfo=None),
        }
        run_named(self._session, _CHECKPOINT, values)
        return self._look()

    def _look(self) -> tuple[str | None, str | None]:
        """`(stop_at, settled)`."""
        rows = run_named(self._session, _LOOK, [self._migration])
        if not rows:
            raise FencedError(
                "the control tables hold nothing of this migration any more",
                where=f"migration {self._migration}",
                hint="it was cleaned up; start it again if that was not meant",
            )
        return rows[0][0], rows[0][1]

    def _applied(self, row: tuple[str | None, str | None], rows: int = 0) -> Applied:
        refused, suspended = self._refusals.taken()
        durable = self._durability.position()
        return Applied(durable, suspended, refused, row[0], row[1], rows)

    def idle(self, position: Position) -> Applied:
        """See `godwit.protocols.Applier.idle`."""
        now = time.monotonic()
        self._idle_position = position
        try:
            if now - self._stored >= IDLE_CHECKPOINT:
                return self._store(self._last(), now)
            return self._applied(self._look())
        except (pymysql.MySQLError, OSError) as cause:
            told = refusal(cause)
            if told.code in {_NO_DATABASE, _NO_TABLE}:
                raise FencedError(
                    "the control tables are gone",
                    where=f"migration {self._migration}",
                    hint="it was cleaned up; start it again if that was not meant",
                ) from None
            raise EndpointError("the connection to the target broke", why=told.reason) from None

    def _last(self) -> Position:
        """Everything up to here is applied: the last commit, or what was idle after it."""
        idle, stored = self._idle_position, self._stored_position
        if stored is None or (idle is not None and idle.includes(stored)):
            assert idle is not None
            return idle
        return stored

    def _store(self, position: Position, now: float) -> Applied:
        with transaction(self._session):
            row = self._checkpoint(position, 0, 0, None)
        self._durability.committed(position)
        self._stored_position, self._stored = position, now
        return self._applied(row)

    def close(self) -> Position | None:
        """See `godwit.protocols.Applier.close`."""
        try:
            if self._session.open:
                self._rollback()
                if self._stored_position is not None or self._idle_position is not None:
                    self._store(self._last(), time.monotonic())
                    self._durability.settle()
        except (pymysql.MySQLError, OSError, FencedError):
            pass
        finally:
            if self._session.open:
                self._session.close()
        return self._durability.known

    def _rollback(self) -> None:
        self._open = self._in_parts = False
        self._refusals.clear()
        self._rows = 0
        if self._session.open:
            try:
                self._session.run("ROLLBACK")
            except (pymysql.MySQLError, OSError):
                self._session.close()
        for writer in self._writers.values():
            writer.forget()


def _lenient(stage: TableChanges | KeyMove) -> bool:
    return isinstance(stage, TableChanges) and stage.lenient


def run_named(session: Session, query: str, values: Any) -> list[tuple[Any, ...]]:
    """Run a statement on the checkpoints."""
    return session.rows(query.format(checkpoints=control_table(session, "checkpoints")), values)


def _open_session(connector: Connector) -> Session:
    # Rows that an UPDATE meets count, whether it changes them or not.
    session = connector.connect(role="target", client_flag=CLIENT.LOCAL_FILES | CLIENT.FOUND_ROWS)
    # Deletes by alias want a database to be selected, whichever.
    session.select_db(session.control_database)
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
    session = _open_session(connector)
    try:
        writer = TableWriter(session, mapping, format, _nothing, connector.settings)
        changes = TableChanges(
            mapping.source.name,
            updates=(found,) if found.rows else (),
            deletes=gone if gone.rows else None,
        )
        writer.prepare([p for p in (found, gone) if p.rows])
        with transaction(session):
            if writer.keyed:
                rows = writer.apply_idempotent(changes)
            else:
                rows = writer.apply_multiset(changes).rows
            if epoch is not None:
                check_epoch(session, epoch)
        return rows
    finally:
        if session.open:
            session.close()


def _nothing(mapping: TableMapping, _keys: Payload) -> tuple[Payload, Payload]:
    raise ApplyError("rows that were read whole cannot be missing", where=str(mapping.target))

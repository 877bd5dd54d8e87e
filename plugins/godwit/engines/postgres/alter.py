"""Alters a table of the target as the source's was altered.

What the table shall look like is what CREATE TABLE would make of it now; what is to be done comes
from comparing that with the table as it is. Everything happens in one transaction, but for labels
added to an enum (which cannot be used before they are committed) and for columns that exchange
their names (two transactions with a note between them, so that nobody exchanges them back).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import psycopg

from godwit.engines.postgres.alter_checks import Checks
from godwit.engines.postgres.alter_columns import Columns
from godwit.engines.postgres.alter_present import Present, read_present
from godwit.engines.postgres.alter_wanted import Wanted, make_needed, read_wanted
from godwit.engines.postgres.catalog import Connection
from godwit.engines.postgres.clear import empty_table
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.ddl_run import ATTEMPTS, LOCK_TIMEOUT, PAUSE_SECONDS
from godwit.engines.postgres.names import quoted
from godwit.engines.postgres.refusals import refusal
from godwit.errors import EndpointError
from godwit.failpoints import failpoint
from godwit.model.catalog import Catalog
from godwit.model.mapping import TableMapping
from godwit.model.reshaping import Notes, Reshaping

_BUSY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
#: Errors whose detail names objects, not values: what depends on the column.
_NAMING = (psycopg.errors.DependentObjectsStillExist, psycopg.errors.FeatureNotSupported)


def alter(
    connector: Connector,
    notes: Notes | None,
    catalog: Catalog,
    before: TableMapping,
    now: TableMapping,
    renamed: Mapping[str, str],
    *,
    empty: bool,
) -> None:
    """See `godwit.protocols.Target.alter`. `notes`: the migration's control tables."""
    reshaping = Reshaping(before, now, renamed, empty)
    reshaping.check()
    try:
        wanted = read_wanted(connector, catalog, reshaping)
        with connector.connect(role="target", prepare_threshold=None) as session:
            session.execute("SELECT set_config('lock_timeout', %s, false)", [LOCK_TIMEOUT])
            session.execute("SET client_min_messages = error")
            _Alteration(connector, session, notes, reshaping, wanted).run()
    except psycopg.Error as cause:
        raise _refused(cause, reshaping, connector) from None
    # Sessions kept open may have prepared statements about the former columns.
    connector.close()


def _refused(cause: psycopg.Error, reshaping: Reshaping, connector: Connector) -> Exception:
    told = refusal(cause)
    why = told.reason
    if isinstance(cause, _NAMING) and cause.diag.message_detail:
        why += f": {' '.join(cause.diag.message_detail.split())}"
    if told.lost or isinstance(cause, _BUSY):
        return EndpointError(
            "the table cannot be altered on the target just now",
            where=f"{connector.where}: {reshaping.now.target}",
            why=why,
            hint="run the task again when the table is free and the server can be reached",
        )
    hint = (
        "drop what depends on the column on the target (make it anew afterwards), then `godwit "
        "reload`"
    )
    what = "the target refuses to alter the table"
    named = isinstance(cause, _NAMING)
    return reshaping.error(what, why, hint) if named else reshaping.error(what, why)


class _Alteration:
    """One table being altered."""

    def __init__(
        self,
        connector: Connector,
        session: Connection,
        notes: Notes | None,
        reshaping: Reshaping,
        wanted: Wanted,
    ) -> None:
        self._connector, self._session, self._notes = connector, session, notes
        self._reshaping, self._wanted = reshaping, wanted

    def run(self) -> None:
        """Everything, in as many transactions as it takes."""
        reshaping = self._reshaping
        columns = self._columns()
        columns.check()
        make_needed(self._connector, self._wanted, columns.made_anew(), reshaping)
        fresh = [c.name for c in columns.fresh()]
        self._execute(columns.enums.labels(self._session, fresh))
        there = set(columns.present.columns)
        first = reshaping.todo(there, self._notes)
        if reshaping.at_once:
            self._attempt(lambda: self._whole(first=first))
            return
        if first:
            self._attempt(self._first)
            failpoint("alter.names_parked")
        if first or reshaping.parked(there):
            reshaping.note_parked(self._notes)
        self._attempt(self._second)

    def _present(self) -> Present:
        table = self._reshaping.now.target
        present = read_present(self._session, table)
        if present is None:
            raise self._reshaping.error("the target does not have the table", "it was dropped")
        return present

    def _columns(self) -> Columns:
        return Columns(self._reshaping, self._wanted, self._present())

    def _whole(self, *, first: bool) -> None:
        if first:
            self._first()
        self._second()

    def _first(self) -> None:
        """Columns whose name another one will have get names for the passage."""
        self._lock()
        self._execute(self._columns().parked())

    def _second(self) -> None:
        """What was renamed gets its name; then what is dropped, types, defaults, new columns."""
        self._lock()
        columns = self._columns()
        if self._reshaping.empty and columns.in_the_way():
            empty_table(self._session, self._reshaping.now.target)
        self._execute(columns.renamed())
        columns = self._columns()
        types = columns.enums.former()
        indexes = columns.lost_indexes(self._session)
        self._execute(Checks.of(self._session, columns).dropped())
        self._execute(columns.dropped())
        self._execute(columns.redefined())
        columns = self._columns()
        self._execute(columns.enums.renamed(self._session))
        # They are only names: where one is taken, all stay as they are.
        taken = suppress(psycopg.errors.DuplicateObject, psycopg.errors.UndefinedObject)
        with taken, self._session.transaction():
            self._execute(columns.named_anew())
        fresh = {c.name for c in columns.fresh()}
        self._execute(columns.added())
        self._execute(indexes)
        columns = self._columns()
        self._execute(Checks.of(self._session, columns).added(fresh))
        self._parts()
        for name in sorted(types - columns.enums.former()):
            # Somebody else uses it: then it stays.
            with suppress(psycopg.errors.DependentObjectsStillExist), self._session.transaction():
                self._execute([f"DROP TYPE IF EXISTS {quoted(*name)}"])

    def _parts(self) -> None:
        """Partitions that the source has made; those that it dropped, when the rows are gone."""
        there = self._present().parts
        wanted = self._wanted.parts()
        for step in wanted:
            if step.table is not None and step.table not in there:
                self._execute(step.statements)
        if self._reshaping.empty:
            former = {p.name.name for p in self._reshaping.before.source.parts}
            kept = {s.table for s in wanted}
            gone = sorted(p for p in there - kept if p.name in former)
            self._execute([f"DROP TABLE {quoted(*part)}" for part in gone])

    def _lock(self) -> None:
        table = quoted(*self._reshaping.now.target)
        self._execute([f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"])

    def _execute(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._session.execute(statement.encode())

    def _attempt(self, work: Callable[[], None]) -> None:
        """In a transaction of its own; a lock that is not had in time is asked for again."""
        pause = threading.Event()
        for attempt in range(ATTEMPTS):
            try:
                with self._session.transaction():
                    work()
            except _BUSY:
                if attempt == ATTEMPTS - 1:
                    raise
                pause.wait(PAUSE_SECONDS)
            else:
                return

"""Alters a table of the target as the source's was altered.

What the table shall look like is what CREATE TABLE would make of it now; what is to be done comes
from comparing that with the table as it is. A statement that alters a table is a commit of its own,
so one ALTER TABLE says all of it. Only columns that exchange their names take two, with a note
between them, so that nobody exchanges them back.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pymysql

from godwit.engines.mysql.alter_clauses import Clauses
from godwit.engines.mysql.alter_shapes import Wanted, read_present, read_wanted
from godwit.engines.mysql.clear import empty_table
from godwit.engines.mysql.connection import Connector, Session, Version
from godwit.engines.mysql.ddl_run import ATTEMPTS, LOCK_SECONDS, PAUSE_SECONDS
from godwit.engines.mysql.ddl_steps import shortened
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import TableShape
from godwit.engines.mysql.refusals import refusal
from godwit.engines.mysql.sqltext import canonical
from godwit.errors import EndpointError
from godwit.failpoints import failpoint
from godwit.model.catalog import Catalog, TableName
from godwit.model.mapping import TableMapping
from godwit.model.reshaping import Notes, Reshaping

#: Lock wait timeout, deadlock, and a definition that changed meanwhile.
_BUSY = frozenset({1205, 1213, 1412})
_INBOUND = (
    "SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_COLUMN_NAME"
    " FROM information_schema.KEY_COLUMN_USAGE"
    " WHERE REFERENCED_TABLE_SCHEMA = %s AND REFERENCED_TABLE_NAME = %s"
)


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
    session = connector.connect(role="target")
    try:
        session.run(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
        for setting in (
            "innodb_strict_mode = 0",
            "restrict_fk_on_non_standard_key = 0",
            "system_versioning_alter_history = 'KEEP'",
        ):
            # Each is known to some servers only.
            with suppress(pymysql.MySQLError):
                session.run(f"SET SESSION {setting}")
        wanted = read_wanted(session, connector.version, connector.settings, catalog, reshaping)
        _Alteration(session, notes, reshaping, wanted, connector.version).run()
    except pymysql.MySQLError as cause:
        raise _refused(cause, reshaping, connector) from None
    finally:
        with suppress(pymysql.MySQLError):
            session.close()


def _refused(cause: pymysql.MySQLError, reshaping: Reshaping, connector: Connector) -> Exception:
    told = refusal(cause)
    if told.lost or told.code in _BUSY:
        return EndpointError(
            "the table cannot be altered on the target just now",
            where=f"{connector.where}: {reshaping.now.target}",
            why=told.reason,
            hint="run the task again when the table is free and the server can be reached",
        )
    return reshaping.error("the target refuses to alter the table", told.reason)


class _Alteration:
    """One table being altered."""

    def __init__(
        self,
        session: Session,
        notes: Notes | None,
        reshaping: Reshaping,
        wanted: Wanted,
        version: Version,
    ) -> None:
        self._session, self._notes = session, notes
        self._reshaping, self._wanted, self._version = reshaping, wanted, version
        self._table = reshaping.now.target

    def run(self) -> None:
        """Everything, statement by statement."""
        reshaping = self._reshaping
        present = self._present()
        there = {c.name for c in present.columns}
        first = reshaping.todo(there, self._notes)
        clauses = self._clauses(present, first=first)
        clauses.check()
        if reshaping.empty and clauses.in_the_way():
            empty_table(self._session, self._session, self._table)
        if first and not reshaping.at_once:
            passage = {o: n for o, n in reshaping.passages.items() if o in there}
            parked = Clauses(
                reshaping, self._wanted, self._present(), self._version, passage, final=False
            )
            self._alter(self._table, parked.all())
            failpoint("alter.names_parked")
        if not reshaping.at_once and (first or reshaping.parked(there)):
            reshaping.note_parked(self._notes)
        clauses = self._clauses(self._present(), first=first)
        self._foreign_keys(clauses.present, clauses.gone)
        failpoint("alter.foreign_keys_dropped")
        self._alter(self._table, self._clauses(self._present(), first=first).all())
        failpoint("alter.altered")
        self._partitions(self._present())

    def _present(self) -> TableShape:
        present = read_present(self._session, self._table)
        if present is None:
            raise self._reshaping.error("the target does not have the table", "it was dropped")
        return present

    def _clauses(self, present: TableShape, *, first: bool) -> Clauses:
        """The last of the statements, as far as it can be told from the table as it is."""
        reshaping = self._reshaping
        there = {c.name for c in present.columns}
        if reshaping.at_once or not reshaping.taken_over:
            moves = reshaping.moves if first else {}
            gone = reshaping.gone if first else frozenset()
        else:
            moves = reshaping.arrivals
            gone = frozenset(reshaping.passages[name] for name in reshaping.gone)
        moves = {old: new for old, new in moves.items() if old in there}
        return Clauses(reshaping, self._wanted, present, self._version, moves, gone)

    # -- foreign keys

    def _foreign_keys(self, present: TableShape, gone: frozenset[str]) -> None:
        """Drop foreign keys that the source dropped, and those over columns that go."""
        reshaping = self._reshaping
        before, now = reshaping.before.source, reshaping.now.source
        lost = {k.name for k in before.foreign_keys} - {k.name for k in now.foreign_keys}
        lost = {shortened(name) for name in lost}
        own = [
            k.name for k in present.foreign_keys if k.name in lost or gone.intersection(k.columns)
        ]
        self._alter(self._table, [f"DROP FOREIGN KEY {quoted(name)}" for name in own])
        if not gone:
            return
        without = {
            c.target
            for c in reshaping.before.columns
            if reshaping.renamed.get(c.source or "", c.source or "") not in now.by_name
        }
        others: dict[TableName, set[str]] = {}
        for schema, table, name, column in self._session.rows(_INBOUND, tuple(self._table)):
            # The source has no such column any more, so nothing there can refer to it.
            if str(column) in gone & without:
                others.setdefault(TableName(str(schema), str(table)), set()).add(str(name))
        for other, keys in others.items():
            self._alter(other, [f"DROP FOREIGN KEY {quoted(name)}" for name in sorted(keys)])

    def _partitions(self, present: TableShape) -> None:
        """Partitions as the source has them now, when the rows are going to be loaded again."""
        source = self._reshaping.before.source, self._reshaping.now.source
        same = [p.name for p in source[0].parts] == [p.name for p in source[1].parts]
        shape = self._wanted.shape
        if same or not self._reshaping.empty or shape.partitions == "":
            return
        if canonical(shape.partitions) != canonical(present.partitions):
            empty_table(self._session, self._session, self._table)
            self._run(f"ALTER TABLE {quoted(*self._table)} {shape.partitions}")

    # -- statements

    def _alter(self, table: TableName, clauses: Sequence[str]) -> None:
        if clauses:
            self._run(f"ALTER TABLE {quoted(*table)} {', '.join(clauses)}")

    def _run(self, statement: str) -> None:
        """Run it; a lock that is not had in time is asked for again."""
        pause = threading.Event()
        for attempt in range(ATTEMPTS):
            try:
                self._session.run(statement)
            except pymysql.MySQLError as cause:
                code = cause.args[0] if cause.args else None
                if code not in _BUSY or attempt == ATTEMPTS - 1:
                    raise
                pause.wait(PAUSE_SECONDS)
            else:
                return

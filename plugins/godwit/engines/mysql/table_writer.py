"""Applies net changes to one table, set by set."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pymysql

from godwit.engines.mysql.apply_sql import TableSql
from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.encode import Destination, Encoder, arriving_types, destination
from godwit.engines.mysql.facts import Facts, read_facts
from godwit.engines.mysql.multiset_sql import RowsSql
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.refusals import refusal
from godwit.engines.mysql.rows import batch_of, cut_rows, numbered, renamed, take_rows
from godwit.engines.mysql.write import load_rows
from godwit.errors import ApplyError
from godwit.model.catalog import TableName
from godwit.model.changes import Format, KeyMove, Payload, TableChanges
from godwit.model.mapping import TableMapping
from godwit.protocols import Reselect

#: Seconds after which the table's indexes and size are looked up again.
FACTS_SECONDS = 60.0
#: A stage that held more rows is truncated between transactions instead of deleted from within one.
MANY = 1000

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Counts:
    """What an exact application met, and what it looked for in vain. `missing_rows`: of a table
    without identity, where an update is a row removed and another one made.
    """

    rows: int
    missing_updates: int = 0
    missing_deletes: int = 0
    missing_rows: int = 0


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A part of the transaction that can fail alone."""
    name = f"godwit_{next(_numbers)}"
    session.run(f"SAVEPOINT {name}")
    try:
        yield
    except (pymysql.MySQLError, ApplyError) as cause:
        # After these the server has rolled back everything, savepoints and all.
        if not ends_transaction(cause):
            session.run(f"ROLLBACK TO SAVEPOINT {name}")
        raise
    session.run(f"RELEASE SAVEPOINT {name}")


def ends_transaction(error: Exception) -> bool:
    """Nothing of the transaction can be saved: the connection is lost, or it is to be repeated."""
    if not isinstance(error, pymysql.MySQLError):
        return isinstance(error, OSError)
    told = refusal(error)
    return told.lost or told.transient


class TableWriter:
    """One target table in one session."""

    def __init__(
        self,
        session: Session,
        mapping: TableMapping,
        format: Format,
        reselect: Reselect,
        settings: Mapping[str, Any],
    ) -> None:
        self.mapping = mapping
        self.target = mapping.target
        self.session = session
        self._format, self._reselect, self._settings = format, reselect, settings
        self._facts: Facts | None = None
        self._facts_at = 0.0
        self._statements: dict[tuple[tuple[str, ...], str], TableSql] = {}
        self._staged: set[str] = set()
        #: Stages that may hold rows, with the most rows they may hold.
        self._used: dict[TableName, int] = {}
        self._groups: dict[TableSql, RowsSql] = {}
        self._encoders: dict[tuple[str, ...], Encoder] = {}

    @property
    def keyed(self) -> bool:
        """Rows are told apart by an identity."""
        return bool(self.mapping.source.identity)

    @property
    def identity(self) -> tuple[str, ...]:
        """Target columns of the identity, in the order of the source's."""
        names = self.mapping.target_names
        return tuple(names[c] for c in self.mapping.source.identity)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns of the mapping, by target name."""
        return tuple(c.target for c in self.mapping.columns)

    @cached_property
    def _byte_equal(self) -> bool:
        return all(self.mapping.source.column(c).byte_equal for c in self.mapping.source.identity)

    @property
    def facts(self) -> Facts:
        """What the target knows of the table, a minute old at most."""
        now = time.monotonic()
        if self._facts is None or now - self._facts_at > FACTS_SECONDS:
            facts = read_facts(self.session, self.target, self.identity if self.keyed else ())
            if facts is None:
                raise ApplyError(
                    "the target table does not exist",
                    where=str(self.target),
                    hint="run convert_schema, or take the table out of the mapping",
                )
            self._check(facts)
            if self._facts is not None and replace(facts, rows=0) != replace(self._facts, rows=0):
                self._statements.clear()
                self._encoders.clear()
            self._facts, self._facts_at = facts, now
        return self._facts

    def _check(self, facts: Facts) -> None:
        if not facts.transactional:
            raise ApplyError(
                "the target table cannot take part in a transaction",
                where=str(self.target),
                why="changes and checkpoint would not be committed together",
                hint="ALTER TABLE … ENGINE=InnoDB, then reload the table",
            )
        absent = [c for c in self.columns if c.lower() not in facts.columns]
        if absent:
            raise ApplyError(
                "the target table lacks columns: " + ", ".join(absent),
                where=str(self.target),
                hint="convert the schema again, or take the columns out of the mapping",
            )

    def sql(self, columns: tuple[str, ...], use: str = "") -> TableSql:
        """The statements for these target columns. Stages of another `use` are others; those whose
        use begins with ``#`` number their rows.
        """
        facts = self.facts
        statements = self._statements.get((columns, use))
        if statements is None:
            identity = self.identity if self.keyed else ()
            stage = f"godwit_stage_{next(_numbers)}"
            statements = TableSql(
                self.target, columns, identity, stage, facts, numbered=use.startswith("#")
            )
            self._statements[columns, use] = statements
        return statements

    # -- transactions

    def prepare(self, payloads: Sequence[Payload]) -> None:
        """Between transactions: have the stages ready that these payloads need, and empty.

        Older servers with GTIDs make no temporary table inside a transaction.
        """
        if self.keyed:
            for payload in payloads:
                self._create(self.sql(payload.columns))
        many = [stage for stage, rows in self._used.items() if rows > MANY]
        for stage in many:
            self.session.run(f"TRUNCATE TABLE {quoted(*stage)}")
            del self._used[stage]

    def forget(self) -> None:
        """The transaction, or a part of it, was rolled back: stages hold what they held before."""
        for statements in self._statements.values():
            if statements.stage.name in self._staged:
                self._used.setdefault(statements.stage, 0)

    # -- moving rows

    def _create(self, statements: TableSql) -> None:
        if statements.stage.name not in self._staged:
            self.session.run(statements.create_stage)
            self._staged.add(statements.stage.name)

    def empty(self, statements: TableSql) -> None:
        """Have the stage there, without rows."""
        self._create(statements)
        if statements.stage in self._used:
            self.session.run(statements.empty_stage)
        self._used[statements.stage] = 0

    def stage(self, payload: Payload, use: str = "", first: int = 0) -> TableSql:
        """Put the payload into its temporary table (a numbered one: from `first` on)."""
        statements = self.sql(payload.columns, use)
        self.empty(statements)
        self.append(statements, payload, first)
        return statements

    def append(self, statements: TableSql, payload: Payload, first: int = 0) -> None:
        """Add the payload to a stage."""
        self.used(statements, payload.rows)
        rows = numbered(payload, statements.number, first) if statements.numbered else payload
        self.load(statements.stage, rows)

    def used(self, statements: TableSql, rows: int) -> None:
        """Note that rows were put into a stage."""
        self._used[statements.stage] = self._used.get(statements.stage, 0) + rows

    def load(self, table: TableName, payload: Payload) -> None:
        """LOAD DATA into the target table or a stage.

        Raises:
            WarnedError: a row would have been left out or bent; the caller rolls back.
        """
        columns = payload.columns
        encoder = self._encoders.get(columns)
        if encoder is None:
            encoder = self._encoders[columns] = self._encoder(columns)
        load_rows(self.session, table, encoder, [batch_of(payload)])

    def _encoder(self, columns: tuple[str, ...]) -> Encoder:
        arriving = arriving_types(self.mapping)
        made = []
        for name in columns:
            column = self.facts.columns.get(name.lower())
            if column is None:  # the number of a staged row
                made.append(Destination(name, "int unsigned", nullable=False))
            else:
                made.append(
                    destination(
                        name,
                        column.native,
                        column.charset,
                        nullable=column.nullable,
                        arriving=arriving.get(name),
                    )
                )
        return Encoder(made, self._format, self._settings)

    # -- net changes

    def apply_exact(self, changes: TableChanges) -> Counts:
        """The target is exact: rows meet their counterparts."""
        rows = missing_updates = missing_deletes = 0
        if changes.deletes:
            met = self.delete(changes.deletes)
            missing_deletes = changes.deletes.rows - met
            rows += met
        for payload in changes.updates:
            missing_updates += self._update(payload)
            rows += payload.rows
        if changes.inserts:
            self.load(self.target, changes.inserts)
            rows += changes.inserts.rows
        return Counts(rows, missing_updates, missing_deletes)

    def delete(self, keys: Payload) -> int:
        """Delete rows by identity; returns how many there were."""
        return self.session.run(self.stage(keys).delete)

    def _update(self, payload: Payload) -> int:
        """Update rows; those that the target lacks are completed and made. Returns their number."""
        statement = self.sql(payload.columns).update
        if statement is None:
            return self._make_missing(payload)
        statements = self.stage(payload)
        if self.complete(payload) and statements.upsertable:
            # Faster than an UPDATE of two tables, which puts what it is to set aside first.
            missing = payload.rows - int(self.session.value(statements.count))
            self.session.run(statements.upsert)
            return missing
        query = statement if self._byte_equal else statements.rewrite
        missing = payload.rows - self.session.run(query)
        if missing:
            self._make_missing(payload)
        return missing

    def _make_missing(self, payload: Payload) -> int:
        """Rows of an update that the target does not have are read from the source again.

        Returns how many there were.
        """
        keys = self.missing(payload)
        if keys.rows:
            found = self.read_again(keys)
            if found.rows:
                self._upsert(found)
        return keys.rows

    def missing(self, payload: Payload) -> Payload:
        """Identities of the payload's rows that the table does not have."""
        keys = take_rows(payload, range(payload.rows), self.identity)
        statements = self.stage(keys, "#keys")
        places = [row[0] for row in self.session.rows(statements.missing)]
        return take_rows(payload, places, self.identity)

    def read_again(self, keys: Payload) -> Payload:
        """Rows as the source has them; those it has removed since are removed here too, whatever
        comes later.
        """
        found, gone = self._reselect(self.mapping, renamed(keys, self.mapping.source.identity))
        if gone.rows:
            self.delete(gone)
        return found

    def apply_idempotent(self, changes: TableChanges) -> int:
        """The target may be ahead or behind: make rows as they are told, whatever is there."""
        rows = 0
        for gone in (changes.deletes, changes.cancelled):
            if gone:
                rows += self.delete(gone)
        full = [p for p in changes.updates if self.complete(p)]
        for payload in ([changes.inserts] if changes.inserts else []) + full:
            self._upsert(payload)
            rows += payload.rows
        for payload in changes.updates:
            if not self.complete(payload):
                self._update(payload)
                rows += payload.rows
        return rows

    def complete(self, payload: Payload) -> bool:
        """The payload tells every column."""
        return len(payload.columns) == len(self.columns)

    def _upsert(self, payload: Payload) -> None:
        statements = self.stage(payload)
        if statements.upsertable:
            self.session.run(statements.upsert)
        else:
            # With another unique key, an upsert would take the row that it finds by that one.
            self.session.run(statements.delete)
            self.session.run(statements.insert)

    # -- tables without identity

    def apply_multiset(self, changes: TableChanges) -> Counts:
        """A table without identity: as many rows are removed as were told, whichever they are."""
        rows = missing = 0
        if changes.deletes:
            met = self._delete_rows(changes.deletes)
            missing = changes.deletes.rows - met
            rows += met
        for payload in ([changes.inserts] if changes.inserts else []) + list(changes.updates):
            self.load(self.target, payload)
            rows += payload.rows
        return Counts(rows, missing_rows=missing)

    def _delete_rows(self, payload: Payload) -> int:
        statements = self.stage(payload)
        groups = self._groups.get(statements)
        if groups is None:
            groups = RowsSql(statements, f"godwit_groups_{next(_numbers)}")
            for statement in groups.create:
                self.session.run(statement)
            self._groups[statements] = groups
        for statement in groups.fill:
            self.session.run(statement)
        met = 0
        for group, wanted in self.session.rows(groups.plenty):
            values = {"hash": group, "rows": int(wanted)}
            met += self.session.run(groups.delete_some, values)
            self.session.run(groups.leave_out, [group])
        return met + self.session.run(groups.delete)

    # -- identities that change

    def move(self, move: KeyMove, *, exact: bool) -> None:
        """Rows get another identity and keep columns that the log does not tell."""
        for place in range(move.old.rows):
            self._move(cut_rows(move.old, place, 1), cut_rows(move.new, place, 1), exact=exact)

    def _move(self, old: Payload, new: Payload, *, exact: bool) -> None:
        staged = self.stage(old, "old")
        # While catching up, the row found may be the next one that bears the old identity.
        if not exact:
            self.session.run(staged.delete)
        elif self.session.run(self.stage(new).move(staged)):
            return
        # Not there yet, or gone: the source knows.
        self._make_missing(new)

    # -- truncation

    def part(self, part: TableName) -> str:
        """The target's partition of that name, which corresponds to the source's."""
        found = self.session.rows(
            "SELECT 1 FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = %s"
            " AND TABLE_NAME = %s AND %s IN (PARTITION_NAME, SUBPARTITION_NAME) LIMIT 1",
            [*self.target, part.name],
        )
        if not found:
            raise ApplyError(
                f"the partition {part} was truncated, and the target has none of that name",
                where=str(self.target),
                hint="load the table again: `godwit reload FILE --table …`",
            )
        return part.name

    def truncate(self, part: TableName | None = None) -> None:
        """Remove all rows (of one partition): TRUNCATE would commit the transaction."""
        partition = f" PARTITION ({quoted(self.part(part))})" if part else ""
        self.session.run(f"DELETE FROM {quoted(*self.target)}{partition}")

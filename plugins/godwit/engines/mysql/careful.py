"""What is done with changes that the target refuses.

A table's changes are applied by deleting every row they touch and inserting the new versions: keys
that are swapped between rows never meet. Rows that are refused even so are found by halving, and
the error policy decides about each: log it, leave it out, suspend the table, or stop.

Versions so far and versions to come wait in stages on the server, which has the former already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pymysql

from godwit.engines.mysql.apply_sql import TableSql
from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.control_tables import control_table
from godwit.engines.mysql.refusals import Refusal, refusal
from godwit.engines.mysql.rows import concat_rows, cut_rows, shown, shown_row, take_rows
from godwit.engines.mysql.table_writer import (
    Counts,
    TableWriter,
    ends_transaction,
    savepoint,
)
from godwit.errors import ApplyError
from godwit.model.catalog import TableName
from godwit.model.changes import KeyMove, Payload, TableChanges
from godwit.protocols import ErrorPolicy


@dataclass
class Refusals:
    """Rows refused and tables suspended by the batch at hand; written with its commit."""

    session: Session
    migration: str
    policy: ErrorPolicy
    position: str = ""
    lines: list[tuple[TableName, str, str, str]] = field(default_factory=list)
    tables: dict[TableName, str] = field(default_factory=dict)
    #: Reported since `taken` was last called.
    count: int = 0
    suspended: tuple[TableName, ...] = ()
    _written: set[TableName] = field(default_factory=set)
    _before: tuple[list[tuple[TableName, str, str, str]], dict[TableName, str]] = field(
        default_factory=lambda: ([], {})
    )

    def begin(self, position: str) -> None:
        """A new batch, or the next part of one."""
        self.position = position
        self._before = list(self.lines), dict(self.tables)

    def undo(self) -> None:
        """What was noted since `begin` was rolled back."""
        self.lines, self.tables = list(self._before[0]), dict(self._before[1])

    def is_out(self, table: TableName) -> bool:
        """Suspended by this session."""
        return table in self.tables or table in self._written

    def clear(self) -> None:
        """The whole transaction was rolled back."""
        self.lines, self.tables = [], {}

    def log(self, table: TableName, operation: str, key: str, error: str) -> None:
        """Note a refused row."""
        self.lines.append((table, operation, key, error))

    def suspend(self, table: TableName, reason: str) -> None:
        """Take a table out of the migration with this batch."""
        self.tables[table] = reason
        self.lines = [line for line in self.lines if line[0] != table]

    def missing(self, table: TableName, counts: Counts) -> None:
        """Updates and deletes that met no row on a target that should have had it."""
        if counts.missing_updates:
            self._absent(table, "UPDATE", counts.missing_updates, self.policy.update)
        if counts.missing_deletes:
            self._absent(table, "DELETE", counts.missing_deletes, self.policy.delete)
        if counts.missing_rows:
            # An update of such a table is a row removed and another one made: the old one may be
            # there in another form.
            self._absent(table, "UPDATE or DELETE", counts.missing_rows, self.policy.update)

    def _absent(self, table: TableName, operation: str, rows: int, policy: str) -> None:
        done = {"UPDATE": "made again from the source", "DELETE": "nothing was left to do"}
        reason = f"{rows} row(s) did not exist on the target"
        reason += f": {done[operation]}" if operation in done else ""
        if policy == "STOP_TASK":
            raise ApplyError(
                f"{operation} met no row",
                where=str(table),
                why=reason,
                hint="validate the table; the policy for this is STOP_TASK",
            )
        if policy == "SUSPEND_TABLE":
            self.suspend(table, reason)
        elif policy == "LOG_ERROR":
            self.log(table, operation, "", reason)

    def write(self) -> None:
        """Write what was noted, in the transaction of the changes."""
        for table, operation, key, error in self.lines:
            self.session.run(
                f"INSERT INTO {control_table(self.session, 'apply_exceptions')} (task_name,"
                " table_owner, table_name, statement, error, `key`, position, error_time)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, UTC_TIMESTAMP(6))",
                [self.migration, *table, operation, error, key, self.position],
            )
        for table, reason in self.tables.items():
            self.session.run(
                f"INSERT INTO {control_table(self.session, 'suspended_tables')} (migration,"
                " table_schema, table_name, reason, suspended_at)"
                " VALUES (%s, %s, %s, %s, UTC_TIMESTAMP(6))"
                " ON DUPLICATE KEY UPDATE migration = migration",
                [self.migration, *table, reason],
            )
        self.count += len(self.lines)
        self.suspended += tuple(self.tables)
        self._written |= self.tables.keys()
        self.lines, self.tables = [], {}

    def taken(self) -> tuple[int, tuple[TableName, ...]]:
        """Rows refused and tables suspended since the last call."""
        result = self.count, self.suspended
        self.count, self.suspended = 0, ()
        return result


class Careful:
    """Applies the changes of one table, row by row where it must."""

    def __init__(
        self, session: Session, writer: TableWriter, policy: ErrorPolicy, refusals: Refusals
    ) -> None:
        self._session, self._writer = session, writer
        self._policy, self._refusals = policy, refusals
        self._table = writer.mapping.source.name
        #: New versions waiting, numbered; and up to which number each operation's go.
        self._whole: TableSql | None = None
        self._count = 0
        self._operations: list[tuple[int, str]] = []

    def apply(self, stage: TableChanges | KeyMove, *, exact: bool) -> int:
        """Apply; returns rows. Runs inside a savepoint of its own.

        Raises:
            ApplyError: the policy for a refused row is to suspend the table or to stop.
        """
        try:
            with savepoint(self._session):
                return self._quick(stage, exact=exact)
        except pymysql.MySQLError as cause:
            if ends_transaction(cause):
                raise
            self._writer.forget()
            if isinstance(stage, KeyMove):
                return self._move(stage, exact=exact)
        return self._replace(stage, exact=exact)

    def _quick(self, stage: TableChanges | KeyMove, *, exact: bool) -> int:
        writer = self._writer
        if isinstance(stage, KeyMove):
            writer.move(stage, exact=exact)
            return stage.old.rows
        if not writer.keyed:
            return self._counted(writer.apply_multiset(stage))
        if exact:
            return self._counted(writer.apply_exact(stage))
        return writer.apply_idempotent(stage)

    def _counted(self, counts: Counts) -> int:
        self._refusals.missing(self._table, counts)
        return counts.rows

    def _move(self, move: KeyMove, *, exact: bool) -> int:
        rows = 0
        for place in range(move.old.rows):
            old, new = cut_rows(move.old, place, 1), cut_rows(move.new, place, 1)
            try:
                with savepoint(self._session):
                    self._writer.move(KeyMove(move.table, old, new), exact=exact)
                    rows += 1
            except pymysql.MySQLError as cause:
                if ends_transaction(cause):
                    raise
                self._writer.forget()
                self._refuse("UPDATE", self._shown(new), refusal(cause))
        return rows

    # -- everything out, everything in

    def _replace(self, changes: TableChanges, *, exact: bool) -> int:
        """Delete all, insert all, and put the old version back where a new one is refused."""
        writer = self._writer
        whole = self._whole = writer.sql(writer.columns, "# new")
        writer.empty(whole)
        if not writer.keyed:
            if changes.deletes:
                deletes = TableChanges(changes.table, deletes=changes.deletes)
                self._counted(writer.apply_multiset(deletes))
            for payload in (changes.inserts, *changes.updates):
                self._arrive("INSERT", payload)
            return self._insert(None)
        old = writer.sql(writer.columns, "# old")
        writer.empty(old)
        missing = sum(self._taken_out("UPDATE", payload, old) for payload in changes.updates)
        for gone in (changes.deletes, changes.cancelled):
            if gone:
                writer.delete(gone)
        if changes.inserts:
            # On a target that may be ahead, a row that is there already is no refusal.
            if not exact or self._policy.insert == "INSERT_RECORD":
                self._taken_out("INSERT", changes.inserts, old)
            else:
                self._arrive("INSERT", changes.inserts)
        if exact and missing:
            self._refusals.missing(self._table, Counts(0, missing_updates=missing))
        return self._insert(old)

    def _taken_out(self, operation: str, payload: Payload, old: TableSql) -> int:
        """Delete the payload's rows; their versions so far go to `old`, the new ones to the queue.

        Returns how many were told in part only and were not there: the source's versions are in the
        queue.
        """
        writer = self._writer
        payload = self._fitting(operation, payload)
        if not payload.rows:
            return 0
        statements = writer.stage(payload, "# given")
        writer.used(old, self._session.run(statements.keep(old)))
        again = 0
        if writer.complete(payload):
            self._arrive(operation, payload)
        else:
            self._complete(operation, statements)
            keys = writer.missing(payload)
            if keys.rows:
                again = keys.rows
                self._arrive(operation, writer.read_again(keys))
        self._session.run(statements.delete)
        return again

    def _complete(self, operation: str, statements: TableSql) -> None:
        """Queue the staged rows with the columns that they lack from the table."""
        assert self._whole is not None
        first = self._count
        rows = self._session.run(statements.complete(self._whole, first))
        self._writer.used(self._whole, rows)
        highest = max((row[0] for row in self._session.rows(statements.numbers)), default=-1)
        self._count = first + highest + 1
        self._operations.append((self._count, operation))

    def _arrive(self, operation: str, payload: Payload | None) -> None:
        """Queue new versions that tell every column."""
        assert self._whole is not None
        payload = self._fitting(operation, payload) if payload else None
        if payload is None or not payload.rows:
            return
        payload = self._in_order(payload)
        self._writer.append(self._whole, payload, self._count)
        self._count += payload.rows
        self._operations.append((self._count, operation))

    def _in_order(self, payload: Payload) -> Payload:
        """With the columns in the order of the stage."""
        columns = self._writer.columns
        return (
            payload
            if payload.columns == columns
            else take_rows(payload, range(payload.rows), columns)
        )

    def _fitting(self, operation: str, payload: Payload) -> Payload:
        """The rows whose values fit the target's columns; the others are refused."""
        parts: list[Payload] = []
        self._halve(payload, operation, parts.append)
        return concat_rows(parts) if parts else cut_rows(payload, 0, 0)

    def _halve(self, payload: Payload, operation: str, fits: Callable[[Payload], None]) -> None:
        if not payload.rows:
            return
        try:
            with savepoint(self._session):
                self._writer.stage(payload, "# given")
        except pymysql.MySQLError as cause:
            if ends_transaction(cause):
                raise
            self._writer.forget()
            if payload.rows == 1:
                self._refuse(operation, self._shown(payload), refusal(cause))
                return
            middle = payload.rows // 2
            self._halve(cut_rows(payload, 0, middle), operation, fits)
            self._halve(cut_rows(payload, middle, payload.rows - middle), operation, fits)
            return
        fits(payload)

    # -- inserting by halves

    def _insert(self, old: TableSql | None) -> int:
        """Insert what can be inserted of the queue."""
        assert self._whole is not None
        numbers = [row[0] for row in self._session.rows(self._whole.numbers)]
        return self._halves(numbers, old) if numbers else 0

    def _halves(self, numbers: list[int], old: TableSql | None) -> int:
        assert self._whole is not None
        try:
            with savepoint(self._session):
                self._session.run(self._whole.insert_numbers(numbers[0], numbers[-1]))
                return len(numbers)
        except pymysql.MySQLError as cause:
            if ends_transaction(cause):
                raise
            self._writer.forget()
            if len(numbers) == 1:
                self._refuse_queued(numbers[0], refusal(cause))
                self._put_back(numbers[0], old)
                return 0
        middle = len(numbers) // 2
        return self._halves(numbers[:middle], old) + self._halves(numbers[middle:], old)

    def _refuse_queued(self, number: int, why: Refusal) -> None:
        operation = next(name for end, name in self._operations if number < end)
        self._refuse(operation, self._queued_key(number), why)

    def _queued_key(self, number: int) -> str:
        assert self._whole is not None
        columns = self._writer.identity or self._writer.columns[:1]
        return shown(columns, self._session.row(self._whole.values(columns, number)) or ())

    def _put_back(self, number: int, old: TableSql | None) -> None:
        """A refused row's version so far, unless another row has taken one of its unique values:
        then only the exceptions table has it.
        """
        if old is None:
            return
        assert self._whole is not None
        try:
            with savepoint(self._session):
                self._session.run(self._whole.put_back(old, number))
        except pymysql.MySQLError as cause:
            if ends_transaction(cause):
                raise
            self._writer.forget()
            reason = f"its version so far could not be kept either: {refusal(cause).reason}"
            self._refusals.log(self._table, "UPDATE", self._queued_key(number), reason)

    # -- refusing

    def _shown(self, row: Payload) -> str:
        wanted = self._writer.identity or row.columns[:1]
        return shown_row(row, [c for c in wanted if c in row.columns])

    def _refuse(self, operation: str, key: str, why: Refusal) -> None:
        if not why.of_a_row:
            raise ApplyError(
                "the target refuses the table's changes",
                where=f"{self._table}, position {self._refusals.position}",
                why=why.reason,
                hint=why.hint,
            )
        policies = {"INSERT": self._policy.insert, "UPDATE": self._policy.update}
        policy = self._policy.data if why.of_a_value else policies[operation]
        if policy == "IGNORE_RECORD":
            return
        if policy in {"SUSPEND_TABLE", "STOP_TASK"}:
            raise ApplyError(
                f"{operation} of a row is refused",
                where=f"{self._table}, key {key}, position {self._refusals.position}{why.place}",
                why=why.reason,
                hint=f"{why.hint}; the policy for this is {policy}",
            )
        self._refusals.log(self._table, operation, key, why.reason)

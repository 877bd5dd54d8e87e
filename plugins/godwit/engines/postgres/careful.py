"""What is done with changes that the target refuses.

A table's changes are applied by deleting every row they touch and inserting the new versions: keys
that are swapped between rows never meet. Rows that are refused even so are found by halving, and
the error policy decides about each: log it, leave it out, suspend the table, or stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from godwit.engines.postgres.connection import BINARY, Session
from godwit.engines.postgres.refusals import Refusal, refusal
from godwit.engines.postgres.rows import concat_rows, fields_of, split_rows
from godwit.engines.postgres.table_writer import Counts, TableWriter
from godwit.errors import ApplyError
from godwit.model.catalog import TableName
from godwit.model.changes import KeyMove, Payload, TableChanges
from godwit.protocols import ErrorPolicy

_LOG = (
    "INSERT INTO godwit.apply_exceptions"
    " (task_name, table_owner, table_name, statement, error, key, position)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
_SUSPEND = (
    "INSERT INTO godwit.suspended_tables (migration, table_schema, table_name, reason)"
    " VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
)


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
            values = [self.migration, *table, operation, error, key, self.position]
            self.session.execute(_LOG, values)
        for table, reason in self.tables.items():
            self.session.execute(_SUSPEND, [self.migration, *table, reason])
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

    def apply(self, stage: TableChanges | KeyMove, *, exact: bool) -> int:
        """Apply; returns rows. Runs inside a savepoint of its own.

        Raises:
            ApplyError: the policy for a refused row is to suspend the table or to stop.
        """
        try:
            with self._session.transaction():
                return self._quick(stage, exact=exact)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as cause:
            self._writer.forget(all_of_it=False)
            if isinstance(stage, KeyMove):
                self._refuse("UPDATE", stage.new, refusal(cause))
                return 0
        return self._replace(stage, exact=exact)

    def _quick(self, stage: TableChanges | KeyMove, *, exact: bool) -> int:
        writer = self._writer
        if isinstance(stage, KeyMove):
            writer.move(stage, exact=exact)
            return 1
        if not writer.keyed:
            return self._counted(writer.apply_multiset(stage))
        if exact:
            return self._counted(writer.apply_exact(stage))
        return writer.apply_idempotent(stage)

    def _counted(self, counts: Counts) -> int:
        self._refusals.missing(self._table, counts)
        return counts.rows

    def _replace(self, changes: TableChanges, *, exact: bool) -> int:
        """Delete all, insert all, and put the old version back where a new one is refused."""
        writer = self._writer
        if not writer.keyed:
            return self._insert("INSERT", self._deleted(changes), {})
        old: dict[bytes, Payload] = {}
        whole: list[tuple[str, Payload]] = []
        missing = 0
        for payload in changes.updates:
            complete, again = self._taken_out(payload, old)
            whole += [("UPDATE", complete), ("UPDATE", again)]
            missing += again.rows
        for gone in (changes.deletes, changes.cancelled):
            if gone:
                writer.run(writer.stage(gone).delete, gone.rows)
        if changes.inserts:
            whole.append(("INSERT", changes.inserts))
            # On a target that may be ahead, a row that is there already is no refusal.
            if not exact or self._policy.insert == "INSERT_RECORD":
                self._taken_out(changes.inserts, old)
        if exact and missing:
            self._refusals.missing(self._table, Counts(0, missing_updates=missing))
        return sum(self._insert(operation, payload, old) for operation, payload in whole)

    def _taken_out(self, payload: Payload, old: dict[bytes, Payload]) -> tuple[Payload, Payload]:
        """Delete the payload's rows; their versions so far go to `old`.

        Returns the payload with all columns known, and, of rows that tell only some of their
        columns and are not there, the source's version.
        """
        writer = self._writer
        columns = tuple(c.target for c in writer.mapping.columns)
        statements = writer.stage(payload)
        for row in split_rows(
            writer.format, writer.copy_out(statements.existing(columns), columns)
        ):
            old[self._key(columns, row)] = writer.as_payload(row)
        complete, again = payload, Payload(payload.columns, 0, payload.data)
        if len(payload.columns) < len(columns):
            keys = writer.copy_out(statements.missing, statements.identity)
            complete = writer.as_payload(writer.copy_out(statements.completed(columns), columns))
            if keys.rows:
                again = writer.read_again(keys)
        writer.run(statements.delete, payload.rows)
        return complete, again

    def _deleted(self, changes: TableChanges) -> Payload | None:
        if changes.deletes:
            self._counted(
                self._writer.apply_multiset(TableChanges(changes.table, deletes=changes.deletes))
            )
        return changes.inserts

    def _insert(self, operation: str, payload: Payload | None, old: dict[bytes, Payload]) -> int:
        """Insert what can be inserted, by halves."""
        if payload is None or not payload.rows:
            return 0
        return self._halves(operation, split_rows(self._writer.format, payload), old)

    def _halves(self, operation: str, rows: Sequence[Payload], old: dict[bytes, Payload]) -> int:
        writer = self._writer
        try:
            with self._session.transaction():
                whole = concat_rows(writer.format, rows)
                writer.insert(whole)
                return len(rows)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as cause:
            if len(rows) == 1:
                self._refuse(operation, rows[0], refusal(cause))
                self._put_back(old.get(self._key(writer.columns(rows[0]), rows[0])))
                return 0
        middle = len(rows) // 2
        return self._halves(operation, rows[:middle], old) + self._halves(
            operation, rows[middle:], old
        )

    def _put_back(self, before: Payload | None) -> None:
        """A refused row's version so far, unless another row has taken one of its unique values:
        then only the exceptions table has it.
        """
        if before is None:
            return
        try:
            with self._session.transaction():
                self._writer.insert(before)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as cause:
            reason = f"its version so far could not be kept either: {refusal(cause).reason}"
            self._refusals.log(self._table, "UPDATE", self._shown_key(before), reason)

    def _key(self, columns: tuple[str, ...], row: Payload) -> bytes:
        fields = dict(zip(columns, fields_of(self._writer.format, row), strict=True))
        return b"\0".join(fields[c] or b"" for c in self._writer.identity if c in fields)

    def _refuse(self, operation: str, row: Payload, why: Refusal) -> None:
        if not why.of_a_row:
            raise ApplyError(
                "the target refuses the table's changes",
                where=f"{self._table}, position {self._refusals.position}",
                why=why.reason,
                hint=why.hint,
            )
        policies = {"INSERT": self._policy.insert, "UPDATE": self._policy.update}
        policy = self._policy.data if why.sqlstate.startswith("22") else policies[operation]
        if policy == "IGNORE_RECORD":
            return
        key = self._shown_key(row)
        if policy in {"SUSPEND_TABLE", "STOP_TASK"}:
            raise ApplyError(
                f"{operation} of a row is refused",
                where=f"{self._table}, key {key}, position {self._refusals.position}{why.place}",
                why=why.reason,
                hint=f"{why.hint}; the policy for this is {policy}",
            )
        self._refusals.log(self._table, operation, key, why.reason)

    def _shown_key(self, row: Payload) -> str:
        """The identity, so that the row can be found: as text."""
        names = self._writer.columns(row)
        wanted = [c for c in self._writer.identity or names[:1] if c in names]
        if self._writer.format == BINARY:
            texts = self._told(row, wanted)
        else:
            fields = dict(zip(names, fields_of(self._writer.format, row), strict=True))
            values = [fields[c] for c in wanted]
            texts = [None if v is None else v.decode("utf-8", "replace") for v in values]
        shown = zip(wanted, texts, strict=True)
        return ", ".join(f"{c}={'NULL' if text is None else text[:64]}" for c, text in shown)

    def _told(self, row: Payload, wanted: Sequence[str]) -> list[str | None]:
        """The target's own texts of a binary row; hex where it doesn't even read the row."""
        try:
            with self._session.transaction():
                query = self._writer.stage(row).texts(wanted)
                return list(self._session.execute(query).fetchone() or ())
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            self._writer.forget(all_of_it=False)
        fields = dict(
            zip(self._writer.columns(row), fields_of(self._writer.format, row), strict=True)
        )
        return [None if (value := fields[c]) is None else value.hex() for c in wanted]

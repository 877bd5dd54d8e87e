"""Applies net changes to one table, set by set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.sql import Composable

from godwit.engines.postgres.apply_sql import Facts, TableSql, read_facts
from godwit.engines.postgres.connection import BINARY, Session
from godwit.engines.postgres.encode import SIGNATURE, TRAILER
from godwit.engines.postgres.text_columns import batch_csv, csv_batch
from godwit.errors import ApplyError
from godwit.model.catalog import TableName
from godwit.model.changes import Format, KeyMove, Payload, TableChanges
from godwit.model.datatypes import Kind
from godwit.model.mapping import TableMapping
from godwit.protocols import Reselect

#: Types whose equal texts are equal values by the type's own operator.
COMPARABLE = frozenset(
    {Kind.BOOLEAN, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.TEXT, Kind.BINARY, Kind.UUID}
    | {Kind.DATE, Kind.TIMESTAMP, Kind.ENUM}
)
#: Above this share of the table a join that reads it whole is the better plan.
SCAN_SHARE = 0.2
#: Seconds after which the table's size is looked up again.
FACTS_SECONDS = 60.0


@dataclass(frozen=True)
class Counts:
    """What an exact application met, and what it looked for in vain. `missing_rows`: of a table
    without identity, where an update is a row removed and another one made.
    """

    rows: int
    missing_updates: int = 0
    missing_deletes: int = 0
    missing_rows: int = 0


class TableWriter:
    """One target table in one session."""

    _stages = 0

    def __init__(
        self, session: Session, mapping: TableMapping, format: Format, reselect: Reselect
    ) -> None:
        self.mapping = mapping
        self.target = mapping.target
        self.format = format
        self._session = session
        self._reselect = reselect
        self._facts: Facts | None = None
        self._facts_at = 0.0
        self._statements: dict[tuple[str, ...], TableSql] = {}
        self._staged: set[tuple[str, ...]] = set()
        self._new: set[tuple[str, ...]] = set()
        self._used: set[tuple[str, ...]] = set()

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
    def _byte_equal(self) -> bool:
        return all(self.mapping.source.column(c).byte_equal for c in self.mapping.source.identity)

    @property
    def facts(self) -> Facts:
        """What the target knows of the table, a minute old at most."""
        now = time.monotonic()
        if self._facts is None or now - self._facts_at > FACTS_SECONDS:
            facts = read_facts(self._session, self.target, self.identity if self.keyed else ())
            if facts is None:
                raise ApplyError(
                    "the target table does not exist",
                    where=str(self.target),
                    hint="run convert_schema, or take the table out of the mapping",
                )
            if self._facts is not None and replace(facts, rows=0) != replace(self._facts, rows=0):
                self._statements.clear()
            self._facts, self._facts_at = facts, now
        return self._facts

    def columns(self, payload: Payload) -> tuple[str, ...]:
        """Target names of a payload's columns."""
        if self.format.columnar:
            return payload.columns
        names = self.mapping.target_names
        return tuple(names[c] for c in payload.columns)

    def sql(self, columns: tuple[str, ...]) -> TableSql:
        """The statements for these target columns."""
        facts = self.facts
        statements = self._statements.get(columns)
        if statements is None:
            TableWriter._stages += 1
            identity = self.identity if self.keyed else ()
            stage = f"godwit_stage_{TableWriter._stages}"
            statements = TableSql(self.target, columns, identity, stage, facts, self.format)
            self._statements[columns] = statements
            self._staged.discard(columns)
        return statements

    # -- transactions

    def committed(self) -> None:
        """The transaction was committed: stages made in it last, and are empty again."""
        self._new.clear()
        self._used.clear()

    def forget(self, *, all_of_it: bool = True) -> None:
        """The transaction was rolled back, or (`all_of_it` False) a part of it: stages made in it
        are gone, or may be, and may hold rows.
        """
        self._staged -= self._new
        self._used = set() if all_of_it else set(self._statements)
        self._new.clear()

    # -- moving rows

    def framed(self, payload: Payload) -> bytes:
        """The payload as a complete COPY stream."""
        if isinstance(payload.data, pa.RecordBatch):
            return batch_csv(payload.data)
        binary = self.format == BINARY or self._encoded(payload)
        return SIGNATURE + payload.data + TRAILER if binary else payload.data

    def _encoded(self, payload: Payload) -> bool:
        """Binary tuples that were made of columns (see `godwit.engines.postgres.incoming`)."""
        return self.format.columnar and isinstance(payload.data, bytes)

    def insert(self, payload: Payload) -> None:
        """COPY the payload into the table."""
        statements = self.sql(self.columns(payload))
        encoded = self._encoded(payload)
        self._copy_in(statements.copy_binary if encoded else statements.copy, payload)

    def _copy_in(self, statement: bytes, payload: Payload) -> None:
        with self._session.cursor().copy(statement) as copy:
            copy.write(self.framed(payload))

    def copy_out(self, statement: bytes, columns: tuple[str, ...]) -> Payload:
        """Rows of a COPY … TO STDOUT as a payload of the session's format."""
        cursor = self._session.cursor()
        with cursor.copy(statement) as copy:
            data = b"".join(copy)
        if self.format == BINARY:
            data = data[len(SIGNATURE) : -len(TRAILER)]
        rows = cursor.rowcount
        if self.format.columnar:
            return Payload(columns, rows, csv_batch(columns, data, rows))
        return Payload(columns, rows, data)

    def stage(self, payload: Payload) -> TableSql:
        """Put the payload into its temporary table."""
        columns = self.columns(payload)
        statements = self.sql(columns)
        if columns not in self._staged:
            self._session.execute(statements.create_stage)
            self._staged.add(columns)
            self._new.add(columns)
        if columns in self._used:
            self._session.execute(statements.empty_stage)
        self._used.add(columns)
        encoded = self._encoded(payload)
        self._copy_in(statements.fill_stage_binary if encoded else statements.fill_stage, payload)
        return statements

    def run(self, statement: bytes, rows: int) -> int:
        """Run a statement that joins `rows` staged rows; returns the rows it met."""
        share = rows > SCAN_SHARE * self.facts.rows > 0 or not self.facts.arbiter
        if share:
            self._session.execute("SET LOCAL enable_hashjoin = on")
        count = self._session.execute(statement).rowcount
        if share:
            self._session.execute("SET LOCAL enable_hashjoin = off")
        return count

    # -- net changes

    def apply_exact(self, changes: TableChanges) -> Counts:
        """The target is exact: rows meet their counterparts."""
        rows = missing_updates = missing_deletes = 0
        if changes.deletes:
            statements = self.stage(changes.deletes)
            met = self.run(statements.delete, changes.deletes.rows)
            missing_deletes = changes.deletes.rows - met
            rows += met
        for payload in changes.updates:
            missing = self._update(payload)
            missing_updates += missing
            rows += payload.rows
        if changes.inserts:
            self.insert(changes.inserts)
            rows += changes.inserts.rows
        return Counts(rows, missing_updates, missing_deletes)

    def _update(self, payload: Payload) -> int:
        """Update rows; those that the target lacks are completed and made. Returns their number."""
        statements = self.stage(payload)
        if statements.update is None:
            return self._make_missing(statements)
        if not statements.updatable:
            return self._replace(payload)
        missing = payload.rows - self.run(statements.update, payload.rows)
        if missing:
            self._make_missing(statements)
        return missing

    def _make_missing(self, statements: TableSql) -> int:
        """Rows of a staged update that the target does not have are read from the source again.

        Returns how many there were.
        """
        keys = self.copy_out(statements.missing, statements.identity)
        if keys.rows:
            found = self.read_again(keys)
            if found.rows:
                self._upsert(found)
        return keys.rows

    def read_again(self, keys: Payload) -> Payload:
        """Rows as the source has them; those it has removed since are removed here too, whatever
        comes later.
        """
        found, gone = self._reselect(self.mapping, self.as_source(keys))
        if gone.rows:
            self.run(self.stage(gone).delete, gone.rows)
        return found

    def as_source(self, keys: Payload) -> Payload:
        """Identities under their source names."""
        return Payload(self.mapping.source.identity, keys.rows, keys.data)

    def apply_idempotent(self, changes: TableChanges) -> int:
        """The target may be ahead or behind: make rows as they are told, whatever is there."""
        rows = 0
        for gone in (changes.deletes, changes.cancelled):
            if gone:
                rows += self.run(self.stage(gone).delete, gone.rows)
        full = [p for p in changes.updates if self._complete(p)]
        for payload in ([changes.inserts] if changes.inserts else []) + full:
            self._upsert(payload)
            rows += payload.rows
        for payload in changes.updates:
            if not self._complete(payload):
                self._update(payload)
                rows += payload.rows
        return rows

    def _complete(self, payload: Payload) -> bool:
        return len(payload.columns) == len(self.mapping.columns)

    def _upsert(self, payload: Payload) -> None:
        statements = self.stage(payload)
        # An upsert keeps the identity's bytes, which another writing of it may change.
        if statements.facts.arbiter and statements.updatable and self._byte_equal:
            self._session.execute(statements.upsert)
        else:
            self._replace(payload)

    def _replace(self, payload: Payload) -> int:
        """Delete the staged rows' older versions, insert the staged rows (completed if need be).

        Returns how many had no older version.
        """
        statements = self.sql(self.columns(payload))
        missing = 0
        if not self._complete(payload):
            columns = tuple(c.target for c in self.mapping.columns)
            whole = self.copy_out(statements.completed(columns), columns)
            missing = self._make_missing(statements)
            payload = self.as_payload(whole)
            statements = self.stage(payload)
        missing += payload.rows - self.run(statements.delete, payload.rows)
        self._session.execute(statements.insert)
        return missing

    def as_payload(self, rows: Payload) -> Payload:
        """Rows under target names as a payload of the session's naming."""
        if self.format.columnar:
            return rows
        back = {target: source for source, target in self.mapping.target_names.items()}
        return Payload(tuple(back[c] for c in rows.columns), rows.rows, rows.data)

    def apply_multiset(self, changes: TableChanges) -> Counts:
        """A table without identity: as many rows are removed as were told, whichever they are."""
        rows = missing = 0
        gone = [changes.deletes] if changes.deletes else []
        for payload in gone:
            statements = self.stage(payload)
            query = statements.delete_rows(self._telling(statements))
            self._session.execute("SET LOCAL enable_hashjoin = on")
            met = self._session.execute(query).rowcount
            self._session.execute("SET LOCAL enable_hashjoin = off")
            missing += payload.rows - met
            rows += met
        for payload in ([changes.inserts] if changes.inserts else []) + list(changes.updates):
            self.insert(payload)
            rows += payload.rows
        return Counts(rows, missing_rows=missing)

    def _telling(self, statements: TableSql) -> tuple[str, ...]:
        """Staged columns of types with an equality, without NULLs in the stage."""
        kinds = {
            c.target: (c.type or self.mapping.source.column(c.source).type).kind
            for c in self.mapping.columns
            if c.source is not None
        }
        candidates = [c for c in statements.columns if kinds.get(c) in COMPARABLE]
        if not candidates:
            return ()
        row = self._session.execute(statements.nulls).fetchone() or ()
        nulls = dict(zip(statements.columns, row, strict=True))
        return tuple(c for c in candidates if not nulls[c])

    def move(self, move: KeyMove, *, exact: bool) -> None:
        """A row gets another identity and keeps columns that the log does not tell."""
        old = self.stage(move.old)
        columns = tuple(c.target for c in self.mapping.columns)
        kept = tuple(c for c in columns if c not in self.columns(move.new))
        # While catching up, the row found may be the next one that bears the old identity.
        rest = self.copy_out(old.existing(kept), kept) if exact else None
        self.run(old.delete, move.old.rows)
        if rest is not None and rest.rows:
            self._upsert(self._joined(columns, move.new, rest))
        else:
            # Not there yet, or gone: the source knows.
            new = self.stage(move.new)
            self._make_missing(new)

    def _joined(self, columns: tuple[str, ...], new: Payload, rest: Payload) -> Payload:
        """One row put together from the columns told and those kept."""
        from godwit.engines.postgres.rows import join_rows

        return self.as_payload(
            join_rows(self.format, columns, (self.columns(new), new), (rest.columns, rest))
        )

    # -- truncation

    @property
    def _renamed(self) -> bool:
        return self.target.schema != self.mapping.source.name.schema

    def leaf(self, part: TableName) -> TableName:
        """The target's partition that corresponds to the source's."""
        row = self._session.execute(
            "SELECT n.nspname, c.relname FROM pg_partition_tree(%s::regclass) t"
            " JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = %s ORDER BY n.nspname <> %s LIMIT 1",
            [
                sql.Identifier(*self.target).as_string(self._session),
                part.name,
                self.target.schema if self._renamed else part.schema,
            ],
        ).fetchone()
        if row is None:
            raise ApplyError(
                f"the partition {part} was truncated, and the target has none of that name",
                where=str(self.target),
                hint="load the table again: `godwit reload FILE --table …`",
            )
        return TableName(*row)

    def emptied(self) -> Composable:
        """The whole table as TRUNCATE and DELETE name it: without tables that inherit from it."""
        name = sql.Identifier(*self.target)
        return name if self.facts.partitioned else sql.SQL("ONLY {}").format(name)

    @staticmethod
    def truncate(session: Session, names: Sequence[Composable], *, restart_identity: bool) -> None:
        """Empty tables; where foreign keys of other tables forbid TRUNCATE, by deleting."""
        query = sql.SQL("TRUNCATE {}{}").format(
            sql.SQL(", ").join(names), sql.SQL(" RESTART IDENTITY" if restart_identity else "")
        )
        try:
            with session.transaction():
                session.execute(query)
        except psycopg.errors.FeatureNotSupported:
            for name in names:
                session.execute(sql.SQL("DELETE FROM {}").format(name))

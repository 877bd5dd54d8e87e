"""A PostgreSQL target endpoint: what it does is in the other files of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from godwit.engines.postgres import (
    alter,
    apply,
    checks,
    clear,
    ddl,
    ddl_foreign_names,
    ddl_run,
    doubts,
    sequences,
    window,
    write,
)
from godwit.engines.postgres.checksum import Checksum
from godwit.engines.postgres.connection import TEXT_COLUMNS, Connector
from godwit.engines.postgres.control import PostgresControl
from godwit.model.catalog import Catalog, TableName
from godwit.model.changes import COLUMNS, Format, Payload
from godwit.model.chunks import Chunk, LoadedChunk
from godwit.model.doubts import Doubt
from godwit.model.endpoint import Connection
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, ObjectParity
from godwit.protocols import (
    Applier,
    Epoch,
    ErrorPolicy,
    Reselect,
    RowStream,
    SchemaPlan,
    SchemaStep,
    SequenceValue,
)


class PostgresTarget(Checksum):
    """See `godwit.protocols.Target`.

    Args:
        connection: the Airflow connection.
        settings: the endpoint's settings in the definition.
    """

    engine = "postgres"

    def __init__(self, connection: Connection, settings: Mapping[str, Any]) -> None:
        self.connector = Connector(connection, settings)
        self._controls: dict[str, PostgresControl] = {}
        super().__init__(self.connector, "target")

    def check(self, migration: str, mappings: Sequence[TableMapping]) -> list[Finding]:
        """Reachability, privileges, settings, and what is in the way."""
        return checks.check_target(self.connector, migration, mappings)

    def control(self, migration: str) -> PostgresControl:
        """The control tables of one migration."""
        return self._controls.setdefault(migration, PostgresControl(self.connector, migration))

    # -- schema

    def fit(
        self, catalog: Catalog, mappings: Sequence[TableMapping]
    ) -> tuple[tuple[TableMapping, ...], list[Finding]]:
        """The mappings under names that PostgreSQL can bear; each name changed is a finding."""
        return ddl_foreign_names.fit(catalog, mappings)

    def doubts(self, catalog: Catalog, mappings: Sequence[TableMapping]) -> list[Doubt]:
        """Values that the columns to be made here cannot hold as they are."""
        return doubts.doubts(catalog, mappings, self.connector.settings)

    def plan_schema(self, catalog: Catalog, mappings: Sequence[TableMapping]) -> SchemaPlan:
        """DDL that makes the mapped tables and their objects."""
        return ddl.plan_any_schema(self.connector, catalog, mappings)

    def run_schema(
        self,
        steps: Sequence[SchemaStep],
        *,
        parallel: int = 1,
        alone: bool = False,
        report: Callable[[ObjectParity], None] | None = None,
    ) -> list[ObjectParity]:
        """Execute steps; what exists and is equal is skipped."""
        return ddl_run.run_schema(
            self.connector, steps, parallel=parallel, alone=alone, report=report
        )

    def parity(self, plan: SchemaPlan) -> list[ObjectParity]:
        """Compare every object of the plan with what the target has."""
        with self.connector.lease("target") as session:
            return ddl_run.parity(session, plan)

    def alter(
        self,
        catalog: Catalog,
        before: TableMapping,
        now: TableMapping,
        renamed: Mapping[str, str],
        *,
        empty: bool,
    ) -> None:
        """Make the target's table of `before` that of `now`."""
        notes = next(iter(self._controls.values()), None)
        alter.alter(self.connector, notes, catalog, before, now, renamed, empty=empty)

    def drop_tables(self, mappings: Sequence[TableMapping]) -> None:
        """Drop the mapped tables if they exist."""
        with self.connector.lease("target") as session:
            ddl.drop_tables(session, mappings)

    # -- rows

    def prepare_tables(
        self, mappings: Sequence[TableMapping], mode: str, epoch: Epoch
    ) -> list[Finding]:
        """`TargetTablePrepMode` for tables of which nothing is loaded yet."""
        clear.prepare_tables(self.connector, mappings, mode, epoch)
        return []

    def formats(self, mapping: TableMapping) -> tuple[Format, ...]:
        """How rows can be written, fastest exact way first."""
        return write.formats(self.connector, mapping)

    def load(
        self, chunk: Chunk, mapping: TableMapping, rows: RowStream, epoch: Epoch
    ) -> LoadedChunk:
        """Write rows and the ledger line in one commit."""
        return write.load(self.connector, chunk, mapping, rows, epoch)

    def clear_rows(self, mapping: TableMapping, chunks: Sequence[str], epoch: Epoch) -> None:
        """Remove all rows of the table and these ledger lines, in one commit."""
        clear.clear_rows(self.connector, mapping, chunks, epoch)

    def replace_window(
        self,
        mapping: TableMapping,
        column: str,
        lower: str,
        upper: str,
        rows: RowStream,
        epoch: Epoch,
    ) -> int:
        """Replace the rows of a window by these, in one commit."""
        return window.replace_window(self.connector, mapping, column, lower, upper, rows, epoch)

    # -- changes

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        """How changes can be applied: what every table accepts."""
        accepted = [self.formats(mapping) for mapping in mappings]
        first = accepted[0] if accepted else (TEXT_COLUMNS, COLUMNS)
        return tuple(f for f in first if all(f in other for other in accepted))

    def applier(
        self,
        migration: str,
        mappings: Sequence[TableMapping],
        format: Format,
        epoch: Epoch,
        policy: ErrorPolicy,
        reselect: Reselect,
    ) -> Applier:
        """A session that applies changes."""
        return apply.PostgresApplier(
            self.connector, migration, mappings, format, epoch, policy, reselect
        )

    def repair(
        self,
        mapping: TableMapping,
        found: Payload,
        gone: Payload,
        epoch: Epoch | None,
        format: Format,
    ) -> int:
        """Make rows as the source has them and remove those it hasn't; record batches."""
        return apply.repair(self.connector, mapping, format, found, gone, epoch)

    # -- cutover

    def advance_sequences(
        self, values: Sequence[SequenceValue], mappings: Sequence[TableMapping]
    ) -> list[str]:
        """Set counters to the source's state and past the largest value present."""
        return sequences.advance_sequences(self.connector, values, mappings)

    def execute(self, statements: Sequence[str]) -> None:
        """Run SQL of the definition, each statement in a transaction of its own.

        The session has the user's own settings back where ours would be in the way: names are found
        by the login's search path, and triggers fire.
        """
        with self.connector.connect(role="source") as session:
            session.execute("RESET search_path")
            for statement in statements:
                session.execute(statement.encode())

    def row_estimate(self, table: TableName) -> int:
        """Rows by the target's statistics, -1 unknown."""
        with self.connector.lease("target") as session:
            row = session.execute(
                "SELECT sum(CASE WHEN c.relkind = 'p' THEN 0 ELSE c.reltuples END)::bigint,"
                " bool_or(c.relkind <> 'p' AND c.reltuples < 0)"
                " FROM pg_class c WHERE c.oid IN (SELECT relid FROM pg_partition_tree(%s::regclass)"
                " UNION SELECT %s::regclass)",
                [_regclass(table), _regclass(table)],
            ).fetchone()
        return -1 if row is None or row[0] is None or row[1] else int(row[0])

    def close(self) -> None:
        """Close every connection that is kept open."""
        for control in self._controls.values():
            control.close()
        self.connector.close()


def _regclass(table: TableName) -> str:
    """The name as the type regclass reads it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in table)

"""A MySQL or MariaDB source endpoint: what it does is in the other files of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from godwit.engines.mysql import (
    capture,
    checks,
    doubts,
    fence,
    plan,
    read,
    reselect,
    sequences,
    stream,
)
from godwit.engines.mysql.catalog import read_catalog
from godwit.engines.mysql.checksum import Checksum
from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS, Connector
from godwit.model.catalog import Catalog, Table, TableName
from godwit.model.changes import Format, Payload, Position
from godwit.model.chunks import Chunk
from godwit.model.doubts import Doubt
from godwit.model.endpoint import Connection
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding
from godwit.protocols import CaptureStatus, ChangeStream, RowStream, SequenceValue

#: All databases that aren't the server's own.
EVERY_DATABASE = "*"


class MySqlSource(Checksum):
    """See `godwit.protocols.Source`.

    Args:
        connection: the Airflow connection.
        settings: the endpoint's settings in the definition.
    """

    engine = "mysql"

    def __init__(self, connection: Connection, settings: Mapping[str, Any]) -> None:
        self.connector = Connector(connection, settings)
        #: Where migrations have been followed from.
        self._followed: dict[str, Position] = {}
        super().__init__(self.connector, "source")

    def check(self, migration: str, tables: Sequence[Table], *, capture: bool) -> list[Finding]:
        """Reachability, privileges and settings for what is to be done."""
        return checks.check_source(self.connector, migration, tables, capture=capture)

    def catalog(self, wanted: Callable[[TableName], bool], *, objects: bool = False) -> Catalog:
        """Tables that are wanted; with `objects`, also native objects that belong to them."""
        with self.connector.lease("source") as session:
            return read_catalog(
                session, self.connector.version, wanted, objects, databases(self.connector)
            )

    # -- rows

    def formats(self, table: Table, columns: Sequence[str]) -> tuple[Format, ...]:
        """How these columns can be read, fastest exact way first."""
        return read.formats(table, columns)

    def plan(
        self, mapping: TableMapping, *, rows_per_chunk: int, bytes_per_chunk: int
    ) -> list[tuple[Chunk, bool]]:
        """Chunks that cover the table without gap or overlap."""
        return plan.plan(
            self.connector, mapping, rows_per_chunk=rows_per_chunk, bytes_per_chunk=bytes_per_chunk
        )

    def read(
        self, chunk: Chunk, mapping: TableMapping, format: Format, snapshot: str | None = None
    ) -> AbstractContextManager[RowStream]:
        """Read one chunk in one snapshot."""
        return read.read(self.connector, chunk, mapping, format, snapshot)

    def shared_snapshot(self) -> AbstractContextManager[str]:
        """Never asked for: plans of this engine don't need it."""
        return read.shared_snapshot(self.connector)

    def rows_by_key(
        self, mapping: TableMapping, keys: Payload, format: Format
    ) -> tuple[Payload, Payload]:
        """Rows as they are now, by identity: `(rows found, identities not found)`."""
        return reselect.rows_by_key(self.connector, mapping, keys, format)

    def count_doubts(self, doubts_: Sequence[Doubt]) -> dict[Doubt, int]:
        """How many values of the source each doubt is about."""
        return doubts.count_doubts(self.connector, doubts_)

    # -- changes

    def position(self) -> Position:
        """The end of the log now."""
        return capture.current_position(self.connector)

    def parse_position(self, text: str) -> Position:
        """The inverse of ``str(position)``."""
        return capture.parse_position(text)

    def open_capture(self, migration: str, tables: Sequence[Table]) -> Position:
        """Check that the log can be followed; returns the low watermark.

        What is being followed already need not be checked again, or waited for: nothing is made
        for single tables.
        """
        if migration in self._followed:
            return self._followed[migration]
        return capture.open_capture(self.connector, migration, tables)

    def capture_status(self, migration: str) -> CaptureStatus:
        """How the log is kept."""
        return capture.capture_status(self.connector, migration)

    def drop_capture(self, migration: str) -> list[str]:
        """Nothing: nothing is made on the source."""
        return capture.drop_capture(self.connector, migration)

    def untold_changes(self, tables: Sequence[Table]) -> dict[TableName, int]:
        """Changes so far that the log does not tell."""
        return capture.untold_changes(self.connector, tables)

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        """How changes of these tables can be streamed."""
        del mappings
        return MYSQL_COLUMNS, COLUMNS

    def stream(
        self,
        migration: str,
        start: Position,
        mappings: Sequence[TableMapping],
        format: Format,
        marks: Mapping[TableName, str],
        *,
        batch_bytes: int,
    ) -> ChangeStream:
        """Stream changes after `start`."""
        made = stream.open_stream(
            self.connector,
            migration,
            capture.parse_position(str(start)),
            mappings,
            format,
            marks,
            batch_bytes=batch_bytes,
        )
        self._followed[migration] = start
        return made

    # -- cutover

    def plan_fence(self, tables: Sequence[Table], mode: str) -> dict[str, Any]:
        """What fencing will change, and what has to be given back."""
        return fence.plan_fence(self.connector, tables, mode)

    def fence(
        self, plan: Mapping[str, Any], *, patience: float = 60.0, terminate: bool = False
    ) -> Position:
        """Keep applications from writing; returns a position after which no change can come."""
        return fence.fence(self.connector, plan, patience=patience, terminate=terminate)

    def unfence(self, plan: Mapping[str, Any]) -> None:
        """Give back exactly what `fence` took."""
        fence.unfence(self.connector, plan)

    def sequences(self, tables: Sequence[Table]) -> tuple[SequenceValue, ...]:
        """Counters that belong to these tables or stand alone in their databases."""
        return sequences.read_sequences(self.connector, tables)

    def close(self) -> None:
        """Close every connection that is kept open."""
        self.connector.close()


def databases(connector: Connector) -> tuple[str, ...]:
    """The databases a catalog holds: the setting's, else the connection's, else all ("*")."""
    given = connector.settings.get("databases")
    if isinstance(given, str):
        given = [part.strip() for part in given.split(",") if part.strip()]
    if given:
        return tuple(map(str, given))
    return (connector.connection.database or EVERY_DATABASE,)

"""A PostgreSQL source endpoint: what it does is in the other files of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from godwit.engines.postgres import (
    capture,
    checks,
    fence,
    plan,
    read,
    reselect,
    sequences,
    stream,
)
from godwit.engines.postgres.catalog import read_catalog
from godwit.engines.postgres.checksum import Checksum
from godwit.engines.postgres.connection import BINARY, CSV, TEXT_COLUMNS, Connector
from godwit.engines.postgres.doubts import count_doubts
from godwit.model.catalog import Catalog, Table, TableName
from godwit.model.changes import COLUMNS, Format, Payload, Position
from godwit.model.chunks import Chunk
from godwit.model.doubts import Doubt
from godwit.model.endpoint import Connection
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding
from godwit.protocols import CaptureStatus, ChangeStream, RowStream, SequenceValue

#: Since this version the log can be streamed with binary values.
_BINARY_LOG = 140000


class PostgresSource(Checksum):
    """See `godwit.protocols.Source`.

    Args:
        connection: the Airflow connection.
        settings: the endpoint's settings in the definition.
    """

    engine = "postgres"

    def __init__(self, connection: Connection, settings: Mapping[str, Any]) -> None:
        self.connector = Connector(connection, settings)
        super().__init__(self.connector, "source")

    def check(self, migration: str, tables: Sequence[Table], *, capture: bool) -> list[Finding]:
        """Reachability, privileges and settings for what is to be done."""
        return checks.check_source(self.connector, migration, tables, capture=capture)

    def catalog(self, wanted: Callable[[TableName], bool], *, objects: bool = False) -> Catalog:
        """Tables that are wanted; with `objects`, also native objects that belong to them."""
        with self.connector.lease("source") as session:
            return read_catalog(session, wanted, objects)

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
        """A snapshot that several `read`s can use while the context lasts."""
        return read.shared_snapshot(self.connector)

    def rows_by_key(
        self, mapping: TableMapping, keys: Payload, format: Format
    ) -> tuple[Payload, Payload]:
        """Rows as they are now, by identity: `(rows found, identities not found)`."""
        return reselect.rows_by_key(self.connector, mapping, keys, format)

    def count_doubts(self, doubts: Sequence[Doubt]) -> dict[Doubt, int]:
        """How many values of the source each doubt is about, one scan per table."""
        return count_doubts(self.connector, doubts)

    # -- changes

    def position(self) -> Position:
        """The end of the log now."""
        return capture.current_position(self.connector)

    def parse_position(self, text: str) -> Position:
        """The inverse of ``str(position)``."""
        return capture.Lsn.parse(text)

    def open_capture(self, migration: str, tables: Sequence[Table]) -> Position:
        """Make or find the capture; returns the low watermark."""
        return capture.open_capture(self.connector, migration, tables, self.connector.settings)

    def capture_status(self, migration: str) -> CaptureStatus:
        """How the capture is doing."""
        return capture.capture_status(self.connector, migration, self.connector.settings)

    def drop_capture(self, migration: str) -> list[str]:
        """Remove everything `open_capture` made."""
        return capture.drop_capture(self.connector, migration, self.connector.settings)

    def untold_changes(self, tables: Sequence[Table]) -> dict[TableName, int]:
        """Changes so far that the log does not tell."""
        return capture.untold_changes(self.connector, tables)

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        """How changes of these tables can be streamed: one format for all of them."""
        columns = [c for m in mappings for c in m.source.stored_columns]
        if self.connector.version >= _BINARY_LOG and all(c.native_safe for c in columns):
            return BINARY, CSV, TEXT_COLUMNS, COLUMNS
        return CSV, TEXT_COLUMNS, COLUMNS

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
        return stream.open_stream(
            self.connector,
            capture.capture_names(migration, self.connector.settings),
            capture.Lsn.parse(str(start)),
            mappings,
            format,
            marks,
            batch_bytes=batch_bytes,
        )

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
        """Counters that belong to these tables or stand alone in their schemas."""
        return sequences.read_sequences(self.connector, tables)

    def close(self) -> None:
        """Close every connection that is kept open."""
        self.connector.close()

"""What the tests of the binary log share: a stream of some tables, and what it comes to."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from godwit.engines.mysql.capture import current_position, open_capture
from godwit.engines.mysql.connection import COLUMNS, Connector
from godwit.engines.mysql.gtid import LogPosition, parse_position
from godwit.engines.mysql.stream import Stream, open_stream
from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, Format, Payload, Stage, TableChanges, Truncation
from godwit.model.mapping import TableMapping
from godwit.protocols import Wanted
from include.demo.mysql_servers import MySqlDatabase
from tests.engines.mysql.reading import loaded, mapping_of, source_of, table_of

MIGRATION = "streaming"
SECONDS = 20.0
Row = dict[str, Any]


class Followed:
    """Tables of a database, followed from now on."""

    def __init__(
        self,
        database: MySqlDatabase,
        *names: str,
        format: Format = COLUMNS,
        columns: Sequence[str] | None = None,
        migration: str = MIGRATION,
        **settings: Any,
    ) -> None:
        self.database, self.format, self.migration = database, format, migration
        self.connector: Connector = source_of(database, **settings)
        tables = [table_of(self.connector, name) for name in names]
        self.mappings: list[TableMapping] = [mapping_of(t, columns=columns) for t in tables]
        self.start: LogPosition = open_capture(self.connector, migration, tables)

    @contextmanager
    def stream(
        self,
        start: LogPosition | None = None,
        *,
        marks: Mapping[TableName, str] | None = None,
        batch_bytes: int = 4 << 20,
    ) -> Iterator[Stream]:
        """A session from `start`, else from where the capture was opened."""
        made = open_stream(
            self.connector,
            self.migration,
            parse_position(str(start or self.start)),
            self.mappings,
            self.format,
            marks or {},
            batch_bytes=batch_bytes,
        )
        try:
            yield made
        finally:
            made.close()

    def drain(self, stream: Stream, wanted: Wanted = Wanted.ANY) -> list[ChangeBatch]:
        """Everything up to the end of the log as it is now."""
        until = current_position(self.connector)
        batches: list[ChangeBatch] = []
        quiet = 0
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            item = stream.read(lambda want=wanted: want)  # type: ignore[misc]
            if isinstance(item, ChangeBatch):
                batches.append(item)
            if item is None:
                quiet += 1
                # What is less than a full batch is only handed over when any is wanted.
                wanted = Wanted.ANY if quiet > 5 else wanted
                continue
            quiet = 0
            if isinstance(item, ChangeBatch) and not item.final:
                continue
            if item.position.includes(until):
                return batches
        raise AssertionError(f"the stream did not reach {until}")

    def all_batches(self, start: LogPosition | None = None, **options: Any) -> list[ChangeBatch]:
        """A session of its own, drained."""
        with self.stream(start, **options) as stream:
            return self.drain(stream)

    def stages(self, start: LogPosition | None = None) -> list[Stage]:
        """The stages of `all_batches`."""
        return [stage for batch in self.all_batches(start) for stage in batch.stages]

    def rows_now(self, index: int = 0) -> Counter[str]:
        """What the source holds now, read by the load's road."""
        return Counter(
            map(key_of, loaded(self.connector, self.mappings[index], self.format).to_pylist())
        )


def key_of(row: Row) -> str:
    """A row as text, to be counted."""
    return json.dumps(row, default=repr, sort_keys=True)


def rows_of(payload: Payload | None) -> list[Row]:
    """The rows of a payload."""
    return [] if payload is None else payload.data.to_pylist()  # type: ignore[union-attr]


class Replica:
    """One table's rows as batches make them: strictly, so that a wrong net change is noticed."""

    def __init__(self, mapping: TableMapping, rows: Sequence[Row] = ()) -> None:
        self.name, self.identity = mapping.source.name, mapping.source.identity
        self.rows: dict[str, Row] = {}
        self.counted: Counter[str] = Counter()
        for row in rows:
            self._insert(row)

    def _key(self, row: Row) -> str:
        return key_of({c: row[c] for c in self.identity})

    def _insert(self, row: Row) -> None:
        if not self.identity:
            self.counted[key_of(row)] += 1
            return
        assert self._key(row) not in self.rows, "inserted twice"
        self.rows[self._key(row)] = row

    def apply(self, batches: Sequence[ChangeBatch]) -> Replica:
        """Take in what concerns the table."""
        for batch in batches:
            for stage in batch.stages:
                if isinstance(stage, Truncation) and self.name in stage.tables:
                    self.rows, self.counted = {}, Counter()
                elif isinstance(stage, TableChanges) and stage.table == self.name:
                    self._changes(stage)
        return self

    def _changes(self, changes: TableChanges) -> None:
        for row in rows_of(changes.deletes):
            if self.identity:
                del self.rows[self._key(row)]
            else:
                self.counted[key_of(row)] -= 1
                assert self.counted[key_of(row)] >= 0, "deleted although it was not there"
        for row in rows_of(changes.cancelled):
            assert self._key(row) not in self.rows, "cancelled although it was there"
        for payload in changes.updates:
            for row in rows_of(payload):
                assert self._key(row) in self.rows, "updated although it was not there"
                self.rows[self._key(row)] = row
        for row in rows_of(changes.inserts):
            self._insert(row)

    def __call__(self) -> Counter[str]:
        """The rows."""
        if self.identity:
            return Counter(key_of(row) for row in self.rows.values())
        return +self.counted

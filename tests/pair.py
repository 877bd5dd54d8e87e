"""A source and a target with the same tables, and change data capture between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from godwit.engines import engine_of
from godwit.engines.postgres.connection import BINARY, CSV, TEXT_COLUMNS
from godwit.model.catalog import TableName
from godwit.model.changes import COLUMNS, Format
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import ErrorPolicy, Source, Target
from godwit.steps.apply import Session, SessionSummary
from include.demo.servers import Database
from tests.conftest import SOURCE_VERSION

MIGRATION = "pair"
#: Version 13 has no binary form of its log.
CHANGE_FORMATS = [*([BINARY] if SOURCE_VERSION >= 14 else []), CSV, TEXT_COLUMNS, COLUMNS]


class Events:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Mapping[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.heard.append((kind, data))


class OneFormat:
    """A real target that accepts one format only."""

    def __init__(self, target: Target, format: Format) -> None:
        self._target, self._format = target, format

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        return (self._format,)


class Pair:
    """Two databases and a migration between them."""

    def __init__(self, source_db: Database, target_db: Database) -> None:
        self.source_db, self.target_db = source_db, target_db
        uris = source_db.conn_uri, target_db.conn_uri
        ends = [connection_from_text(f"pair_{i}", uri) for i, uri in enumerate(uris)]
        self.source: Source = engine_of(ends[0]).source(ends[0], {})
        self.target: Target = engine_of(ends[1]).target(ends[1], {})
        self.control = self.target.control(MIGRATION)
        self.mappings: list[TableMapping] = []
        self.policy = ErrorPolicy()
        self.events = Events()

    def both(self, statements: str) -> None:
        self.source_db.execute(statements)
        self.target_db.execute(statements)

    def open(self, *, exact: bool = True) -> None:
        """Open the capture; `exact`: source and target hold the same rows now."""
        catalog = self.source.catalog(lambda name: name.schema != "godwit")
        self.mappings = [plain_mapping(table) for table in catalog]
        self.control.install()
        low = self.source.open_capture(MIGRATION, list(catalog))
        self.control.set_low(low)
        if exact:
            self.control.set_settled(low)

    def session(self, **options: Any) -> Session:
        values: dict[str, Any] = {"target": self.target, "policy": self.policy, **options}
        return Session(
            source=self.source,
            control=self.control,
            migration=MIGRATION,
            mappings=self.mappings,
            report=self.events,
            **values,
        )

    def drain(self, **options: Any) -> SessionSummary:
        """Apply everything that is committed on the source."""
        return self.session(until=self.source.position(), **options).run()

    def rows(self, database: Database, table: TableName) -> list[Any]:
        name = quoted(table)
        return database.fetch(
            f'SELECT t::text, count(*) FROM {name} t GROUP BY t::text ORDER BY t::text COLLATE "C"'
        )

    def assert_equal(self) -> None:
        for mapping in self.mappings:
            source = self.rows(self.source_db, mapping.source.name)
            target = self.rows(self.target_db, mapping.target)
            assert source == target, str(mapping.source.name)

    def close(self) -> None:
        self.source.drop_capture(MIGRATION)
        self.source.close()
        self.control.close()  # type: ignore[attr-defined]
        self.target.close()


def quoted(table: TableName) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table)


def plain_mapping(table: Any) -> TableMapping:
    columns = tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns)
    return TableMapping(table, table.name, columns, identity=table.identity)


@contextmanager
def pair_of(source_db: Database, target_db: Database) -> Iterator[Pair]:
    pair = Pair(source_db, target_db)
    try:
        yield pair
    finally:
        pair.close()


Factory = Callable[[], Pair]

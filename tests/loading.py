"""What the load's tests share: a source, a target, and a way to say "the same rows"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from godwit.engines.postgres.control import PostgresControl
from godwit.engines.postgres.source import PostgresSource
from godwit.engines.postgres.target import PostgresTarget
from godwit.model.catalog import Table
from godwit.model.chunks import Bundle, LoadedChunk
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.steps import load
from include.demo.servers import Database


@dataclass
class Events:
    """Keeps what was reported."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.seen.append((kind, dict(data)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.seen if name == kind]


def plain(table: Table, **more: Any) -> TableMapping:
    """The mapping that changes nothing."""
    columns = tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns)
    return TableMapping(table, table.name, columns, identity=table.identity, **more)


@dataclass
class Pair:
    """Source and target of one migration called ``m``."""

    source_db: Database
    target_db: Database
    source: PostgresSource
    target: PostgresTarget
    control: PostgresControl
    events: Events = field(default_factory=Events)

    def both(self, ddl: str) -> None:
        self.source_db.execute(ddl)
        self.target_db.execute(ddl)

    def mappings(self) -> list[TableMapping]:
        return [plain(table) for table in self.source.catalog(lambda _name: True)]

    def plan(self, mappings: Sequence[TableMapping], **how: Any) -> list[Bundle]:
        return load.plan(self.source, mappings, migration="m", **how)

    def load(
        self, bundle: Bundle, mappings: Sequence[TableMapping], **how: Any
    ) -> list[LoadedChunk]:
        how = {"report": self.events, "stop": lambda: False, **how}
        return load.load_bundle(self.source, self.target, self.control, bundle, mappings, **how)

    def load_all(
        self, mappings: Sequence[TableMapping] | None = None, **how: Any
    ) -> list[LoadedChunk]:
        mappings = mappings if mappings is not None else self.mappings()
        bundles = self.plan(mappings, **how)
        return [line for bundle in bundles for line in self.load(bundle, mappings)]

    def assert_equal(self, *tables: str) -> None:
        for table in tables:
            assert rows(self.target_db, table) == rows(self.source_db, table), table


def rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    """Every row as PostgreSQL's own text, in an order of its own."""
    with database.connect() as session:
        session.execute("SET extra_float_digits = 1; SET timezone = 'UTC'")
        query = f'SELECT r::text COLLATE "C" FROM {table} AS r ORDER BY 1'
        return session.execute(query.encode()).fetchall()


@contextmanager
def pair(source_db: Database, target_db: Database, **settings: Any) -> Iterator[Pair]:
    """Endpoints on two databases; the control tables are there."""
    source = PostgresSource(connection_from_text("source", source_db.conn_uri), settings)
    target = PostgresTarget(connection_from_text("target", target_db.conn_uri), {})
    control = target.control("m")
    control.install()
    try:
        yield Pair(source_db, target_db, source, target, control)
    finally:
        source.close()
        target.close()

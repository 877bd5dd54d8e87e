"""Altering a target's table as a source's was altered, whichever engines they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from godwit.engines.mysql import ENGINE as MYSQL
from godwit.engines.postgres import ENGINE as POSTGRES
from godwit.model.catalog import Catalog, TableName
from godwit.model.datatypes import Kind
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import Engine, Source, Target
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import Database
from tests.mixed.ends import rows

AnyDatabase = Database | MySqlDatabase
PHASES = ("pre", "key", "post")
_TEXTS = frozenset({Kind.JSON, Kind.ARRAY, Kind.UUID})


class CrashError(Exception):
    """Stands for the end of the process."""


class Pair:
    """Table ``t`` of a source, and the one that was made of it on a target."""

    def __init__(self, source: AnyDatabase, target: AnyDatabase, **settings: Any) -> None:
        self.ends = {"source": source, "target": target}
        self.settings = settings
        self.source: Source = engine_of(source).source(_connection(source), {})
        self.target: Target = engine_of(target).target(_connection(target), settings)
        self.schema = {end: _schema(db) for end, db in self.ends.items()}
        self.before: TableMapping | None = None
        self.noted = False

    def close(self) -> None:
        self.source.close()
        self.target.close()

    # -- what both have

    def run(self, *statements: str, end: str = "source") -> None:
        database = self.ends[end]
        if isinstance(database, MySqlDatabase):
            for statement in statements:
                database.execute(statement)
        else:
            with database.connect() as session:
                for statement in statements:
                    session.execute(statement.encode())

    def both(self, *statements: str) -> None:
        for end in self.ends:
            self.run(*statements, end=end)

    def now(self) -> tuple[Catalog, TableMapping]:
        catalog = self.source.catalog(lambda name: name.name == "t", objects=True)
        table = catalog.tables[0]
        columns = tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns)
        name = TableName(self.schema["target"], "t")
        return catalog, TableMapping(table, name, columns, identity=table.identity)

    def make(self, create: str, *inserts: str) -> None:
        """The table on both ends, with the same rows."""
        self.run(*create.split(";"))
        catalog, self.before = self.now()
        plan = self.target.plan_schema(catalog, [self.before])
        for phase in PHASES:
            made = self.target.run_schema(plan.phase(phase))
            assert [o for o in made if o.state not in {"equal", "skipped"}] == []
        self.both(*inserts)

    def with_notes(self) -> None:
        """Give the target control tables, as it has them in a migration."""
        self.noted = True
        self.target.control("altering").install()

    def alter(
        self, *statements: str, renamed: Mapping[str, str] | None = None, empty: bool = False
    ) -> None:
        """Alter the source's table, and repeat it on the target: twice, with the same outcome."""
        self.run(*statements)
        self.follow(renamed, empty=empty)
        self.follow(renamed, empty=empty)

    def follow(self, renamed: Mapping[str, str] | None = None, *, empty: bool = False) -> None:
        assert self.before is not None
        catalog, now = self.now()
        self.target.alter(catalog, self.before, now, renamed or {}, empty=empty)

    # -- what came of it

    def states(self) -> dict[str, str]:
        """Objects of a plan made now that are not as they shall be, and why."""
        catalog, now = self.now()
        found = self.target.parity(self.target.plan_schema(catalog, [now]))
        return {f"{o.kind} {o.name}": f"{o.state} {o.detail}" for o in found if o.state != "equal"}

    def rows(self, end: str) -> Any:
        """The rows by the columns that the mapping has now."""
        mapping = self.now()[1]
        database = self.ends[end]
        kinds = {c.target: mapping.source.column(c.source or "").type.kind for c in mapping.columns}
        # Documents and arrays are texts to one of the drivers only.
        texts = [n for n, kind in kinds.items() if kind in _TEXTS]
        plain = [n for n in kinds if n not in texts]
        found = dict(rows(database, self.schema[end], "t", plain))
        for name in texts:
            word = "char" if isinstance(database, MySqlDatabase) else "text"
            quote = "`" if isinstance(database, MySqlDatabase) else '"'
            query = f"SELECT CAST({quote}{name}{quote} AS {word}) FROM t ORDER BY id"
            found[name] = database.fetch(query)
        return found

    def alike(self) -> bool:
        """Both ends are of the same product."""
        versions = [str(d.fetch("SELECT version()")[0][0]) for d in self.ends.values()]
        return len({"MariaDB" in v for v in versions}) == 1

    def same(self, *, parity: bool = True) -> None:
        """The target's table is as if it had been made like this, and holds the source's rows."""
        if parity:
            states = self.states()
            assert states == {}, states
        assert self.rows("target") == self.rows("source")
        assert self.rows("source")


def engine_of(database: AnyDatabase) -> Engine:
    return MYSQL if isinstance(database, MySqlDatabase) else POSTGRES


def _connection(database: AnyDatabase) -> Any:
    return connection_from_text("altering", database.conn_uri)


def _schema(database: AnyDatabase) -> str:
    return database.name if isinstance(database, MySqlDatabase) else "public"


@contextmanager
def paired(source: AnyDatabase, target: AnyDatabase, **settings: Any) -> Iterator[Pair]:
    pair = Pair(source, target, **settings)
    try:
        yield pair
    finally:
        if pair.noted:
            pair.target.control("altering").drop(everything=True)
        pair.close()


def crashing(monkeypatch: pytest.MonkeyPatch, module: Any, place: str) -> Any:
    """Let the alteration end at that failpoint; returns what takes it back."""

    def die(name: str) -> None:
        if name == place:
            raise CrashError(name)

    monkeypatch.setattr(module, "failpoint", die)
    return monkeypatch.undo


__all__ = ["CrashError", "Pair", "crashing", "paired"]

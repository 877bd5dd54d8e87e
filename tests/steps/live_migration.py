"""A small migration between two real servers, with a session that follows the source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from godwit.engines import engine_of
from godwit.model.catalog import TableName
from godwit.model.changes import Position
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import Control, ErrorPolicy, Source, Target
from godwit.steps.apply import Session, SessionSummary
from include.demo.servers import Database

DEADLINE = 30.0


class Events:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.seen.append((kind, dict(data)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for seen, data in self.seen if seen == kind]


@dataclass
class LiveMigration:
    """Both ends, and the tables that the source has."""

    source_db: Database
    target_db: Database
    name: str = "live"
    source: Source = field(init=False)
    target: Target = field(init=False)
    control: Control = field(init=False)
    events: Events = field(default_factory=Events)
    mappings: tuple[TableMapping, ...] = ()

    def __post_init__(self) -> None:
        here = connection_from_text("source", self.source_db.conn_uri)
        there = connection_from_text("target", self.target_db.conn_uri)
        self.source = engine_of(here).source(here, {})
        self.target = engine_of(there).target(there, {})
        self.control = self.target.control(self.name)
        self.control.install()

    def both(self, statement: str) -> None:
        """The same on both sides."""
        self.source_db.execute(statement)
        self.target_db.execute(statement)

    def map(
        self, wanted: Callable[[TableName], bool] = lambda name: name.schema == "public"
    ) -> None:
        """Map every table as it is."""
        self.mappings = tuple(
            TableMapping(
                table,
                table.name,
                tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns),
                identity=table.identity,
            )
            for table in self.source.catalog(wanted)
        )

    def open(self) -> None:
        """Map everything and open the capture; both sides are equal now."""
        self.map()
        low = self.source.open_capture(self.name, [m.source for m in self.mappings])
        self.control.set_low(low)
        self.control.set_settled(low)

    def session(self, until: Position | None = None, **options: Any) -> SessionSummary:
        """Run a session here and now."""
        return Session(
            self.source,
            self.target,
            self.control,
            self.name,
            self.mappings,
            ErrorPolicy(),
            self.events,
            until=until,
            **options,
        ).run()

    @contextmanager
    def following(self) -> Iterator[None]:
        """A session in the background that ends with the context."""
        ended = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                self.session(stop=ended.is_set)
            except BaseException as error:  # noqa: BLE001 - told to the test
                failure.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            until(lambda: failure or self.source.capture_status(self.name).active)
            yield
        finally:
            ended.set()
            thread.join(DEADLINE)
            assert not thread.is_alive()
        assert not failure, failure

    def close(self) -> None:
        self.source.close()
        self.target.close()


@contextmanager
def writing(
    database: Database, statement: str, *, until_refused: bool = False
) -> Iterator[list[int]]:
    """A thread that runs a statement again and again; yields the count, as a list of one.

    With `until_refused` it ends by itself when its connection is cut.
    """
    ended = threading.Event()
    done = [0]

    def run() -> None:
        with database.connect() as session:
            while not ended.is_set():
                try:
                    session.execute(statement.encode())
                except psycopg.OperationalError:
                    if until_refused:
                        return
                    raise
                done[0] += 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        until(lambda: done[0] > 0)
        yield done
    finally:
        ended.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()


def until(holds: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)

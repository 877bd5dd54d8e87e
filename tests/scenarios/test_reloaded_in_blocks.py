"""A large table without row identity is loaded again under one snapshot, whatever happens then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from godwit.steps import load, untold
from include.demo.servers import Database
from tests.pair import MIGRATION, Events, Pair, pair_of


class Meanwhile(Events):
    """Changes the source once the first chunk of the reload has been loaded."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.armed = False

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        super().event(kind, data)
        if kind == "chunk" and self.armed:
            self.armed = False
            self.database.execute("INSERT INTO t SELECT -i, 'new' FROM generate_series(1, 50) i")


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair_of(source_db, target_db) as made:
        yield made


def test_rows_inserted_between_two_chunks_arrive_once(pair: Pair) -> None:
    pair.both("CREATE TABLE t (v int, w text)")
    pair.source_db.execute(
        "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 6000) i"
    )
    pair.open(exact=False)
    untold.note_untold(pair.source, pair.control, pair.mappings)
    events = pair.events = Meanwhile(pair.source_db)
    bundles = load.plan(pair.source, pair.mappings, migration=MIGRATION, chunk_bytes=200_000)
    (bundle,) = pair.control.save_plan(bundles)
    assert len(bundle.chunks) >= 3
    load.load_bundle(
        pair.source, pair.target, pair.control, bundle, pair.mappings,
        report=events, stop=lambda: False,
    )  # fmt: skip
    pair.drain()
    pair.assert_equal()
    with pair.source_db.connect() as connection:
        connection.execute("UPDATE t SET w = 'touched' WHERE v % 7 = 0")
    events.armed = True
    pair.drain()
    pair.drain()
    pair.assert_equal()
    assert not events.armed

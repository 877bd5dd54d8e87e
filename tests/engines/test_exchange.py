"""The exchange form between engines, proved where both ends are PostgreSQL: forced to speak
`COLUMNS`, source and target give every value the text that their own formats give it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from godwit.model.catalog import Table
from godwit.model.changes import COLUMNS, Format
from godwit.model.mapping import TableMapping
from godwit.protocols import Source, Target
from godwit.steps import load
from include.demo.servers import Database
from tests.pair import MIGRATION, Pair, pair_of
from tests.parity.test_types import TYPES, VALUES, put, table


class OnlyColumns:
    """A real endpoint that speaks nothing but `COLUMNS`."""

    def __init__(self, endpoint: Source | Target) -> None:
        self._endpoint = endpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)

    def formats(self, *about: Any) -> tuple[Format, ...]:
        return tuple(f for f in self._endpoint.formats(*about) if f == COLUMNS)

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        return tuple(f for f in self._endpoint.change_formats(mappings) if f == COLUMNS)


@pytest.fixture
def pair(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair_of(source_db, target_db) as made:
        made.source = OnlyColumns(made.source)  # type: ignore[assignment]
        made.target = OnlyColumns(made.target)  # type: ignore[assignment]
        yield made


@pytest.fixture(scope="module")
def script() -> str:
    return TYPES + "".join(
        f"CREATE TABLE {table(i)} (id int PRIMARY KEY, v {name});" for i, name in enumerate(VALUES)
    )


def load_all(pair: Pair) -> None:
    for bundle in load.plan(pair.source, pair.mappings, migration=MIGRATION):
        load.load_bundle(
            pair.source,
            pair.target,
            pair.control,
            bundle,
            pair.mappings,
            report=pair.events,
            stop=lambda: False,
        )


def test_every_type_by_both_roads(pair: Pair, script: str) -> None:
    pair.both(script)
    put(pair.source_db, 100)
    for number, values in enumerate(VALUES.values()):
        pair.source_db.execute(
            f"INSERT INTO {table(number)} SELECT 300 + i FROM generate_series(0, {len(values)}) i"
        )
    pair.open(exact=False)
    load_all(pair)
    assert {e["format"] for kind, e in pair.events.heard if kind == "chunk"} == {COLUMNS.name}
    pair.assert_equal()
    put(pair.source_db, 200)
    put(pair.source_db, 300, update=True)
    pair.drain()
    pair.assert_equal()
    for number, (name, values) in enumerate(VALUES.items()):
        rows = dict(pair.target_db.fetch(f"SELECT id, v::text FROM {table(number)}"))
        for offset, value in enumerate(values):
            three = [rows[first + offset] for first in (100, 200, 300)]
            assert len(set(three)) == 1, f"{name} {value}: {three}"

"""Planning and loading bundles: nothing lost, nothing doubled, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from godwit.engines.postgres.connection import BINARY, CSV, TEXT_COLUMNS
from godwit.errors import FencedError, LoadError, StoppedError
from godwit.model.catalog import Table, TableName
from godwit.model.chunks import Bundle, Chunk
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.steps import bundling, load
from include.demo.servers import Database
from tests.loading import Pair, pair, plain

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);"
    "CREATE TABLE n (v text)"
)
ROWS = (
    "INSERT INTO t SELECT i, repeat('x', 100) || i FROM generate_series(1, 6000) i;"
    "INSERT INTO n SELECT 'same' FROM generate_series(1, 500)"
)
SMALL = 200_000


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair(source_db, target_db) as ends:
        yield ends


@pytest.fixture
def filled(ends: Pair) -> Pair:
    ends.both(TABLE)
    ends.source_db.execute(ROWS)
    return ends


# -- planning


class Planner:
    """A source that plans as it is told."""

    def __init__(self, chunks: dict[TableName, list[tuple[Chunk, bool]]]) -> None:
        self._chunks = chunks

    def plan(self, mapping: TableMapping, **_how: int) -> list[tuple[Chunk, bool]]:
        return self._chunks[mapping.source.name]


def planned(
    tables: dict[str, list[tuple[int, bool]]], orders: dict[str, int] | None = None
) -> list[Bundle]:
    """Plan tables given as lists of (bytes, under one snapshot)."""
    chunks, mappings = {}, []
    for name, sizes in tables.items():
        table = TableName("s", name)
        chunks[table] = [
            (Chunk("", table, how="key", columns=("k",), lower=(str(n),), bytes=size), kept)
            for n, (size, kept) in enumerate(sizes)
        ]
        total = sum(size for size, _kept in sizes)
        mapping = plain(Table(table, (), bytes=total, incarnation=name))
        mappings.append(replace(mapping, load_order=(orders or {}).get(name, 0)))
    return load.plan(Planner(chunks), mappings, migration="m")  # type: ignore[arg-type]


def test_small_tables_are_packed_and_big_ones_first() -> None:
    small = {f"small{n}": [(bundling.MB, False)] for n in range(20)}
    bundles = planned({**small, "big": [(900 * bundling.MB, False)] * 3})
    assert len(bundles) == 4
    assert [b.chunks[0].table.name for b in bundles[:3]] == ["big"] * 3
    assert {c.table.name for c in bundles[3].chunks} == set(small)


def test_load_order_goes_before_size() -> None:
    tables = {"big": [(900 * bundling.MB, False)], "first": [(1, False)], "last": [(1, False)]}
    bundles = planned(tables, {"first": 9, "last": -1})
    assert [b.chunks[0].table.name for b in bundles] == ["first", "big", "last"]


def test_a_table_under_one_snapshot_is_one_bundle() -> None:
    bundles = planned({"a": [(700 * bundling.MB, True)] * 5, "b": [(1, False)]})
    assert [(b.shared_snapshot, len(b.chunks)) for b in bundles] == [(True, 5), (False, 1)]


def test_a_run_never_has_more_tasks_than_can_be_mapped() -> None:
    bundles = planned({f"t{n}": [(bundling.CHUNK_BYTES * 4, False)] for n in range(2500)})
    assert len(bundles) <= bundling.MOST_BUNDLES
    assert sum(len(b.chunks) for b in bundles) == 2500


def test_ids_are_stable_and_tell_everything_apart(filled: Pair) -> None:
    mappings = filled.mappings()
    ids = [c.id for b in filled.plan(mappings, chunk_bytes=SMALL) for c in b.chunks]
    assert len(set(ids)) == len(ids) > 3
    assert ids == [c.id for b in filled.plan(mappings, chunk_bytes=SMALL) for c in b.chunks]
    renamed = [replace(m, target=TableName("public", m.target.name + "2")) for m in mappings]
    others = [c.id for b in filled.plan(renamed, chunk_bytes=SMALL) for c in b.chunks]
    assert not set(ids) & set(others)
    filled.source_db.execute("DROP TABLE n; CREATE TABLE n (v text)")
    again = [c.id for b in filled.plan(filled.mappings(), chunk_bytes=SMALL) for c in b.chunks]
    assert len(set(ids) - set(again)) == 1


def test_a_plan_survives_json(filled: Pair) -> None:
    bundles = filled.plan(filled.mappings(), chunk_bytes=SMALL)
    assert filled.control.save_plan(bundles) == tuple(bundles)
    assert [Bundle.from_json(json.loads(json.dumps(b.to_json()))) for b in bundles] == bundles


# -- the road


def test_the_road_is_chosen_by_types_and_mapping(ends: Pair) -> None:
    ends.both("CREATE TYPE public.mood AS ENUM ('a')")
    ends.both("CREATE TABLE a (x int); CREATE TABLE b (x public.mood[])")
    ends.source_db.execute("CREATE TABLE c (x int)")
    ends.target_db.execute("CREATE TABLE c (x bigint)")
    a, b, c = ends.mappings()
    assert load.choose_format(ends.source, ends.target, a)[0] == BINARY
    assert load.choose_format(ends.source, ends.target, b)[0] == CSV
    road, why = load.choose_format(ends.source, ends.target, c)
    assert (road, "types differ" in why) == (CSV, True)
    masked = replace(a, columns=(ColumnMapping("x", expression="$x + 1"),))
    road, why = load.choose_format(ends.source, ends.target, masked)
    assert (road, why) == (TEXT_COLUMNS, "columns are transformed: x")


def test_transformed_columns_arrive(ends: Pair) -> None:
    ends.source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, NULL)"
    )
    ends.target_db.execute("CREATE TABLE t (id int PRIMARY KEY, w text, origin text)")
    (mapping,) = ends.mappings()
    mapping = replace(
        mapping,
        columns=(
            ColumnMapping("id", "id"),
            ColumnMapping("w", expression="$v || '!'"),
            ColumnMapping("origin", expression="'shop'"),
        ),
    )
    ends.load_all([mapping])
    assert ends.target_db.fetch("SELECT * FROM t ORDER BY 1") == [
        (1, "a!", "shop"),
        (2, None, "shop"),
    ]
    assert ends.events.of("table")[0]["format"] == TEXT_COLUMNS.name


# -- loading


def test_load_reports_and_returns_the_ledger(filled: Pair) -> None:
    lines = filled.load_all(chunk_bytes=SMALL)
    filled.assert_equal("t", "n")
    assert {line.chunk.id: line for line in lines} == filled.control.loaded()
    told = filled.events.of("chunk")
    assert sum(event["rows"] for event in told) == 6500
    assert {event["label"] for event in told} == {line.chunk.label for line in lines}
    # Once more: nothing is read, nothing is reported.
    assert filled.load_all(chunk_bytes=SMALL) == lines
    assert len(filled.events.of("chunk")) == len(told)
    marks = {line.chunk.table.name: bool(line.mark) for line in lines}
    assert marks == {"t": False, "n": True}


def test_several_streams(filled: Pair) -> None:
    mappings = filled.mappings()
    chunks = [c for b in filled.plan(mappings, chunk_bytes=SMALL) for c in b.chunks]
    lines = filled.load(Bundle("all", tuple(chunks)), mappings, streams=3)
    assert [line.chunk for line in lines] == chunks
    filled.assert_equal("t", "n")


def test_stop_keeps_what_was_committed(filled: Pair) -> None:
    mappings = filled.mappings()
    chunks = tuple(c for b in filled.plan(mappings, chunk_bytes=SMALL) for c in b.chunks)
    bundle = Bundle("all", chunks)
    with pytest.raises(StoppedError, match="asked to stop"):
        filled.load(bundle, mappings, stop=lambda: len(filled.events.of("chunk")) == 2)
    assert len(filled.control.loaded()) == 2
    filled.load(bundle, mappings)
    filled.assert_equal("t", "n")


def test_a_refused_chunk_leaves_the_others(filled: Pair) -> None:
    filled.target_db.execute("ALTER TABLE t ADD CHECK (id <> 3000)")
    mappings = filled.mappings()
    chunks = tuple(c for b in filled.plan(mappings, chunk_bytes=SMALL) for c in b.chunks)
    with pytest.raises(LoadError, match="violates check constraint") as raised:
        filled.load(Bundle("all", chunks), mappings, streams=2)
    assert "public.t key" in str(raised.value)
    filled.target_db.execute("ALTER TABLE t DROP CONSTRAINT t_id_check")
    filled.load(Bundle("all", chunks), mappings, streams=2)
    filled.assert_equal("t", "n")


def test_suspended_tables_are_left_out(filled: Pair) -> None:
    filled.control.suspend(TableName("public", "t"), "a reason")
    lines = filled.load_all()
    assert {line.chunk.table.name for line in lines} == {"n"}


def test_a_table_that_left_the_migration_is_named(filled: Pair) -> None:
    (bundle,) = filled.plan(filled.mappings())
    with pytest.raises(LoadError, match="no longer has"):
        filled.load(bundle, [])


def test_two_workers_load_the_same_bundle(filled: Pair) -> None:
    mappings = filled.mappings()
    chunks = tuple(c for b in filled.plan(mappings, chunk_bytes=SMALL) for c in b.chunks)
    bundle = Bundle("all", chunks)
    failures: list[BaseException] = []

    def work(ends: Pair) -> None:
        try:
            ends.load(bundle, mappings)
        except FencedError as failure:
            failures.append(failure)

    with (
        pair(filled.source_db, filled.target_db) as one,
        pair(filled.source_db, filled.target_db) as other,
    ):
        threads = [threading.Thread(target=work, args=(ends,)) for ends in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    filled.load(bundle, mappings)
    filled.assert_equal("t", "n")
    assert len(filled.control.loaded()) == len(chunks)


SCATTERED = (
    "INSERT INTO s SELECT md5(i::text)::uuid, repeat('x', 100) FROM generate_series(1, 6000) i"
)


def test_a_snapshot_that_was_lost_starts_its_table_again(ends: Pair) -> None:
    ends.both("CREATE TABLE s (id uuid PRIMARY KEY, v text)")
    ends.source_db.execute(SCATTERED)
    mappings = ends.mappings()
    (bundle,) = ends.plan(mappings, chunk_bytes=SMALL)
    assert bundle.shared_snapshot
    with pytest.raises(StoppedError):
        ends.load(bundle, mappings, stop=lambda: len(ends.events.of("chunk")) == 2)
    # Rows move: a second snapshot must not be mixed with the first.
    ends.source_db.execute("UPDATE s SET v = v || 'y'")
    ends.load(bundle, mappings, streams=2)
    ends.assert_equal("s")
    ends.load(bundle, mappings)
    ends.assert_equal("s")


def test_rows_that_move_while_blocks_are_read(ends: Pair) -> None:
    ends.both("CREATE TABLE s (id uuid PRIMARY KEY, v text)")
    ends.source_db.execute(SCATTERED)
    before = ends.source_db.fetch("SELECT count(*), sum(hashtext(s::text)) FROM s")
    mappings = ends.mappings()
    (bundle,) = ends.plan(mappings, chunk_bytes=SMALL)

    def stop() -> bool:
        if len(ends.events.of("chunk")) == 1:
            ends.source_db.execute("UPDATE s SET v = 'moved'")
        return False

    ends.load(bundle, mappings, stop=stop)
    assert ends.target_db.fetch("SELECT count(*), sum(hashtext(s::text)) FROM s") == before


# -- killed


WORKER = """
import sys
from godwit.engines import engine_of
from godwit.model.chunks import Bundle
from godwit.model.endpoint import connection_from_text
from godwit.steps import bundling, load
from tests.loading import Events, plain
source, target = (connection_from_text("c", uri) for uri in sys.argv[1:3])
source, target = engine_of(source).source(source, {}), engine_of(target).target(target, {})
control = target.control("m")
mappings = [plain(table) for table in source.catalog(lambda _name: True)]
for bundle in control.plan():
    load.load_bundle(source, target, control, bundle, mappings, report=Events(), stop=lambda: False)
"""


@pytest.mark.parametrize("point", ["load.before_commit:2", "load.after_commit:2"])
def test_a_killed_load_goes_on_exactly(filled: Pair, point: str) -> None:
    bundles = filled.plan(filled.mappings(), chunk_bytes=SMALL)
    filled.control.save_plan(bundles)
    chunks = [c for b in bundles for c in b.chunks]
    command = [sys.executable, "-c", WORKER, filled.source_db.conn_uri, filled.target_db.conn_uri]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'plugins'}:{ROOT}"}
    killed = subprocess.run(command, env={**environment, "GODWIT_FAILPOINT": point}, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = len(filled.control.loaded())
    assert done == (1 if "before" in point else 2)
    counted = filled.target_db.fetch(
        "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM n),"
        " (SELECT sum(rows)::bigint FROM godwit.chunks)"
    )
    assert counted[0][0] == counted[0][1]
    subprocess.run(command, env=environment, check=True)
    assert len(filled.control.loaded()) == len(chunks)
    filled.assert_equal("t", "n")


# -- windows


def test_load_window(ends: Pair) -> None:
    ends.both("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text)")
    ends.source_db.execute(
        "INSERT INTO t SELECT i, '2024-01-01Z'::timestamptz + i * interval '1 hour', 'x'"
        " FROM generate_series(0, 71) i"
    )
    (mapping,) = ends.mappings()
    for _ in range(2):
        line = load.load_window(
            ends.source, ends.target, ends.control, mapping, "at",
            "2024-01-02 00:00:00+00", "2024-01-03 00:00:00+00", report=ends.events,
        )  # fmt: skip
        assert line.rows == 24
    assert ends.target_db.fetch("SELECT count(*), min(id), max(id) FROM t") == [(24, 24, 47)]
    with pytest.raises(LoadError, match="does not arrive"):
        load.load_window(
            ends.source, ends.target, ends.control, mapping, "gone", "a", "b", report=ends.events
        )

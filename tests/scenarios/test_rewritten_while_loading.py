"""Tables that the source rewrites (VACUUM FULL, ALTER TABLE) while their chunks are read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from godwit.errors import LoadError
from include.demo.servers import Database
from tests.loading import Pair, pair


@pytest.fixture
def ends(source_db: Database, target_db: Database) -> Iterator[Pair]:
    with pair(source_db, target_db) as ends:
        yield ends


def test_rows_that_get_other_places_between_two_chunks(ends: Pair) -> None:
    """One snapshot sees the same rows, but they lie in other blocks than planned."""
    ends.both("CREATE TABLE s (id uuid PRIMARY KEY, v text)")
    ends.source_db.execute(
        "INSERT INTO s SELECT md5(i::text)::uuid, repeat('x', 100) FROM generate_series(1, 6000) i;"
        "DELETE FROM s WHERE id < '80000000-0000-0000-0000-000000000000'"
    )
    ends.source_db.execute(
        "INSERT INTO s SELECT md5(i::text)::uuid, repeat('x', 100)"
        " FROM generate_series(6001, 9000) i"
    )
    mappings = ends.mappings()
    (bundle,) = ends.plan(mappings, chunk_bytes=200_000)
    assert bundle.shared_snapshot

    def stop() -> bool:
        if len(ends.events.of("chunk")) == 1:
            ends.source_db.execute("VACUUM FULL s")
        return False

    with pytest.raises(LoadError, match="rewritten"):
        ends.load(bundle, mappings, stop=stop)
    ends.load(bundle, mappings)
    ends.assert_equal("s")


def test_a_chunk_that_waited_for_an_alter_table(ends: Pair) -> None:
    """A rewritten table looks empty to a snapshot from before."""
    ends.both("CREATE TABLE t (id int PRIMARY KEY, v text)")
    ends.source_db.execute("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i")
    mappings = ends.mappings()
    (bundle,) = ends.plan(mappings)
    thread = threading.Thread(target=lambda: ends.load(bundle, mappings))
    with ends.source_db.connect(autocommit=False) as altering:
        altering.execute("ALTER TABLE t ALTER v TYPE text USING v || ''")
        thread.start()
        deadline = time.monotonic() + 20
        while not ends.source_db.fetch("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert time.monotonic() < deadline
        altering.commit()
    thread.join(20)
    ends.assert_equal("t")

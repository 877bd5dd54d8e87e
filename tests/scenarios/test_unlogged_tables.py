"""An unlogged table's changes are in no log: it is loaded again when its counters say so.

Its target used to stay as the load had left it, with a hint to reload it and no way to do so.
"""

from __future__ import annotations

import time

import pytest

from godwit.migrator import run_until
from include.demo.servers import Database
from tests.scenarios.migrations import cleaned, migrating

ROWS = "SELECT * FROM t ORDER BY 1"


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO t VALUES (3, 'c')",
        "UPDATE t SET v = 'x' WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
        "TRUNCATE t",
        "TRUNCATE t; INSERT INTO t VALUES (1, 'again')",
    ],
)
def test_what_was_changed_arrives(source_db: Database, target_db: Database, change: str) -> None:
    source_db.execute(
        "CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'); CREATE TABLE u (id int PRIMARY KEY)"
    )
    with migrating(source_db, target_db) as migrator:
        run_until(migrator)
    assert target_db.fetch(ROWS) == [(1, "a"), (2, "b")]
    source_db.execute(change)
    # The counters are written down by each session some moments after its commit.
    deadline = time.monotonic() + 30
    while target_db.fetch(ROWS) != source_db.fetch(ROWS):
        assert time.monotonic() < deadline
        with migrating(source_db, target_db) as migrator:
            run_until(migrator)
    with migrating(source_db, target_db) as migrator:
        assert migrator.validate().equal
        assert migrator.cutover().open
    cleaned(source_db, target_db)

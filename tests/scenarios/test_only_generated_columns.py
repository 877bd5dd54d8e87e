"""A table all of whose columns are generated: nothing to copy but the rows' number.

It used to be refused as a table of which no column is left.
"""

from __future__ import annotations

from godwit.migrator import run_until
from include.demo.servers import Database
from tests.scenarios.migrations import cleaned, migrating


def test_its_rows_arrive(source_db: Database, target_db: Database) -> None:
    source_db.execute(
        "CREATE TABLE t (one int GENERATED ALWAYS AS (1) STORED);"
        "INSERT INTO t VALUES (DEFAULT), (DEFAULT)"
    )
    with migrating(source_db, target_db) as migrator:
        run_until(migrator)
        source_db.execute("INSERT INTO t VALUES (DEFAULT)")
        run_until(migrator)
        assert migrator.validate().equal
    assert target_db.fetch("SELECT one FROM t") == [(1,)] * 3
    cleaned(source_db, target_db)

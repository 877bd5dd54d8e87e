"""Tables that store no column: nothing to copy but the rows' number.

One with generated columns only used to be refused as a table of which no column is left, and rows
added later suspended it.
"""

from __future__ import annotations

import pytest

from godwit.migrator import run_until
from include.demo.servers import Database
from tests.scenarios.migrations import cleaned, migrating

TABLES = {
    "generated": "CREATE TABLE t (one int GENERATED ALWAYS AS (1) STORED)",
    "none": "CREATE TABLE t ()",
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_its_rows_arrive(source_db: Database, target_db: Database, table: str) -> None:
    source_db.execute(f"{table}; ALTER TABLE t REPLICA IDENTITY FULL")
    source_db.execute("INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES")
    with migrating(source_db, target_db) as migrator:
        run_until(migrator)
        source_db.execute("INSERT INTO t DEFAULT VALUES")
        source_db.execute("DELETE FROM t WHERE ctid = '(0,1)'")
        source_db.execute("INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES")
        run_until(migrator)
        report = migrator.validate()
        assert report.equal, report.tables[0].note
    assert target_db.fetch("SELECT count(*) FROM t") == [(4,)]
    cleaned(source_db, target_db)

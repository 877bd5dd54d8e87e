"""The source changes a table between plan and load: that table is suspended, the others go on.

The whole load used to fail, and every repetition with it.
"""

from __future__ import annotations

import pytest

from godwit.errors import SchemaChangedError
from godwit.migrator import run_until
from include.demo.servers import Database
from tests.scenarios.migrations import Told, begun, cleaned, migrating

CHANGES = {
    "renamed column": ("ALTER TABLE t RENAME v TO w", "column v was dropped or renamed"),
    "dropped column": ("ALTER TABLE t DROP v", "column v was dropped or renamed"),
    "renamed table": ("ALTER TABLE t RENAME TO elsewhere", "it was dropped or renamed"),
    "made again": ("DROP TABLE t; CREATE TABLE t (id int)", "it was dropped and made again"),
    "retyped column": ("ALTER TABLE t ALTER v TYPE int USING 1", "column v changed from text to"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES.keys())
def test_only_that_table_is_suspended(
    source_db: Database, target_db: Database, change: str, reason: str
) -> None:
    source_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');"
        "CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'b')"
    )
    begun(source_db, target_db)
    source_db.execute(change)
    told = Told()
    for _ in range(2):
        with migrating(source_db, target_db, told) as migrator:
            run_until(migrator)
            suspended = {str(t): why for t, why in migrator.control.suspended().items()}
    assert list(suspended) == ["public.t"]
    assert reason in suspended["public.t"]
    (finding,) = told.findings("table-suspended")
    assert reason in finding["reason"]
    assert target_db.fetch("SELECT * FROM other") == [(1, "b")]
    with migrating(source_db, target_db) as migrator:
        assert [str(t.table) for t in migrator.validate().tables if not t.equal] == ["public.t"]
    cleaned(source_db, target_db)


def test_it_stops_where_the_policy_says_so(source_db: Database, target_db: Database) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
    policy = {"task_settings": {"ErrorBehavior": {"TableErrorPolicy": "STOP_TASK"}}}
    begun(source_db, target_db, **policy)
    source_db.execute("ALTER TABLE t DROP v")
    with (
        migrating(source_db, target_db, **policy) as migrator,
        pytest.raises(SchemaChangedError, match="column v was dropped"),
    ):
        run_until(migrator)
    cleaned(source_db, target_db)

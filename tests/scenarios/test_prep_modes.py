"""A target with rows of somebody else: refused at first, then as the prep mode says."""

from __future__ import annotations

import pytest

from godwit.errors import LoadError
from godwit.migrator import Migrator, run_until
from godwit.model.definition import parse_definition
from godwit.model.endpoint import connection_from_text
from include.demo.servers import Database
from tests.pair import Events


@pytest.mark.parametrize("mode", ["DROP_AND_CREATE", "TRUNCATE_BEFORE_LOAD"])
def test_the_mode_may_be_chosen_after_the_refusal(
    source_db: Database, target_db: Database, mode: str
) -> None:
    source_db.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    target_db.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)")
    ends = {
        "s": connection_from_text("s", source_db.conn_uri),
        "t": connection_from_text("t", target_db.conn_uri),
    }

    def migrator(wanted: str) -> Migrator:
        data = {
            "name": "prep",
            "migration_type": "full-load-and-cdc",
            "source": {"conn_id": "s"},
            "target": {"conn_id": "t"},
            "tables": {"include": ["public.t"]},
            "task_settings": {"FullLoadSettings": {"TargetTablePrepMode": wanted}},
        }
        return Migrator(parse_definition(data, "prep.yaml"), ends.__getitem__, Events())

    with migrator("DO_NOTHING") as first, pytest.raises(LoadError, match=mode):
        run_until(first, "caught-up")
    assert target_db.fetch("SELECT id FROM t") == [(7,)]
    # Nothing was left that would keep the source's log.
    slots = "SELECT 1 FROM pg_replication_slots WHERE database = current_database()"
    assert source_db.fetch(slots) == source_db.fetch("SELECT 1 FROM pg_publication") == []
    with migrator(mode) as second:
        run_until(second, "caught-up")
        assert target_db.fetch("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
        # What this migration has loaded stays, whatever the mode.
        before = target_db.fetch("SELECT id, xmin::text FROM t ORDER BY id")
        run_until(second, "caught-up")
        assert target_db.fetch("SELECT id, xmin::text FROM t ORDER BY id") == before
        second.cleanup()

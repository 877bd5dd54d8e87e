"""TRUNCATE of a table that others inherit from, replayed after its heir was loaded.

The heir used to lose the rows it had been loaded with.
"""

from __future__ import annotations

from godwit.migrator import run_until
from include.demo.servers import Database
from tests.scenarios.migrations import begun, cleaned, migrating


def test_the_heir_keeps_what_was_inserted_afterwards(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(
        "CREATE TABLE parent (id int PRIMARY KEY, v text);"
        "CREATE TABLE child (extra int) INHERITS (parent);"
        "INSERT INTO parent VALUES (1, 'p'); INSERT INTO child VALUES (1, 'c', 5)"
    )
    begun(source_db, target_db)
    source_db.execute("TRUNCATE parent")
    source_db.execute("INSERT INTO child VALUES (3, 'd', 1)")
    with migrating(source_db, target_db) as migrator:
        run_until(migrator)
        assert migrator.validate().equal
    assert target_db.fetch("SELECT * FROM ONLY child") == [(3, "d", 1)]
    cleaned(source_db, target_db)

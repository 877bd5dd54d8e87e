"""A publication that somebody else made must tell every change, or the migration does not start."""

from __future__ import annotations

import pytest

from godwit.engines import engine_of
from godwit.model.endpoint import connection_from_text
from godwit.model.report import Severity
from include.demo.servers import Database

TABLES = """
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY);
CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
"""
EVERYTHING = "CREATE PUBLICATION mine FOR TABLE a, b, p"


def problems(database: Database) -> list[str]:
    connection = connection_from_text("pub", database.conn_uri)
    source = engine_of(connection).source(connection, {"PublicationName": "mine"})
    try:
        tables = list(source.catalog(lambda name: name.schema == "public"))
        found = source.check("pub", tables, capture=True)
        return [f"{f.reason} {f.hint}" for f in found if f.severity is Severity.ERROR]
    finally:
        source.close()


def test_one_that_tells_everything(source_db: Database) -> None:
    source_db.execute(TABLES + EVERYTHING)
    assert problems(source_db) == []


@pytest.mark.parametrize(
    ("publication", "words"),
    [
        ("SELECT 1", ["does not exist"]),
        ("CREATE PUBLICATION mine FOR TABLE a", ["public.b", "public.p1"]),
        (f"{EVERYTHING} WITH (publish = 'insert, update')", ["kinds of changes"]),
        (f"{EVERYTHING} WITH (publish_via_partition_root)", ["truncating"]),
        ("CREATE PUBLICATION mine FOR TABLE a (id), b, p", ["leaves out", "public.a"]),
        ("CREATE PUBLICATION mine FOR TABLE a, b WHERE (id > 5), p", ["leaves out", "public.b"]),
    ],
    ids=["none", "a table", "an operation", "by root", "a column", "rows"],
)
def test_one_that_keeps_something_to_itself(
    source_db: Database, publication: str, words: list[str]
) -> None:
    with source_db.connect() as connection:
        version = connection.info.server_version
    if version < 150000 and words[0] == "leaves out":
        # Column lists and row filters came with 15: the server itself refuses them.
        publication, words = "CREATE PUBLICATION mine FOR TABLE a", ["public.b"]
    source_db.execute(TABLES + publication)
    (problem,) = problems(source_db)
    assert not [word for word in words if word not in problem]


def test_every_table_is_published_by_for_all_tables(source_db: Database) -> None:
    source_db.execute(TABLES + "CREATE PUBLICATION mine FOR ALL TABLES")
    assert problems(source_db) == []

"""The four schema steps on real servers, as the migrator calls them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from godwit.engines import engine_of
from godwit.errors import ConversionError
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import SchemaPlan, Target
from godwit.steps import schema
from include.demo.servers import Database

TABLES = """
CREATE TABLE a (id int PRIMARY KEY, v text CHECK (v <> ''));
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER always BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE a ENABLE ALWAYS TRIGGER always;
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
"""


class Heard:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, data))


def planned(source: Database, target: Database, heard: Heard) -> tuple[Target, SchemaPlan]:
    here = connection_from_text("here", source.conn_uri)
    there = connection_from_text("there", target.conn_uri)
    catalog = engine_of(here).source(here, {}).catalog(lambda _: True, objects=True)
    mappings = [
        TableMapping(
            t, t.name, tuple(ColumnMapping(c.name, c.name) for c in t.columns), identity=t.identity
        )
        for t in catalog
    ]
    end = engine_of(there).target(there, {})
    return end, schema.plan(end, catalog, mappings, heard)


def test_the_steps_follow_each_other(source_db: Database, target_db: Database) -> None:
    source_db.execute(TABLES)
    heard = Heard()
    target, plan = planned(source_db, target_db, heard)
    assert [d["subject"] for k, d in heard.events if k == "finding"] == [
        "operator public.public.===(integer,integer)"
    ]
    for step in (schema.convert, schema.make_keys):
        report = step(target, plan, heard)
        assert report.count("failed") == 0
    target_db.execute("INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 1)")
    report = schema.finish(target, plan, heard)
    assert {o.state for o in report.objects} == {"equal"}
    assert "trigger state" not in {o.kind for o in report.objects}
    late = schema.late(target, plan, heard)
    assert [(o.kind, o.state) for o in late.objects] == [("trigger state", "equal")]
    # Once more: nothing is made again.
    assert {o.state for o in schema.convert(target, plan, heard).objects} == {"skipped"}
    assert {o.state for o in schema.finish(target, plan, heard).objects} == {"equal"}
    assert {k for k, _ in heard.events} == {"finding", "object"}


def test_a_table_that_cannot_be_made_is_an_error(source_db: Database, target_db: Database) -> None:
    source_db.execute(TABLES)
    target_db.execute("CREATE VIEW a AS SELECT 1 AS one")
    target, plan = planned(source_db, target_db, Heard())
    with pytest.raises(ConversionError, match=r"table public\.a: relation"):
        schema.convert(target, plan, Heard())
    assert target_db.fetch("SELECT to_regclass('public.b') IS NOT NULL") == [(True,)]


def test_a_key_that_rows_violate_is_an_error(source_db: Database, target_db: Database) -> None:
    source_db.execute(TABLES)
    target, plan = planned(source_db, target_db, Heard())
    schema.convert(target, plan, Heard())
    target_db.execute("INSERT INTO a VALUES (1, 'secret'), (1, 'secret')")
    with pytest.raises(ConversionError, match="could not create unique index") as raised:
        schema.make_keys(target, plan, Heard())
    assert "secret" not in str(raised.value)


def test_a_constraint_that_rows_violate_is_in_the_report(
    source_db: Database, target_db: Database
) -> None:
    source_db.execute(TABLES)
    target, plan = planned(source_db, target_db, Heard())
    schema.convert(target, plan, Heard())
    schema.make_keys(target, plan, Heard())
    target_db.execute("INSERT INTO b VALUES (1, 7)")
    report = schema.finish(target, plan, Heard())
    broken = [(o.kind, o.name, o.state) for o in report.objects if o.state != "equal"]
    assert broken == [("foreign key", "public.b.b_a_fkey", "failed")]

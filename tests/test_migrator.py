"""The migrator's own part: mappings that stay, steps that repeat, plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from godwit.errors import (
    CaptureError,
    CaptureLostError,
    DefinitionError,
    LoadError,
    StoppedError,
)
from godwit.migrator import Instance, Migrator, plain, run_until
from godwit.migrator.mappings import compare
from godwit.model.catalog import Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.definition import parse_definition
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import TableValidation, ValidationReport
from include.demo.servers import Database


def mapping(name: str, *columns: str, target: str = "", incarnation: str = "1") -> TableMapping:
    text = DataType(Kind.TEXT)
    table = Table(
        TableName("public", name),
        tuple(Column(c, text, "text") for c in columns),
        incarnation=incarnation,
    )
    mapped = tuple(ColumnMapping(c, c) for c in columns)
    return TableMapping(table, TableName("public", target or name), mapped)


def test_a_changed_mapping_is_an_error_that_names_the_table() -> None:
    before = [mapping("a", "x"), mapping("b", "x")]
    now = [mapping("a", "x", target="other"), mapping("b", "x")]
    with pytest.raises(DefinitionError, match=r"public\.a.*under way"):
        compare(before, now, same_definition=False)
    with pytest.raises(DefinitionError, match=r"public\.b"):
        compare(before, before[:1], same_definition=False)


def test_a_changed_source_is_a_finding() -> None:
    before = [mapping("a", "x"), mapping("b", "x"), mapping("c", "x"), mapping("same", "x")]
    now = [
        mapping("a", "x", "y"),
        mapping("b", "x", incarnation="2"),
        mapping("d", "x"),
        replace(before[3], source=replace(before[3].source, rows=7, bytes=9)),
    ]
    findings = compare(before, now, same_definition=True)
    assert {(f.code, f.subject) for f in findings} == {
        ("table-reshaped", "public.a"),
        ("table-replaced", "public.b"),
        ("table-gone", "public.c"),
        ("table-new", "public.d"),
    }
    assert all(f.hint for f in findings)


def test_plain_data_is_json_with_names_as_text() -> None:
    table = TableValidation(
        TableName("public", "a"), 5, equal=False, differences=(("extra", "[1]"),)
    )
    data = json.loads(json.dumps(plain(ValidationReport((table,), fenced=False))))
    assert data["equal"] is False
    assert data["tables"][0]["table"] == "public.a"
    assert plain(Instance("i", "small", 2, 512, None, 2))["queue"] is None


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, dict(data)))

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [data for told, data in self.events if told == kind]


class Migration:
    """Opens migrators of one definition, as tasks in processes of their own would."""

    def __init__(self, source: Database, target: Database) -> None:
        self._connections = {
            "a": connection_from_text("a", source.conn_uri),
            "b": connection_from_text("b", target.conn_uri),
        }
        self.definition: dict[str, Any] = {
            "name": "moves",
            "migration_type": "full-load-and-cdc",
            "source": {"conn_id": "a"},
            "target": {"conn_id": "b"},
            "tables": {"include": ["public.*"]},
        }
        self.told = Recorder()

    def open(self, stop: Callable[[], bool] = lambda: False, **changed: Any) -> Migrator:
        definition = parse_definition({**self.definition, **changed}, "test")
        return Migrator(definition, self._connections.__getitem__, self.told, stop=stop)


@pytest.fixture
def migration(source_db: Database, target_db: Database) -> Migration:
    source_db.execute(
        "CREATE TABLE a (id int PRIMARY KEY, t text);"
        "CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        "INSERT INTO a SELECT g, 't' || g FROM generate_series(1, 300) g;"
        "INSERT INTO b SELECT g, g FROM generate_series(1, 300) g"
    )
    return Migration(source_db, target_db)


def same(source: Database, target: Database) -> bool:
    return all(
        source.fetch(f"SELECT * FROM {table} ORDER BY id")
        == target.fetch(f"SELECT * FROM {table} ORDER BY id")
        for table in ("a", "b")
    )


def test_every_step_in_a_process_of_its_own_and_twice(
    migration: Migration, source_db: Database, target_db: Database
) -> None:
    lows, plans = set(), []
    for _ in range(2):
        with migration.open() as migrator:
            assert migrator.configure_endpoints()
            assert migrator.provision_instance().streams >= 1
        with migration.open() as migrator:
            assert not migrator.convert_schema().count("failed")
        with migration.open() as migrator:
            lows.add(migrator.open_capture())
            plans.append(migrator.plan_chunks())
    assert len(lows) == 1
    assert plans[0] == plans[1]
    source_db.execute("UPDATE a SET t = 'changed' WHERE id < 10; INSERT INTO a VALUES (301, 'n')")
    for bundle in plans[0] * 2:
        with migration.open() as migrator:
            lines = migrator.load(bundle)
            assert [line.chunk for line in lines] == list(bundle.chunks)
    assert len(migration.told.kinds("chunk")) == sum(len(b.chunks) for b in plans[0])
    for _ in range(2):
        with migration.open() as migrator:
            migrator.catch_up()
            assert migrator.consistent()
    for _ in range(2):
        with migration.open() as migrator:
            report = migrator.finish_schema()
            assert {o.state for o in report.objects} == {"equal"}
    assert same(source_db, target_db)
    with migration.open() as migrator:
        assert migrator.validate().equal
        assert migrator.cleanup()
        assert migrator.status().phase == "new"


def test_catch_up_refuses_while_chunks_are_missing(migration: Migration) -> None:
    with migration.open() as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        bundles = migrator.plan_chunks()
        with pytest.raises(LoadError, match="not loaded"):
            migrator.catch_up()
        assert migrator.status().phase == "full_load"
        for bundle in bundles:
            migrator.load(bundle)
        migrator.catch_up()
        assert migrator.status().phase == "finish_schema"
        migrator.cleanup()


def test_a_mapping_changed_under_way_is_refused_by_every_task(migration: Migration) -> None:
    with migration.open() as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        bundles = migrator.plan_chunks()
    rename = {
        "rule-type": "transformation",
        "rule-id": "1",
        "rule-name": "1",
        "rule-target": "table",
        "object-locator": {"schema-name": "public", "table-name": "a"},
        "rule-action": "rename",
        "value": "other",
    }
    with migration.open(table_mappings={"rules": [rename]}) as migrator:
        with pytest.raises(DefinitionError, match=r"public\.a"):
            migrator.load(bundles[0])
        with pytest.raises(DefinitionError, match=r"public\.a"):
            migrator.configure_endpoints()
    with migration.open(description="something else") as migrator:
        migrator.load(bundles[0])
        migrator.cleanup()


def test_a_stopped_run_goes_on(
    migration: Migration, source_db: Database, target_db: Database
) -> None:
    asked = iter([False] * 3 + [True] * 1000)
    with migration.open(stop=lambda: next(asked)) as migrator, pytest.raises(StoppedError):
        run_until(migrator)
    with migration.open() as migrator:
        outcome = run_until(migrator)
        assert outcome.until == "caught-up"
        assert migrator.status().phase == "following"
    assert same(source_db, target_db)
    with migration.open() as migrator:
        migrator.cleanup()


def test_a_capture_that_is_gone_is_named(migration: Migration, source_db: Database) -> None:
    with migration.open() as migrator:
        run_until(migrator)
        migrator.source.drop_capture("moves")
        with pytest.raises(CaptureLostError, match="gone"):
            migrator.open_capture()
        assert migrator.status().capture["exists"] is False
        with pytest.raises(CaptureError):
            run_until(migrator)
        migrator.cleanup()


def test_changes_only_starts_now(
    migration: Migration, source_db: Database, target_db: Database
) -> None:
    target_db.execute(
        "CREATE TABLE a (id int PRIMARY KEY, t text); CREATE TABLE b (id int PRIMARY KEY, a int);"
        "INSERT INTO a SELECT g, 't' || g FROM generate_series(1, 300) g;"
        "INSERT INTO b SELECT g, g FROM generate_series(1, 300) g"
    )
    with migration.open(migration_type="cdc") as migrator:
        run_until(migrator)
        source_db.execute("DELETE FROM b WHERE id < 100; UPDATE a SET t = NULL WHERE id < 50")
        outcome = run_until(migrator)
        assert outcome.chunks == 0
        assert same(source_db, target_db)
        assert migrator.status().phase == "following"
        migrator.cleanup()


def test_status_tells_what_it_cannot_ask(migration: Migration) -> None:
    with migration.open() as migrator:
        run_until(migrator)
    away = connection_from_text("a", "postgres://nobody@127.0.0.1:1/x")
    migration._connections["a"] = away
    with migration.open() as migrator:
        status = migrator.status()
    assert status.problems
    assert {t.rows for t in status.tables} == {300}

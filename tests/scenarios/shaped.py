"""A migration whose rules shape the rows, checked against statements of its own on the source."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from godwit.migrator import Migrator, run_until
from godwit.model.definition import parse_definition
from godwit.model.endpoint import Connection, connection_from_text
from godwit.model.report import Finding, TableValidation
from include.demo.servers import Database

Rule = dict[str, Any]


def transformation(target: str, action: str, where: str, value: str = "", **more: Any) -> Rule:
    """A transformation rule in DMS's words; `where` is ``schema.table.column``, ``%`` allowed."""
    names = dict(zip(("schema-name", "table-name", "column-name"), where.split("."), strict=False))
    rule: Rule = {
        "rule-type": "transformation",
        "rule-target": target,
        "object-locator": names,
        "rule-action": action,
    }
    if value:
        rule["value"] = value
    return rule | {k.replace("_", "-"): v for k, v in more.items()}


def selection(where: str, action: str = "include", **more: Any) -> Rule:
    """A selection rule."""
    schema, table = where.split(".")
    return {
        "rule-type": "selection",
        "object-locator": {"schema-name": schema, "table-name": table},
        "rule-action": action,
    } | {k.replace("_", "-"): v for k, v in more.items()}


def condition(operator: str, *values: str) -> dict[str, str]:
    """A filter condition."""
    if len(values) == 2:
        return {"filter-operator": operator, "start-value": values[0], "end-value": values[1]}
    return {"filter-operator": operator, **({"value": values[0]} if values else {})}


def where(column: str, *conditions: dict[str, str]) -> dict[str, Any]:
    """A filter of a selection rule."""
    return {
        "filter-type": "source",
        "column-name": column,
        "filter-conditions": list(conditions),
    }


class Reported:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, dict(data)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [data for told, data in self.events if told == kind]


class Shaped:
    """One migration; every step in a migrator of its own, as tasks would do it."""

    def __init__(self, source: Database, target: Database, *rules: Rule, **more: Any) -> None:
        self.source, self.target = source, target
        self.told = Reported()
        self.findings: list[Finding] = []
        self.connections = {
            "source": connection_from_text("source", source.conn_uri),
            "target": connection_from_text("target", target.conn_uri),
        }
        numbers = itertools.count(1)
        numbered = [
            {"rule-id": str(n), "rule-name": str(n), **rule}
            for n, rule in zip(numbers, rules, strict=False)
        ]
        selects = any(r["rule-type"] == "selection" for r in numbered)
        self.definition: dict[str, Any] = {
            "name": "shaped",
            "migration_type": "full-load-and-cdc",
            "source": {"conn_id": "source"},
            "target": {"conn_id": "target"},
            # As DMS keeps it: JSON text.
            "table_mappings": json.dumps({"rules": numbered}),
            **({} if selects else {"tables": {"include": ["*.*"], "exclude": ["godwit.*"]}}),
            **more,
        }

    @contextmanager
    def open(self, switch: Callable[[str, Connection], None] | None = None) -> Iterator[Migrator]:
        definition = parse_definition(self.definition, "test")
        with Migrator(
            definition, self.connections.__getitem__, self.told, switch_connection=switch
        ) as migrator:
            yield migrator

    def migrate(self, during: str = "", after: str = "") -> None:
        """Load, and apply changes: those made before the first row is read, and those after."""
        with self.open() as migrator:
            self.findings = migrator.configure_endpoints()
            report = migrator.convert_schema()
            assert not report.count("failed"), report
            bundles = migrator.plan_chunks()
            if during:
                self.source.execute(during)
            for bundle in bundles:
                migrator.load(bundle)
        with self.open() as migrator:
            migrator.catch_up()
            report = migrator.finish_schema()
            wrong = [o for o in report.objects if o.state in ("failed", "missing", "differs")]
            assert not wrong, wrong
        if after:
            self.change(after)

    def change(self, statements: str) -> None:
        """Change the source, and apply that."""
        self.source.execute(statements)
        with self.open() as migrator:
            migrator.follow(migrator.source.position())

    def run(self, until: str = "") -> None:
        with self.open() as migrator:
            run_until(migrator, until)

    def validation(self) -> dict[str, TableValidation]:
        with self.open() as migrator:
            report = migrator.validate()
        return {str(t.table): t for t in report.tables}

    def assert_valid(self, **notes: str) -> None:
        """Every table is equal; what is said of a table contains the text given for it."""
        for name, table in self.validation().items():
            assert table.equal, table
            assert notes.get(name.rpartition(".")[2], "") in table.note, table

    def assert_holds(self, table: str, statement: str) -> None:
        """The target's table is what the statement gives on the source: names, order, rows."""
        expected = content(self.source, statement)
        assert expected[1], "a statement without rows shows nothing"
        assert content(self.target, f"SELECT * FROM {table}") == expected

    def found(self, code: str) -> list[Finding]:
        return [f for f in self.findings if f.code == code]


def content(database: Database, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows as text, in an order of their own."""
    with database.connect() as session:
        session.execute("SET timezone = 'UTC'")
        names = session.execute(f"SELECT * FROM ({statement}) q LIMIT 0".encode()).description
        query = f'SELECT q::text COLLATE "C" FROM ({statement}) q ORDER BY 1'
        return [c.name for c in names or ()], session.execute(query.encode()).fetchall()


@contextmanager
def shaped(source: Database, target: Database, *rules: Rule, **more: Any) -> Iterator[Shaped]:
    """A migration that is cleaned up after."""
    migration = Shaped(source, target, *rules, **more)
    try:
        yield migration
    finally:
        with migration.open() as migrator:
            migrator.cleanup()

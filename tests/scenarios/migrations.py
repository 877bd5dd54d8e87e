"""A migration driven step by step in this process, for what happens between two steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from godwit.migrator import Migrator
from godwit.model.definition import parse_definition
from godwit.model.endpoint import connection_from_text
from include.demo.servers import Database


class Told:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, dict(data)))

    def findings(self, code: str) -> list[dict[str, Any]]:
        return [data for kind, data in self.events if kind == "finding" and data["code"] == code]


@contextmanager
def migrating(
    source: Database, target: Database, told: Told | None = None, /, **changed: Any
) -> Iterator[Migrator]:
    """A migrator over the two databases; each is a process of its own as far as it can tell."""
    connections = {
        "a": connection_from_text("a", source.conn_uri),
        "b": connection_from_text("b", target.conn_uri),
    }
    definition = {
        "name": "scenario",
        "migration_type": "full-load-and-cdc",
        "source": {"conn_id": "a"},
        "target": {"conn_id": "b"},
        **({} if "table_mappings" in changed else {"tables": {"include": ["*.*"]}}),
        **changed,
    }
    with Migrator(
        parse_definition(definition, "test"),
        connections.__getitem__,
        told or Told(),
        stop=lambda: False,
    ) as migrator:
        yield migrator


def begun(source: Database, target: Database, **changed: Any) -> None:
    """Everything before the first row: checks, schema, capture, plan."""
    with migrating(source, target, **changed) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        migrator.plan_chunks()


def cleaned(source: Database, target: Database) -> None:
    """The migration's end."""
    with migrating(source, target) as migrator:
        migrator.cleanup()

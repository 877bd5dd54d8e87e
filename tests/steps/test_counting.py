"""Counters of a session, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, KeyMove, Payload, TableChanges
from godwit.steps.counting import INTERVAL, TableCounts

ONE, OTHER = TableName("app", "one"), TableName("app", "other")


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, dict(data)))


def rows(number: int) -> Payload:
    return Payload(("id",), number, b"")


def batch(*stages: TableChanges | KeyMove) -> ChangeBatch:
    return ChangeBatch(stages, position=None)  # type: ignore[arg-type]


def test_every_table_is_told_once_what_came_since() -> None:
    counts, told = TableCounts(), Told()
    counts.tell(told, now=100.0)
    counts.add(batch(TableChanges(ONE, rows(3), (rows(2), rows(1)), rows(4)), TableChanges(OTHER)))
    counts.add(batch(KeyMove(ONE, rows(5), rows(5))))
    counts.tell(told, now=100.0 + INTERVAL / 2)
    assert told.events == []
    counts.tell(told, now=100.0 + INTERVAL)
    more = {"more_inserts": 3, "more_updates": 8, "more_deletes": 4}
    assert told.events == [("table", {"table": ["app", "one"], **more})]
    counts.tell(told, now=101.0 + INTERVAL, final=True)
    assert len(told.events) == 1

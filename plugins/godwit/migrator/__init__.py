"""One migration: one method per DAG task. The command line and the operators call the same."""

from __future__ import annotations

from godwit.migrator.migration import Migrator
from godwit.migrator.outcome import Assessment, Instance, RunOutcome, Status, TableStatus, plain
from godwit.migrator.whole import run_until

__all__ = [
    "Assessment",
    "Instance",
    "Migrator",
    "RunOutcome",
    "Status",
    "TableStatus",
    "plain",
    "run_until",
]

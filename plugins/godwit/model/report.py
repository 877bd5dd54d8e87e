"""What a person is told: findings, differences, parity."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from godwit.model.catalog import TableName


class Severity(StrEnum):
    """ERROR stops a step, WARNING needs a decision, INFO is good to know."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """Something to tell a person.

    Attributes:
        code: stable short name, e.g. ``wal-level``.
        severity: how bad.
        subject: what it is about (table, setting, object).
        reason: what was found.
        hint: what to do.
    """

    code: str
    severity: Severity
    subject: str
    reason: str
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ObjectParity:
    """An object compared: ``equal``, ``missing``, ``differs``, ``failed`` or ``skipped``."""

    kind: str
    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class SchemaReport:
    """The outcome of schema conversion, object by object."""

    objects: tuple[ObjectParity, ...]
    findings: tuple[Finding, ...] = ()

    def count(self, state: str) -> int:
        """How many objects are in that state."""
        return sum(1 for o in self.objects if o.state == state)


@dataclass(frozen=True)
class TableValidation:
    """Content comparison of one table.

    `differences` holds up to a limit of persisting ones: `(kind, key)` with kind ``missing``
    (not on target), ``extra`` (only on target) or ``differs``; the key as text.
    """

    table: TableName
    rows: int
    equal: bool
    differences: tuple[tuple[str, str], ...] = ()
    difference_count: int = 0
    rechecked: int = 0
    repaired: int = 0
    seconds: float = 0.0
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; the table as text."""
        return {**asdict(self), "table": str(self.table)}


@dataclass(frozen=True)
class ValidationReport:
    """Content comparison of a migration."""

    tables: tuple[TableValidation, ...]
    fenced: bool
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def equal(self) -> bool:
        """True when every table, and at least one, was compared by content and none differs."""
        return bool(self.tables) and all(t.equal for t in self.tables)

    @property
    def rows(self) -> int:
        """Rows compared on the source."""
        return sum(t.rows for t in self.tables)

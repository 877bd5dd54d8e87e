"""What the migrator's methods return beside the reports of the model: plain data for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from godwit.model.catalog import TableName

if TYPE_CHECKING:
    from godwit.model.report import Finding


@dataclass(frozen=True)
class Instance:
    """The replication instance: the room a migration works in.

    Attributes:
        streams: parallel streams of the load.
        memory_mb: limit for buffers of one process.
        queue: the triggerers and workers that serve it; None = the default ones.
        slots: pool slots that the load may take at once.
    """

    name: str
    instance_class: str
    streams: int
    memory_mb: int
    queue: str | None
    slots: int


@dataclass(frozen=True)
class TableStatus:
    """One table's progress; rows and bytes as the ledger on the target has them.

    `state`: ``planned``, ``loading``, ``loaded``, ``following``, ``suspended``.
    """

    table: str
    target: str
    state: str
    chunks: int = 0
    chunks_loaded: int = 0
    rows: int = 0
    bytes: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """Where a migration stands; the target's control tables are the source of it.

    Attributes:
        phase: ``new``, ``full_load``, ``catch_up``, ``finish_schema``, ``following``, ``loaded``
            or ``cut over``.
        consistent: the checkpoint has passed the high watermark.
        lag_seconds: age of the last applied commit while something is pending; 0 = nothing is
            pending; None = not known.
        pending: the source's log has gone on since the checkpoint.
        session_seconds: since a session last showed itself; None = never.
        problems: what could not be asked, and why.
    """

    migration: str
    migration_type: str
    phase: str
    consistent: bool = False
    low: str | None = None
    settled: str | None = None
    checkpoint: str | None = None
    stop_at: str | None = None
    source_position: str | None = None
    pending: bool | None = None
    lag_seconds: float | None = None
    session_seconds: float | None = None
    transactions: int = 0
    changes: int = 0
    exceptions: int = 0
    capture: dict[str, Any] = field(default_factory=dict)
    tables: tuple[TableStatus, ...] = ()
    cutover: dict[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableSize:
    """One table as the assessment sees it: the source's estimates and the chunks it comes to."""

    table: str
    target: str
    rows: int
    bytes: int
    chunks: int
    identity: tuple[str, ...]
    capture: str


@dataclass(frozen=True)
class Assessment:
    """What a migration would come to; nothing was written on either side."""

    migration: str
    findings: tuple[Finding, ...]
    tables: tuple[TableSize, ...]
    objects: dict[str, int]
    bundles: int

    @property
    def rows(self) -> int:
        """Rows by the source's estimates; tables never analysed count as none."""
        return sum(max(t.rows, 0) for t in self.tables)

    @property
    def bytes(self) -> int:
        """Bytes by the source's estimates."""
        return sum(t.bytes for t in self.tables)

    @property
    def chunks(self) -> int:
        """Chunks of the load."""
        return sum(t.chunks for t in self.tables)

    @property
    def largest(self) -> str | None:
        """The table with the most bytes."""
        return max(self.tables, key=lambda t: t.bytes).table if self.tables else None

    @property
    def ready(self) -> bool:
        """No finding forbids to start."""
        return all(f.severity != "error" for f in self.findings)


@dataclass(frozen=True)
class RunOutcome:
    """How far a whole run came.

    Attributes:
        until: what was asked for.
        chunks, rows, bytes: loaded by this run.
        chunks_before: found loaded already.
        sessions: summaries of the sessions of this run, in order.
        applied_to: the checkpoint at the end.
        suspended: tables that are out of the migration, and why.
        refused: rows that the target refused so far.
    """

    migration: str
    until: str
    seconds: float
    chunks: int = 0
    chunks_before: int = 0
    rows: int = 0
    bytes: int = 0
    sessions: tuple[Any, ...] = ()
    applied_to: str | None = None
    schema: dict[str, int] = field(default_factory=dict)
    cutover: Any = None
    suspended: dict[str, str] = field(default_factory=dict)
    refused: int = 0

    @property
    def complete(self) -> bool:
        """Everything that was to arrive has arrived."""
        return not self.suspended and not self.refused


@dataclass(frozen=True)
class Reloaded:
    """Tables that were loaded again.

    Attributes:
        tables: each with the rows and bytes that were loaded.
        applied_to: the checkpoint at the end; None when no changes are followed.
    """

    migration: str
    tables: tuple[TableStatus, ...]
    seconds: float
    applied_to: str | None = None


def plain(value: Any) -> Any:
    """Plain JSON data of whatever the migrator returned; table names become text."""
    if is_dataclass(value) and not isinstance(value, type):
        data = {f.name: plain(getattr(value, f.name)) for f in fields(value)}
        return {**data, **_computed(value)}
    if isinstance(value, TableName):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _computed(value: Any) -> dict[str, Any]:
    """Public properties count too: ``equal`` of a validation is what a reader looks for."""
    names = [n for n, item in vars(type(value)).items() if isinstance(item, property)]
    return {name: plain(getattr(value, name)) for name in names if not name.startswith("_")}

"""Changes on their way from the source's log to the target."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import pyarrow as pa

from godwit.model.catalog import TableName


@runtime_checkable
class Position(Protocol):
    """A point in a source's log. Ordered only by `includes`; `str()` is its stored form."""

    def includes(self, other: Position) -> bool:
        """True when everything up to `other` lies at or before this position."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Format:
    """How rows are laid out on their way. Source and target agree on the first they share.

    `columnar`: the data are `pyarrow.RecordBatch`es, which transformations can work on; otherwise
    blocks of bytes that nobody looks at.
    """

    name: str
    columnar: bool = False


#: Typed Arrow columns: what engines that have nothing closer in common speak.
COLUMNS = Format("columns", columnar=True)


@dataclass(frozen=True)
class Payload:
    """Rows of one table and one set of columns.

    Attributes:
        columns: source column names, in the order of the data (after a transformation: target
            names).
        rows: how many.
        data: bytes of the agreed format, or a record batch.
    """

    columns: tuple[str, ...]
    rows: int
    data: bytes | pa.RecordBatch


@dataclass(frozen=True)
class TableChanges:
    """Net changes of one table: at most one per row identity.

    Attributes:
        table: source table.
        inserts: rows whose identity did not exist before the batch.
        updates: full rows and, apart, rows with some columns unchanged and therefore unknown
            (one payload per set of known columns; identity always included).
        deletes: identities that existed before the batch and no longer do. For tables without
            identity: whole rows, one line for each row to be deleted.
        cancelled: identities made and removed inside the batch: nothing on a target that is exact,
            a delete on one that is still catching up.
        lenient: the target may lack these rows or have them already, even when it is exact (rows
            are filtered, or some were read again from the source): apply as while catching up.
    """

    table: TableName
    inserts: Payload | None = None
    updates: tuple[Payload, ...] = ()
    deletes: Payload | None = None
    cancelled: Payload | None = None
    lenient: bool = False


@dataclass(frozen=True)
class KeyMove:
    """Updates that change the identity and leave columns unknown; applied one after the other.

    `old` holds identities, `new` the known columns of the same rows in the same order.
    """

    table: TableName
    old: Payload
    new: Payload


@dataclass(frozen=True)
class Truncation:
    """TRUNCATE of these tables (source names; single leaf partitions by their own name)."""

    tables: tuple[TableName, ...]
    cascade: bool = False
    restart_identity: bool = False


@dataclass(frozen=True)
class Cascade:
    """Rows of a parent were deleted, or their referenced columns changed, and the source's foreign
    keys have acted on rows of other tables without its log telling it. The target does the same
    along `Table.foreign_keys` of the migration's tables.

    Attributes:
        table: the parent, by its source name.
        old: the referenced columns before, under their source names.
        new: the same rows' columns after, in the same order; None = the rows were deleted. No
            value comes twice in both: the order of the rows does not matter.
        without: tables that were loaded later than this and so hold what came of it.
    """

    table: TableName
    old: Payload
    new: Payload | None = None
    without: frozenset[TableName] = frozenset()


@dataclass(frozen=True)
class ShapeChange:
    """A captured table has another shape than the migration knows.

    Attributes:
        table: by the name the migration knows.
        description: what is different, for people.
        renamed: columns that are known to have another name now: `(old, new)`.
        clean: the batch ends right here: everything of the table that the log told before this
            change lies at or before the batch's position, and nothing of what came after it.
        grown: nothing that is read has changed: columns were added (or such that are computed were
            changed). Who does not want them may read on: the stream goes on with the table.
        rewritten: rows may have other values now without the log telling it.
    """

    table: TableName
    description: str
    renamed: tuple[tuple[str, str], ...] = ()
    clean: bool = False
    grown: bool = False
    rewritten: bool = False

    @property
    def reason(self) -> str:
        """Why the table is taken out."""
        return f"the table changed on the source: {self.description}"


#: Stages of a batch are applied in order; inside one group of TableChanges no order is needed.
Stage = TableChanges | KeyMove | Truncation | Cascade | ShapeChange


@dataclass(frozen=True)
class ChangeBatch:
    """Whole transactions (or, when `final` is False, a part of one that is larger than memory).

    Attributes:
        stages: net changes, in order.
        position: of the last transaction's end: the checkpoint once this is committed.
        final: the batch ends at a commit. A part that isn't final stays in the open target
            transaction.
        transactions, changes: how many the source made.
        commits: commit times of the transactions, seconds since the epoch, in order.
        bytes: size in the log.
    """

    stages: tuple[Stage, ...]
    position: Position
    final: bool = True
    transactions: int = 0
    changes: int = 0
    commits: tuple[float, ...] = field(default=(), repr=False)
    bytes: int = 0


@dataclass(frozen=True)
class Idle:
    """Nothing is pending; the log has been read up to `position`."""

    position: Position

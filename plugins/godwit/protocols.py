"""The contracts an engine fulfils. Read this to add one.

An engine is a folder ``godwit/engines/<name>/`` whose package holds ``ENGINE``, an `Engine`. It is
found by the type of a connection. What it cannot do it leaves out of its `Abilities`, and the steps
say so instead of trying.

Two ideas keep the engines apart from each other and from the steps:

* **Formats.** Rows and changes travel in the first `Format` that source and target both name. Two
  endpoints of one engine share its bulk format and pass bytes through; any two engines share
  `COLUMNS`.
* **Control.** Everything that must be true together with the data (checkpoint, chunk ledger,
  epochs) is written by the target, in the commit that writes the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Protocol

import pyarrow as pa

from godwit.model.catalog import Catalog, Table, TableName
from godwit.model.changes import ChangeBatch, Format, Idle, Payload, Position
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.model.doubts import Doubt
from godwit.model.endpoint import Connection
from godwit.model.mapping import RowFilter, TableMapping
from godwit.model.report import Finding, ObjectParity

# --------------------------------------------------------------------------------------------------
# Reporting


class Reporter(Protocol):
    """Where steps tell what happens: the CLI's display, the state store, a task's log, or several.

    Kinds of events and their data (plain JSON): ``phase`` (name), ``finding`` (a Finding),
    ``object`` (an ObjectParity), ``plan`` (chunks, rows, bytes), ``chunk`` (label, rows, bytes,
    seconds), ``session`` (a CDC session's report, every second or so: position, lag_p50, lag_p99,
    lag_now, transactions, changes, batches, mode), ``table`` (a table's counters),
    ``validation`` (a TableValidation), ``cutover`` (step, state).
    """

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tell it. Must be quick and never raise."""
        ...


# --------------------------------------------------------------------------------------------------
# Engine


@dataclass(frozen=True)
class Abilities:
    """What an engine can do; tests skip only by these."""

    source: bool = True
    capture: bool = True
    target: bool = True
    schema: bool = True
    fence: bool = True


class Engine(Protocol):
    """A product."""

    name: str
    title: str
    connection_types: tuple[str, ...]
    abilities: Abilities

    def source(self, connection: Connection, settings: Mapping[str, Any]) -> Source:
        """A source endpoint; connects lazily. `settings`: the endpoint's in the definition."""
        ...

    def target(self, connection: Connection, settings: Mapping[str, Any]) -> Target:
        """A target endpoint. Connects lazily."""
        ...


# --------------------------------------------------------------------------------------------------
# Comparing: both endpoints


@dataclass(frozen=True)
class KeyRange:
    """Half-open range of the first identity column, values as text; None = open."""

    column: str
    lower: str | None
    upper: str | None


@dataclass(frozen=True)
class CompareSpec:
    """What is compared on one side: a table, its columns in the order of the mapping.

    `columns[i]` of both sides hold the same value. `key` are positions in `columns` (empty: no
    identity, rows are compared as a multiset). `kinds` is each column's canonical form, all of one
    family: rules both engines know (see `Comparable.canonical_kinds`). `row_filter`: only these
    rows count (the source's side of a filtered table). `without`: rows whose column has that value
    don't count: `(column, text)` (the target's side, where rows deleted on the source stay).
    """

    table: TableName
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    key: tuple[int, ...]
    mapping: TableMapping
    range: KeyRange | None = None
    row_filter: RowFilter | None = None
    without: tuple[str, str] | None = None


@dataclass(frozen=True)
class BucketSum:
    """Rows of one bucket: their number and two order-independent 64-bit sums of row hashes."""

    rows: int
    first: int
    second: int


class Comparable(Protocol):
    """Content hashing inside the engine. Both endpoints do it alike, over canonical text."""

    def canonical_kinds(self, table: Table, columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The canonical forms this engine can give each column, best first; ``()`` for a column it
        doesn't have.

        `table` bears the name the endpoint knows it by. Equal names of forms mean equal text for
        equal values. The part before the first colon is the form's family: it tells whatever must
        agree for a whole table (how rows are hashed), so all columns of a comparison have forms of
        one family. ``text:…`` is an engine's own; ``value:<form>`` are those of
        `godwit.model.values`, which every engine knows.
        """
        ...

    def compare_ranges(self, spec: CompareSpec, rows_per_range: int) -> tuple[KeyRange | None, ...]:
        """Ranges that cover the table and mean the same on every engine; (None,) = all at once."""
        ...

    def bucket_sums(self, spec: CompareSpec, buckets: int) -> dict[int, BucketSum]:
        """One scan: rows are put into buckets by a hash of their key (or row), and summed."""
        ...

    def row_hashes(
        self, spec: CompareSpec, buckets: int, wanted: Sequence[int]
    ) -> Iterator[tuple[str, str]]:
        """`(key, hash)` of the rows in the wanted buckets. Key: canonical JSON list of texts."""
        ...

    def hashes_of(self, spec: CompareSpec, keys: Sequence[str]) -> dict[str, str]:
        """Current hashes of rows by key (as `row_hashes` wrote it); absent rows are left out."""
        ...


# --------------------------------------------------------------------------------------------------
# Source


class RowStream(Protocol):
    """Rows of one chunk. Iterating yields blocks of bytes or record batches of the format."""

    format: Format
    columns: tuple[str, ...]

    def __iter__(self) -> Iterator[bytes | pa.RecordBatch]: ...

    @property
    def mark(self) -> str | None:
        """The state this chunk has seen (`LoadedChunk.mark`); known once iteration has begun."""
        ...


@dataclass(frozen=True)
class CaptureStatus:
    """The source's promise to keep its log.

    Attributes:
        exists: it is there.
        active: somebody is reading.
        confirmed: what the source may forget.
        retained_bytes: log kept for us.
        lost: the source has broken the promise; `detail` says how.
    """

    exists: bool
    active: bool = False
    confirmed: Position | None = None
    retained_bytes: int = 0
    lost: bool = False
    detail: str = ""


class Wanted(IntEnum):
    """What the consumer of a stream has room for."""

    NOTHING = 0
    FULL = 1
    ANY = 2


class ChangeStream(Protocol):
    """A running session on the source's log. One thread reads; `confirm` may come from another."""

    def read(self, wanted: Callable[[], Wanted]) -> ChangeBatch | Idle | None:
        """The next batch, or Idle when everything has been read, or None when a short wait passed.

        Natural batching: while `wanted()` is NOTHING transactions are only gathered, with FULL a
        batch is returned once the stream's limit is reached, with ANY as soon as one transaction is
        complete.
        """
        ...

    def confirm(self, position: Position) -> None:
        """Everything up to `position` is durable on the target: the source may forget it."""
        ...

    def close(self) -> None:
        """End the session; the capture stays."""
        ...


@dataclass(frozen=True)
class SequenceValue:
    """The state of a sequence or auto-increment counter.

    `column`: `(table, column)` it feeds, if any. `called`: `last` has been handed out.
    """

    name: TableName
    last: int
    called: bool
    increment: int = 1
    column: tuple[TableName, str] | None = None


class Source(Comparable, Protocol):
    """A source endpoint. Methods open connections of their own and may be used by threads."""

    engine: str

    def check(self, migration: str, tables: Sequence[Table], *, capture: bool) -> list[Finding]:
        """Reachability, privileges and settings for what is to be done; errors have a hint."""
        ...

    def catalog(self, wanted: Callable[[TableName], bool], *, objects: bool = False) -> Catalog:
        """Tables that are wanted (views are asked for too where the engine reads them); with
        `objects`, also native objects that belong to them.
        """
        ...

    def formats(self, table: Table, columns: Sequence[str]) -> tuple[Format, ...]:
        """How these columns can be read, fastest exact way first."""
        ...

    def plan(
        self, mapping: TableMapping, *, rows_per_chunk: int, bytes_per_chunk: int
    ) -> list[tuple[Chunk, bool]]:
        """Chunks that cover the table without gap or overlap, with ids left empty, and whether the
        chunk must share one snapshot with the table's others.
        """
        ...

    def read(
        self, chunk: Chunk, mapping: TableMapping, format: Format, snapshot: str | None = None
    ) -> AbstractContextManager[RowStream]:
        """Read one chunk in one snapshot (`snapshot`: one shared by `shared_snapshot`)."""
        ...

    def shared_snapshot(self) -> AbstractContextManager[str]:
        """A snapshot that several `read`s can use while the context lasts."""
        ...

    def rows_by_key(
        self, mapping: TableMapping, keys: Payload, format: Format
    ) -> tuple[Payload, Payload]:
        """Rows as they are now, by identity: `(rows found, identities not found)`."""
        ...

    def count_doubts(self, doubts: Sequence[Doubt]) -> dict[Doubt, int]:
        """How many values of the source each doubt is about, one scan per table. A doubt about
        values that this engine cannot hold counts 0.
        """
        ...

    # capture

    def position(self) -> Position:
        """The end of the log now: every transaction already committed lies at or before it."""
        ...

    def parse_position(self, text: str) -> Position:
        """The inverse of ``str(position)``."""
        ...

    def open_capture(self, migration: str, tables: Sequence[Table]) -> Position:
        """Make (or find, when it is ours) the capture; returns the low watermark: every change that
        commits after this call returns lies after it.
        """
        ...

    def capture_status(self, migration: str) -> CaptureStatus:
        """How the capture is doing."""
        ...

    def drop_capture(self, migration: str) -> list[str]:
        """Remove everything `open_capture` made; returns what was removed. Safe to repeat."""
        ...

    def untold_changes(self, tables: Sequence[Table]) -> dict[TableName, int]:
        """How many changes that the log does not tell each table has seen so far: updates and
        deletes where it tells only inserts, all of them where it tells nothing (`Table.capture`).
        Another number than before means: load it again.
        """
        ...

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        """How changes of these tables can be streamed, fastest exact way first."""
        ...

    def stream(
        self,
        migration: str,
        start: Position,
        mappings: Sequence[TableMapping],
        format: Format,
        marks: Mapping[TableName, str],
        *,
        batch_bytes: int,
    ) -> ChangeStream:
        """Stream changes after `start`. `marks`: states that loaded chunks have already seen; how
        a table looked before its mark does not matter.

        A batch ends where a captured table is found to have another shape (`ShapeChange.clean`),
        unless its transaction was begun already and is larger than a batch. If the stream is read
        on, the table is left out.

        Raises:
            CaptureLostError: the log no longer reaches back to `start`, or the capture is gone or
                was moved by somebody else.
        """
        ...

    # cutover

    def plan_fence(self, tables: Sequence[Table], mode: str) -> dict[str, Any]:
        """What fencing will change and what `unfence` has to give back, as plain JSON. Changes
        nothing. The caller stores it before it calls `fence`, so that a killed fence is undone.

        Modes: ``read-only``, ``revoke``, ``none`` (writers were stopped by hand). Under
        ``warnings`` (texts) it says who could still write.
        """
        ...

    def fence(
        self, plan: Mapping[str, Any], *, patience: float = 60.0, terminate: bool = False
    ) -> Position:
        """Keep applications from writing and wait for running transactions; returns a position
        after which no change can come. Repeatable. Replication and Godwit's sessions go on.

        Raises:
            CutoverError: writers are still busy after `patience` seconds (and not to be ended by
                `terminate`); the fence stays until `unfence`.
        """
        ...

    def unfence(self, plan: Mapping[str, Any]) -> None:
        """Give back exactly what `fence` took. Repeatable."""
        ...

    def sequences(self, tables: Sequence[Table]) -> tuple[SequenceValue, ...]:
        """Counters that belong to these tables or stand alone in their schemas."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


# --------------------------------------------------------------------------------------------------
# Target


@dataclass(frozen=True)
class Epoch:
    """A runner's fence for one (migration, role)."""

    migration: str
    role: str
    number: int


@dataclass(frozen=True)
class Progress:
    """The migration's truth, read in one snapshot.

    `stop_at`: the position at which applying is to end (set by cutover). `settled`: beyond this
    position the target is exact and changes are applied strictly; None = not known yet.
    """

    low: str | None = None
    settled: str | None = None
    checkpoint: str | None = None
    stop_at: str | None = None
    transactions: int = 0
    changes: int = 0
    applied_at: datetime | None = None
    commit_time: datetime | None = None
    session_at: datetime | None = None


@dataclass(frozen=True)
class RowException:
    """A row that the target refused, as logged."""

    table: TableName
    operation: str
    key: str
    error: str
    position: str
    at: datetime | None = None


class Control(Protocol):
    """The control tables of one migration on the target (schema ``godwit``)."""

    def install(self) -> None:
        """Make what is missing. Safe to run by two workers at once."""
        ...

    def take_epoch(self, role: str) -> Epoch:
        """Fence every earlier runner of this role. No number comes twice, not even after `drop`."""
        ...

    def confirm_epoch(self, epoch: Epoch) -> None:
        """Return when nothing of this runner's lost connections can be committed any more.

        Raises:
            FencedError: a newer runner has taken over.
        """
        ...

    def progress(self) -> Progress:
        """Checkpoint and watermarks."""
        ...

    def set_low(self, position: Position) -> None:
        """Store the low watermark and make it the checkpoint, once: the first one stays."""
        ...

    def set_settled(self, position: Position | None) -> None:
        """Move `settled` to that position (it never moves back)."""
        ...

    def set_stop(self, position: Position | None) -> None:
        """Ask the session to end at `position`; None takes it back."""
        ...

    def save_plan(self, bundles: Sequence[Bundle]) -> tuple[Bundle, ...]:
        """Store the plan; if there is one already, that one is returned."""
        ...

    def plan(self) -> tuple[Bundle, ...] | None:
        """The stored plan."""
        ...

    def replan(self, bundles: Sequence[Bundle]) -> None:
        """Store another plan in place of the one there is: a table has another shape now."""
        ...

    def loaded(self) -> dict[str, LoadedChunk]:
        """The chunk ledger by chunk id."""
        ...

    def forget_chunks(self, chunks: Sequence[str], epoch: Epoch) -> None:
        """Remove ledger lines (their rows are removed by the caller)."""
        ...

    def suspend(self, table: TableName, reason: str) -> None:
        """Take a table out of the migration."""
        ...

    def suspended(self) -> dict[TableName, str]:
        """Suspended tables and why."""
        ...

    def resume(self, table: TableName, epoch: Epoch | None = None) -> None:
        """Take a suspended table in again; a reload that was asked for is done.

        Raises:
            FencedError: a newer epoch exists; nothing was changed.
        """
        ...

    def ask_reload(self, table: TableName) -> None:
        """Ask whoever applies the changes to load the table again. It is suspended until then."""
        ...

    def reloads(self) -> tuple[TableName, ...]:
        """Tables to be loaded again, the first asked for first."""
        ...

    def refuse_reload(self, table: TableName, reason: str, epoch: Epoch) -> None:
        """The table cannot be loaded again: it stays suspended, for this reason.

        Raises:
            FencedError: a newer epoch exists; nothing was changed.
        """
        ...

    def show_life(self) -> None:
        """The session is at work, though it applies nothing."""
        ...

    def exceptions(self, limit: int = 100) -> list[RowException]:
        """Rows refused so far."""
        ...

    def exception_count(self) -> int:
        """How many rows were refused."""
        ...

    def journal(self, step: str, state: str, detail: Mapping[str, Any] | None = None) -> None:
        """Write a line of the cutover journal: ``started``, ``done``, ``undone`` or ``failed``."""
        ...

    def journal_states(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The last state of each step, with its detail."""
        ...

    def remember(self, key: str, value: Any) -> None:
        """Store a small JSON value of this migration."""
        ...

    def recall(self, key: str) -> Any:
        """The value stored under `key`, or None."""
        ...

    def restart(self, keep: Sequence[str] = ()) -> None:
        """Forget plan, ledger, progress, suspended tables and what was remembered, but for `keep`,
        in one commit; every earlier runner is fenced.
        """
        ...

    def drop(self, *, everything: bool = False) -> None:
        """Remove this migration's lines; `everything`: an empty control schema as well."""
        ...


@dataclass(frozen=True)
class ErrorPolicy:
    """What happens to what the target refuses: DMS words (``LOG_ERROR``, ``SUSPEND_TABLE``,
    ``STOP_TASK``, ``IGNORE_RECORD``; inserts also ``INSERT_RECORD``, updates ``UPDATE_RECORD``).
    """

    data: str = "LOG_ERROR"
    insert: str = "LOG_ERROR"
    update: str = "LOG_ERROR"
    delete: str = "IGNORE_RECORD"
    table: str = "SUSPEND_TABLE"
    #: A TRUNCATE on the source: ``repeat``, ``ignore`` (rows stay), ``refuse`` (the run stops).
    truncation: str = "repeat"
    #: A table altered on the source: ``repeat`` (the target's is altered as well; the table is out
    #: only until that is done), ``refuse`` (as `table` has it).
    alteration: str = "repeat"


@dataclass(frozen=True)
class Applied:
    """The outcome of one batch.

    Attributes:
        durable: what the source may forget, None = nothing new yet.
        suspended: tables taken out by this batch.
        exceptions: rows refused and logged.
        stop_at, settled: the control values after the commit.
    """

    durable: Position | None
    suspended: tuple[TableName, ...] = ()
    exceptions: int = 0
    stop_at: str | None = None
    settled: str | None = None
    rows: int = 0


class Applier(Protocol):
    """Applies change batches in one session on the target, fenced by an epoch."""

    def apply(self, batch: ChangeBatch, *, exact: bool) -> Applied:
        """Apply and, when the batch is final, commit together with the checkpoint.

        `exact`: the target is consistent, so every update and delete must meet its row. Otherwise
        the target is catching up, and changes are applied idempotently.

        Raises:
            FencedError: a newer epoch exists; nothing was committed.
            ApplyError: refused, and the policy says stop; nothing was committed.
        """
        ...

    def idle(self, position: Position) -> Applied:
        """Nothing is pending up to `position`: store it as the checkpoint (now and then), report
        durability and the control values.
        """
        ...

    def close(self) -> Position | None:
        """Roll back what is open, make the rest durable and close; returns what is durable."""
        ...


#: Reads rows of a table again by identity: `(rows found, identities gone)`, in the same format.
#: What it returns may be newer than the changes being applied, which it sees to by itself.
Reselect = Callable[[TableMapping, Payload], tuple[Payload, Payload]]


@dataclass(frozen=True)
class SchemaStep:
    """One statement group of a schema plan."""

    kind: str
    name: str
    phase: str
    statements: tuple[str, ...]
    table: TableName | None = None
    definition: str = ""
    depends: tuple[str, ...] = ()
    #: May run beside an application of changes and outside a transaction (concurrent index builds).
    concurrent: bool = False


@dataclass(frozen=True)
class SchemaPlan:
    """DDL for the target in dependency order; phases as in `NativeObject.phase`."""

    steps: tuple[SchemaStep, ...]
    findings: tuple[Finding, ...] = ()

    def phase(self, name: str) -> tuple[SchemaStep, ...]:
        """The steps of one phase."""
        return tuple(s for s in self.steps if s.phase == name)


class Target(Comparable, Protocol):
    """A target endpoint."""

    engine: str

    def check(self, migration: str, mappings: Sequence[TableMapping]) -> list[Finding]:
        """Reachability, privileges, settings, and what is in the way."""
        ...

    def control(self, migration: str) -> Control:
        """The control tables of one migration."""
        ...

    def fit(
        self, catalog: Catalog, mappings: Sequence[TableMapping]
    ) -> tuple[tuple[TableMapping, ...], list[Finding]]:
        """The mappings under names that the target can bear (length, case, collisions), always the
        same for the same names; each name changed is a finding.
        """
        ...

    def doubts(self, catalog: Catalog, mappings: Sequence[TableMapping]) -> list[Doubt]:
        """Values that the columns to be made here cannot hold as they are."""
        ...

    def plan_schema(self, catalog: Catalog, mappings: Sequence[TableMapping]) -> SchemaPlan:
        """DDL that makes the mapped tables and their objects; native objects of the same engine are
        kept, others built from logical types.
        """
        ...

    def run_schema(
        self,
        steps: Sequence[SchemaStep],
        *,
        parallel: int = 1,
        alone: bool = False,
        report: Callable[[ObjectParity], None] | None = None,
    ) -> list[ObjectParity]:
        """Execute steps (`alone`: nobody writes meanwhile); what exists and is equal is skipped.

        A step that fails is reported as
        ``failed`` with the target's words and doesn't stop the ones that don't depend on it.
        """
        ...

    def parity(self, plan: SchemaPlan) -> list[ObjectParity]:
        """Compare every object of the plan with what the target has."""
        ...

    def prepare_tables(
        self, mappings: Sequence[TableMapping], mode: str, epoch: Epoch
    ) -> list[Finding]:
        """`TargetTablePrepMode` for tables of which nothing is loaded yet (``DROP_AND_CREATE`` is
        done by dropping before `run_schema`; ``TRUNCATE_BEFORE_LOAD`` empties; ``DO_NOTHING``).

        Raises:
            LoadError: DO_NOTHING and the table has rows that aren't ours.
        """
        ...

    def alter(
        self,
        catalog: Catalog,
        before: TableMapping,
        now: TableMapping,
        renamed: Mapping[str, str],
        *,
        empty: bool,
    ) -> None:
        """Make the target's table of `before` that of `now`: columns are added (old rows get their
        default), dropped, renamed and retyped. What is there already stays as it is: repeatable.

        Args:
            catalog: of the source, with the table as it is now.
            before: the mapping that the table was made for.
            now: the same table's mapping from now on.
            renamed: source columns that have another name now, old to new.
            empty: the rows are going to be loaded again, so they need not be kept.

        Raises:
            ConversionError: it cannot be altered like this (key columns that change, a type or a
                default that cannot be expressed, refused by the server). The table may be altered
                in part.
        """
        ...

    def drop_tables(self, mappings: Sequence[TableMapping]) -> None:
        """Drop the mapped tables if they exist."""
        ...

    def formats(self, mapping: TableMapping) -> tuple[Format, ...]:
        """How rows can be written, fastest exact way first."""
        ...

    def load(
        self, chunk: Chunk, mapping: TableMapping, rows: RowStream, epoch: Epoch
    ) -> LoadedChunk:
        """Write rows and the ledger line in one commit. A chunk already in the ledger is returned
        as it is, unread.

        Raises:
            FencedError: a newer epoch exists; nothing was committed.
            LoadError: the target refused; nothing was committed.
        """
        ...

    def clear_rows(self, mapping: TableMapping, chunks: Sequence[str], epoch: Epoch) -> None:
        """Remove all rows of the table and these ledger lines, in one commit."""
        ...

    def replace_window(
        self,
        mapping: TableMapping,
        column: str,
        lower: str,
        upper: str,
        rows: RowStream,
        epoch: Epoch,
    ) -> int:
        """Replace the rows whose `column` (target name) lies in [lower, upper) by these rows, in
        one commit; returns rows written. Rows that moved into the window replace their older
        versions by row identity.
        """
        ...

    def change_formats(self, mappings: Sequence[TableMapping]) -> tuple[Format, ...]:
        """How changes can be applied, fastest exact way first."""
        ...

    def applier(
        self,
        migration: str,
        mappings: Sequence[TableMapping],
        format: Format,
        epoch: Epoch,
        policy: ErrorPolicy,
        reselect: Reselect,
    ) -> Applier:
        """A session that applies changes. `reselect` completes partial updates of rows that are not
        there yet.
        """
        ...

    def repair(
        self,
        mapping: TableMapping,
        found: Payload,
        gone: Payload,
        epoch: Epoch | None,
        format: Format,
    ) -> int:
        """Make rows as the source has them and remove those it hasn't; returns rows touched.

        Both are record batches of `format`, one of the target's columnar ones.
        """
        ...

    def advance_sequences(
        self, values: Sequence[SequenceValue], mappings: Sequence[TableMapping]
    ) -> list[str]:
        """Set counters to the source's state and past the largest value; returns what was set."""
        ...

    def execute(self, statements: Sequence[str]) -> None:
        """Run SQL of the definition (switch hooks, after-connect scripts)."""
        ...

    def row_estimate(self, table: TableName) -> int:
        """Rows by the target's statistics, -1 unknown."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...

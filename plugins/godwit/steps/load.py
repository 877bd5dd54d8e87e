"""Full load: the road each table takes, and loading a bundle of chunks.

Chunks are read in any order, each in its own snapshot; the log, replayed from before the first one,
makes the sum exact. What was committed is in the target's ledger, and is never loaded twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext
from typing import Any

import pyarrow as pa

from godwit.errors import LoadError, StoppedError
from godwit.model.catalog import TableName
from godwit.model.changes import Format
from godwit.model.chunks import Bundle, Chunk, LoadedChunk
from godwit.model.mapping import TableMapping
from godwit.protocols import Control, Epoch, ErrorPolicy, Reporter, RowStream, Source, Target
from godwit.steps.bundling import identified, plan
from godwit.steps.reshaped import suspend_if_reshaped
from godwit.steps.transform import transform_rows

__all__ = ["choose_format", "load_bundle", "load_window", "plan", "shaped"]

# -- the road


def choose_format(source: Source, target: Target, mapping: TableMapping) -> tuple[Format, str]:
    """The road a table's rows take, and why.

    Raises:
        LoadError: source and target have no format in common.
    """
    names = [c.source for c in mapping.columns if c.source is not None]
    offered = source.formats(mapping.source, names)
    accepted = target.formats(mapping)
    common = [f for f in offered if f in accepted]
    if not mapping.plain_load:
        shaped = ", ".join(c.target for c in mapping.columns if not c.plain)
        common = [f for f in common if f.columnar]
        why = f"columns are transformed: {shaped}"
    elif common and common[0] != offered[0]:
        why = f"{offered[0].name} is ruled out: column types differ on the target"
    else:
        why = "the fastest form the source has for these types"
    if not common:
        raise LoadError(
            "source and target share no format for this table",
            where=str(mapping.source.name),
            why=f"source: {_names(offered)}; target: {_names(accepted)}; {why}",
            hint="exclude the table, or the columns whose types are not supported",
        )
    return common[0], why


def _names(formats: Sequence[Format]) -> str:
    return ", ".join(f.name for f in formats) or "none"


class _Transformed:
    """A stream of record batches on its way through the mapping."""

    def __init__(self, rows: RowStream, mapping: TableMapping) -> None:
        self.format = rows.format
        self.columns = tuple(c.target for c in mapping.columns)
        self._rows, self._mapping = rows, mapping

    def __iter__(self) -> Iterator[bytes | pa.RecordBatch]:
        for batch in self._rows:
            yield transform_rows(batch, self._mapping)

    @property
    def mark(self) -> str | None:
        return self._rows.mark


def shaped(rows: RowStream, mapping: TableMapping) -> RowStream:
    """The rows as the target gets them."""
    return _Transformed(rows, mapping) if rows.format.columnar else rows


# -- loading


def load_bundle(
    source: Source,
    target: Target,
    control: Control,
    bundle: Bundle,
    mappings: Sequence[TableMapping],
    *,
    report: Reporter,
    stop: Callable[[], bool],
    streams: int = 1,
    policy: ErrorPolicy | None = None,
    again: bool = False,
) -> list[LoadedChunk]:
    """Load the chunks of a bundle that the ledger doesn't have yet; returns all of its lines.

    Args:
        source: of the migration.
        target: of the migration.
        control: its truth on the target.
        bundle: from the plan.
        mappings: the migration's tables; a chunk of a table that isn't among them is an error.
        report: hears of every chunk.
        stop: asked before each chunk.
        streams: chunks loaded at the same time.
        policy: what becomes of a table that the source has reshaped meanwhile.
        again: suspended tables are loaded too.

    Raises:
        LoadError: a chunk could not be loaded; those committed before stay.
        SchemaChangedError: a table was reshaped, and is not to be suspended.
        FencedError: a newer runner has taken a chunk over.
        StoppedError: asked to stop; what was committed stays.
    """
    loader = _Loader(source, target, control, mappings, report, stop, policy or ErrorPolicy())
    return loader.run(bundle, streams, again=again)


class _Loader:
    def __init__(
        self,
        source: Source,
        target: Target,
        control: Control,
        mappings: Sequence[TableMapping],
        report: Reporter,
        stop: Callable[[], bool],
        policy: ErrorPolicy,
    ) -> None:
        self._source, self._target, self._control = source, target, control
        self._policy = policy
        self._mappings = {m.source.name: m for m in mappings}
        self._report, self._stop = report, stop
        self._formats: dict[TableName, Format] = {}
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._out: set[TableName] = set()

    def run(self, bundle: Bundle, streams: int, *, again: bool) -> list[LoadedChunk]:
        suspended = () if again else self._control.suspended()
        chunks = [c for c in bundle.chunks if c.table not in suspended]
        epoch = None
        if bundle.shared_snapshot and chunks:
            # One fence for all: chunks of two runners would be chunks of two snapshots.
            epoch = self._control.take_epoch(_role(chunks[0]))
        ledger = self._control.loaded()
        todo = [c for c in chunks if c.id not in ledger]
        if epoch is not None and 0 < len(todo) < len(chunks):
            ids = [c.id for c in chunks]
            self._target.clear_rows(self._mapping(chunks[0]), ids, epoch)
            ledger, todo = {}, chunks
        shared = bundle.shared_snapshot and bool(todo)
        with self._source.shared_snapshot() if shared else nullcontext() as snapshot:
            fresh = self._each(todo, streams, epoch, snapshot)
        done = {**ledger, **{line.chunk.id: line for line in fresh}}
        return [done[c.id] for c in chunks if c.table not in self._out]

    def _each(
        self, chunks: Sequence[Chunk], streams: int, epoch: Epoch | None, snapshot: str | None
    ) -> list[LoadedChunk]:
        if streams <= 1 or len(chunks) <= 1:
            lines = [self._one(chunk, epoch, snapshot) for chunk in chunks]
            return [line for line in lines if line is not None]
        with ThreadPoolExecutor(min(streams, len(chunks)), "godwit-load") as pool:
            futures = [pool.submit(self._one, chunk, epoch, snapshot) for chunk in chunks]
            wait(futures, return_when=FIRST_EXCEPTION)
            if any(f.done() and f.exception() for f in futures):
                # The others end their chunk and begin no new one.
                self._failed.set()
        failures = [error for f in futures if (error := f.exception()) is not None]
        # What stopped because of another's failure is not the news.
        failures.sort(key=lambda error: isinstance(error, StoppedError))
        if failures:
            raise failures[0]
        return [line for f in futures if (line := f.result()) is not None]

    def _one(self, chunk: Chunk, epoch: Epoch | None, snapshot: str | None) -> LoadedChunk | None:
        """The chunk's line; None when its table has been suspended."""
        if self._failed.is_set() or self._stop():
            raise StoppedError("the load was asked to stop", where=f"before chunk {chunk.label}")
        mapping = self._mapping(chunk)
        with self._lock:
            if chunk.table in self._out:
                return None
        try:
            return self._load(chunk, mapping, epoch, snapshot)
        except LoadError as cause:
            with self._lock:
                if chunk.table not in self._out:
                    suspend_if_reshaped(
                        cause, mapping, self._source, self._control, self._policy, self._report
                    )
                    self._out.add(chunk.table)
            return None

    def _load(
        self, chunk: Chunk, mapping: TableMapping, epoch: Epoch | None, snapshot: str | None
    ) -> LoadedChunk:
        format = self._format(mapping)
        fence = epoch or self._control.take_epoch(_role(chunk))
        with self._source.read(chunk, mapping, format, snapshot) as rows:
            line = self._target.load(chunk, mapping, shaped(rows, mapping), fence)
        self._report.event("chunk", _facts(line, format))
        return line

    def _mapping(self, chunk: Chunk) -> TableMapping:
        mapping = self._mappings.get(chunk.table)
        if mapping is None:
            raise LoadError(
                "the plan has a table that the migration no longer has",
                where=f"chunk {chunk.label}",
                why="table mappings or the source changed after the plan was made",
                hint="`godwit cleanup` and start again, or take the change back",
            )
        return mapping

    def _format(self, mapping: TableMapping) -> Format:
        name = mapping.source.name
        with self._lock:
            known = self._formats.get(name)
            if known is None:
                known, why = choose_format(self._source, self._target, mapping)
                self._formats[name] = known
                self._report.event(
                    "table", {"table": list(name), "format": known.name, "format_reason": why}
                )
        return known


def _role(chunk: Chunk) -> str:
    return f"load:{chunk.id}"


# -- windows


def load_window(
    source: Source,
    target: Target,
    control: Control,
    mapping: TableMapping,
    column: str,
    lower: str,
    upper: str,
    *,
    report: Reporter,
) -> LoadedChunk:
    """Replace the rows whose source `column` lies in [lower, upper), in one commit.

    Args:
        source: of the migration.
        target: of the migration.
        control: its truth on the target.
        mapping: the table.
        column: of the source table.
        lower: as text both sides read.
        upper: the same, exclusive.
        report: hears of the window as of a chunk.

    Raises:
        LoadError: the column isn't mapped as it is, or a side refuses; nothing was changed.
        FencedError: a newer runner loads the same window.
    """
    name = mapping.target_names.get(column)
    if name is None or not any(c.target == name and c.plain for c in mapping.columns):
        raise LoadError(
            "the window's column does not arrive on the target as it is",
            where=f"{mapping.source.name} column {column}",
            why="it is missing, removed or transformed by a rule",
            hint="name a column in load_window that the table mappings leave alone",
        )
    # A window of its own may be loaded beside others; the same one again fences the first.
    epoch = control.take_epoch(f"window:{mapping.source.name}:{lower}:{upper}")
    window = Chunk(
        "", mapping.source.name, how="key", columns=(column,), lower=(lower,), upper=(upper,)
    )
    chunk = identified(epoch.migration, mapping, window)
    format, _why = choose_format(source, target, mapping)
    started = time.monotonic()
    with source.read(chunk, mapping, format) as rows:
        arriving = _Counted(shaped(rows, mapping))
        count = target.replace_window(mapping, name, lower, upper, arriving, epoch)
    line = LoadedChunk(chunk, count, arriving.bytes, time.monotonic() - started)
    report.event("chunk", _facts(line, format))
    return line


class _Counted:
    """A stream that counts its bytes on the way."""

    def __init__(self, rows: RowStream) -> None:
        self.format, self.columns = rows.format, rows.columns
        self.bytes = 0
        self._rows = rows

    def __iter__(self) -> Iterator[bytes | pa.RecordBatch]:
        for block in self._rows:
            self.bytes += len(block) if isinstance(block, bytes) else block.nbytes
            yield block

    @property
    def mark(self) -> str | None:
        return self._rows.mark


def _facts(line: LoadedChunk, format: Format) -> dict[str, Any]:
    """What is told of a loaded chunk."""
    return {
        "id": line.chunk.id,
        "table": list(line.chunk.table),
        "label": line.chunk.label,
        "rows": line.rows,
        "bytes": line.bytes,
        "seconds": round(line.seconds, 3),
        "format": format.name,
    }

"""The CDC session: read the source's log, apply it to the target, confirm what is durable.

Two threads work hand in hand: one reads and nets out, the other applies. As soon as the applier is
free it takes whatever whole transactions have arrived: a quiet source is followed within
milliseconds, a busy one in large batches, and no window has to be chosen.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from godwit.errors import GodwitError, LoadError, StoppedError
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, Format, Idle, Payload, Position, ShapeChange
from godwit.model.mapping import TableMapping
from godwit.protocols import (
    Applied,
    Applier,
    ChangeStream,
    Control,
    Epoch,
    ErrorPolicy,
    Reporter,
    Source,
    Target,
)
from godwit.steps.alteration import Alterations, Rules, altered, note_altered, renewed
from godwit.steps.counting import TableCounts
from godwit.steps.following import Following
from godwit.steps.handoff import Handoff
from godwit.steps.lag import Lag
from godwit.steps.reload import note_busy, reload_asked
from godwit.steps.reshape import Reshape
from godwit.steps.reshaped import difference
from godwit.steps.untold import reload_untold

#: Seconds between reports, and between looks at the capture's health.
REPORT = 1.0
HEALTH = 30.0
#: … and between looks for tables to be loaded again.
LOOK = 1.5
#: A broken connection is opened again after these seconds, so many times without progress.
RETRY_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)
ROLE = "apply"
DEFAULT_BATCH_BYTES = 16 << 20


@dataclass(frozen=True)
class SessionSummary:
    """What a session did.

    Attributes:
        position: applied up to here.
        reason: why it ended: ``reached`` (its position), ``stopped`` (asked to).
        transactions, changes, batches, rows: applied by this session.
        seconds: duration.
        lag_p50, lag_p99: seconds from commit on the source to visible on the target, of the
            transactions that were followed live; None when there were none.
        exceptions: rows refused and logged. suspended: tables taken out.
    """

    position: str
    reason: str
    transactions: int
    changes: int
    batches: int
    rows: int
    seconds: float
    lag_p50: float | None
    lag_p99: float | None
    exceptions: int = 0
    suspended: tuple[TableName, ...] = ()


@dataclass
class Session:
    """Everything a CDC session works with."""

    source: Source
    target: Target
    control: Control
    migration: str
    mappings: Sequence[TableMapping]
    policy: ErrorPolicy
    report: Reporter
    stop: Callable[[], bool] = lambda: False
    batch_bytes: int = DEFAULT_BATCH_BYTES
    #: Chunks loaded at the same time when a table is loaded again.
    streams: int = 1
    #: How tables that were altered on the source are mapped; None = they stay suspended.
    rules: Rules | None = None
    #: Where it ends; None = at the control tables' stop position, or never.
    until: Position | None = None
    lag: Lag = field(default_factory=Lag)
    counts: TableCounts = field(default_factory=TableCounts)
    transactions: int = 0
    changes: int = 0
    batches: int = 0
    rows: int = 0
    exceptions: int = 0
    suspended: tuple[TableName, ...] = ()
    position: Position | None = None
    _settled: str | None = None
    _stop_at: str | None = None
    _reported: float = 0.0
    _progressed: bool = False
    _looked: bool = False
    _asked_at: float = 0.0
    _busy: bool = False
    #: Tables were found that have to be loaded again, or altered, before the session goes on.
    _urgent: bool = False

    def __post_init__(self) -> None:
        self._following = Following(self.mappings)

    def run(self) -> SessionSummary:
        """Apply until the position is reached, a stop is asked for, or something fails for good.

        Raises:
            GodwitError: what cannot be got over; the checkpoint tells how far it came.
        """
        began = time.monotonic()
        # What has been imported stays: the collector need not walk through it with every batch.
        gc.freeze()
        epoch = self.control.take_epoch(ROLE)
        failures = 0
        while True:
            self._progressed = False
            try:
                reason = self._once(epoch)
                if reason == "reload" or (reason == "reached" and self._reloaded()):
                    continue
                break
            except StoppedError:
                reason = "stopped"
                break
            except GodwitError as cause:
                failures = 0 if self._progressed else failures + 1
                if not cause.retryable or failures > len(RETRY_SECONDS):
                    raise
                wait = RETRY_SECONDS[max(failures - 1, 0)]
                self.report.event(
                    "session", {"mode": "reconnecting", "error": str(cause), "seconds": wait}
                )
                if self._pause(wait):
                    reason = "stopped"
                    break
        self._back()
        self._tell(time.monotonic(), final=True)
        return SessionSummary(
            position=str(self.position or ""),
            reason=reason,
            transactions=self.transactions,
            changes=self.changes,
            batches=self.batches,
            rows=self.rows,
            seconds=time.monotonic() - began,
            lag_p50=self.lag.quantile(0.5),
            lag_p99=self.lag.quantile(0.99),
            exceptions=self.exceptions,
            suspended=self.suspended,
        )

    def _reloaded(self) -> bool:
        """Tables that changed in ways the log does not tell were loaded again: once a session, or
        a busy one would never end.
        """
        if self._looked:
            return False
        self._looked = True
        return bool(
            reload_untold(self.source, self.target, self.control, self.mappings, self.report)
        )

    def _pause(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        waiter = threading.Event()
        while time.monotonic() < deadline:
            if self.stop():
                return True
            waiter.wait(0.05)
        return False

    def _once(self, epoch: Epoch) -> str:
        """One connection to both sides; returns why it ended."""
        # The answer to the last commit may be lost: the checkpoint is read when that has ended.
        self.control.confirm_epoch(epoch)
        self._take_in(epoch)
        progress = self.control.progress()
        if progress.checkpoint is None:
            raise GodwitError(
                "there is no checkpoint to start from",
                where=f"migration {self.migration}",
                hint="open the capture first (the step before the full load does)",
            )
        start = self.source.parse_position(progress.checkpoint)
        self.position, self._settled, self._stop_at = start, progress.settled, progress.stop_at
        if self._stops(start) or start == self.until:
            return "reached"
        # A checkpoint beyond the source's end may mean that its log was begun anew. The stream
        # knows, so it is opened although there is nothing to wait for.
        out = self.control.suspended()
        mappings = [m for m in self.mappings if m.source.name not in out]
        marks = {
            line.chunk.table: line.mark
            for line in self.control.loaded().values()
            if line.mark is not None
        }
        format = choose_change_format(self.source, self.target, mappings)
        reshape = Reshape(mappings, format, self._read_again, self.policy.truncation)
        applier = self.target.applier(
            self.migration,
            mappings,
            format,
            epoch,
            self.policy,
            reshape.reselect,
        )
        try:
            stream = self.source.stream(
                self.migration, start, mappings, format, marks, batch_bytes=self.batch_bytes
            )
            self._back()
            return self._follow(stream, applier, reshape)
        finally:
            applier.close()

    def _take_in(self, epoch: Epoch) -> None:
        """Alter tables as the source's were, and load those again that were asked for: here, where
        nothing is being applied.
        """
        self._urgent = False
        if self._repeats and (altered(self.control) or self.control.reloads()):
            self._leave()
            self._alter(epoch)
        if not self.control.reloads():
            return
        self._leave()
        if self.rules is not None:
            self.mappings = renewed(self.source, self.control, self.rules, self.mappings)
        self._following.ask_followers(self.control)
        lines = reload_asked(
            self.source,
            self.target,
            self.control,
            self.mappings,
            epoch,
            report=self.report,
            stop=self.stop,
            streams=self.streams,
        )
        taken = {line.chunk.table for line in lines}
        self.suspended = tuple(t for t in self.suspended if t not in taken)
        if lines:
            # Until the log has reached this moment the table is ahead of the others.
            settled = self.source.position()
            settle(self.source, self.control, settled)
            if self.until is not None and settled.includes(self.until):
                self.until = settled

    @property
    def _repeats(self) -> bool:
        """What is altered on the source is altered on the target."""
        return self.rules is not None and self.policy.alteration == "repeat"

    def _alter(self, epoch: Epoch) -> None:
        assert self.rules is not None
        work = Alterations(
            self.source,
            self.target,
            self.control,
            self.migration,
            self.rules,
            self.policy,
            self.report,
        )
        self.mappings = work.take_in(self.mappings, epoch)
        self._following = Following(self.mappings)
        out = self.control.suspended()
        self.suspended = tuple(t for t in self.suspended if t in out)

    def _asked(self, now: float) -> bool:
        """A look into the control tables, now and then."""
        if now - self._asked_at < LOOK and not self._urgent:
            return False
        self._asked_at = now
        if not self.control.reloads() and not (self._repeats and altered(self.control)):
            self._urgent = False
            return False
        self._leave()
        return True

    def _leave(self) -> None:
        """The log is left for a while; nobody is to take this session for dead."""
        if not self._busy:
            note_busy(self.control, busy=True)
        self._busy = True

    def _back(self) -> None:
        if self._busy:
            note_busy(self.control, busy=False)
        self._busy = False

    def _read_again(
        self, mapping: TableMapping, keys: Payload, format: Format
    ) -> tuple[Payload, Payload]:
        """Rows as the source has them now: until the log has reached that moment the target is
        ahead of it, so changes are applied idempotently up to there.
        """
        try:
            result = self.source.rows_by_key(mapping, keys, format)
        except LoadError:
            self._take_out_if_reshaped(mapping)
            raise
        settle(self.source, self.control, self.source.position())
        return result

    def _take_out_if_reshaped(self, mapping: TableMapping) -> None:
        """The source has another table there now, which its log will tell later: the batch is read
        again without the table.
        """
        changed = difference(mapping, self.source)
        if changed and self._repeats:
            self.control.ask_reload(mapping.source.name)
        elif changed and self.policy.table == "SUSPEND_TABLE":
            change = ShapeChange(mapping.source.name, changed)
            self.control.suspend(change.table, change.reason)

    def _follow(self, stream: ChangeStream, applier: Applier, reshape: Reshape) -> str:
        handoff = Handoff()
        reader = threading.Thread(
            target=_read, args=(stream, handoff), name="godwit-read", daemon=True
        )
        reader.start()
        # No transaction is applied in part.
        whole = True
        try:
            while True:
                item = handoff.take(0.1)
                if self.stop():
                    return "stopped"
                if whole and self._asked(time.monotonic()):
                    return "reload"
                if item is None:
                    continue
                if isinstance(item, Idle):
                    applied = applier.idle(item.position)
                    self.position = item.position
                    self.lag.caught_up()
                else:
                    applied = self._apply(item, applier, reshape)
                self._note(applied, stream)
                whole = isinstance(item, Idle) or item.final
                if whole and self._urgent and self._asked(time.monotonic()):
                    return "reload"
                if whole and self._reached(self.position):
                    return "reached"
                self._tell(time.monotonic())
        finally:
            handoff.close()
            reader.join(10)
            durable = applier.close()
            if durable is not None:
                stream.confirm(durable)
            stream.close()

    def _apply(self, batch: ChangeBatch, applier: Applier, reshape: Reshape) -> Applied:
        failpoint("apply.before_batch")
        batch = self._noted(batch)
        batch, whole = reshape.batch(batch)
        if not self._exact() and self._following.load_again(
            batch.stages, self.control, self.report
        ):
            self._urgent = True
        exact = whole and self._exact()
        applied = applier.apply(batch, exact=exact)
        self.changes += batch.changes
        self.rows += applied.rows
        self.counts.add(batch)
        if batch.final:
            self.batches += 1
            self.transactions += batch.transactions
            self.position = batch.position
            self._progressed = True
            self.lag.add(batch.commits, time.time())
        return applied

    def _noted(self, batch: ChangeBatch) -> ChangeBatch:
        """The batch, its altered tables noted; without what need not be repeated, and is not."""
        changes = [s for s in batch.stages if isinstance(s, ShapeChange)]
        if not changes:
            return batch
        if not self._repeats:
            kept = tuple(s for s in batch.stages if not isinstance(s, ShapeChange) or not s.grown)
            return replace(batch, stages=kept)
        for change in changes:
            note_altered(self.control, change)
        self._urgent = True
        return batch

    def _exact(self) -> bool:
        """The target had reached `settled` before this batch."""
        if self._settled is None or self.position is None:
            return False
        return self.position.includes(self.source.parse_position(self._settled))

    def _note(self, applied: Applied, stream: ChangeStream) -> None:
        if applied.durable is not None:
            stream.confirm(applied.durable)
        self.exceptions += applied.exceptions
        # Those that were altered are back in a moment, or else are told then.
        soon = altered(self.control) if applied.suspended and self._repeats else {}
        self.suspended += applied.suspended
        for table in [t for t in applied.suspended if t not in soon]:
            reason = self.control.suspended().get(table, "")
            self.report.event("suspended", {"table": str(table), "reason": reason})
            facts = {"table": list(table), "state": "suspended", "last_error": reason}
            self.report.event("table", facts)
        if applied.settled is not None:
            self._settled = applied.settled
        if applied.durable is not None or applied.stop_at is not None:
            self._stop_at = applied.stop_at

    def _reached(self, position: Position | None) -> bool:
        if position is None:
            return False
        return self._stops(position) or (self.until is not None and position.includes(self.until))

    def _stops(self, position: Position) -> bool:
        """The cutover's position has been reached."""
        return self._stop_at is not None and position.includes(
            self.source.parse_position(self._stop_at)
        )

    def _tell(self, now: float, *, final: bool = False) -> None:
        if not final and now - self._reported < REPORT:
            return
        self._reported = now
        self.report.event(
            "session",
            {
                "mode": "follow" if self._exact() else "catch-up",
                "position": str(self.position or ""),
                "transactions": self.transactions,
                "changes": self.changes,
                "batches": self.batches,
                "rows": self.rows,
                "exceptions": self.exceptions,
                "suspended": [str(t) for t in self.suspended],
                **self.lag.report(),
            },
        )
        self.counts.tell(self.report, now, final=final)


def _read(stream: ChangeStream, handoff: Handoff) -> None:
    """The reading thread."""
    try:
        while not handoff.closed:
            item = stream.read(handoff.wanted)
            if item is not None:
                handoff.put(item)
    except BaseException as cause:  # noqa: BLE001 - handed over to the applying thread, raised there
        handoff.fail(cause)


def settle(source: Source, control: Control, position: Position) -> None:
    """Move the settled position forward to `position`; it never moves back."""
    current = control.progress().settled
    if current is None or not source.parse_position(current).includes(position):
        control.set_settled(position)


def choose_change_format(
    source: Source, target: Target, mappings: Sequence[TableMapping]
) -> Format:
    """The first format both ends share; a columnar one when any table is reshaped on its way.

    Raises:
        GodwitError: they share none.
    """
    plain = all(m.plain_changes for m in mappings)
    theirs = target.change_formats(mappings)
    for format in source.change_formats(mappings):
        if format in theirs and (plain or format.columnar):
            return format
    raise GodwitError(
        "source and target share no format for changes",
        where=f"{source.engine} → {target.engine}",
        hint="use migration_type full-load for this pair",
    )

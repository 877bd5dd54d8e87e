"""Comparing every table by content; the answer is reached even while the source is written to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import inf

from godwit.errors import CaptureError, FencedError, GodwitError, StoppedError
from godwit.model.catalog import TableName
from godwit.model.changes import Position
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity, TableValidation, ValidationReport
from godwit.protocols import Control, Reporter, Source, Target
from godwit.steps.comparison import Compared, Comparison, Incomparable, Pair, pair_of
from godwit.steps.repair import Repair

ROWS_PER_RANGE = 1_000_000
FAILURE_LIMIT = 10_000
TABLE_FAILURE_LIMIT = 1_000
THREADS = 2
#: Seconds that applying may stand still before it is no longer waited for.
PATIENCE = 60.0
POLL = (0.002, 0.1)
#: Times a range is tried again when a connection was lost.
TRIES = 3


def validate(
    source: Source,
    target: Target,
    control: Control,
    mappings: Sequence[TableMapping],
    *,
    report: Reporter,
    repair: bool = False,
    fenced: bool = False,
    threads: int = THREADS,
    rows_per_range: int | None = None,
    failure_limit: int = FAILURE_LIMIT,
    table_failure_limit: int = TABLE_FAILURE_LIMIT,
    patience: float = PATIENCE,
    stop: Callable[[], bool] = lambda: False,
) -> ValidationReport:
    """Compare the mapped tables by content, on both sides at once.

    Args:
        source: where the rows come from.
        target: where they are to be the same.
        control: of the migration.
        mappings: the tables.
        report: gets a ``validation`` event per table.
        repair: make rows that differ as the source has them, and look at them again.
        fenced: the source is quiet and the target has everything: the first look decides. Otherwise
            rows that differ are looked at again once what the source had by then is applied.
        threads: ranges compared at the same time; each keeps one session busy on either side.
        rows_per_range: big tables are compared in ranges of about that many rows.
        failure_limit: differences after which no further range is compared.
        table_failure_limit: differences kept per table, and, without `repair`, looked for.
        patience: seconds that applying may stand still.
        stop: asks to end early.

    Raises:
        StoppedError: `stop` said so.
        FencedError: another repair of the migration has begun.
    """
    run = _Run(
        source, target, control, report, fenced, threads, failure_limit, table_failure_limit,
        patience, stop,
    )  # fmt: skip
    with run.ranges, run.sides:
        try:
            tables = run.tables(mappings, rows_per_range or ROWS_PER_RANGE, repair=repair)
        except BaseException:
            run.ended.set()
            raise
    return ValidationReport(tables, fenced=fenced)


@dataclass
class _Open:
    """A table under comparison: its pair with one future per range, or why there is none."""

    mapping: TableMapping
    pair: Pair | None = None
    reason: str = ""
    parts: tuple[tuple[Pair, Future[Compared]], ...] = ()
    began: float = 0.0


class _Run:
    """One validation."""

    def __init__(
        self,
        source: Source,
        target: Target,
        control: Control,
        report: Reporter,
        fenced: bool,  # noqa: FBT001
        threads: int,
        failure_limit: int,
        table_failure_limit: int,
        patience: float,
        stop: Callable[[], bool],
    ) -> None:
        self._source, self._target, self._control = source, target, control
        self._report = report
        self._failure_limit = failure_limit
        self._kept = table_failure_limit
        self._stop = stop
        self.ended = threading.Event()
        self.ranges = ThreadPoolExecutor(threads, "godwit-validate")
        self.sides = ThreadPoolExecutor(threads + 1, "godwit-validate-target")
        # A migration without capture has nothing to wait for: then a second look tells whether the
        # source moves.
        self._following = not fenced and control.progress().checkpoint is not None
        self._catch_up = (
            None
            if fenced
            else CatchUp(source, control, patience=patience, stop=self._stopped)
            if self._following
            else self._check_stop
        )
        self._found = 0
        self._lock = threading.Lock()

    def _stopped(self) -> bool:
        return self.ended.is_set() or self._stop()

    def _check_stop(self) -> None:
        if self._stopped():
            raise StoppedError("asked to stop while comparing", hint="run it again")

    def tables(
        self, mappings: Sequence[TableMapping], rows_per_range: int, *, repair: bool
    ) -> tuple[TableValidation, ...]:
        suspended = self._control.suspended()
        shared = _shared_targets(mappings)
        comparison = self._comparison(limit=None if repair else self._kept)
        repairer = (
            Repair(
                self._source,
                self._target,
                self._control,
                comparison,
                following=self._following,
            )
            if repair
            else None
        )
        newer = _newer_columns(self._source, mappings)
        opened = []
        for mapping in mappings:
            reason = suspended.get(mapping.source.name) or suspended.get(mapping.target)
            if reason is not None:
                opened.append(_Open(mapping, reason=f"suspended: {reason}"))
            elif mapping.target in shared:
                why = "several tables are loaded into this one: their rows cannot be told apart"
                opened.append(_Open(mapping, reason=why))
            elif mapping.source.name in newer:
                opened.append(_Open(mapping, reason=newer[mapping.source.name]))
            else:
                opened.append(self._open(mapping, comparison, rows_per_range))
        return tuple(self._close(table, repairer) for table in opened)

    def _comparison(self, limit: int | None) -> Comparison:
        return Comparison(
            self._source, self._target, self.sides, catch_up=self._catch_up, limit=limit
        )

    def _open(self, mapping: TableMapping, comparison: Comparison, rows: int) -> _Open:
        """Begin to compare one table."""
        self._check_stop()
        began = time.monotonic()
        try:
            pair = pair_of(self._source, self._target, mapping)
            if isinstance(pair, Incomparable):
                return _Open(mapping, reason=pair.reason, began=began)
            bounds = self._source.compare_ranges(pair.source, rows)
        except GodwitError as error:
            return _Open(mapping, reason=str(error), began=began)
        expected = mapping.source.rows // len(bounds) if mapping.source.rows >= 0 else -1
        parts = tuple(
            (part, self.ranges.submit(self._compare, comparison, part, expected))
            for part in map(pair.within, bounds)
        )
        return _Open(mapping, pair, parts=parts, began=began)

    def _compare(self, comparison: Comparison, pair: Pair, expected: int) -> Compared:
        for attempt in range(1, TRIES + 1):
            self._check_stop()
            if self._found >= self._failure_limit:
                return Compared(complete=False)
            try:
                compared = comparison.compare(pair, expected)
            except GodwitError as error:
                if attempt == TRIES or not error.retryable or isinstance(error, CaptureError):
                    raise
            else:
                with self._lock:
                    self._found += compared.count
                return compared
        raise AssertionError("unreachable")

    def _close(self, table: _Open, repairer: Repair | None) -> TableValidation:
        """Wait for a table's ranges, repair, and tell."""
        total = Compared()
        notes = [table.pair.note] if table.pair and table.pair.note else []
        reasons = [table.reason] if table.reason else []
        repaired = 0
        for pair, future in table.parts:
            try:
                part = future.result()
                if repairer is not None and part.differences and pair.source.key:
                    outcome = repairer.rows(pair, part.differences)
                    left = outcome.persisting
                    repaired += len(part.differences) - len(left)
                    part.differences = {k: v for k, v in part.differences.items() if k in left}
                    part.count = len(part.differences)
            except (StoppedError, FencedError):
                raise
            except GodwitError as error:
                reasons.append(str(error))
                continue
            _add(total, part, self._kept)
        result = _result(table, total, notes, reasons, repaired, keyless=_keyless(table, repairer))
        if reasons:
            self._tell_reason(table.mapping.source.name, reasons[0])
        self._report.event("validation", result.to_json())
        return result

    def _tell_reason(self, name: TableName, reason: str) -> None:
        finding = Finding(
            "not-compared",
            Severity.ERROR,
            str(name),
            reason,
            "the table is not validated: remove the cause and validate again",
        )
        self._report.event("finding", finding.to_json())


def _newer_columns(source: Source, mappings: Sequence[TableMapping]) -> dict[TableName, str]:
    """Tables that have got columns since the migration began, of which it knows nothing."""
    known = {m.source.name: {c.name for c in m.source.columns} for m in mappings}
    reasons = {}
    for table in source.catalog(lambda name: name in known):
        added = [c.name for c in table.columns if c.name not in known[table.name]]
        if added:
            reasons[table.name] = "since the migration began: " + ", ".join(
                f"column {name} was added" for name in added
            )
    return reasons


def _shared_targets(mappings: Sequence[TableMapping]) -> set[TableName]:
    return {name for name, number in Counter(m.target for m in mappings).items() if number > 1}


def _keyless(table: _Open, repairer: Repair | None) -> bool:
    return repairer is not None and table.pair is not None and not table.pair.source.key


def _add(total: Compared, part: Compared, kept: int) -> None:
    total.rows += part.rows
    total.count += part.count
    total.rechecked += part.rechecked
    total.busy += part.busy
    total.complete &= part.complete
    for key, kind in part.differences.items():
        if len(total.differences) >= kept:
            break
        total.differences[key] = kind


def _result(
    table: _Open,
    total: Compared,
    notes: list[str],
    reasons: list[str],
    repaired: int,
    *,
    keyless: bool,
) -> TableValidation:
    if total.busy:
        notes.append(f"{total.busy} never stood still while they were looked at")
    if not total.complete:
        notes.append("not compared to the end: there may be more differences")
    if keyless and total.count:
        notes.append("rows without identity cannot be repaired one by one: `godwit reload`")
    return TableValidation(
        table.mapping.source.name,
        total.rows,
        equal=bool(table.parts) and not total.count and total.complete and not reasons,
        differences=tuple((kind, key) for key, kind in total.differences.items()),
        difference_count=total.count,
        rechecked=total.rechecked,
        repaired=repaired,
        seconds=round(time.monotonic() - table.began, 3) if table.began else 0.0,
        note="; ".join([*reasons, *notes]),
    )


class CatchUp:
    """Waits until the target has everything that the source has committed.

    Args:
        source, control: of the migration.
        patience: seconds that the checkpoint may stand still.
        stop: asks to end early.
    """

    def __init__(
        self, source: Source, control: Control, *, patience: float, stop: Callable[[], bool]
    ) -> None:
        self._source, self._control = source, control
        self._patience = patience
        self._stop = stop
        self._stuck_at: str | None = "never"

    def __call__(self) -> None:
        """Wait for what is committed now.

        Raises:
            CaptureError: the checkpoint stands still.
            StoppedError: asked to stop.
        """
        self.until(self._source.position())

    def until(self, wanted: Position, *, deadline: float = inf) -> None:
        """Wait until the checkpoint includes this position, at most to `deadline` (monotonic).

        Raises:
            CaptureError: the checkpoint stands still, or doesn't get there in time.
            StoppedError: asked to stop.
        """
        pause, longest = POLL
        seen: str | None = None
        moved = time.monotonic()
        while True:
            text = self._control.progress().checkpoint
            if text is not None and self._source.parse_position(text).includes(wanted):
                return
            if text != seen:
                seen, moved = text, time.monotonic()
            if self._stop():
                raise StoppedError("asked to stop while waiting for changes to be applied")
            # Once waited for in vain is enough: the other ranges needn't wait as long.
            now = time.monotonic()
            if text == self._stuck_at or now - moved > self._patience or now > deadline:
                self._stuck_at = text
                raise CaptureError(
                    "changes are not being applied" if now <= deadline else "applying lags behind",
                    where=f"checkpoint {text}, wanted {wanted}",
                    why=f"the checkpoint has not moved for {now - moved:.0f} seconds",
                    hint="start the session that applies changes, and look at its log",
                )
            time.sleep(pause)
            pause = min(pause * 2, longest)

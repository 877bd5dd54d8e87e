"""The switch from source to target: a state machine with a journal, repeatable and with an undo.

gate → fence → drain → validate → sequences → triggers → switch → done

Everything before ``switch`` may be done again: a run after a kill starts over at the gate with the
fence that stands. Whatever fails before the switch is undone: the source takes writes as before and
the session goes on. From the switch on, a repeated run only does the hooks that are still open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from godwit.errors import CaptureError, CutoverError, DifferenceError, FencedError, GodwitError
from godwit.model.changes import Position
from godwit.model.mapping import TableMapping
from godwit.model.report import ValidationReport
from godwit.protocols import Control, Reporter, Source, Target
from godwit.steps.validate import CatchUp, validate

#: Seconds without a sign of life after which the running session isn't waited for any more.
ALIVE = 15.0
#: … and looked at so often.
GLANCE = 1.0
#: Slack of the lag gate: an idle session moves its checkpoint about once a second.
IDLE = 2.0
#: A session that showed itself within these seconds may be reconnecting.
RECENT = 30.0
POLL = 0.02
_FENCE = "fence"
_SWITCH = "switch"
#: The journal's line for the whole cutover.
_WHOLE = "cutover"
#: States of a hook that may have had its effect.
_CALLED = frozenset({"started", "done", "failed"})


@dataclass(frozen=True)
class Switch:
    """One switch hook, made by the caller: an Airflow connection, SQL, a webhook."""

    name: str
    do: Callable[[], None]
    undo: Callable[[], None] | None = None


@dataclass(frozen=True)
class CutoverStep:
    """One step: ``done``, ``skipped``, ``failed``, ``undone``, or in a dry run ``open``/``closed``
    (gates) and ``planned``.
    """

    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class CutoverReport:
    """What a cutover did, or would do.

    Attributes:
        steps: in order.
        position: the fenced position; empty in a dry run.
        outage: seconds from the fence until the switch was done: how long nobody could write.
        validation: of the fenced content.
        sequences: what was set.
        warnings: who could still write, and what else a person should know.
    """

    steps: tuple[CutoverStep, ...]
    dry_run: bool = False
    position: str = ""
    outage: float = 0.0
    validation: ValidationReport | None = None
    sequences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        """No gate is closed."""
        return all(step.state != "closed" for step in self.steps)


@dataclass
class Cutover:
    """Everything a cutover works with.

    Attributes:
        migration: its name.
        source, target, control: of the migration.
        mappings: its tables.
        report: gets ``cutover`` events.
        drain: runs a session up to a position; called when no other session gets there.
        late: makes what must wait for the cutover (triggers); returns what it did, for people.
        switches: the hooks, in order.
        capturing: changes are captured at all.
        fence: the fence's mode. terminate: end sessions that keep it waiting. patience: seconds it
            waits for them.
        max_lag: seconds; the gate is closed above.
        drain_timeout: seconds the last changes may take.
        grace: seconds in which a session that was there may reconnect.
        final_validation: compare behind the fence.
        validation: more arguments of `validate`.
        force: go on in spite of suspended tables and refused rows.
        stop: asks to end early.
    """

    migration: str
    source: Source
    target: Target
    control: Control
    mappings: Sequence[TableMapping]
    report: Reporter
    drain: Callable[[Position], object]
    late: Callable[[], Sequence[str]] = lambda: ()
    switches: Sequence[Switch] = ()
    capturing: bool = True
    fence: str = "read-only"
    terminate: bool = False
    patience: float = 60.0
    max_lag: float = 10.0
    drain_timeout: float = 600.0
    grace: float = 3.0
    final_validation: bool = True
    validation: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    stop: Callable[[], bool] = lambda: False


def is_done(states: Mapping[str, Any]) -> bool:
    """Whether the journal says that the migration is cut over (and not fallen back)."""
    last = states.get(_WHOLE)
    return (last if isinstance(last, str) else last and last[0]) == "done"


def dry_run(cut: Cutover) -> CutoverReport:
    """Look at every gate and say what would happen. Touches nothing."""
    steps = list(_gates(cut, touch=False))
    plan = cut.source.plan_fence([m.source for m in cut.mappings], cut.fence)
    steps.append(CutoverStep(_FENCE, "planned", _fence_words(plan)))
    if cut.capturing:
        steps.append(CutoverStep("drain", "planned", f"at most {cut.drain_timeout:.0f} seconds"))
    if cut.final_validation:
        steps.append(CutoverStep("validate", "planned", f"{len(cut.mappings)} tables by content"))
    counters = cut.source.sequences([m.source for m in cut.mappings])
    number = len({value.name for value in counters})
    steps.append(CutoverStep("sequences", "planned", f"{number} counters"))
    steps.append(CutoverStep("triggers", "planned"))
    steps += [CutoverStep(f"{_SWITCH}: {s.name}", "planned") for s in cut.switches]
    return CutoverReport(tuple(steps), dry_run=True, warnings=tuple(plan.get("warnings", ())))


def run(cut: Cutover) -> CutoverReport:
    """Cut over, or go on where a killed run stopped.

    Raises:
        CutoverError: a gate is closed, or a step failed; what was done is undone, except when hooks
            that have no undo were called: then it says so, and running again goes on.
        DifferenceError: the fenced contents differ; undone.
        FencedError: another cutover of the migration has begun.
    """
    states = cut.control.journal_states()
    if is_done(states):
        return _report_of(states)
    return _Machine(cut, states).run()


def fall_back(cut: Cutover) -> list[str]:
    """Go back to the source: it takes writes again, and the session may go on.

    Before the switch nothing is lost. After it, what was written to the target meanwhile is not on
    the source: the result says so. Returns what was done. Safe to repeat.
    """
    states = cut.control.journal_states()
    # Whoever is cutting over must stop first.
    cut.control.journal(_WHOLE, "undone", {"epoch": cut.control.take_epoch(_WHOLE).number})
    told = []
    if _switched(states):
        told.append(
            "the migration had been switched over: rows written to the target since then are NOT "
            "on the source, and are not carried back"
        )
    for switch in reversed(list(cut.switches)):
        name = f"{_SWITCH}: {switch.name}"
        if states.get(name, ("", {}))[0] in _CALLED:
            if switch.undo is None:
                told.append(f"{name} has no undo: take it back by hand")
            else:
                switch.undo()
                told.append(f"{name} undone")
            cut.control.journal(name, "undone", {"by_hand": switch.undo is None})
    cut.control.set_stop(None)
    return [*told, *_unfence(cut, states)]


def _unfence(cut: Cutover, states: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[str]:
    state, detail = states.get(_FENCE, ("", {}))
    if state not in {"started", "done"}:
        return ["no fence is in the journal: nothing was taken back on the source"]
    cut.source.unfence(detail["plan"])
    cut.control.journal(_FENCE, "undone")
    return ["the source takes writes again"]


def _switched(states: Mapping[str, tuple[str, Mapping[str, Any]]]) -> bool:
    """A hook has been called, or there is none and the cutover is done."""
    called = any(
        name.startswith(f"{_SWITCH}: ") and state in _CALLED for name, (state, _) in states.items()
    )
    return called or is_done(states)


def _fence_words(plan: Mapping[str, Any]) -> str:
    number = len(plan.get("tables", ()))
    return f"{plan.get('mode')}, {number} tables" if number else str(plan.get("mode"))


def _gates(cut: Cutover, *, touch: bool) -> Iterator[CutoverStep]:
    """The gates, as they are now. With `touch`, what nobody follows is drained first."""
    suspended = cut.control.suspended()
    names = ", ".join(sorted(str(name) for name in suspended))
    yield _gate("no suspended tables", not suspended or cut.force, names)
    refused = cut.control.exception_count()
    yield _gate("no refused rows", not refused or cut.force, f"{refused} rows" if refused else "")
    if not cut.capturing:
        return
    settled = cut.control.progress().settled
    if settled is None:
        yield _gate(
            "caught up", state=False, detail="the target has not caught up with the load yet"
        )
        return
    followed = is_followed(cut)
    began = time.monotonic()
    if not followed and touch:
        cut.drain(cut.source.position())
    checkpoint = cut.control.progress().checkpoint
    exact = checkpoint is not None and _at(cut, checkpoint).includes(_at(cut, settled))
    yield _gate("caught up", exact, f"checkpoint {checkpoint}, needs {settled}")
    if followed:
        yield _lag_gate(cut)
    else:
        seconds = f"it took {time.monotonic() - began:.1f} seconds to apply what was pending"
        told = seconds if touch else "what is pending is applied first"
        yield _gate("lag", state=True, detail=f"no session is running: {told}")


def is_followed(cut: Cutover) -> bool:
    """A session reads the source's log. One that was there a moment ago may be reconnecting, and is
    given a moment to come back: a session of ours would fence it.
    """
    seen = cut.control.progress().session_at
    recent = seen is not None and (datetime.now(UTC) - seen).total_seconds() < RECENT
    deadline = time.monotonic() + (cut.grace if recent else 0.0)
    while not cut.source.capture_status(cut.migration).active:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)
    return True


def _lag_gate(cut: Cutover) -> CutoverStep:
    began = time.monotonic()
    wait = CatchUp(cut.source, cut.control, patience=cut.max_lag + IDLE, stop=cut.stop)
    deadline = began + cut.max_lag + IDLE
    try:
        wait.until(cut.source.position(), deadline=deadline)
    except CaptureError as cause:
        return _gate("lag", state=False, detail=f"more than {cut.max_lag:g} seconds: {cause.what}")
    return _gate("lag", state=True, detail=f"at most {time.monotonic() - began:.1f} seconds")


def _gate(name: str, state: bool, detail: str = "") -> CutoverStep:  # noqa: FBT001
    return CutoverStep(f"gate: {name}", "open" if state else "closed", detail)


def _short(gate: CutoverStep) -> str:
    return gate.name.removeprefix("gate: ")


def _at(cut: Cutover, text: str) -> Position:
    return cut.source.parse_position(text)


def _report_of(states: Mapping[str, tuple[str, Mapping[str, Any]]]) -> CutoverReport:
    """The report of a cutover that was done before."""
    detail = states[_WHOLE][1]
    return CutoverReport(
        tuple(CutoverStep(**step) for step in detail.get("steps", ())),
        position=detail.get("position", ""),
        outage=detail.get("outage", 0.0),
        sequences=tuple(detail.get("sequences", ())),
        warnings=tuple(detail.get("warnings", ())),
    )


class _Machine:
    """One run of the cutover."""

    def __init__(self, cut: Cutover, states: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        self._cut = cut
        self._states = states
        self._steps: list[CutoverStep] = []
        self._epoch = cut.control.take_epoch(_WHOLE).number
        self._plan: dict[str, Any] = {}
        self._fenced_at = 0.0
        self._position: Position | None = None
        self._validation: ValidationReport | None = None
        self._sequences: tuple[str, ...] = ()

    def run(self) -> CutoverReport:
        self._cut.control.journal(_WHOLE, "started", {"epoch": self._epoch})
        if _switched(self._states):
            self._take_up()
        else:
            self._before_switch()
        self._switch()
        return self._finish()

    def _before_switch(self) -> None:
        try:
            self._gate()
            self._fence()
            self._drain()
            self._validate()
            self._set_sequences()
            self._late()
        except FencedError:
            # Another runner has taken over, and with it the fence.
            raise
        except BaseException as cause:
            self._undo(cause)
            raise

    def _take_up(self) -> None:
        """A killed run had begun to switch: all before is done."""
        detail = self._states[_FENCE][1]
        self._plan = dict(detail["plan"])
        self._fenced_at = detail["at"]
        self._position = _at(self._cut, detail["position"])

    # -- steps

    @contextmanager
    def _step(self, name: str, detail: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Journal one step. What is put into the yielded dictionary is kept with its end."""
        self._mine()
        told: dict[str, Any] = dict(detail or {})
        self._tell(name, "started", told)
        try:
            yield told
        except BaseException as cause:
            self._steps.append(CutoverStep(name, "failed", _words(cause)))
            if not isinstance(cause, FencedError) and name != _FENCE:
                self._tell(name, "failed", {**told, "error": _words(cause)})
            raise
        self._mine()
        self._tell(name, "done", told)
        self._steps.append(CutoverStep(name, "done", str(told.get("words", ""))))

    def _tell(self, name: str, state: str, detail: Mapping[str, Any]) -> None:
        self._cut.control.journal(name, state, detail)
        self._cut.report.event("cutover", {"step": name, "state": state})

    def _mine(self) -> None:
        """Nobody else has begun to cut over or to fall back."""
        _, detail = self._cut.control.journal_states().get(_WHOLE, ("", {}))
        if detail.get("epoch", self._epoch) != self._epoch:
            raise FencedError(
                "another cutover or fall-back of this migration has begun",
                where=f"migration {self._cut.migration}",
                hint="nothing: the newer one goes on",
            )

    def _gate(self) -> None:
        with self._step("gate") as told:
            gates = list(_gates(self._cut, touch=True))
            closed = [gate for gate in gates if gate.state == "closed"]
            if closed:
                raise CutoverError(
                    "the gate is closed",
                    where=f"migration {self._cut.migration}",
                    why="; ".join(
                        f"{gate.name.removeprefix('gate: ')}: {gate.detail}" for gate in closed
                    ),
                    hint="remove the cause and cut over again; the source goes on as before",
                )
            told["words"] = "; ".join(_short(gate) for gate in gates)

    def _fence(self) -> None:
        cut = self._cut
        state, detail = self._states.get(_FENCE, ("", {}))
        # A fence that stands was planned before anything was taken: that plan is the true one.
        standing = state in {"started", "done"}
        self._plan = (
            dict(detail["plan"])
            if standing
            else cut.source.plan_fence([m.source for m in cut.mappings], cut.fence)
        )
        self._fenced_at = detail["at"] if standing else time.time()
        known = {"plan": self._plan, "at": self._fenced_at}
        with self._step(_FENCE, known) as told:
            self._position = cut.source.fence(
                self._plan, patience=cut.patience, terminate=cut.terminate
            )
            told["position"] = str(self._position)
            told["words"] = _fence_words(self._plan)

    def _drain(self) -> None:
        cut, position = self._cut, self._position
        if not cut.capturing or position is None:
            self._steps.append(CutoverStep("drain", "skipped", "no changes are captured"))
            return
        with self._step("drain", {"position": str(position)}):
            cut.control.set_stop(position)
            deadline = time.monotonic() + cut.drain_timeout
            if not self._drained(position, deadline):
                # A session of our own takes over; it fences one that hangs.
                cut.drain(position)
                wait = CatchUp(cut.source, cut.control, patience=0.0, stop=cut.stop)
                wait.until(position, deadline=deadline)

    def _drained(self, position: Position, deadline: float) -> bool:
        """The session that follows has applied everything; False when there is none (or none any
        more), or when it hangs.

        Raises:
            CaptureError: it does not get there in time.
        """
        cut = self._cut
        seen, moved = None, time.monotonic()
        # A log may look followed for a moment after its reader has gone.
        while is_followed(cut) and time.monotonic() - moved < ALIVE:
            try:
                wait = CatchUp(cut.source, cut.control, patience=GLANCE, stop=cut.stop)
                wait.until(position, deadline=deadline)
            except CaptureError:
                if time.monotonic() >= deadline:
                    raise
                checkpoint = cut.control.progress().checkpoint
                if checkpoint != seen:
                    seen, moved = checkpoint, time.monotonic()
            else:
                return True
        return False

    def _validate(self) -> None:
        cut = self._cut
        if not cut.final_validation:
            self._steps.append(CutoverStep("validate", "skipped", "switched off"))
            return
        with self._step("validate") as told:
            self._validation = validate(
                cut.source,
                cut.target,
                cut.control,
                cut.mappings,
                report=cut.report,
                fenced=True,
                **{"stop": cut.stop, **cut.validation},
            )
            different = [t for t in self._validation.tables if not t.equal]
            if cut.force:
                suspended = cut.control.suspended()
                different = [t for t in different if t.table not in suspended]
            if different:
                raise DifferenceError(
                    "source and target differ behind the fence",
                    where=", ".join(str(t.table) for t in different[:20]),
                    why="; ".join(_difference(t.difference_count, t.note) for t in different[:5]),
                    hint="the cutover was undone: validate with repair, then cut over again",
                )
            told["words"] = f"{self._validation.rows} rows equal"

    def _set_sequences(self) -> None:
        cut = self._cut
        with self._step("sequences") as told:
            values = cut.source.sequences([m.source for m in cut.mappings])
            self._sequences = tuple(cut.target.advance_sequences(values, cut.mappings))
            told["words"] = f"{len(self._sequences)} set"

    def _late(self) -> None:
        with self._step("triggers") as told:
            told["words"] = f"{len(self._cut.late())} made"

    # -- the switch

    def _switch(self) -> None:
        called: list[Switch] = []
        for switch in self._cut.switches:
            name = f"{_SWITCH}: {switch.name}"
            called.append(switch)
            if self._states.get(name, ("", {}))[0] == "done":
                self._steps.append(CutoverStep(name, "done", "before"))
                continue
            try:
                with self._step(name):
                    switch.do()
            except FencedError:
                raise
            except Exception as cause:
                self._switch_back(called, cause)
                raise

    def _switch_back(self, called: Sequence[Switch], cause: BaseException) -> None:
        """Undo the hooks called so far, the failing one too; then everything else."""
        lasting = [switch.name for switch in called if switch.undo is None]
        if lasting:
            self._cut.control.journal(
                _WHOLE, "failed", {"epoch": self._epoch, "error": _words(cause)}
            )
            raise CutoverError(
                "the switch failed half way",
                where=f"migration {self._cut.migration}",
                why=f"{_reason(cause)}; without an undo: {', '.join(lasting)}",
                hint="the source stays fenced: remove the cause and cut over again to go on, or "
                "fall back",
            ) from cause
        for switch in reversed(called):
            if switch.undo is not None:
                switch.undo()
                self._cut.control.journal(f"{_SWITCH}: {switch.name}", "undone")
        self._undo(cause)

    def _undo(self, cause: BaseException) -> None:
        """Give the source back and let the session go on."""
        cut = self._cut
        try:
            cut.control.set_stop(None)
            told = _unfence(cut, cut.control.journal_states())
        except GodwitError as failed:
            cut.control.journal(_WHOLE, "failed", {"epoch": self._epoch, "error": _words(failed)})
            raise CutoverError(
                "the cutover failed and could not be undone",
                where=f"migration {cut.migration}",
                why=f"{_words(cause)}; undoing: {failed}",
                hint="the source may still be fenced: fall back once the cause is removed",
            ) from cause
        cut.control.journal(_WHOLE, "undone", {"epoch": self._epoch, "error": _words(cause)})
        cut.report.event("cutover", {"step": _WHOLE, "state": "undone", "detail": told})

    def _finish(self) -> CutoverReport:
        report = CutoverReport(
            tuple(self._steps),
            position=str(self._position or ""),
            outage=round(time.time() - self._fenced_at, 3),
            validation=self._validation,
            sequences=self._sequences,
            warnings=tuple(self._plan.get("warnings", ())),
        )
        detail = {
            "epoch": self._epoch,
            "steps": [asdict(step) for step in report.steps],
            "position": report.position,
            "outage": report.outage,
            "sequences": list(report.sequences),
            "warnings": list(report.warnings),
        }
        self._mine()
        self._tell(_WHOLE, "done", detail)
        return report


def _words(cause: BaseException) -> str:
    """What happened, in one line, without what other libraries may have put into their texts."""
    return cause.what if isinstance(cause, GodwitError) else type(cause).__name__


def _reason(cause: BaseException) -> str:
    if isinstance(cause, GodwitError) and cause.why:
        return f"{cause.what}, {cause.where}: {cause.why}"
    return _words(cause)


def _difference(count: int, note: str) -> str:
    return f"{count} differences" if count else note

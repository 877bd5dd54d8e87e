"""Looking again at what differs, until it is equal or the difference persists.

While the source is written to, the target is a moment behind, so a difference means nothing by
itself. A unit (a row, or a bucket of rows without identity) is read on the source, then the target
is given time to apply what the source had by then, then the target is read, then the source once
more. Every outcome of these three looks ends something:

* the target has what the source had before or after: equal;
* the source hasn't changed and the target differs: a difference when it is seen twice;
* the source has changed: the unit is busy, look again; busy rows are sampled on both sides until
  the same version is seen on both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Unit = TypeVar("Unit", str, int)
#: How a unit looks on one side; an absent unit is None.
Read = Callable[[Collection[Unit]], Mapping[Unit, object]]

ROUNDS = 8
SAMPLES = 60
#: Busy rows are sampled this many at a time, so that a sample is quick.
SAMPLED = 200


@dataclass
class Outcome(Generic[Unit]):
    """What persists, as `(source, target)`; `busy` of them never stood still."""

    persisting: dict[Unit, tuple[object, object]] = field(default_factory=dict)
    busy: int = 0


def recheck(
    units: Collection[Unit],
    source: Read[Unit],
    target: Read[Unit],
    *,
    catch_up: Callable[[], None] | None,
    sample: bool = True,
) -> Outcome[Unit]:
    """Look at the units again. `catch_up` returns when the target has everything that the source
    had committed at its call; without it nothing changes, and one look decides.
    """
    outcome: Outcome[Unit] = Outcome()
    waiting = set(units)
    strikes: dict[Unit, tuple[object, object]] = {}
    last: dict[Unit, tuple[object, object]] = {}
    for _ in range(ROUNDS):
        if not waiting:
            break
        before = source(waiting)
        if catch_up is not None:
            catch_up()
        there = target(waiting)
        after = source(waiting) if catch_up is not None else before
        for unit in list(waiting):
            old, new, copy = before.get(unit), after.get(unit), there.get(unit)
            last[unit] = (new, copy)
            if copy in (old, new):
                waiting.discard(unit)
            elif catch_up is None or (old == new and strikes.get(unit) == (new, copy)):
                outcome.persisting[unit] = (new, copy)
                waiting.discard(unit)
            elif old == new:
                strikes[unit] = (new, copy)
    if sample and waiting and catch_up is not None:
        waiting = _sampled(waiting, source, target, catch_up)
    outcome.busy = len(waiting)
    outcome.persisting.update((unit, last[unit]) for unit in waiting)
    return outcome


def _sampled(
    units: Collection[Unit], source: Read[Unit], target: Read[Unit], catch_up: Callable[[], None]
) -> set[Unit]:
    """Busy units of which no version was seen on both sides."""
    never: set[Unit] = set()
    ordered = list(units)
    for start in range(0, len(ordered), SAMPLED):
        waiting = set(ordered[start : start + SAMPLED])
        seen: dict[Unit, set[object]] = {unit: set() for unit in waiting}
        copies: dict[Unit, set[object]] = {unit: set() for unit in waiting}
        _look(source, waiting, seen)
        # From here on the target can't show anything older than the first version seen.
        catch_up()
        for _ in range(SAMPLES):
            _look(source, waiting, seen)
            _look(target, waiting, copies)
            waiting = {unit for unit in waiting if not seen[unit] & copies[unit]}
            if not waiting:
                break
        never |= waiting
    return never


def _look(read: Read[Unit], units: Collection[Unit], into: dict[Unit, set[object]]) -> None:
    found = read(units)
    for unit in units:
        into[unit].add(found.get(unit))

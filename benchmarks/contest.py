"""A contest: contenders take turns (A B A B), medians count, a wrong result ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.machine import load_average


class WrongContentError(Exception):
    """The target does not hold what it should: a fast wrong copy is no copy."""


class PeerError(Exception):
    """A peer is not here, or failed: the text says why."""


@dataclass
class Run:
    """One run: seconds on the clock, CPU seconds by side, bytes of our largest process."""

    seconds: float
    client: float = 0.0
    source: float = 0.0
    target: float = 0.0
    memory: int = 0
    more: dict[str, float] = field(default_factory=dict)


@dataclass
class Standing:
    """A contender's runs. `ratio`: how many times as fast as the reference, median of the pairs."""

    contender: str
    runs: list[Run]
    ratio: float

    def middle(self, of: Callable[[Run], float]) -> float:
        """The median of something over the runs."""
        return median(of(run) for run in self.runs)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "contender": self.contender,
            "ratio": round(self.ratio, 3),
            "seconds": round(self.middle(lambda r: r.seconds), 3),
            "client": round(self.middle(lambda r: r.client), 3),
            "source": round(self.middle(lambda r: r.source), 3),
            "target": round(self.middle(lambda r: r.target), 3),
            "memory": max(run.memory for run in self.runs),
            "runs": [asdict(run) for run in self.runs],
        }


def contest(
    title: str,
    amount: int,
    rounds: int,
    contenders: Mapping[str, Callable[[], Run]],
    *,
    peers: Mapping[str, Callable[[], Run]] | None = None,
) -> dict[str, Any]:
    """Let contenders take turns; the first is the reference.

    Args:
        title: for the table.
        amount: rows or changes that each moves.
        rounds: turns per contender.
        contenders: by name; each moves everything once into a fresh target and checks it.
        peers: slow ones that take one turn, the first. One that is not here or fails is named in
            ``missing`` with the reason; it doesn't end the contest.
    """
    everybody = {**contenders, **(peers or {})}
    runs: dict[str, list[Run]] = {name: [] for name in everybody}
    loads = []
    missing: dict[str, str] = {}
    for number in range(rounds):
        for name, one in everybody.items() if number == 0 else contenders.items():
            loads.append(load_average())
            try:
                run = one()
            except (PeerError, WrongContentError) as cause:
                if name in contenders:
                    raise
                missing[name] = str(cause)
                print(f"  {title:<28} {name:<34} missing: {cause}", flush=True)
                continue
            runs[name].append(run)
            print(
                f"  {title:<28} {name:<34} {number + 1}/{rounds}  {run.seconds:7.2f} s"
                f"  {amount / run.seconds:9,.0f}/s  cpu {run.client:.2f} + {run.source:.2f}"
                f" + {run.target:.2f}  {run.memory >> 20} MB",
                flush=True,
            )
    reference = runs[next(iter(runs))]
    standings = [
        Standing(
            name,
            own,
            median(r.seconds / o.seconds for r, o in zip(reference, own, strict=False)),
        )
        for name, own in runs.items()
        if own
    ]
    return {
        "title": title,
        "amount": amount,
        "rounds": rounds,
        "load": round(median(loads), 2),
        "standings": [s.plain() for s in standings],
        "missing": missing,
    }

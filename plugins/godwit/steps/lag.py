"""Lag: seconds from a commit on the source until it is visible on the target."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

#: Samples kept of the whole session, and of the time since the last report.
KEPT = 20_000
RECENT = 5_000


class Lag:
    """Collects lags of transactions that are followed live (after the session first caught up)."""

    def __init__(self) -> None:
        self._live = False
        self._all: list[float] = []
        self._seen = 0
        self._recent: list[float] = []
        self._now: float | None = None
        self._random = random.Random(0)  # noqa: S311 - sampling, not secrecy

    def caught_up(self) -> None:
        """Nothing is pending: from here on lag is what the source's users would see."""
        self._live = True
        self._now = 0.0

    def add(self, commits: Sequence[float], visible: float) -> None:
        """Transactions committed at `commits` became visible at `visible` (seconds since 1970)."""
        if not commits:
            return
        # Clocks of two machines differ a little: lag is never negative.
        self._now = max(visible - commits[-1], 0.0)
        if not self._live:
            return
        for commit in commits[:: max(1, len(commits) // 100)]:
            lag = max(visible - commit, 0.0)
            self._seen += 1
            if len(self._all) < KEPT:
                self._all.append(lag)
            else:
                place = self._random.randrange(self._seen)
                if place < KEPT:
                    self._all[place] = lag
            if len(self._recent) < RECENT:
                self._recent.append(lag)

    def quantile(self, share: float) -> float | None:
        """A quantile over the session; None without samples."""
        return _quantile(self._all, share)

    def report(self) -> dict[str, Any]:
        """Numbers since the last report."""
        recent, self._recent = self._recent, []
        return {
            "lag_now": self._now,
            "lag_p50": _quantile(recent, 0.5),
            "lag_p99": _quantile(recent, 0.99),
        }


def _quantile(samples: Sequence[float], share: float) -> float | None:
    if not samples:
        return None
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

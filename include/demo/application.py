"""An application that keeps writing until it is stopped or fenced off; each shop has its own."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class FencedError(Exception):
    """The source takes no more writes; the text says why."""


@dataclass
class WriterStats:
    """What happened so far.

    ``rows`` are rows changed by the application's own, committed statements; what triggers,
    cascades and the shop's procedure change comes on top.
    """

    committed: Counter[str] = field(default_factory=Counter)
    rolled_back: Counter[str] = field(default_factory=Counter)
    collided: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    uncertain: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    fenced_at: datetime | None = None
    fence_reason: str = ""

    @property
    def transactions(self) -> int:
        """Transactions committed."""
        return sum(self.committed.values())

    @property
    def rate(self) -> float:
        """Committed transactions per second."""
        return self.transactions / self.seconds if self.seconds else 0.0

    def summary(self) -> str:
        """One line for people."""
        parts = [f"{self.transactions:,} transactions, {self.rows:,} rows, {self.rate:,.0f} tx/s"]
        counts = {
            "rolled back": sum(self.rolled_back.values()),
            "collided": sum(self.collided.values()),
            "outcome unknown": self.uncertain,
            "reconnects": self.reconnects,
        }
        parts += [f"{name} {count:,}" for name, count in counts.items() if count]
        parts += [f"ERROR {what} x {count:,}" for what, count in self.errors.items()]
        if self.fenced_at:
            parts.append(f"fenced at {self.fenced_at:%H:%M:%S.%f} UTC ({self.fence_reason})")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "transactions": self.transactions,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 1),
            "committed": dict(self.committed),
            "rolled_back": dict(self.rolled_back),
            "collided": dict(self.collided),
            "errors": dict(self.errors),
            "uncertain": self.uncertain,
            "reconnects": self.reconnects,
            "fenced_at": self.fenced_at.isoformat() if self.fenced_at else None,
            "fence_reason": self.fence_reason,
        }


class Application(ABC):
    """Does transactions of several kinds in a thread of its own.

    Args:
        weights: how often each kind happens, by name.
        rate: transactions per second (0: as many as it can).
        seed: one seed is one history, as far as nobody else writes.
    """

    def __init__(self, weights: Mapping[str, float], rate: float, seed: int) -> None:
        self.stats = WriterStats()
        self._rate = rate
        self._random = Random(seed)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connected = False
        self._names, self._weights = list(weights), list(weights.values())

    @abstractmethod
    def close(self) -> None:
        """Finish what is open and let go of the connections. May be called again."""

    @abstractmethod
    def _connect(self) -> None:
        """Open the connections and set `_connected`; raises the driver's error."""

    @abstractmethod
    def _one(self, kind: str) -> None:
        """Do one transaction and count it; raises FencedError."""

    def start(self) -> None:
        """Connect, then write in the background."""
        if self.running:
            raise RuntimeError("this writer is running already")
        self._connect()
        self._stop.clear()
        self._thread = threading.Thread(target=self._write, name="shop-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> WriterStats:
        """End after the transaction in hand; returns the final statistics. May be called again."""
        self._stop.set()
        self.wait(timeout)
        return self.stats

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the writer has ended; False where it still runs after ``timeout`` seconds."""
        if self._thread:
            self._thread.join(timeout)
        return not self.running

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def fenced(self) -> bool:
        """Whether the source refused to be written."""
        return self.stats.fenced_at is not None

    def run_once(self, kind: str) -> None:
        """Do one transaction of ``kind`` now, in this thread.

        For a writer that was not started. Raises ``FencedError`` where the source refuses it.
        """
        if not self._connected:
            self._connect()
        self._one(kind)

    def _write(self) -> None:
        began = due = time.monotonic()
        try:
            while not self._stop.is_set():
                kind = self._random.choices(self._names, self._weights)[0]
                self._one(kind)
                now = time.monotonic()
                self.stats.seconds = now - began
                if self._rate > 0:
                    # After a stall it goes on at its rate and makes up for a second at most.
                    due = max(due + 1 / self._rate, now - 1.0)
                    self._stop.wait(max(due - now, 0))
        except FencedError as fence:
            self.stats.fenced_at, self.stats.fence_reason = datetime.now(UTC), str(fence)
        except Exception as error:
            # A defect of the writer itself: a thread has nobody to raise to, so count it.
            self.stats.errors[f"writer: {type(error).__name__}"] += 1
            raise
        finally:
            self.stats.seconds = time.monotonic() - began
            self.close()

"""One place between the reading and the applying thread: at most one batch waits in it."""

from __future__ import annotations

import threading

from godwit.model.changes import ChangeBatch, Idle
from godwit.protocols import Wanted


class Handoff:
    """Hands batches from one thread to another, and tells the reader what is wanted."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._batch: ChangeBatch | None = None
        self._idle: Idle | None = None
        self._failure: BaseException | None = None
        self._waiting = False
        self.closed = False

    def wanted(self) -> Wanted:
        """ANY while the applier waits, FULL while it is busy, NOTHING while a batch waits."""
        if self._batch is not None:
            return Wanted.NOTHING
        return Wanted.ANY if self._waiting else Wanted.FULL

    def put(self, item: ChangeBatch | Idle) -> None:
        """Offer a batch (waits for the place to be free) or tell that nothing is pending."""
        with self._condition:
            if isinstance(item, Idle):
                self._idle = item if self._batch is None else None
            else:
                while self._batch is not None and not self.closed:
                    self._condition.wait(0.1)
                self._batch, self._idle = item, None
            self._condition.notify_all()

    def fail(self, cause: BaseException) -> None:
        """The reader has ended with an error."""
        with self._condition:
            self._failure = cause
            self._condition.notify_all()

    def take(self, timeout: float) -> ChangeBatch | Idle | None:
        """What comes next; None after `timeout` seconds. Raises what the reader failed with, once
        everything read before has been taken.
        """
        with self._condition:
            self._waiting = True
            try:
                if not self._ready():
                    self._condition.wait(timeout)
            finally:
                self._waiting = False
            if self._batch is not None:
                batch, self._batch = self._batch, None
                self._condition.notify_all()
                return batch
            if self._failure is not None:
                raise self._failure
            idle, self._idle = self._idle, None
            return idle

    def _ready(self) -> bool:
        return not (self._batch is None and self._idle is None and self._failure is None)

    def close(self) -> None:
        """Nobody takes any more: let the reader end."""
        with self._condition:
            self.closed = True
            self._condition.notify_all()

"""A reporter that writes to the state store from a thread of its own."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from godwit.state.recording import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from godwit.state.store import StateStore

log = logging.getLogger(__name__)

#: When the state store is away, the oldest events go: a migration doesn't wait for its picture.
BUFFER = 20_000
FLUSH_SECONDS = 0.5
RETRY_SECONDS = 5.0
CLOSE_SECONDS = 5.0


class StateReporter:
    """Buffers events of one migration. `event` costs an append; it never waits and never raises."""

    def __init__(self, store: StateStore, migration: str) -> None:
        self._store, self._migration = store, migration
        self._buffer: deque[Event] = deque(maxlen=BUFFER)
        self._wake = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._closed = False
        self._complained = False

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take note of an event."""
        if self._closed:
            return
        self._buffer.append(Event(datetime.now(UTC), kind, data))
        if self._process != os.getpid():
            self._start()

    def flush(self) -> None:
        """Write what is buffered now, from this thread."""
        self._write()

    def close(self) -> None:
        """Write what is buffered and end the thread. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._wake.set()
        thread = self._thread
        if thread is not None and self._process == os.getpid():
            thread.join(CLOSE_SECONDS)

    def _start(self) -> None:
        # Also in a forked child, which inherits the buffer and the locks but not the thread.
        if self._process:
            self._writing, self._wake = threading.Lock(), threading.Event()
            self._store.forked()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="godwit-state", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        wait = FLUSH_SECONDS
        while not self._closed:
            self._wake.wait(wait)
            wait = FLUSH_SECONDS if self._write() else RETRY_SECONDS
        self._write()

    def _write(self) -> bool:
        with self._writing:
            batch = []
            while self._buffer:
                batch.append(self._buffer.popleft())
            if not batch:
                return True
            try:
                self._store.record(self._migration, batch)
            except Exception as problem:  # noqa: BLE001 - a picture must not stop the migration
                self._complain(problem)
                # What is lost here is a picture; the truth stays on the target.
                room = BUFFER - len(self._buffer)
                self._buffer.extendleft(reversed(batch[-room:] if room else []))
                return False
        self._complained = False
        return True

    def _complain(self, problem: Exception) -> None:
        if not self._complained:
            self._complained = True
            kind = type(problem).__name__
            log.warning("the state store cannot be written (%s); the migration goes on", kind)

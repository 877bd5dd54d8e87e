"""Ctrl-C and SIGTERM end a run at its next safe place, not in the middle of it."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Callable: True once a signal has asked to stop. A second one interrupts at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __call__(self) -> bool:
        """Whether a signal has asked to stop."""
        return self._asked

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._caught)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # Not through a buffer: a handler may run in the middle of another write.
        sys.stderr.write("\nstopping at the next safe place (again: at once)\n")

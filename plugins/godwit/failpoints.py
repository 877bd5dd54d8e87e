"""Places where a test lets the process die: ``GODWIT_FAILPOINT="name"`` or ``"name:nth"``.

The promise that nothing is lost is worth what it survives. A failpoint stands right before and
right after each commit; in normal use it costs one look at a variable that isn't set.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "GODWIT_FAILPOINT"

_hits: dict[str, int] = {}
_lock = threading.Lock()


def failpoint(name: str) -> None:
    """Kill this process (SIGKILL) when it was asked to die at this hit of `name`."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    place, _, nth = wanted.partition(":")
    if place != name:
        return
    with _lock:
        _hits[name] = _hits.get(name, 0) + 1
        if _hits[name] >= int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)

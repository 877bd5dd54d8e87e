"""The process that streams changes: ``python -m godwit.airflow.session``. It never imports Airflow.

Decoding is CPU work, so it gets a process of its own beside the triggerer's event loop. The
request, with the secrets, comes as the first line of standard input, which then stays open for as
long as the session is wanted: when it closes, for whatever reason, the session ends. Messages leave
on standard output, one JSON object a line: ``{"event": kind, "data": {…}}``, and at the end either
``{"end": {…}}`` or ``{"error": {…}}``. What libraries write goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from godwit.airflow.connections import from_wire
from godwit.errors import EndpointError, GodwitError, StoppedError
from godwit.model.definition import parse_definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from godwit.model.endpoint import Connection

#: What a stopping session may take to finish the batch in hand.
GRACE_SECONDS = 15.0
PR_SET_PDEATHSIG = 1


class Messages:
    """Writes messages, from any thread. A vanished reader ends the session by the other pipe."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one line."""
        text = json.dumps(message, default=str, ensure_ascii=True)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """A `Reporter`: every event is passed on."""
        self.send({"event": kind, "data": dict(data)})


class BothReporters:
    """Tells the parent (its log) and the state store."""

    def __init__(self, messages: Messages, stored: Any) -> None:
        self._messages, self._stored = messages, stored

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Pass it on twice."""
        self._messages.event(kind, data)
        self._stored.event(kind, data)


def main() -> int:
    """Run one session; exit code 0 when it ended as asked, 1 with an error message sent."""
    messages = Messages(_own_stdout())
    request = json.loads(sys.stdin.readline())
    stop = _stop_signals()
    try:
        summary = _follow(request, messages, stop)
    except StoppedError:
        messages.send({"end": {"stopped": True}})
    except GodwitError as error:
        messages.send({"error": _error(error, retryable=error.retryable)})
        return 1
    except Exception as error:  # noqa: BLE001 - the parent must hear of everything
        messages.send({"error": _error(error, retryable=True)})
        return 1
    else:
        messages.send({"end": {**summary, "stopped": stop.is_set()}})
    return 0


def _follow(
    request: Mapping[str, Any], messages: Messages, stop: threading.Event
) -> dict[str, Any]:
    from godwit.migrator import Migrator, plain
    from godwit.state import StateStore

    definition = parse_definition(request["definition"], str(request.get("origin", "definition")))
    known = {c["conn_id"]: from_wire(c) for c in request["connections"]}

    def connection(conn_id: str) -> Connection:
        if conn_id not in known:
            raise EndpointError(f"connection {conn_id!r} was not handed to the session")
        return known[conn_id]

    store = StateStore()
    stored = store.reporter(definition.name)
    try:
        reporter = BothReporters(messages, stored)
        with Migrator(definition, connection, reporter, stop=stop.is_set) as migrator:
            return dict(plain(migrator.follow()))
    finally:
        stored.close()
        store.close()


def _error(error: Exception, *, retryable: bool) -> dict[str, Any]:
    # An error that is not ours may quote a row: its class is all that leaves.
    text = str(error) if isinstance(error, GodwitError) else "see the lines before this one"
    if not isinstance(error, GodwitError):
        sys.excepthook(type(error), error, error.__traceback__)
    return {"class": type(error).__name__, "text": text, "retryable": retryable}


def _own_stdout() -> IO[str]:
    """Keep the pipe for messages; whatever else is printed goes to standard error."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def _stop_signals() -> threading.Event:
    """An event that is set when the session is no longer wanted; the process is gone soon after."""
    stop = threading.Event()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # The terminal's Ctrl-C is for the parent, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for work in (lambda: _wait_for_end_of_input(stop), lambda: _leave_after_grace(stop)):
        threading.Thread(target=work, daemon=True).start()
    return stop


def _wait_for_end_of_input(stop: threading.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.readline():
            pass
    stop.set()


def _leave_after_grace(stop: threading.Event) -> None:
    stop.wait()
    threading.Event().wait(GRACE_SECONDS)
    # Nothing is lost: what was not committed is read again from the checkpoint.
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())

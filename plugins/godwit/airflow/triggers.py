"""The trigger of ``cdc_poll``: runs the streaming session in a process and answers for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

import godwit
from godwit.airflow.connections import airflow_connection, to_wire
from godwit.airflow.reporting import LogReporter

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

#: A line of the session: one event, however many tables it lists.
LINE_BYTES = 4 * 1024 * 1024
GRACE_SECONDS = 20.0
#: A session that fails at once again and again is the task's business, with its own retries.
RESTARTS = 6
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
#: After so long a session has proved that it can work: the count begins anew.
PROVED_SECONDS = 60.0
#: A fenced session has a successor. Airflow withdraws this trigger when that is another triggerer.
SUCCESSOR_SECONDS = 60.0


class FollowTrigger(BaseTrigger):
    """Follows the source's log until the migration's stop position is applied.

    Yields one event: ``{"status": "ended", …numbers}`` or ``{"status": "error", "class", "text",
    "retryable"}``. A session that is cut off is started again, from the checkpoint; it ends with
    this trigger, also when the triggerer is killed.
    """

    def __init__(
        self, *, definition: dict[str, Any], conn_ids: list[str], origin: str = ""
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.definition = definition
        self.conn_ids = conn_ids
        self.origin = origin

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class and arguments; the definition holds no secret."""
        arguments = {
            "definition": self.definition,
            "conn_ids": self.conn_ids,
            "origin": self.origin,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Keep a session running until it ends by itself."""
        failures = 0
        while True:
            began = time.monotonic()
            outcome = await self._session()
            if "end" in outcome:
                yield TriggerEvent({"status": "ended", **outcome["end"]})
                return
            error = outcome["error"]
            if time.monotonic() - began > PROVED_SECONDS:
                failures = 0
            failures += 1
            if error["class"] == "FencedError":
                await asyncio.sleep(SUCCESSOR_SECONDS)
            if not error["retryable"] or failures > RESTARTS:
                yield TriggerEvent({"status": "error", **error})
                return
            delay = min(FIRST_DELAY_SECONDS * 2 ** (failures - 1), LONGEST_DELAY_SECONDS)
            self.log.warning("%s\nThe session starts again in %.0f s", error["text"], delay)
            await asyncio.sleep(delay)

    async def _session(self) -> dict[str, Any]:
        """One session's process from start to end; returns its last message."""
        try:
            connections = [
                to_wire(await asyncio.to_thread(airflow_connection, conn_id))
                for conn_id in self.conn_ids
            ]
        except Exception as cause:  # noqa: BLE001 - the API may be away for a moment
            text = f"The connections cannot be read: {type(cause).__name__}: {cause}"
            return {"error": {"class": type(cause).__name__, "text": text, "retryable": True}}
        request = {
            "definition": self.definition,
            "origin": self.origin,
            "connections": connections,
        }
        process = await self._start()
        listeners = asyncio.gather(self._messages(process), self._complaints(process))
        try:
            await self._send(process, request)
            last, _ = await listeners
            code = await process.wait()
        finally:
            listeners.cancel()
            await _end(process)
        if last is not None:
            return last
        text = f"The session's process ended without a word (exit code {code})."
        return {"error": {"class": "SessionLost", "text": text, "retryable": True}}

    async def _start(self) -> Process:
        package = str(Path(godwit.__file__).resolve().parent.parent)
        places = [package, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "godwit.airflow.session",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in places if p)},
        )

    @staticmethod
    async def _send(process: Process, request: dict[str, Any]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()

    async def _messages(self, process: Process) -> dict[str, Any] | None:
        assert process.stdout is not None
        reporter, last = LogReporter(self.log), None
        async for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "event" in message:
                reporter.event(message["event"], message["data"])
            else:
                last = message
        return last

    async def _complaints(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.log.warning("session: %s", line.decode(errors="replace").rstrip())


async def _end(process: Process) -> None:
    """Let the session finish its batch; then make sure that it is gone."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), GRACE_SECONDS)
    except TimeoutError:
        _kill(process)
    except asyncio.CancelledError:
        _kill(process)
        raise


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()

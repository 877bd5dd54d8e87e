"""Processes below a supervisor, so that no server outlives what started it; see `supervise`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from signal import Signals

from include.demo.identity import ServerError

SUPERVISE = Path(__file__).with_name("supervise.py")
STOP_SECONDS = 20.0


def supervised(
    command: list[str], folder: Path, *, stop: Signals, crash: Signals, user: str | None = None
) -> tuple[subprocess.Popen[str], int]:
    """Start a command with its output in `folder`/log; returns the supervisor and its pid.

    Args:
        command: with its arguments.
        folder: of the server.
        stop: the signal that ends it in good order.
        crash: the signal after which it recovers from its log.
        user: as whom it runs; None = as this process.
    """
    numbers = [str(os.getpid()), str(int(stop)), str(int(crash)), str(STOP_SECONDS)]
    options = ["--user", user] if user else []
    with (folder / "log").open("w") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-I", str(SUPERVISE), *numbers, *options, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
            cwd="/",
        )
    assert supervisor.stdout is not None
    first = supervisor.stdout.readline()
    if not first:
        code = supervisor.wait()
        raise ServerError(f"the supervisor ended with code {code}:\n{log_tail(folder)}")
    return supervisor, int(first)


def crash(supervisor: subprocess.Popen[str]) -> None:
    """End the command by its crash signal and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        supervisor.send_signal(10 if sys.platform == "linux" else 30)  # SIGUSR1
    finish(supervisor)


def finish(supervisor: subprocess.Popen[str]) -> None:
    """Wait until a command that was told to end is gone."""
    supervisor.wait(STOP_SECONDS + 20)
    if supervisor.stdout:
        supervisor.stdout.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody used just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_tail(folder: Path) -> str:
    """The end of a server's log."""
    return "\n".join((folder / "log").read_text(errors="replace").splitlines()[-20:])

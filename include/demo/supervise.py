"""Runs one command and ends it when the process that asked for it is gone.

A server that a demo, a test or a benchmark starts must never outlive it, also when that is killed
with SIGKILL. Started as

    python supervise.py PARENT_PID STOP_SIGNAL CRASH_SIGNAL GRACE_SECONDS [--user NAME] -- COMMAND …

it prints the command's pid, waits, and exits with the command's exit code. SIGTERM and a vanished
parent end the command with STOP_SIGNAL and, after the grace, with CRASH_SIGNAL and SIGKILL; SIGUSR1
ends it with CRASH_SIGNAL at once: the one after which this server recovers from its log.

(The kernel's own PR_SET_PDEATHSIG alone would not do: it follows the thread that started it,
and is forgotten when the user changes.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PARENT_POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1


def _end_with_supervisor(crash: signal.Signals) -> Callable[[], None] | None:
    """Linux: what the child calls so that it is told when this supervisor is killed itself."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def child() -> None:
        prctl(PR_SET_PDEATHSIG, crash)

    return child


def _end(process: subprocess.Popen[bytes], signals: list[tuple[signal.Signals, float]]) -> None:
    """Send one signal after the other until the process is gone."""
    for number, grace in [*signals, (signal.SIGKILL, 10.0)]:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
            return


def supervise(
    parent: int,
    stop: signal.Signals,
    crash: signal.Signals,
    grace: float,
    command: list[str],
    user: str | None = None,
) -> int:
    """Run the command until it ends by itself, SIGTERM or SIGUSR1 comes, or `parent` is gone.

    Returns the command's exit code (negative: the signal that ended it).
    """
    asked: list[signal.Signals] = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda got, _frame: asked.append(signal.Signals(got)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # This process has one thread, so that running Python between fork and exec is safe.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        user=user,
        group=_group(user),
        extra_groups=[] if user else None,
        preexec_fn=_end_with_supervisor(crash),  # noqa: PLW1509 - one thread only
    )
    print(process.pid, flush=True)
    while process.poll() is None:
        if signal.SIGUSR1 in asked:
            _end(process, [(crash, 10.0)])
        elif asked or os.getppid() != parent:
            _end(process, [(stop, grace), (crash, 5.0)])
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PARENT_POLL_SECONDS)
    return process.returncode


def _group(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def main(arguments: list[str]) -> int:
    """Parse the command line that the module's text shows."""
    split = arguments.index("--")
    parent, stop, crash, grace, *options = arguments[:split]
    user = options[1] if options[:1] == ["--user"] else None
    signals = signal.Signals(int(stop)), signal.Signals(int(crash))
    code = supervise(int(parent), *signals, float(grace), arguments[split + 1 :], user)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Where the peers are: `scripts/fetch-peers.sh` made them, or the system has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from benchmarks.contest import PeerError
from include.demo.servers import ROOT

PLACE = ROOT / ".cache" / "peers"
LIMIT = 300.0


@cache
def fetch(name: str) -> None:
    """Have a peer fetched once; what is there already stays."""
    subprocess.run(
        [str(ROOT / "scripts" / "fetch-peers.sh"), name], capture_output=True, check=False
    )


def program(name: str) -> str:
    """A program's path; raises PeerError."""
    found = shutil.which(name)
    if not found:
        fetch("debian")
        found = next((str(p) for p in [PLACE / "debian/usr/bin" / name] if p.exists()), None)
    if not found:
        raise PeerError(f"{name} is not installed, and scripts/fetch-peers.sh cannot get it here")
    return found


def python(name: str) -> str:
    """The Python of a scratch environment; raises PeerError."""
    fetch(name)
    if not (PLACE / name / "done").exists():
        raise PeerError(f"{name} is not installed, and scripts/fetch-peers.sh cannot get it here")
    return str(PLACE / name / "bin" / "python")


def environment() -> dict[str, str]:
    """With the libraries of unpacked programs."""
    libraries = [str(p) for p in (PLACE / "debian").glob("**/*-linux-gnu")]
    libraries.append(os.environ.get("LD_LIBRARY_PATH", ""))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}


def run(command: list[str], folder: Path | str, what: str, text: str | None = None) -> str:
    """Run a peer to its end; returns what it said. Raises PeerError with the end of that."""
    try:
        done = subprocess.run(
            command,
            input=text,
            env=environment(),
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as cause:
        raise PeerError(f"{what} took more than {LIMIT:.0f} s") from cause
    if done.returncode:
        raise PeerError(f"{what} failed: {' '.join(done.stdout[-300:].split())}")
    return done.stdout

"""Facts about this machine, and what processes cost, read from /proc."""

from __future__ import annotations

import os
import platform
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def facts() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line),
        platform.machine(),
    )
    total = next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "memory": f"{int(total) / 1048576:.0f} GiB",
        "system": f"Linux {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }


def load_average() -> float:
    """Processes that wanted a processor, mean of the last minute."""
    return os.getloadavg()[0]


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process, its children and those it has already buried."""
    while True:
        before = _stat(pid)
        total = _cpu(before, buried=True)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields and int(fields[1]) == pid:
                    total += _cpu(fields)
        # One buried meanwhile is in neither sum.
        if _stat(pid)[13:15] == before[13:15]:
            return total


def peak_memory() -> int:
    """Largest resident size this process ever had, bytes.

    Not ru_maxrss: that one starts from the parent's size.
    """
    line = next(line for line in _lines("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _stat(pid: int) -> list[str]:
    """Fields after the program's name; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _cpu(fields: list[str], *, buried: bool = False) -> float:
    return sum(map(int, fields[11 : 15 if buried else 13])) / TICKS

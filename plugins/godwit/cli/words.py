"""Numbers as people read them."""

from __future__ import annotations

STEP = 1024


def count(value: float) -> str:
    """``1,234,567``; unknown estimates (negative) are ``?``."""
    return "?" if value < 0 else f"{value:,.0f}"


def plural(number: int, word: str) -> str:
    """``1 table``, ``2 tables``."""
    return f"{count(number)} {word}" if number == 1 else f"{count(number)} {word}s"


def said(value: object) -> str:
    """``yes``, ``no``, and ``-`` for what is not known or not there."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def size(value: float) -> str:
    """``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < STEP:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= STEP
    return f"{value:,.1f} TiB"


def duration(seconds: float | None) -> str:
    """``12 ms``, ``3.4 s``, ``5 min 6 s``; None is ``-``."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:,.0f} ms"
    if seconds < 60:
        return f"{seconds:,.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s"

"""Target columns that would round or cut values without a word.

Values that are too long or no number at all are refused by the server; these it takes, and changes.
"""

from __future__ import annotations

import re

_TYPE = re.compile(
    r"^(?P<head>[^(\[]+?) ?(?:\((?P<size>[\d,-]+)\))?(?P<tail>[^\[(]*)(?P<array>(?:\[\])*)$"
)
#: Seconds' digits where none are given.
_PRECISION = 6
_LOSSY = {
    ("double precision", "real"),
    ("numeric", "real"),
    ("numeric", "double precision"),
    ("bigint", "real"),
    ("bigint", "double precision"),
    ("integer", "real"),
    ("timestamp with time zone", "timestamp without time zone"),
    ("timestamp with time zone", "date"),
    ("timestamp without time zone", "date"),
    ("time with time zone", "time without time zone"),
    ("json", "jsonb"),
}


def narrows(source: str, target: str) -> bool:
    """Whether a column of type `target` silently changes some value of type `source`; both as
    format_type() spells them.
    """
    old, size = _parts(source)
    new, room = _parts(target)
    if new == "numeric" and room and old in {"numeric", "double precision", "real"}:
        return old != "numeric" or not size or room[-1] < size[-1]
    if old == new and old.startswith(("time", "interval")):
        return (room or (_PRECISION,))[0] < (size or (_PRECISION,))[0]
    return (old, new) in _LOSSY


def _parts(native: str) -> tuple[str, tuple[int, ...]]:
    """The type without size and array, and the size: ``numeric``, (10, 2)."""
    found = _TYPE.match(native)
    if found is None:
        return native, ()
    size = found["size"]
    numbers = tuple(int(n) for n in size.split(",")) if size else ()
    if found["head"] == "numeric" and len(numbers) == 1:
        numbers = (*numbers, 0)
    return found["head"] + found["tail"], numbers

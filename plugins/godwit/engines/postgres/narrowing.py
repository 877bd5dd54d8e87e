"""Target columns that would round or cut values without a word.

Values that are too long or no number at all are refused by the server; these it takes, and changes.
"""

from __future__ import annotations

import re

from godwit.model.datatypes import DataType, Kind

_TYPE = re.compile(
    r"^(?P<head>[^(\[]+?) ?(?:\((?P<size>[\d,-]+)\))?(?P<tail>[^\[(]*)(?P<array>(?:\[\])*)$"
)
#: Seconds' digits where none are given.
_PRECISION = 6
_SINGLE = 32
_UNBOUNDED = 1 << 30
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


def narrows_kind(kind: DataType, target: str) -> bool:
    """As `narrows`, of a type of any engine."""
    new, room = _parts(target)
    moments = (Kind.TIMESTAMP, Kind.TIME, Kind.INTERVAL)
    if kind.kind in moments and new.startswith(("time", "interval")):
        digits = _PRECISION if kind.precision is None else kind.precision
        return (room or (_PRECISION,))[0] < digits or (kind.zoned and "without" in new)
    if kind.kind is Kind.TIMESTAMP:
        return new == "date"
    if kind.kind is Kind.DECIMAL:
        scale = kind.scale or 0 if kind.precision is not None else _UNBOUNDED
        floats = new in {"real", "double precision"}
        return floats or (new == "numeric" and bool(room) and room[-1] < scale)
    if kind.kind is Kind.FLOAT:
        return (new == "real" and kind.bits != _SINGLE) or (new == "numeric" and bool(room))
    exact = {"real": 24, "double precision": 53}.get(new)
    return kind.kind is Kind.INTEGER and exact is not None and (kind.bits or 64) > exact


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

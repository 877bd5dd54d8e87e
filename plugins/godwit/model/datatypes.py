"""Logical data types: what a column can hold, whichever engine stores it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The families of values. `OPAQUE` values only travel as the engine's own text."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    TEXT = "text"
    BINARY = "binary"
    BIT = "bit"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    INTERVAL = "interval"
    UUID = "uuid"
    JSON = "json"
    ENUM = "enum"
    SET = "set"
    ARRAY = "array"
    GEOMETRY = "geometry"
    OPAQUE = "opaque"


@dataclass(frozen=True)
class DataType:
    """A logical type.

    Attributes:
        kind: the family.
        bits: width of integers and floats (8 … 64), length of bit strings; 0 = unbounded.
        unsigned: integers only.
        precision: digits of decimals, fractional-second digits of times; None = unbounded.
        scale: digits after the point of decimals.
        length: characters of text, bytes of binary; None = unbounded.
        fixed: padded text/binary, bit strings of exactly `bits`, or intervals that are nothing but
            hours, minutes and seconds (a signed time of more than a day).
        zoned: times and timestamps that carry a zone or mean an instant.
        labels: of an enum or set, in order.
        element: of an array.
    """

    kind: Kind
    bits: int = 0
    unsigned: bool = False
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    fixed: bool = False
    zoned: bool = False
    labels: tuple[str, ...] = ()
    element: DataType | None = None

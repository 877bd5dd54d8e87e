"""Doubts: values that a target's column cannot hold as they are, to be counted on the source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from godwit.model.catalog import TableName


class Test(StrEnum):
    """What is counted. `Doubt.limits` are given in brackets."""

    __test__ = False  # not a test case, whatever its name suggests

    #: NaN and infinite numbers.
    NOT_FINITE = "not-finite"
    #: Infinite dates and times.
    INFINITE = "infinite"
    #: Numbers with more digits before or behind the point [digits before, digits behind].
    DIGITS = "digits"
    #: Numbers outside [lowest, highest].
    RANGE = "range"
    #: Dates and times outside the years [first, last].
    YEARS = "years"
    #: The date 0000-00-00.
    ZERO_DATE = "zero-date"
    #: Dates with a month or a day of zero.
    PARTIAL_DATE = "partial-date"
    #: Texts with the character U+0000.
    NUL = "nul"
    #: Texts of more than [characters], binary values of more than [bytes].
    LENGTH = "length"
    #: Texts that are not valid in the column's own encoding.
    INVALID_TEXT = "invalid-text"
    #: The empty label of an enum, which stands for a value that was refused.
    EMPTY_LABEL = "empty-label"
    #: Times of day of 24:00:00, or beyond a day.
    DAY = "day"


@dataclass(frozen=True)
class Doubt:
    """One test of one column.

    Attributes:
        table, column: on the source.
        test: what is counted.
        limits: of the test, as texts.
        outcome: what happens to such values, for people ("becomes NULL", "the row is refused").
        lossy: the value is lost or changed (otherwise it is refused, by name).
        hint: what a person can do.
    """

    table: TableName
    column: str
    test: Test
    limits: tuple[str, ...] = ()
    outcome: str = ""
    lossy: bool = True
    hint: str = ""

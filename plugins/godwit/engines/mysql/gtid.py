"""Positions in the binary log: GTID sets (MySQL), domains (MariaDB), files and offsets (both).

What a stream has to read again after a restart can lie before its position: a prepared XA
transaction counts at its XA COMMIT, its rows come earlier. `held` and `resume` tell from where on.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from godwit.model.changes import Position

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
_NUMBER = re.compile(r"[0-9]+")
_TAGGED = 1

Source = tuple[str, str]


class GtidSet:
    """A set of MySQL's GTIDs: numbers per server UUID and tag, as closed intervals with gaps."""

    __slots__ = ("_intervals",)

    def __init__(self) -> None:
        #: Ascending, neither overlapping nor touching.
        self._intervals: dict[Source, list[list[int]]] = {}

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """From the server's text: ``uuid:1-5:7:tag:1-3,uuid2:1``; ValueError when it is none."""
        found = cls()
        for block in "".join(text.split()).lower().split(","):
            if not block:
                continue
            uuid, *parts = block.split(":")
            if not _UUID.fullmatch(uuid) or not parts:
                raise ValueError(f"not a GTID set: {text[:80]!r}")
            tag = ""
            for part in parts:
                if _TAG.fullmatch(part):
                    tag = part
                    continue
                first, _, last = part.partition("-")
                numbers = [first, last or first]
                if not all(_NUMBER.fullmatch(n) for n in numbers) or int(first) < 1:
                    raise ValueError(f"not a GTID set: {text[:80]!r}")
                found.add_range(uuid, tag, int(first), int(last or first))
        return found

    def __str__(self) -> str:
        blocks: dict[str, list[str]] = {}
        for (uuid, tag), intervals in sorted(self._intervals.items()):
            parts = blocks.setdefault(uuid, [])
            parts += [tag] if tag else []
            parts += [f"{a}-{b}" if b > a else f"{a}" for a, b in intervals]
        return ",".join(":".join([uuid, *parts]) for uuid, parts in blocks.items())

    def __repr__(self) -> str:
        return f"GtidSet({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and self._intervals == other._intervals

    def __hash__(self) -> int:
        return hash(str(self))

    def __bool__(self) -> bool:
        return bool(self._intervals)

    def copy(self) -> GtidSet:
        """An independent copy."""
        made = GtidSet()
        made._intervals = {k: [list(i) for i in v] for k, v in self._intervals.items()}
        return made

    def add(self, uuid: str, tag: str, number: int) -> None:
        """Add one GTID."""
        intervals = self._intervals.get((uuid, tag))
        if intervals and intervals[-1][1] == number - 1:
            intervals[-1][1] = number
        else:
            self.add_range(uuid, tag, number, number)

    def add_range(self, uuid: str, tag: str, first: int, last: int) -> None:
        """Add the numbers from `first` to `last`; nothing when that is empty."""
        if last < first:
            return
        intervals = self._intervals.setdefault((uuid, tag), [])
        left = bisect_right(intervals, first - 1, key=lambda i: i[1] + 1)
        if left and intervals[left - 1][1] >= first - 1:
            left -= 1
        right = left
        while right < len(intervals) and intervals[right][0] <= last + 1:
            first, last = min(first, intervals[right][0]), max(last, intervals[right][1])
            right += 1
        intervals[left:right] = [[first, last]]

    def contains(self, uuid: str, tag: str, number: int) -> bool:
        """Whether that GTID is in the set."""
        intervals = self._intervals.get((uuid, tag), [])
        at = bisect_right(intervals, number, key=lambda i: i[0])
        return at > 0 and intervals[at - 1][1] >= number

    def includes(self, other: GtidSet) -> bool:
        """Whether every GTID of `other` is in the set."""
        return all(
            any(a <= first and last <= b for a, b in self._intervals.get(source, ()))
            for source, intervals in other._intervals.items()
            for first, last in intervals
        )

    def minus(self, other: GtidSet) -> GtidSet:
        """What is in this set and not in `other`."""
        made = GtidSet()
        for (uuid, tag), intervals in self._intervals.items():
            gone = other._intervals.get((uuid, tag), [])
            for begin, last in intervals:
                first = begin
                for a, b in gone:
                    if b < first or a > last:
                        continue
                    made.add_range(uuid, tag, first, a - 1)
                    first = b + 1
                made.add_range(uuid, tag, first, last)
        return made

    def update(self, other: GtidSet) -> None:
        """Add everything of `other`."""
        for (uuid, tag), intervals in other._intervals.items():
            for first, last in intervals:
                self.add_range(uuid, tag, first, last)

    def encoded(self) -> bytes:
        """As COM_BINLOG_DUMP_GTID wants it; with tags only when there are any."""
        tagged = any(tag for _, tag in self._intervals)
        count = len(self._intervals)
        head = _TAGGED << 56 | count << 8 | _TAGGED if tagged else count
        data = [struct.pack("<Q", head)]
        for (uuid, tag), intervals in sorted(self._intervals.items()):
            data.append(bytes.fromhex(uuid.replace("-", "")))
            if tagged:
                # A length below 128 as the servers' variable-length integer.
                data.append(bytes([len(tag) << 1]) + tag.encode())
            data.append(struct.pack("<Q", len(intervals)))
            data += [struct.pack("<QQ", first, last + 1) for first, last in intervals]
        return b"".join(data)

    def __iter__(self) -> Iterator[tuple[str, str, int, int]]:
        """`(uuid, tag, first, last)` of every interval."""
        for (uuid, tag), intervals in sorted(self._intervals.items()):
            for first, last in intervals:
                yield uuid, tag, first, last


@dataclass(frozen=True, order=True)
class LogPoint:
    """A point in a server's own files: the number of the file, and an offset of 64 bits."""

    number: int
    offset: int
    base: str = field(default="binlog", compare=False)

    @classmethod
    def parse(cls, text: str) -> LogPoint:
        """From ``binlog.000001:4``; ValueError when it is something else."""
        file, _, offset = text.rpartition(":")
        return cls.of(file, int(offset))

    @classmethod
    def of(cls, file: str, offset: int) -> LogPoint:
        """From a file's name and an offset in it."""
        base, _, number = file.rpartition(".")
        if not base or not number.isdecimal():
            raise ValueError(f"not a file of the binary log: {file[:80]!r}")
        return cls(int(number), offset, base)

    @property
    def file(self) -> str:
        """The file's name: six digits at least, more when they are needed."""
        return f"{self.base}.{self.number:06}"

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


@dataclass(frozen=True)
class FilePosition:
    """Everything before a point of the files. `resume`: read from there, see the module."""

    point: LogPoint
    resume: LogPoint | None = None

    def includes(self, other: Position) -> bool:
        """Everything up to `other` lies at or before this."""
        return isinstance(other, FilePosition) and self.point >= other.point

    @property
    def at(self) -> LogPoint:
        """Where in the files it is."""
        return self.point

    def __str__(self) -> str:
        return _join("file", str(self.point), resume=self.resume)


@dataclass(frozen=True)
class GtidPosition:
    """Every transaction of a set. `held`: those of it that are prepared and wait for their commit.

    `at`: where in the files this was; told for people only, another server has it elsewhere.
    """

    gtids: GtidSet
    at: LogPoint | None = field(default=None, compare=False)
    held: GtidSet = field(default_factory=GtidSet)

    def includes(self, other: Position) -> bool:
        """Everything up to `other` lies at or before this."""
        return isinstance(other, GtidPosition) and self.gtids.includes(other.gtids)

    def __str__(self) -> str:
        return _join("gtid", str(self.gtids), at=self.at, held=self.held or None)


@dataclass(frozen=True)
class Domains:
    """MariaDB's GTIDs: the last one of every domain, `domain -> (server id, sequence number)`."""

    last: Mapping[int, tuple[int, int]]

    @classmethod
    def parse(cls, text: str) -> Domains:
        """From ``0-1-5,1-2-7``; ValueError when it is something else."""
        found = {}
        for part in "".join(text.split()).split(","):
            if part:
                domain, server, number = (int(n) for n in part.split("-"))
                found[domain] = (server, number)
        return cls(found)

    def includes(self, other: Domains) -> bool:
        """Whether every domain has come as far as in `other`."""
        return all(self.contains(d, n) for d, (_, n) in other.last.items())

    def joined(self, other: Domains) -> Domains:
        """The later of both in every domain."""
        later = {d: last for d, last in other.last.items() if not self.contains(d, last[1])}
        return Domains({**self.last, **later})

    def contains(self, domain: int, number: int) -> bool:
        """Whether the domain has come as far as `number`."""
        return domain in self.last and self.last[domain][1] >= number

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return ",".join(f"{d}-{s}-{n}" for d, (s, n) in sorted(self.last.items()))


@dataclass(frozen=True)
class DomainPosition:
    """Every transaction up to the last one of each MariaDB domain. `resume`: see the module."""

    domains: Domains
    at: LogPoint | None = field(default=None, compare=False)
    resume: Domains | None = None

    def includes(self, other: Position) -> bool:
        """Everything up to `other` lies at or before this."""
        return isinstance(other, DomainPosition) and self.domains.includes(other.domains)

    def __str__(self) -> str:
        return _join("domains", str(self.domains), at=self.at, resume=self.resume)


LogPosition = FilePosition | GtidPosition | DomainPosition


def parse_position(text: str) -> LogPosition:
    """The inverse of ``str(position)``; ValueError when it is no position of this engine."""
    head, *rest = text.split(";")
    kind, _, value = head.partition(":")
    more = dict(part.partition("=")[::2] for part in rest)
    at = LogPoint.parse(more["at"]) if "at" in more else None
    if kind == "file":
        resume = LogPoint.parse(more["resume"]) if "resume" in more else None
        return FilePosition(LogPoint.parse(value), resume)
    if kind == "gtid":
        return GtidPosition(GtidSet.parse(value), at, GtidSet.parse(more.get("held", "")))
    if kind == "domains":
        domains = Domains.parse(more["resume"]) if "resume" in more else None
        return DomainPosition(Domains.parse(value), at, domains)
    raise ValueError(f"not a position in a binary log: {text[:80]!r}")


def _join(kind: str, value: str, **more: object) -> str:
    rest = [f"{key}={value}" for key, value in more.items() if value is not None]
    return ";".join([f"{kind}:{value}", *rest])

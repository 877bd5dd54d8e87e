"""Where a stream is in the log, in the three ways positions are told (`gtid`)."""

from __future__ import annotations

from typing import Protocol

from godwit.engines.mysql import events
from godwit.engines.mysql.gtid import (
    DomainPosition,
    Domains,
    FilePosition,
    GtidPosition,
    GtidSet,
    LogPoint,
    LogPosition,
)
from godwit.errors import UntoldError

GroupName = events.Gtid | events.MariaGtid | None


class Track(Protocol):
    """Follows groups of events. A group is what the server commits at once."""

    def begin(self, name: GroupName, at: LogPoint) -> None:
        """A group begins at `at`; `name` is its GTID, None when it has none."""
        ...

    def seen(self) -> bool:
        """The group lies before the stream's start: it is read again for what is prepared only."""
        ...

    def within(self, mark: LogPosition) -> bool:
        """The group lies at or before `mark`."""
        ...

    def end(self, at: LogPoint) -> None:
        """The group is complete; `at` is behind it."""
        ...

    def passed(self, at: LogPoint) -> None:
        """Between groups: an event that belongs to none has been read, and ends at `at`."""
        ...

    def hold(self, xid: bytes) -> None:
        """The group is complete and prepares that XA transaction."""
        ...

    def release(self, xid: bytes) -> None:
        """That XA transaction has ended."""
        ...

    def position(self) -> LogPosition:
        """Behind the last complete group."""
        ...


class Cursor:
    """The file and the offset in it, which events tell with 32 bits: files may be larger."""

    def __init__(self, at: LogPoint) -> None:
        self._base, self._number, self._offset = at.base, at.number, at.offset

    def move(self, file: str, offset: int) -> None:
        """Go to another place."""
        point = LogPoint.of(file, offset)
        self._base, self._number, self._offset = point.base, point.number, point.offset

    def advance(self, end: int) -> None:
        """To where an event ends, forward always."""
        offset = self._offset & ~0xFFFFFFFF | end
        self._offset = offset if offset >= self._offset else offset + (1 << 32)

    def point(self, back: int = 0) -> LogPoint:
        """Where it is, or so many bytes before."""
        return LogPoint(self._number, max(self._offset - back, 4), self._base)


class FileTrack:
    """By file and offset."""

    def __init__(self, start: FilePosition) -> None:
        self._start = self._at = self._begin = start.point
        self._held: dict[bytes, LogPoint] = {}

    def begin(self, name: GroupName, at: LogPoint) -> None:
        """See `Track`."""
        del name
        self._begin = at

    def seen(self) -> bool:
        """See `Track`."""
        return self._begin < self._start

    def within(self, mark: LogPosition) -> bool:
        """See `Track`."""
        return isinstance(mark, FilePosition) and self._begin < mark.point

    def end(self, at: LogPoint) -> None:
        """See `Track`."""
        self._at = max(self._at, at)

    def passed(self, at: LogPoint) -> None:
        """See `Track`. The end of the log may lie behind such an event."""
        self.end(at)

    def hold(self, xid: bytes) -> None:
        """See `Track`."""
        self._held[xid] = self._begin

    def release(self, xid: bytes) -> None:
        """See `Track`."""
        self._held.pop(xid, None)

    def position(self) -> LogPosition:
        """See `Track`."""
        return FilePosition(self._at, min(self._held.values(), default=None))


class GtidTrack:
    """By MySQL's GTIDs."""

    def __init__(self, start: GtidPosition) -> None:
        self._gtids, self._at = start.gtids.copy(), start.at
        self._again = start.held
        self._name: events.Gtid | None = None
        self._held: dict[bytes, events.Gtid] = {}

    def begin(self, name: GroupName, at: LogPoint) -> None:
        """See `Track`."""
        if not isinstance(name, events.Gtid):
            raise UntoldError(
                "the binary log holds a transaction without a GTID",
                where=f"{at}",
                why="gtid_mode was switched off, or the position cannot tell such a transaction",
                hint="switch gtid_mode back on, then load the tables again (`godwit reload`)",
            )
        self._name = name

    def seen(self) -> bool:
        """See `Track`."""
        name = self._name
        return name is not None and self._again.contains(name.uuid, name.tag, name.number)

    def within(self, mark: LogPosition) -> bool:
        """See `Track`."""
        name = self._name
        return (
            isinstance(mark, GtidPosition)
            and name is not None
            and mark.gtids.contains(name.uuid, name.tag, name.number)
        )

    def end(self, at: LogPoint) -> None:
        """See `Track`."""
        if self._name is not None:
            self._gtids.add(self._name.uuid, self._name.tag, self._name.number)
        self._at = at

    def passed(self, at: LogPoint) -> None:
        """See `Track`. Positions are told by names here."""

    def hold(self, xid: bytes) -> None:
        """See `Track`."""
        if self._name is not None:
            self._held[xid] = self._name

    def release(self, xid: bytes) -> None:
        """See `Track`."""
        self._held.pop(xid, None)

    def position(self) -> LogPosition:
        """See `Track`."""
        held = GtidSet()
        for name in self._held.values():
            held.add(name.uuid, name.tag, name.number)
        return GtidPosition(self._gtids.copy(), self._at, held)


class DomainTrack:
    """By MariaDB's domains."""

    def __init__(self, start: DomainPosition) -> None:
        self._start, self._at = start.domains, start.at
        self._last = dict(start.domains.last)
        #: What has been read, groups before the start included.
        self._read = dict((start.resume or start.domains).last)
        self._name: events.MariaGtid | None = None
        self._held: dict[bytes, Domains] = {}

    def begin(self, name: GroupName, at: LogPoint) -> None:
        """See `Track`."""
        if not isinstance(name, events.MariaGtid):
            raise UntoldError(
                "the binary log holds a transaction without a GTID",
                where=f"{at}",
                hint="set the endpoint setting positions to file and load the tables again",
            )
        last = self._read.get(name.domain)
        if last is not None and last[1] >= name.number:
            raise UntoldError(
                f"GTID {name.domain}-{name.server}-{name.number} comes after"
                f" {name.domain}-{last[0]}-{last[1]}",
                where=f"{at}",
                why="servers write to one domain independently, so that positions have no order",
                hint="set gtid_strict_mode=ON on the source, or the endpoint setting positions to "
                "file, and load the tables again",
            )
        self._name = name

    def seen(self) -> bool:
        """See `Track`."""
        name = self._name
        return name is not None and self._start.contains(name.domain, name.number)

    def within(self, mark: LogPosition) -> bool:
        """See `Track`."""
        name = self._name
        return (
            isinstance(mark, DomainPosition)
            and name is not None
            and mark.domains.contains(name.domain, name.number)
        )

    def end(self, at: LogPoint) -> None:
        """See `Track`."""
        name = self._name
        if name is not None:
            self._read[name.domain] = (name.server, name.number)
            if not self._start.contains(name.domain, name.number):
                self._last[name.domain] = (name.server, name.number)
        self._at = at

    def passed(self, at: LogPoint) -> None:
        """See `Track`. Positions are told by names here."""

    def hold(self, xid: bytes) -> None:
        """See `Track`. `end` comes after it."""
        self._held[xid] = Domains(dict(self._read))

    def release(self, xid: bytes) -> None:
        """See `Track`."""
        self._held.pop(xid, None)

    def position(self) -> LogPosition:
        """See `Track`."""
        # Held ones are in the order of the log: the first was prepared first.
        resume = next(iter(self._held.values()), None)
        return DomainPosition(Domains(dict(self._last)), self._at, resume)


def track_from(start: LogPosition) -> Track:
    """A track that begins at `start`."""
    if isinstance(start, GtidPosition):
        return GtidTrack(start)
    if isinstance(start, DomainPosition):
        return DomainTrack(start)
    return FileTrack(start)

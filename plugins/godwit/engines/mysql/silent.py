"""What the source's foreign keys do untold by its log: found in the parents' row images."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from godwit.engines.mysql.events import DELETE, UPDATE
from godwit.model.catalog import ForeignKey, Table, TableName
from godwit.model.changes import Cascade, Payload

if TYPE_CHECKING:
    from godwit.engines.mysql.decode import RowDecoder

#: The end of a version that has not ended: of TIMESTAMP(6), since MariaDB 11.5 with 32 bits, and of
#: transaction numbers.
NEVER = frozenset({b"\x7f\xff\xff\xff\x0f\x42\x3f", b"\xff\xff\xff\xff\x0f\x42\x3f", b"\xff" * 8})
_NONE = frozenset({"NO ACTION", "RESTRICT"})
_ADDS = re.compile(r"\bREFERENCES\b.*\bON\s+(DELETE|UPDATE)\s+(CASCADE|SET)\b", re.I | re.S)
_DROPS = re.compile(
    r"\bDROP\s+(?:FOREIGN\s+KEY|CONSTRAINT)\s+(?:IF\s+EXISTS\s+)?(?:`((?:[^`]|``)+)`|([^\s`,;]+))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Silent:
    """What follows silently when rows of one table are deleted or get other keys.

    Attributes:
        columns: that foreign keys which act refer to.
        deletes, moves: something follows when rows are deleted; when these columns change.
        reach: tables whose rows may change, those behind other tables included.
        singly: values may be equal whose bytes are not.
    """

    columns: tuple[str, ...]
    deletes: bool
    moves: bool
    reach: frozenset[TableName]
    singly: bool


def silent_of(tables: Iterable[Table]) -> dict[TableName, Silent]:
    """The tables among these on which others depend by foreign keys that act untold."""
    by_name = {table.name: table for table in tables}
    children: dict[TableName, list[tuple[TableName, ForeignKey]]] = {}
    for table in by_name.values():
        for key in table.foreign_keys:
            if key.silent and key.referenced in by_name:
                children.setdefault(key.referenced, []).append((table.name, key))
    found = {}
    for name, depending in children.items():
        parent = by_name[name]
        referred = {c for _, key in depending for c in key.referenced_columns}
        columns = tuple(c for c in parent.by_name if c in referred)
        found[name] = Silent(
            columns,
            deletes=any(key.on_delete not in _NONE for _, key in depending),
            moves=any(key.on_update not in _NONE for _, key in depending),
            reach=_reach(name, children),
            singly=not all(parent.column(c).byte_equal for c in columns),
        )
    return found


def _reach(
    name: TableName, children: Mapping[TableName, Sequence[tuple[TableName, ForeignKey]]]
) -> frozenset[TableName]:
    reach: set[TableName] = set()
    front = [name]
    while front:
        for child, _ in children.get(front.pop(), ()):
            if child not in reach:
                reach.add(child)
                front.append(child)
    return frozenset(reach)


def changed_keys(table: Table, statement: str) -> str:
    """How an ALTER of the table changes what its foreign keys do to its rows; "" = not."""
    if _ADDS.search(statement):
        return "it got a foreign key that changes its rows, which the log does not tell"
    acting = {key.name.lower() for key in table.foreign_keys if key.silent}
    for match in _DROPS.finditer(statement):
        name = (match[1] or match[2]).replace("``", "`").lower()
        if name in acting:
            return f"its foreign key {name}, which changes its rows, was dropped"
    return ""


class Followed:
    """Rows of one parent, of one kind, that others follow.

    `without`: tables that were loaded later. `ends`: the column that tells when a version of a row
    ended, "" = rows have no versions.
    """

    def __init__(
        self,
        table: TableName,
        silent: Silent,
        decoder: RowDecoder,
        without: frozenset[TableName],
        ends: str = "",
    ) -> None:
        self._table, self._silent, self._decoder = table, silent, decoder
        self._without, self._ends = without, ends
        self._buffer = bytearray()
        #: (kind, before, after) and the rows' places, in the order of the changes.
        self._groups: list[tuple[bool, bytes, bytes, array[int], array[int], set[bytes]]] = []

    def add(self, kind: int, before: bytes, after: bytes, data: bytes) -> bool:
        """Take the images of an event in; returns whether something follows from any so far."""
        silent = self._silent
        if not (kind == DELETE or (kind == UPDATE and (silent.moves or self._ends))):
            return bool(self._groups)
        if kind == DELETE and not silent.deletes:
            return bool(self._groups)
        begin = len(self._buffer)
        self._buffer += data
        masks = (before, after) if kind == UPDATE else (before,)
        starts = self._decoder.split(self._buffer, begin, len(self._buffer), masks)
        if kind == DELETE:
            self._deleted([p for p in starts if self._lives(p, before)], before)
        else:
            self._updated(starts, before, after)
        return bool(self._groups)

    def _lives(self, place: int, present: bytes) -> bool:
        if not self._ends:
            return True
        end = self._decoder.keys(self._buffer, [place], (self._ends,), present)[0]
        return end[1:] in NEVER

    def _updated(self, starts: Sequence[int], before: bytes, after: bytes) -> None:
        columns, buffer = self._silent.columns, self._buffer
        olds, news = starts[0::2], starts[1::2]
        old = self._decoder.keys(buffer, olds, columns, before)
        new = self._decoder.keys(buffer, news, columns, after)
        for was, now, p, q in zip(old, new, olds, news, strict=True):
            if self._ends and self._lives(p, before) and not self._lives(q, after):
                if self._silent.deletes:
                    self._deleted([p], before)
            elif was != now and self._silent.moves and self._lives(p, before):
                self._moved(was, now, p, q, before, after)

    def _deleted(self, places: Sequence[int], before: bytes) -> None:
        if not places:
            return
        last = self._groups[-1] if self._groups else None
        if last is None or last[0] or last[1] != before:
            last = (False, before, b"", array("q"), array("q"), set())
            self._groups.append(last)
        last[3].extend(places)

    def _moved(self, was: bytes, now: bytes, p: int, q: int, before: bytes, after: bytes) -> None:
        """A value that comes from or goes to another row of the group begins a new one."""
        last = self._groups[-1] if self._groups else None
        if (
            last is None
            or not last[0]
            or self._silent.singly
            or (last[1], last[2]) != (before, after)
            or not last[5].isdisjoint((was, now))
        ):
            last = (True, before, after, array("q"), array("q"), set())
            self._groups.append(last)
        last[3].append(p)
        last[4].append(q)
        last[5].update((was, now))

    def stages(self) -> list[Cascade]:
        """What the target has to repeat, in order."""
        return [
            Cascade(
                self._table,
                self._payload(olds, before),
                self._payload(news, after) if moved else None,
                self._without,
            )
            for moved, before, after, olds, news, _ in self._groups
        ]

    def _payload(self, places: array[int], present: bytes) -> Payload:
        columns = self._silent.columns
        batch = self._decoder.images(self._buffer, places, present, columns)
        return Payload(columns, len(places), batch)

"""Net changes of a batch: at most one per row identity, found by the key's exact stored bytes.

Two keys that a collation holds equal have different bytes here. That is right as long as deletes
are applied before updates and inserts: 'a' changed to 'A' is a delete and an insert.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from godwit.engines.mysql.events import DELETE, UPDATE, WRITE
from godwit.engines.mysql.relations import Plan
from godwit.engines.mysql.silent import NEVER, Followed
from godwit.model.catalog import TableName
from godwit.model.changes import Payload, ShapeChange, Stage, TableChanges, Truncation


@dataclass(slots=True, eq=False)
class Images:
    """Row images of one event: `kind` is one of WRITE, UPDATE, DELETE.

    Attributes:
        without: tables that were loaded later than this, when foreign keys act on the change; None
            = they don't.
        loaded: the rows themselves were loaded later: only what foreign keys do is wanted.
    """

    plan: Plan
    kind: int
    before: bytes
    after: bytes
    data: bytes
    without: frozenset[TableName] | None = None
    loaded: bool = False


Operation = Images | Truncation | ShapeChange


def net_stages(operations: Iterable[Operation]) -> tuple[tuple[Stage, ...], int, int]:
    """The stages that the operations come to, how many rows they changed, and their bytes."""
    stages: list[Stage] = []
    changes = size = 0
    tables: dict[object, list[Images]] = {}
    following = _Following()
    for operation in operations:
        if not isinstance(operation, Images):
            changes += _flush(tables, stages)
            stages += following.taken()
            stages.append(operation)
            continue
        size += len(operation.data)
        if operation.plan.table in following.reach:
            # Rows of it may have followed others: what comes now comes after that.
            changes += _flush(tables, stages)
            stages += following.taken()
        if operation.without is not None:
            following.add(operation, operation.without)
        if operation.loaded:
            continue
        gathered = tables.get(operation.plan.table)
        if gathered is None:
            tables[operation.plan.table] = [operation]
            continue
        first = gathered[0]
        if first.plan is not operation.plan or (first.before, first.after) != (
            operation.before,
            operation.after,
        ):
            # The table was altered in between, or its images are laid out in another way.
            changes += _flush(tables, stages)
            tables[operation.plan.table] = [operation]
            continue
        gathered.append(operation)
    changes += _flush(tables, stages)
    stages += following.taken()
    return tuple(stages), changes, size


class _Following:
    """What foreign keys have done to tables of which no change has come since.

    Attributes:
        reach: these tables.
    """

    def __init__(self) -> None:
        self._found: list[tuple[Plan, frozenset[TableName], Followed]] = []
        self.reach: frozenset[TableName] = frozenset()

    def add(self, images: Images, without: frozenset[TableName]) -> None:
        """Note what follows from a parent's change."""
        plan = images.plan
        assert plan.decoder is not None
        assert plan.silent is not None
        assert plan.table is not None
        last = self._found[-1] if self._found else None
        if last is None or last[0] is not plan or last[1] != without:
            followed = Followed(plan.table, plan.silent, plan.decoder, without, plan.ends)
            last = (plan, without, followed)
            self._found.append(last)
        if last[2].add(images.kind, images.before, images.after, images.data):
            self.reach |= plan.silent.reach

    def taken(self) -> list[Stage]:
        """The stages, in order; nothing follows any more."""
        stages: list[Stage] = []
        for _, _, followed in self._found:
            stages += followed.stages()
        self._found, self.reach = [], frozenset()
        return stages


def _flush(tables: dict[object, list[Images]], stages: list[Stage]) -> int:
    changes = 0
    for gathered in tables.values():
        table = _Table(gathered[0])
        for kind, data in _runs(gathered):
            changes += table.add(kind, data)
        stages.append(table.net())
    tables.clear()
    return changes


def _runs(gathered: Sequence[Images]) -> Iterable[tuple[int, bytes]]:
    """Events of one kind that follow each other, together."""
    kind = gathered[0].kind
    parts: list[bytes] = []
    for images in gathered:
        if images.kind != kind:
            yield kind, b"".join(parts)
            kind, parts = images.kind, []
        parts.append(images.data)
    yield kind, b"".join(parts)


class _Table:
    """Net changes of one table. Rows are positions in `buffer`; those deleted are inverted."""

    def __init__(self, images: Images) -> None:
        plan = images.plan
        assert plan.decoder is not None
        assert plan.table is not None
        self.plan, self.decoder, self.table = plan, plan.decoder, plan.table
        self.before, self.after = images.before, images.after
        self.buffer = bytearray()
        self.rows: dict[bytes, int] = {}
        self.fresh: set[bytes] = set()
        self.counts: dict[bytes, int] = {}
        self.places: dict[bytes, int] = {}

    def add(self, kind: int, data: bytes) -> int:
        """Take images in; returns how many rows they change."""
        begin = len(self.buffer)
        self.buffer += data
        masks = (self.before, self.after) if kind == UPDATE else (self.after,)
        starts = self.decoder.split(self.buffer, begin, len(self.buffer), masks)
        if self.plan.ends:
            return self._versions(kind, starts)
        if kind == UPDATE:
            self._change(starts, starts[0::2], starts[1::2])
        elif kind == WRITE:
            self._insert(starts, starts)
        else:
            self._delete(starts, starts)
        return len(starts) // 2 if kind == UPDATE else len(starts)

    def _versions(self, kind: int, starts: array[int]) -> int:
        """Rows of a system-versioned table: a DELETE is logged as an update that ends the version,
        and with every UPDATE comes an insert of the version that ended.
        """
        if kind != UPDATE:
            living = self._living(starts, self.after)
            places = array("q", [p for p, lives in zip(starts, living, strict=True) if lives])
            (self._insert if kind == WRITE else self._delete)(starts, places)
            return len(places) if kind == DELETE else 0
        befores, afters = array("q"), array("q")
        ended = array("q")
        before = self._living(starts[0::2], self.before)
        after = self._living(starts[1::2], self.after)
        for i, (lived, lives) in enumerate(zip(before, after, strict=True)):
            if lived and lives:
                befores.append(starts[2 * i])
                afters.append(starts[2 * i + 1])
            elif lived:
                ended.append(starts[2 * i])
        # Neither can touch the other's rows: an event is one statement.
        self._delete(starts, ended)
        self._change(starts, befores, afters)
        return len(befores) + len(ended)

    def _living(self, places: array[int], present: bytes) -> list[bool]:
        ends = self.decoder.keys(self.buffer, places, (self.plan.ends,), present)
        return [end[1:] in NEVER for end in ends]

    def _insert(self, starts: array[int], places: array[int]) -> None:
        if not self.plan.identity:
            self._count(starts, places, 1)
            return
        keys = self.decoder.keys(self.buffer, places, self.plan.identity, self.after)
        self.fresh.update(key for key in keys if key not in self.rows)
        self.rows.update(zip(keys, places, strict=True))

    def _delete(self, starts: array[int], places: array[int]) -> None:
        if not self.plan.identity:
            self._count(starts, places, -1)
            return
        keys = self.decoder.keys(self.buffer, places, self.plan.identity, self.before)
        self.rows.update((key, ~p) for key, p in zip(keys, places, strict=True))

    def _change(self, starts: array[int], befores: array[int], afters: array[int]) -> None:
        rows, fresh, identity = self.rows, self.fresh, self.plan.identity
        if not identity:
            self._count(starts, befores, -1)
            self._count(starts, afters, 1)
            return
        old = self.decoder.keys(self.buffer, befores, identity, self.before)
        new = self.decoder.keys(self.buffer, afters, identity, self.after)
        if old == new:
            rows.update(zip(new, afters, strict=True))
            return
        for before, after, p, q in zip(old, new, befores, afters, strict=True):
            if before != after:
                rows[before] = ~p
                if after not in rows:
                    fresh.add(after)
            rows[after] = q

    def _count(self, starts: array[int], places: array[int], by: int) -> None:
        """Rows without identity: how many more or fewer there are of each."""
        ends = dict(zip(starts, [*starts[1:], len(self.buffer)], strict=True))
        with memoryview(self.buffer) as view:
            for place in places:
                image = bytes(view[place : ends[place]])
                self.counts[image] = self.counts.get(image, 0) + by
                self.places[image] = place

    def net(self) -> TableChanges:
        """What it comes to."""
        if not self.plan.identity:
            return self._net_counts()
        fresh = self.fresh
        inserts, updates, deletes, cancelled = (array("q") for _ in range(4))
        for key, place in self.rows.items():
            if place >= 0:
                (inserts if key in fresh else updates).append(place)
            else:
                (cancelled if key in fresh else deletes).append(~place)
        identity = self.plan.identity
        changed = self._payload(updates, self.after, self.plan.columns)
        return TableChanges(
            self.table,
            inserts=self._payload(inserts, self.after, self.plan.columns),
            updates=(changed,) if changed else (),
            deletes=self._payload(deletes, self.before, identity),
            cancelled=self._payload(cancelled, self.before, identity),
        )

    def _net_counts(self) -> TableChanges:
        more, fewer = array("q"), array("q")
        for image, count in self.counts.items():
            (more if count > 0 else fewer).extend([self.places[image]] * abs(count))
        return TableChanges(
            self.table,
            inserts=self._payload(more, self.after, self.plan.columns),
            deletes=self._payload(fewer, self.after, self.plan.columns),
        )

    def _payload(
        self, places: array[int], present: bytes, columns: tuple[str, ...]
    ) -> Payload | None:
        if not places:
            return None
        batch = self.decoder.images(self.buffer, places, present, columns)
        return Payload(columns, len(places), self._sorted(batch))

    def _sorted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """By key: targets write neighbours together."""
        identity = self.plan.identity
        if not identity or batch.num_rows < 2:
            return batch
        order = pc.sort_indices(batch, sort_keys=[(c, "ascending") for c in identity])
        return batch.take(order)

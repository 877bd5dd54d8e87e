"""Relation messages: what the tables of a stream look like at the time of their changes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from godwit.engines.postgres.connection import Session
from godwit.engines.postgres.exchange import to_columns
from godwit.engines.postgres.frames import (
    IGNORE,
    KEYED,
    MULTISET,
    Move,
    Plan,
    PrimitiveStage,
    Rows,
    Truncate,
)
from godwit.engines.postgres.reshaped import ReshapedError
from godwit.engines.postgres.text_columns import csv_batch
from godwit.model.catalog import Table, TableName
from godwit.model.changes import (
    COLUMNS,
    Format,
    KeyMove,
    Payload,
    ShapeChange,
    Stage,
    TableChanges,
    Truncation,
)
from godwit.model.mapping import TableMapping

_CASCADE, _RESTART = 1, 2
_IN_IDENTITY = 1


@dataclass(frozen=True)
class Relation:
    """A Relation message; columns are (name, type oid, type modifier).

    `identity`: columns of the old row that the log tells; `full`: it tells all of them.
    """

    id: int
    name: TableName
    columns: tuple[tuple[str, int, int], ...]
    identity: frozenset[str]
    full: bool


@dataclass
class _Owner:
    """What a plan belongs to."""

    table: TableName
    relation: TableName
    columns: tuple[str, ...]
    identity: tuple[str, ...]


def parse_relation(message: bytes) -> Relation:
    """Decode a Relation message."""
    relation = struct.unpack_from(">I", message, 1)[0]
    schema, name, rest = message[5:].split(b"\0", 2)
    count = struct.unpack_from(">H", rest, 1)[0]
    columns, identity = [], set()
    p = 3
    for _ in range(count):
        end = rest.index(b"\0", p + 1)
        oid, modifier = struct.unpack_from(">Ii", rest, end + 1)
        column = rest[p + 1 : end].decode()
        columns.append((column, oid, modifier))
        if rest[p] & _IN_IDENTITY:
            identity.add(column)
        p = end + 9
    # pg_catalog is sent as the empty name.
    where = TableName(schema.decode() or "pg_catalog", name.decode())
    return Relation(relation, where, tuple(columns), frozenset(identity), rest[:1] == b"f")


def snapshot_test(token: str) -> Callable[[int], bool]:
    """A test whether a transaction (32-bit xid) is visible in a ``pg_snapshot``."""
    low, high, running = token.split(":")
    xmin, xmax = int(low), int(high)
    active = {int(x) for x in running.split(",") if x}

    def visible(xid: int) -> bool:
        # The stream tells the low half; the snapshot's epoch is the right one or a neighbour of it.
        full = (xmax & ~0xFFFFFFFF) | xid
        if full > xmax + (1 << 31):
            full -= 1 << 32
        elif full < xmax - (1 << 31):
            full += 1 << 32
        return full < xmin or (full < xmax and full not in active)

    return visible


def _tells(relation: Relation, table: Table) -> bool:
    """The log still tells of an old row which one it was."""
    if relation.full or (relation.name == table.name and table.parts):
        # A partitioned table stores nothing; its partitions tell by themselves.
        return True
    return bool(table.identity) and relation.identity == set(table.identity)


class Relations:
    """Keeps the plans of a stream and turns its stages into the model's."""

    def __init__(
        self,
        session: Session,
        mappings: Sequence[TableMapping],
        marks: Mapping[TableName, str],
        format: Format,
    ) -> None:
        self.plans: dict[int, Plan] = {}
        self._session = session
        self._tables = {m.source.name: m.source for m in mappings}
        # A table's incarnation is "database.oid", and a relation's id its oid.
        self._ids = {m.source.incarnation.rpartition(".")[2]: m.source for m in mappings}
        self._parts = {p.name: m.source for m in mappings for p in m.source.parts}
        self._marks = marks
        self._format = format
        self._types: dict[tuple[int, int], str] = {}
        self._known: dict[int, Relation] = {}
        #: Tables that have another shape, so that nothing of them is read any more.
        self._out: set[TableName] = set()
        #: … of which that is told in the middle of a transaction, and what is to be told.
        self._in_part: set[TableName] = set()
        self._told: list[ShapeChange] = []
        self._before: tuple[dict[int, Plan], dict[int, Relation], set[TableName]] | None = None
        self._messages = 0

    def begin(self) -> None:
        """Frames are going to be netted out: from here `restore` can start over."""
        self._before, self._messages, self._told = None, 0, []

    def restore(self) -> None:
        """As if the frames since `begin` had not come."""
        if self._before is not None:
            plans, self._known, self._out = self._before
            self.plans.clear()
            self.plans.update(plans)

    def leave_out(self, table: TableName) -> None:
        """Nothing of the table is read any more, nor of its partitions."""
        self._out.add(table)
        for relation, plan in self.plans.items():
            if isinstance(plan.owner, _Owner) and plan.owner.table == table:
                self.plans[relation] = Plan(IGNORE)

    def tell_in_part(self, table: TableName) -> None:
        """That it has another shape is told with what comes before and after it."""
        self._in_part.add(table)

    def _remember(self) -> None:
        if self._before is None:
            self._before = dict(self.plans), dict(self._known), set(self._out)

    def close(self) -> None:
        """Close the session that looks types up."""
        self._session.close()

    def seen(self, message: bytes) -> list[Rows] | None:
        """A Relation message came: make its plan. An empty stage is returned when there was another
        one before: the rows so far are of that.

        Raises:
            ReshapedError: it isn't the shape that the migration knows.
        """
        self._messages += 1
        relation = parse_relation(message)
        if self._known.get(relation.id) == relation:
            return None
        again: list[Rows] | None = [] if relation.id in self.plans else None
        self._remember()
        self._known[relation.id] = relation
        table = self._tables.get(relation.name) or self._parts.get(relation.name)
        difference = ""
        known = self._ids.get(str(relation.id))
        if known is not None and known.name != relation.name:
            table, difference = known, f"it was renamed to {relation.name}"
        elif table is None:
            table = self._root(relation)
            difference = f"partition {relation.name} was added"
        if table is None or table.name in self._out:
            self.plans[relation.id] = Plan(IGNORE)
            return again
        difference = difference or self._difference(relation, table)
        untold = "" if difference else self._untold(relation, table)
        if not difference and not untold:
            self.plans[relation.id] = self._plan(relation, table)
            return again
        change = ShapeChange(table.name, difference or untold, rewritten=bool(untold))
        if table.name in self._marks:
            self.plans[relation.id] = self._plan_of_other_shape(relation, change)
            return again
        self.plans[relation.id] = Plan(IGNORE)
        self._changed(ReshapedError(change, message=self._messages))
        return again

    def _plan_of_other_shape(self, relation: Relation, change: ShapeChange) -> Plan:
        """Of a table that was loaded later: its shape matters only in transactions that the load
        has not seen. The message comes once, so they may come much later than it.
        """
        visible = snapshot_test(self._marks[change.table])

        def skip(xid: int) -> bool:
            if not visible(xid) and change.table not in self._out:
                self._changed(ReshapedError(change, xid=xid, relation=relation.id))
            return True

        return Plan(KEYED, skip=skip, owner=_Owner(change.table, relation.name, (), ()))

    def _changed(self, found: ReshapedError) -> None:
        if found.change.table not in self._in_part:
            raise found
        self._remember()
        self._told.append(replace(found.change, clean=False))
        self.leave_out(found.change.table)

    def _root(self, relation: Relation) -> Table | None:
        """The captured table that a relation nobody has heard of is a partition of, if any."""
        row = self._session.execute(
            "SELECT n.nspname, c.relname FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.oid = pg_partition_root(%s::oid) AND c.oid <> %s::oid",
            [relation.id, relation.id],
        ).fetchone()
        return self._tables.get(TableName(*row)) if row else None

    def _plan(self, relation: Relation, table: Table) -> Plan:
        names = tuple(name for name, _, _ in relation.columns)
        owner = _Owner(table.name, relation.name, names, table.identity)
        mark = self._marks.get(table.name)
        skip = snapshot_test(mark) if mark else None
        if not table.identity:
            return Plan(MULTISET, skip=skip, owner=owner)
        serial = not all(table.column(c).byte_equal for c in table.identity)
        keys = tuple(names.index(c) for c in table.identity)
        return Plan(KEYED, keys, serial, skip, owner)

    def _difference(self, relation: Relation, table: Table) -> str:
        """How the relation differs from the table as the migration knows it; empty = not at all."""
        expected = {c.name: c.native for c in table.stored_columns}
        actual = {name: self._type(oid, mod) for name, oid, mod in relation.columns}
        parts = [f"column {c} was added" for c in actual if c not in expected]
        parts += [f"column {c} was dropped" for c in expected if c not in actual]
        parts += [
            f"column {c} changed from {expected[c]} to {actual[c]}"
            for c in actual
            if c in expected and expected[c] != actual[c]
        ]
        if table.capture == "full" and not _tells(relation, table):
            parts.append("its replica identity was changed")
        return ", ".join(parts)

    def _untold(self, relation: Relation, table: Table) -> str:
        """What was done to columns that look as before: exchanged, made anew, or computed anew.

        The message comes after every definition, and with the first row of a session.
        """
        known = {c.name: c for c in table.columns if c.version}
        if not known or relation.name != table.name or table.parts:
            return ""
        rows = self._session.execute(
            "SELECT a.attname, a.attnum, a.xmin::text::bigint, c.relfilenode::bigint::text"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.oid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped",
            [relation.id],
        ).fetchall()
        parts = []
        for name, number, version, storage in rows:
            column = known.get(name)
            if column is None:
                continue  # the log will tell
            if column.number != number:
                parts.append(f"column {name} is another one")
            elif column.version != version and storage != table.storage:
                # So is a column whose type was altered with USING, and nothing but that.
                parts.append(f"column {name} was altered and the rows were written anew")
        return ", ".join(parts)

    def _type(self, oid: int, modifier: int) -> str:
        key = oid, modifier
        if key not in self._types:
            query = "SELECT format_type(%s::oid, %s)"
            row = self._session.execute(query, [oid, modifier]).fetchone()
            assert row is not None
            self._types[key] = row[0]
        return self._types[key]

    def stages(self, primitive: Sequence[PrimitiveStage]) -> tuple[Stage, ...]:
        """The stages of a batch in the words of the model."""
        result: list[Stage] = []
        for stage in primitive:
            if isinstance(stage, list):
                result += [self._changes(rows) for rows in stage]
            elif isinstance(stage, Move):
                result.append(self._move(stage))
            elif isinstance(stage, Truncate):
                result += self._truncation(stage)
        return (*result, *self._told)

    def _changes(self, rows: Rows) -> TableChanges:
        owner = rows.plan.owner
        assert isinstance(owner, _Owner)
        keyed = rows.plan.mode == KEYED
        gone = owner.identity if keyed else owner.columns
        return TableChanges(
            owner.table,
            inserts=self._payload(owner.table, owner.columns, *rows.inserts),
            updates=tuple(
                p
                for known, count, data in rows.updates
                if (p := self._payload_of(owner, known, count, data))
            ),
            deletes=self._payload(owner.table, gone, *rows.deletes),
            cancelled=self._payload(owner.table, gone, *rows.cancelled),
        )

    def _payload_of(
        self, owner: _Owner, known: Sequence[int], rows: int, data: bytes
    ) -> Payload | None:
        return self._payload(owner.table, tuple(owner.columns[i] for i in known), rows, data)

    def _move(self, move: Move) -> KeyMove:
        owner = move.plan.owner
        assert isinstance(owner, _Owner)
        old = self._payload(owner.table, owner.identity, 1, move.old)
        new = self._payload_of(owner, move.columns, 1, move.row)
        assert old is not None
        assert new is not None
        return KeyMove(owner.table, old, new)

    def _truncation(self, stage: Truncate) -> list[Stage]:
        """Whole tables by their name; partitions by theirs, unless their table is among them."""
        plans = [self.plans[r] for r in stage.relations if r in self.plans]
        plans = [p for p in plans if p.skip is None or not p.skip(stage.xid)]
        owners = [p.owner for p in plans if isinstance(p.owner, _Owner)]
        whole = {o.table for o in owners if o.table == o.relation}
        parts = {o.relation for o in owners if o.table not in whole}
        names = tuple(sorted(whole | parts))
        if not names:
            return []
        options = stage.options
        return [Truncation(names, bool(options & _CASCADE), bool(options & _RESTART))]

    def _payload(
        self, name: TableName, columns: tuple[str, ...], rows: int, data: bytes
    ) -> Payload | None:
        if not rows:
            return None
        if not self._format.columnar:
            return Payload(columns, rows, data)
        batch = csv_batch(columns, data, rows)
        if self._format == COLUMNS:
            table = self._tables[name]
            batch = to_columns(batch, [table.column(c).type.kind for c in columns])
        return Payload(columns, rows, batch)

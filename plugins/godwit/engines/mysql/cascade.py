"""What the source's foreign keys did without its log telling it, done again along the same keys.

The target's own foreign keys never act while changes are applied (`foreign_key_checks` is off).
Keys whose values are to follow are put into temporary tables, level by level: `o0`, `o1`, … are the
values that rows refer to now, `n0`, … those they are to refer to.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.encode import Encoder, arriving_types, destination
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.rows import batch_of, cut_rows, renamed, take_rows
from godwit.engines.mysql.table_writer import TableWriter
from godwit.engines.mysql.write import load_rows
from godwit.errors import ApplyError
from godwit.model.catalog import ForeignKey, TableName
from godwit.model.changes import Cascade, Format, Payload

#: Levels that the source's own engine follows at most.
DEPTH = 15
_numbers = itertools.count(1)


class Cascades:
    """Follows foreign keys among the tables of one session."""

    def __init__(
        self,
        session: Session,
        writers: Mapping[TableName, TableWriter],
        format: Format,
        settings: Mapping[str, Any],
    ) -> None:
        self._session = session
        self._format, self._settings = format, settings
        self._without: frozenset[TableName] = frozenset()
        self._tables: dict[tuple[TableName, str, bool, int], TableName] = {}
        self._children: dict[TableName, list[tuple[TableWriter, ForeignKey]]] = {}
        for writer in writers.values():
            for key in writer.mapping.source.foreign_keys:
                self._children.setdefault(key.referenced, []).append((writer, key))

    def children(self, stage: Cascade) -> list[tuple[TableWriter, ForeignKey]]:
        """The tables whose rows follow, and by which key."""
        moved = stage.new is not None
        return [
            (w, k)
            for w, k in self._children.get(stage.table, ())
            if _effect(k, moved=moved) and w.mapping.source.name not in stage.without
        ]

    def follow(self, stage: Cascade, writer: TableWriter, key: ForeignKey) -> int:
        """Have the rows of one table follow; returns how many of it did."""
        lacking = set(key.referenced_columns) - set(stage.old.columns)
        if lacking:
            raise ApplyError(
                "the log does not tell what the foreign key refers to: " + ", ".join(lacking),
                where=f"{writer.mapping.source.name}, {key.name}",
                hint="load the table again: `godwit reload FILE --table …`",
            )
        self._without = stage.without
        old = _side(stage.old, key, "o")
        if stage.new is None:
            return self._follow(writer, key, old, moved=False)
        pairs = _changed(_beside(old, _side(stage.new, key, "n")))
        # One after the other, as on the source: a value may pass from row to row.
        return sum(
            self._follow(writer, key, cut_rows(pairs, i, 1), moved=True) for i in range(pairs.rows)
        )

    def _follow(self, writer: TableWriter, key: ForeignKey, values: Payload, *, moved: bool) -> int:
        table = self._table(writer, key, moved=moved, depth=0)
        encoder = self._encoder(writer, key, values)
        load_rows(self._session, table, encoder, [batch_of(values)])
        return self._act(writer, key, table, moved=moved, depth=1)

    def _act(
        self, writer: TableWriter, key: ForeignKey, table: TableName, *, moved: bool, depth: int
    ) -> int:
        """Let the rows that refer to `table` follow, those that refer to them first."""
        effect = _effect(key, moved=moved)
        names = _targets(writer, key.columns, key)
        match = " AND ".join(f"t.{quoted(c)} = c.o{i}" for i, c in enumerate(names))
        join = f"{quoted(*table)} c STRAIGHT_JOIN {quoted(*writer.target)} t ON {match}"
        further = self._children.get(writer.mapping.source.name, ()) if depth < DEPTH else ()
        for other, next_key in further:
            if other.mapping.source.name in self._without:
                continue
            self._further(writer, key, join, effect, other, next_key, depth)
        if effect == "delete":
            return self._session.run(f"DELETE t FROM {join}")
        values = ["NULL" if effect == "null" else f"c.n{i}" for i in range(len(names))]
        settings = [f"t.{quoted(c)} = {v}" for c, v in zip(names, values, strict=True)]
        told = {c.lower() for c in names}
        settings += [
            f"t.{quoted(c.name)} = t.{quoted(c.name)}"
            for name, c in writer.facts.columns.items()
            if c.clock and name not in told
        ]
        return self._session.run(f"UPDATE {join} SET {', '.join(settings)}")

    def _further(
        self,
        writer: TableWriter,
        key: ForeignKey,
        join: str,
        effect: str,
        other: TableWriter,
        next_key: ForeignKey,
        depth: int,
    ) -> None:
        moved = effect != "delete"
        if not _effect(next_key, moved=moved):
            return
        if moved and not set(next_key.referenced_columns) & set(key.columns):
            return
        now = [f"t.{quoted(c)}" for c in _targets(writer, next_key.referenced_columns, next_key)]
        then = list(now)
        for i, column in enumerate(next_key.referenced_columns):
            if column in key.columns:
                then[i] = "NULL" if effect == "null" else f"c.n{key.columns.index(column)}"
        table = self._table(other, next_key, moved=moved, depth=depth)
        columns = [f"o{i}" for i in range(len(now))]
        columns += [f"n{i}" for i in range(len(now))] if moved else []
        values = now + (then if moved else [])
        # What stays as it is has no one follow, not even to NULL.
        same = " AND ".join(f"{a} <=> {b}" for a, b in zip(now, then, strict=True))
        filled = self._session.run(
            f"INSERT INTO {quoted(*table)} ({', '.join(columns)})"
            f" SELECT DISTINCT {', '.join(values)} FROM {join}"
            + (f" WHERE NOT ({same})" if moved else "")
        )
        if filled:
            self._act(other, next_key, table, moved=moved, depth=depth + 1)

    def _table(self, writer: TableWriter, key: ForeignKey, *, moved: bool, depth: int) -> TableName:
        """An empty temporary table for the values that a key's columns have, or are to have."""
        place = (writer.mapping.source.name, key.name, moved, depth)
        table = self._tables.get(place)
        if table is not None:
            self._session.run(f"DELETE FROM {quoted(*table)}")
            return table
        table = TableName(writer.target.schema, f"godwit_cascade_{next(_numbers)}")
        columns = [writer.facts.column(c) for c in _targets(writer, key.columns, key)]
        declared = [
            c.declared_as(f"{side}{i}")
            for side in ("on" if moved else "o")
            for i, c in enumerate(columns)
        ]
        self._session.run(
            f"CREATE TEMPORARY TABLE {quoted(*table)} ({', '.join(declared)}) ENGINE=InnoDB"
        )
        self._tables[place] = table
        return table

    def _encoder(self, writer: TableWriter, key: ForeignKey, payload: Payload) -> Encoder:
        names = _targets(writer, key.columns, key)
        types = arriving_types(writer.mapping)
        columns = [(c, types.get(c.name)) for c in map(writer.facts.column, names)]
        made = [
            destination(name, c.native, c.charset, nullable=True, arriving=kind)
            for name, (c, kind) in zip(payload.columns, itertools.cycle(columns), strict=False)
        ]
        return Encoder(made, self._format, self._settings)


def _effect(key: ForeignKey, *, moved: bool) -> str:
    """``delete``, ``set``, ``null``, or "" for nothing."""
    action = (key.on_update if moved else key.on_delete).upper()
    if action == "CASCADE":
        return "set" if moved else "delete"
    return "null" if action == "SET NULL" else ""


def _side(payload: Payload, key: ForeignKey, side: str) -> Payload:
    taken = take_rows(payload, range(payload.rows), key.referenced_columns)
    return renamed(taken, [f"{side}{i}" for i in range(len(key.referenced_columns))])


def _beside(left: Payload, right: Payload) -> Payload:
    """The columns of both."""
    names = (*left.columns, *right.columns)
    arrays = [*batch_of(left).columns, *batch_of(right).columns]
    return Payload(names, left.rows, pa.RecordBatch.from_arrays(arrays, names=list(names)))


def _changed(pairs: Payload) -> Payload:
    """The rows of which any value changes: columns of other keys may be among those told."""
    arrays = batch_of(pairs).columns
    half = len(arrays) // 2
    rows = zip(*(a.to_pylist() for a in arrays), strict=True)
    return take_rows(
        pairs, [i for i, row in enumerate(rows) if row[:half] != row[half:]], pairs.columns
    )


def _targets(writer: TableWriter, columns: Sequence[str], key: ForeignKey) -> list[str]:
    """The target's names of source columns."""
    names = writer.mapping.target_names
    plain = {c.source for c in writer.mapping.columns if c.plain}
    unknown = [c for c in columns if c not in plain]
    if unknown:
        raise ApplyError(
            "rows cannot follow a foreign key whose columns are left out or transformed: "
            + ", ".join(unknown),
            where=f"{writer.mapping.source.name}, {key.name}",
            hint="keep these columns as they are, or load the table again after such changes",
        )
    return [names[c] for c in columns]

"""Chunks: one range of one table, the unit of work, retry, progress and validation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from godwit.model.catalog import TableName

#: A bound of a key range: one text per key column, as the source wrote it.
Bound = tuple[str, ...]


@dataclass(frozen=True)
class Chunk:
    """One range of one table.

    Attributes:
        id: hash of migration, table incarnation, mapping and bounds.
        table: the source table (the root of a partitioned one).
        part: the leaf partition that is read, when the table is partitioned.
        how: ``whole``, ``key`` (half-open key range ``lower <= key < upper``) or ``block``
            (physical blocks ``lower <= block < upper``, only under one shared snapshot).
        columns: key columns of a ``key`` chunk, in index order.
        lower, upper: bounds as the source wrote them; None = open.
        rows, bytes: estimates.
        first: the table's prep (truncate) belongs to this chunk's table; kept by the planner.
    """

    id: str
    table: TableName
    part: TableName | None = None
    how: str = "whole"
    columns: tuple[str, ...] = ()
    lower: Bound | None = None
    upper: Bound | None = None
    rows: int = 0
    bytes: int = 0

    @property
    def label(self) -> str:
        """For people: table and range; key bounds are key values of the user's data, shortened."""
        name = str(self.part or self.table)
        if self.how == "whole":
            return name
        low = "…" if self.lower is None else ",".join(v[:24] for v in self.lower)
        high = "…" if self.upper is None else ",".join(v[:24] for v in self.upper)
        return f"{name} {self.how} [{low}, {high})"

    def to_json(self) -> dict[str, Any]:
        """Plain data for XCom and the control tables."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Chunk:
        """The inverse of `to_json`, from real JSON (lists become tuples again)."""
        bounds = {k: tuple(data[k]) if data[k] is not None else None for k in ("lower", "upper")}
        part = data["part"]
        return cls(
            **{
                **data,
                **bounds,
                "table": TableName(*data["table"]),
                "part": TableName(*part) if part else None,
                "columns": tuple(data["columns"]),
            }
        )


def chunk_id(migration: str, incarnation: str, mapping: str, *range_of: object) -> str:
    """A stable identity: the same range of the same table under the same mapping."""
    text = json.dumps([migration, incarnation, mapping, *range_of], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Bundle:
    """What one mapped task loads: one piece of a big table, or several small tables.

    `shared_snapshot`: its chunks are physical ranges and must all be read under one snapshot.
    """

    label: str
    chunks: tuple[Chunk, ...]
    shared_snapshot: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data for XCom and the control tables."""
        return {
            "label": self.label,
            "chunks": [c.to_json() for c in self.chunks],
            "shared_snapshot": self.shared_snapshot,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Bundle:
        """The inverse of `to_json`."""
        chunks = tuple(Chunk.from_json(c) for c in data["chunks"])
        return cls(data["label"], chunks, data["shared_snapshot"])


@dataclass(frozen=True)
class LoadedChunk:
    """A ledger line: written in the transaction that wrote the rows.

    `mark`: the source's own token of the state this chunk has seen, where all chunks of the table
    have seen the same: changes already visible in it are skipped by the stream.
    """

    chunk: Chunk
    rows: int
    bytes: int
    seconds: float
    mark: str | None = None

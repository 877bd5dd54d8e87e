"""Cutting tables into chunks.

The source samples a table, orders the sample and names the bounds; it also confirms that its own
comparison puts them in that order, for that is the comparison the chunks will use. Nothing is taken
from statistics but sizes, so a table that was never analysed is cut like any other, and gaps or
crowds among the keys don't matter: bounds are keys of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import sql

from godwit.engines.postgres.connection import Connector, Session
from godwit.engines.postgres.read import identifier, typed
from godwit.errors import LoadError
from godwit.model.catalog import Part, Table, TableName
from godwit.model.chunks import Bound, Chunk
from godwit.model.mapping import TableMapping

#: Blocks that are looked at for bounds; a serial key needs several per chunk.
SAMPLE_BLOCKS = 600
BLOCKS_PER_CHUNK = 12
#: Below this the rows lie so far from key order that a key range reads most of the table.
ORDERLY = 0.5
#: Chunks from which on a scattered table is worth a snapshot that is kept for all of them.
SCATTERED_CHUNKS = 3
_BLOCK_BYTES = 8192
_MOST_CHUNKS = 5000
_LONGEST_BOUND = 2000

Planned = list[tuple[Chunk, bool]]


@dataclass(frozen=True)
class _Piece:
    """One heap: a table or a leaf."""

    name: TableName
    part: TableName | None
    rows: int
    bytes: int


@dataclass(frozen=True)
class _Sample:
    bounds: tuple[Bound, ...]
    order: float


def plan(
    connector: Connector, mapping: TableMapping, *, rows_per_chunk: int, bytes_per_chunk: int
) -> Planned:
    """Chunks that cover the table without gap or overlap; see `godwit.protocols.Source.plan`."""
    table = mapping.source
    try:
        with connector.lease("source") as session:
            if mapping.boundaries is not None:
                return _by_hand(session, mapping)
            if table.parts and table.identity:
                pieces = [_leaf(part) for part in table.parts]
            else:
                # Without a row identity all rows of a table must be seen in one state.
                pieces = [_Piece(table.name, None, table.rows, table.bytes)]
            planned: Planned = []
            for piece in pieces:
                wanted = _chunk_count(piece, rows_per_chunk, bytes_per_chunk)
                planned += _cut(session, connector, table, piece, wanted)
            return planned
    except psycopg.Error as error:
        raise LoadError(
            "the table cannot be planned",
            where=str(table.name),
            why=f"the source says: {error.diag.message_primary or type(error).__name__}",
            hint="check that the source's user may read the table",
        ) from None


def _leaf(part: Part) -> _Piece:
    return _Piece(part.name, part.name, part.rows, part.bytes)


def _chunk_count(piece: _Piece, rows_per_chunk: int, bytes_per_chunk: int) -> int:
    # Row estimates may be stale or missing; bytes are always true.
    by_rows = math.ceil(max(piece.rows, 0) / rows_per_chunk)
    by_bytes = math.ceil(piece.bytes / bytes_per_chunk)
    return max(1, min(max(by_rows, by_bytes), _MOST_CHUNKS))


def _cut(
    session: Session, connector: Connector, table: Table, piece: _Piece, wanted: int
) -> Planned:
    whole = Chunk("", table.name, piece.part, rows=max(piece.rows, 0), bytes=piece.bytes)
    if wanted == 1:
        return [(whole, False)]
    # Before 14 a range of blocks is found by reading the whole table.
    blocks_allowed = (
        not table.parts
        and connector.version >= 140000
        and bool(connector.settings.get("long_snapshots", True))
    )
    key = _range_key(table)
    if key:
        sample = _sample(session, table, piece, key, wanted)
        scattered = sample is not None and abs(sample.order) < ORDERLY
        if sample is not None and not (scattered and blocks_allowed and wanted >= SCATTERED_CHUNKS):
            return _key_chunks(whole, key, sample.bounds)
    if blocks_allowed and wanted >= SCATTERED_CHUNKS:
        return _block_chunks(session, whole, piece, wanted)
    return [(whole, False)]


def _range_key(table: Table) -> tuple[str, ...]:
    """The columns whose ranges become chunks, in index order; () = there are none.

    A table without a row identity isn't cut by key: its chunks would see different states.
    """
    if not table.identity:
        return ()
    identity = set(table.identity)
    candidates = sorted(table.keys, key=lambda k: (set(k.columns) != identity, not k.primary))
    for key in candidates:
        if not any(table.column(name).nullable for name in key.columns):
            return key.columns
    return ()


def _key_chunks(whole: Chunk, key: tuple[str, ...], bounds: Sequence[Bound]) -> Planned:
    edges: list[Bound | None] = [None, *bounds, None]
    count = len(edges) - 1
    if count == 1:
        return [(whole, False)]
    share = replace(
        whole, how="key", columns=key, rows=whole.rows // count, bytes=whole.bytes // count
    )
    return [(replace(share, lower=lower, upper=upper), False) for lower, upper in pairwise(edges)]


def _block_chunks(session: Session, whole: Chunk, piece: _Piece, wanted: int) -> Planned:
    blocks = _blocks(session, piece.name)
    edges = sorted({blocks * n // wanted for n in range(1, wanted)} - {0})
    bounds: list[Bound | None] = [None, *((str(edge),) for edge in edges), None]
    count = len(bounds) - 1
    share = replace(whole, how="block", rows=whole.rows // count, bytes=whole.bytes // count)
    return [(replace(share, lower=lower, upper=upper), True) for lower, upper in pairwise(bounds)]


def _blocks(session: Session, name: TableName) -> int:
    row = session.execute(
        "SELECT pg_relation_size(c.oid) / current_setting('block_size')::bigint FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        list(name),
    ).fetchone()
    return int(row[0]) if row else 0


# -- bounds


def _sample(
    session: Session, table: Table, piece: _Piece, key: tuple[str, ...], wanted: int
) -> _Sample | None:
    """Quantiles of the key over sampled blocks, and how well blocks follow the key.

    None = the key's type has no order that the chunks' comparisons would share.
    """
    blocks = max(1, _blocks(session, piece.name))
    percent = min(100.0, 100.0 * max(SAMPLE_BLOCKS, wanted * BLOCKS_PER_CHUNK) / blocks)
    names = sql.SQL(", ").join(map(sql.Identifier, key))
    # A seed makes the plan repeatable as long as the table stays as it is.
    query = sql.SQL(
        "WITH s AS MATERIALIZED (SELECT {names}, row_number() OVER (ORDER BY {names}) AS godwit_n,"
        " count(*) OVER () AS godwit_count, (ctid::text::point)[0] AS godwit_block"
        " FROM ONLY {table} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1))"
        " SELECT coalesce((SELECT corr(godwit_n, godwit_block) FROM s), 1), ARRAY[{texts}]"
        " FROM s WHERE godwit_n < godwit_count"
        " AND godwit_n * {wanted} / godwit_count <> (godwit_n - 1) * {wanted} / godwit_count"
        " ORDER BY godwit_n"
    ).format(
        names=names,
        table=identifier(piece.name),
        percent=sql.Literal(percent),
        texts=sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in key),
        wanted=sql.Literal(wanted),
    )
    rows = _try(session, query)
    if rows is None:
        return None
    bounds = _distinct([tuple(texts) for _order, texts in rows])
    if not _ascending(session, table, key, bounds):
        return None
    return _Sample(bounds, float(rows[0][0]) if rows else 1.0)


def _distinct(bounds: Sequence[Bound]) -> tuple[Bound, ...]:
    usable = [b for b in bounds if sum(map(len, b)) <= _LONGEST_BOUND]
    return tuple(dict.fromkeys(usable))


def _try(session: Session, query: sql.Composed) -> list[Any] | None:
    """The rows, or None when the types have no such operator or order."""
    try:
        return list(session.execute(query).fetchall())
    except (psycopg.errors.UndefinedFunction, psycopg.errors.DatatypeMismatch):
        return None


def _ascending(
    session: Session, table: Table, columns: tuple[str, ...], bounds: Sequence[Bound]
) -> bool:
    """Whether each bound lies above the one before, by the comparison the chunks use.

    ORDER BY takes the type's default order, `>=` whatever operator the name finds: for citext and
    its like they differ, and then ranges would overlap.
    """
    listed = sql.SQL(", ").join(_numbered(table, columns, n, b) for n, b in enumerate(bounds))
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    following = [f"godwit_next_{n}" for n in range(len(columns))]
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE ({names}) < ({following})) FROM (SELECT {names}, {leads}"
        # The empty half gives the bounds the types and collations of the table's own columns.
        " FROM ((SELECT 0, {names} FROM {table} LIMIT 0) UNION ALL SELECT * FROM (VALUES {listed})"
        " AS v) AS b (godwit_n, {names}) WINDOW w AS (ORDER BY godwit_n)) AS pairs"
    ).format(
        names=names,
        following=sql.SQL(", ").join(map(sql.Identifier, following)),
        leads=sql.SQL(", ").join(
            sql.SQL("lead({}) OVER w AS {}").format(sql.Identifier(name), sql.Identifier(new))
            for name, new in zip(columns, following, strict=True)
        ),
        table=identifier(table.name),
        listed=listed,
    )
    rows = _try(session, query) if bounds else [(-1,)]
    return rows is not None and rows[0][0] == len(bounds) - 1


def _numbered(table: Table, columns: tuple[str, ...], number: int, bound: Bound) -> sql.Composable:
    values = (typed(table, name, text) for name, text in zip(columns, bound, strict=True))
    return sql.SQL("({}, {})").format(sql.Literal(number), sql.SQL(", ").join(values))


# -- hand-written bounds


def _by_hand(session: Session, mapping: TableMapping) -> Planned:
    """Chunks between the definition's own bounds."""
    table = mapping.source
    columns, bounds = mapping.boundaries or ((), ())
    if not _ascending(session, table, columns, bounds):
        raise LoadError(
            "the table's boundaries are not in ascending order",
            where=f"{table.name} ({', '.join(columns)})",
            why="each boundary must lie above the one before, as the source compares them",
            hint="sort the boundaries of the table's parallel-load rule",
        )
    if not table.identity:
        return [(Chunk("", table.name, rows=max(table.rows, 0), bytes=table.bytes), False)]
    planned: Planned = []
    for piece in [_leaf(part) for part in table.parts] or [
        _Piece(table.name, None, table.rows, table.bytes)
    ]:
        whole = Chunk("", table.name, piece.part, rows=max(piece.rows, 0), bytes=piece.bytes)
        planned += _key_chunks(whole, columns, bounds)
    return planned

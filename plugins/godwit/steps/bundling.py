"""Cutting the tables of a migration into bundles of chunks: one bundle is one mapped task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from godwit.errors import DefinitionError
from godwit.model.chunks import Bundle, Chunk, chunk_id
from godwit.model.mapping import TableMapping
from godwit.protocols import Source

MB = 1 << 20
#: A stream moves 50 … 150 MB a second; a mapped task is worth its start from some ten seconds on.
BUNDLE_BYTES = 768 * MB
LEAST_BUNDLE_BYTES = 64 * MB
#: One statement, one snapshot, one retry.
CHUNK_BYTES = 256 * MB
ROWS_PER_CHUNK = 4_000_000
#: What a chunk costs besides its bytes: statements, commit, and its share of a connection.
CHUNK_COST = 4 * MB
MOST_BUNDLES = 1000
#: Pieces per stream that keep every stream busy until the end.
PIECES_PER_STREAM = 4


def plan(
    source: Source,
    mappings: Sequence[TableMapping],
    *,
    migration: str,
    streams: int = 1,
    chunk_bytes: int | None = None,
) -> list[Bundle]:
    """Bundles that cover every table, in the order they should be started.

    Args:
        source: computes the bounds.
        mappings: the tables.
        migration: its name, part of every chunk's identity.
        streams: how many bundles run at the same time.
        chunk_bytes: largest chunk; None = by the migration's size.
    """
    total = sum(max(m.source.bytes, 0) for m in mappings)
    share = max(total // max(streams * PIECES_PER_STREAM, 1), LEAST_BUNDLE_BYTES)
    room = max(min(share, BUNDLE_BYTES), total // (MOST_BUNDLES * 9 // 10))
    largest = chunk_bytes or max(min(CHUNK_BYTES, room), room // 4)
    bundles: list[tuple[int, Bundle]] = []
    loose: list[tuple[int, Chunk]] = []
    for mapping in mappings:
        planned = source.plan(mapping, rows_per_chunk=ROWS_PER_CHUNK, bytes_per_chunk=largest)
        chunks = [(identified(migration, mapping, chunk), kept) for chunk, kept in planned]
        under_one = tuple(chunk for chunk, kept in chunks if kept)
        if under_one:
            bundle = Bundle(f"{mapping.source.name} blocks", under_one, shared_snapshot=True)
            bundles.append((mapping.load_order, bundle))
        loose += [(mapping.load_order, chunk) for chunk, kept in chunks if not kept]
    bundles += _packed(loose, room)
    bundles.sort(key=lambda item: (-item[0], -_cost(item[1].chunks)))
    return _at_most(MOST_BUNDLES, [bundle for _order, bundle in bundles])


def identified(migration: str, mapping: TableMapping, chunk: Chunk) -> Chunk:
    """The chunk with its id, which changes when table, mapping or bounds do."""
    table = mapping.source
    identity = chunk_id(
        migration,
        f"{table.name}@{table.incarnation}",
        mapping.signature,
        chunk.part,
        chunk.how,
        chunk.columns,
        chunk.lower,
        chunk.upper,
    )
    return replace(chunk, id=identity)


def _cost(chunks: Sequence[Chunk]) -> int:
    return sum(c.bytes + CHUNK_COST for c in chunks)


def _packed(chunks: Sequence[tuple[int, Chunk]], room: int) -> Iterator[tuple[int, Bundle]]:
    """Chunks of one load order side by side in bundles of at most `room`; neighbours stay so."""
    ordered = sorted(chunks, key=lambda item: -item[0])
    for order, group in groupby(ordered, key=lambda item: item[0]):
        gathered: list[Chunk] = []
        for _order, chunk in group:
            if gathered and _cost([*gathered, chunk]) > room:
                yield order, _bundle(gathered)
                gathered = []
            gathered.append(chunk)
        if gathered:
            yield order, _bundle(gathered)


def _bundle(chunks: Sequence[Chunk]) -> Bundle:
    first = chunks[0]
    tables = dict.fromkeys(c.table for c in chunks)
    if len(chunks) == 1:
        return Bundle(first.label, (first,))
    if len(tables) > 1:
        return Bundle(f"{first.table} and {len(tables) - 1} more tables", tuple(chunks))
    last = chunks[-1]
    merged = replace(first, upper=last.upper) if first.part == last.part else None
    if merged and first.how == "key":
        return Bundle(merged.label, tuple(chunks))
    return Bundle(f"{first.table} ({len(chunks)} parts)", tuple(chunks))


def _at_most(most: int, bundles: list[Bundle]) -> list[Bundle]:
    """Join neighbours until Airflow can map them; bundles with a snapshot stay alone."""
    while len(bundles) > most:
        joined: list[Bundle] = []
        for bundle in bundles:
            last = joined[-1] if joined else None
            full = last is None or len(joined) + len(bundles) <= most
            if last is None or full or last.shared_snapshot or bundle.shared_snapshot:
                joined.append(bundle)
            else:
                joined[-1] = _bundle([*last.chunks, *bundle.chunks])
        if len(joined) == len(bundles):
            raise DefinitionError(
                f"the plan has {len(bundles)} bundles that cannot be joined",
                why=f"a run has at most {most} mapped tasks, and each needs a snapshot of its own",
                hint="set the source's long_snapshots to false, or split the migration",
            )
        bundles = joined
    return bundles

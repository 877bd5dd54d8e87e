"""Comparing one table, or one range of it, by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from godwit.model.datatypes import Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.values import family
from godwit.protocols import BucketSum, Comparable, CompareSpec, KeyRange
from godwit.steps.expressions import deleted_mark
from godwit.steps.recheck import Outcome, recheck

T = TypeVar("T")
S = TypeVar("S")

ROWS_PER_BUCKET = 250
BUCKETS = (16, 8192)
#: Rows of differing buckets that are looked at together; bounds the memory.
ROWS_AT_ONCE = 50_000
KEYS_AT_ONCE = 1_000
#: Scans of a range that is mostly behind, before its rows are looked at one by one.
SCANS = 3
#: Changed types of these kinds keep the text of every value.
_SAME_TEXT = frozenset({Kind.BOOLEAN, Kind.INTEGER, Kind.TEXT, Kind.UUID, Kind.DATE})


@dataclass(frozen=True)
class Pair:
    """One table on both sides, and what is to be said of the comparison."""

    mapping: TableMapping
    source: CompareSpec
    target: CompareSpec
    note: str = ""

    def within(self, bounds: KeyRange | None) -> Pair:
        """The same, for one range; `bounds` speak of the source's column."""
        if bounds is None:
            return self
        name = self.mapping.target_names[bounds.column]
        return replace(
            self,
            source=replace(self.source, range=bounds),
            target=replace(self.target, range=replace(bounds, column=name)),
        )


@dataclass(frozen=True)
class Incomparable:
    """A table that can't be compared, and why."""

    reason: str


def pair_of(source: Comparable, target: Comparable, mapping: TableMapping) -> Pair | Incomparable:
    """What of a table can be compared on both sides."""
    wanted = [*_mapped(mapping), *_generated(mapping)]
    here = source.canonical_kinds(mapping.source, [s for s, _, _ in wanted])
    copy = replace(mapping.source, name=mapping.target)
    there = target.canonical_kinds(copy, [t for _, t, _ in wanted])
    for side, table, kinds in (
        ("source", mapping.source.name, here),
        ("target", mapping.target, there),
    ):
        if wanted and not any(kinds):
            return Incomparable(f"there is no table {table} on the {side}")
    absent = [
        name
        for (name, _, required), h, t in zip(wanted, here, there, strict=True)
        if required and not (h and t)
    ]
    if absent:
        return Incomparable(f"columns that one side doesn't have: {', '.join(absent)}")
    chosen = [
        (s, t, kind) for (s, t, _), kind in zip(wanted, _agreed(here, there), strict=True) if kind
    ]
    names = {s for s, _, _ in chosen}
    left_out = [
        c.target for c in mapping.columns if c.source not in names or not _comparable(c, mapping)
    ]
    if not chosen and wanted:
        return Incomparable("no column has a canonical form that both sides know")
    return _pair(mapping, chosen, left_out)


def _agreed(here: Sequence[Sequence[str]], there: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One form per column that both sides know (``""``: none), all of the family that serves most
    columns; of two such families the one that the source likes better.
    """
    best: tuple[str, ...] = ("",) * len(here)
    for name in dict.fromkeys(family(kind) for kinds in here for kind in kinds):
        found = tuple(
            next((k for k in ours if family(k) == name and k in theirs), "")
            for ours, theirs in zip(here, there, strict=True)
        )
        if sum(map(bool, found)) > sum(map(bool, best)):
            best = found
    return best


def _pair(mapping: TableMapping, chosen: list[tuple[str, str, str]], left_out: list[str]) -> Pair:
    # Rows of a table without columns are all the same: they are counted.
    columns = tuple(column for column, _, _ in chosen)
    names = tuple(name for _, name, _ in chosen)
    kinds = tuple(kind for _, _, kind in chosen)
    key = tuple(names.index(name) for name in mapping.identity if name in names)
    if len(key) < len(mapping.identity):
        key = ()
    ours = CompareSpec(
        mapping.source.name, columns, kinds, key, mapping, row_filter=mapping.row_filter
    )
    mark = deleted_mark(mapping)
    theirs = CompareSpec(mapping.target, names, kinds, key, mapping, without=mark)
    notes = []
    if left_out:
        why = "changed on the way, or without a form that both sides know"
        notes.append(f"columns not compared ({why}): {', '.join(left_out)}")
    if mark is not None:
        notes.append(f"rows not compared: those marked as deleted in {mark[0]}")
    return Pair(mapping, ours, theirs, "; ".join(notes))


def _mapped(mapping: TableMapping) -> Iterator[tuple[str, str, bool]]:
    for column in mapping.columns:
        if column.source is not None and _comparable(column, mapping):
            yield column.source, column.target, True


def _generated(mapping: TableMapping) -> Iterator[tuple[str, str, bool]]:
    taken = {c.target for c in mapping.columns}
    for column in mapping.source.columns:
        if column.generated is not None and column.name not in taken:
            yield column.name, column.name, False


def _comparable(column: ColumnMapping, mapping: TableMapping) -> bool:
    """The value arrives with the text that it has on the source."""
    if column.plain:
        return True
    if column.source is None or column.expression or column.mask or column.type is None:
        return False
    old, new = mapping.source.column(column.source).type, column.type
    return old.kind is new.kind and new.kind in _SAME_TEXT and old.fixed == new.fixed


@dataclass
class Compared:
    """The outcome for one range: persisting differences and counts."""

    rows: int = 0
    differences: dict[str, str] = field(default_factory=dict)
    count: int = 0
    rechecked: int = 0
    busy: int = 0
    complete: bool = True


class Comparison:
    """Compares ranges of tables.

    Args:
        source, target: the endpoints.
        sides: runs one side while the caller's thread runs the other.
        catch_up: see `recheck`; None = nothing changes.
        limit: differences after which a range isn't examined further; None = find all of them.
    """

    def __init__(
        self,
        source: Comparable,
        target: Comparable,
        sides: Executor,
        *,
        catch_up: Callable[[], None] | None,
        limit: int | None,
    ) -> None:
        self._source, self._target, self._sides = source, target, sides
        self._catch_up = catch_up
        self._limit = limit

    def _both(self, source: Callable[[], S], target: Callable[[], T]) -> tuple[S, T]:
        future = self._sides.submit(target)
        try:
            here = source()
        finally:
            # The other side must have ended before anything else happens.
            future.exception()
        return here, future.result()

    def compare(self, pair: Pair, rows: int) -> Compared:
        """Compare one range of about that many rows."""
        low, high = BUCKETS
        buckets = max(low, min(high, rows // ROWS_PER_BUCKET)) if rows >= 0 else high
        here, differing = self._differing(pair, buckets)
        result = Compared(rows=sum(b.rows for b in here.values()))
        if not differing:
            return result
        if pair.source.key:
            self._rows(pair, buckets, differing, result)
        else:
            self._multiset(pair, buckets, differing, result)
        return result

    def _differing(
        self, pair: Pair, buckets: int
    ) -> tuple[Mapping[int, BucketSum], dict[int, int]]:
        """The source's sums, and buckets that differ with the rows they hold on the fuller side."""
        for scan in range(SCANS):
            here, there = self._both(
                lambda: self._source.bucket_sums(pair.source, buckets),
                lambda: self._target.bucket_sums(pair.target, buckets),
            )
            differing = {
                bucket: max(s.rows for s in (here.get(bucket), there.get(bucket)) if s)
                for bucket in here.keys() | there.keys()
                if here.get(bucket) != there.get(bucket)
            }
            if self._catch_up is None or sum(differing.values()) <= ROWS_AT_ONCE:
                break
            if scan < SCANS - 1:
                self._catch_up()
        return here, differing

    # -- rows with an identity

    def _rows(
        self, pair: Pair, buckets: int, differing: Mapping[int, int], result: Compared
    ) -> None:
        for wanted in _groups(differing):
            suspects = self._suspects(pair, buckets, wanted)
            result.rechecked += len(suspects)
            outcome = self.recheck_rows(pair, suspects)
            result.busy += outcome.busy
            for key, (here, there) in outcome.persisting.items():
                if key not in result.differences:
                    result.count += 1
                    result.differences[key] = _kind(here, there)
            if self._limit is not None and result.count > self._limit:
                result.complete = False
                break

    def _suspects(self, pair: Pair, buckets: int, wanted: list[int]) -> set[str]:
        here, there = self._both(
            lambda: _joined(self._source.row_hashes(pair.source, buckets, wanted)),
            lambda: _joined(self._target.row_hashes(pair.target, buckets, wanted)),
        )
        return {key for key in here.keys() | there.keys() if here.get(key) != there.get(key)}

    def recheck_rows(self, pair: Pair, keys: Collection[str]) -> Outcome[str]:
        """Look at these rows again, until they are equal or the difference persists."""
        return recheck(
            keys,
            lambda some: _by_key(self._source, pair.source, some),
            lambda some: _by_key(self._target, pair.target, some),
            catch_up=self._catch_up,
        )

    # -- rows without one

    def _multiset(
        self, pair: Pair, buckets: int, differing: Mapping[int, int], result: Compared
    ) -> None:
        result.rechecked += sum(differing.values())
        if self._catch_up is not None:
            outcome = recheck(
                set(differing),
                lambda _: self._source.bucket_sums(pair.source, buckets),
                lambda _: self._target.bucket_sums(pair.target, buckets),
                catch_up=self._catch_up,
                sample=False,
            )
            result.busy += outcome.busy
            differing = {bucket: differing[bucket] for bucket in outcome.persisting}
        for wanted in _groups(differing):
            here, there = self._both(
                lambda wanted=wanted: _hashes(self._source, pair.source, buckets, wanted),  # type: ignore[misc]
                lambda wanted=wanted: _hashes(self._target, pair.target, buckets, wanted),  # type: ignore[misc]
            )
            for kind, rows in (("missing", here - there), ("extra", there - here)):
                result.count += rows.total()
                result.differences.update((f"row with hash {h}", kind) for h in rows)
            if self._limit is not None and result.count > self._limit:
                result.complete = False
                break
        if differing and not result.count:
            # The rows were equal when they were listed, the sums weren't: too busy to tell.
            result.busy, result.count = max(result.busy, 1), len(differing)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By key; of rows that share one (where nothing forbids it) all hashes."""
    found: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    for key, row in pairs:
        if key in found:
            several.setdefault(key, [found[key]]).append(row)
        else:
            found[key] = row
    found.update((key, " ".join(sorted(rows))) for key, rows in several.items())
    return found


def _hashes(side: Comparable, spec: CompareSpec, buckets: int, wanted: list[int]) -> Counter[str]:
    return Counter(found for _, found in side.row_hashes(spec, buckets, wanted))


def _kind(here: object, there: object) -> str:
    if there is None:
        return "missing"
    return "extra" if here is None else "differs"


def _groups(differing: Mapping[int, int]) -> Iterator[list[int]]:
    """Buckets in groups that fit into memory."""
    group: list[int] = []
    rows = 0
    for bucket in sorted(differing):
        if group and rows + differing[bucket] > ROWS_AT_ONCE:
            yield group
            group, rows = [], 0
        group.append(bucket)
        rows += differing[bucket]
    if group:
        yield group


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _by_key(side: Comparable, spec: CompareSpec, keys: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for batch in batches(keys, KEYS_AT_ONCE):
        found.update(side.hashes_of(spec, batch))
    return found

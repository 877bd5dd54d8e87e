"""Cutting tables into chunks.

Statistics only say how many chunks are worth it. Their bounds are keys of rows, found by seeks in
the key's index and compared by the server, so gaps, crowds and collations do no harm: the server is
asked how many rows lie between two keys (it looks at two leaves of the index for that), and where
it says too many, keys between the two are guessed, looked for, and the pieces judged again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pymysql
from pymysql.constants import ER

from godwit.engines.mysql.between import guesses
from godwit.engines.mysql.bounds import bound_text, key_range, orderable, text_of
from godwit.engines.mysql.bounds_order import ascending
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.names import quoted
from godwit.errors import LoadError
from godwit.model.catalog import Key, Table
from godwit.model.chunks import Bound, Chunk
from godwit.model.mapping import TableMapping

#: Keys that are guessed at once in one piece.
FAN_OUT = 32
#: A piece is cut again when it has more than so many times the rows it should have.
TOLERANCE = 1.5
#: A piece with less than this share of the rows it should have is no chunk of its own.
SCRAP = 0.2
#: Below so many rows statistics may be those of a table that was empty a moment ago.
FEW_ROWS = 10_000
#: A guess with characters that the column's character set lacks, or that is no date.
_NOT_COMPARABLE = (ER.CANT_AGGREGATE_2COLLATIONS, 1270, 1271, 1525, 3854, 3988)
_DEEPEST = 40
_MOST_CHUNKS = 5000
_LONGEST_BOUND = 3072

Planned = list[tuple[Chunk, bool]]


@dataclass(frozen=True)
class _Piece:
    """A range, the first and the last key in it, and how many rows the server thinks it has."""

    lower: Bound | None
    upper: Bound | None
    first: Bound
    last: Bound
    rows: int


def plan(
    connector: Connector, mapping: TableMapping, *, rows_per_chunk: int, bytes_per_chunk: int
) -> Planned:
    """Chunks that cover the table without gap or overlap; see `godwit.protocols.Source.plan`.

    A partitioned table is read as one: partitions are no tables of their own here.
    """
    table = mapping.source
    try:
        with connector.lease("source") as session:
            if mapping.boundaries is not None:
                return _by_hand(session, mapping)
            return _cut(session, table, rows_per_chunk, bytes_per_chunk)
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else "?"
        raise LoadError(
            "the table cannot be planned",
            where=str(table.name),
            why=f"the source answers with error {code}",
            hint="check that the source's user may read the table (GRANT SELECT) and that it is "
            "not damaged (CHECK TABLE)",
        ) from None


def _cut(session: Session, table: Table, rows_per_chunk: int, bytes_per_chunk: int) -> Planned:
    whole = _whole(table)
    key = _range_key(table)
    if key is None:
        return [(whole, False)]
    by_rows = math.ceil(max(table.rows, 0) / rows_per_chunk)
    by_bytes = math.ceil(table.bytes / bytes_per_chunk)
    wanted = max(1, min(max(by_rows, by_bytes), _MOST_CHUNKS))
    if wanted == 1 and table.rows >= FEW_ROWS:
        return [(whole, False)]
    seeker = _seeker(session, table, key)
    if seeker is None:
        return [(whole, False)]
    if wanted == 1:
        return _unless_stale(seeker, whole, rows_per_chunk)
    rows = max(table.rows, 1)
    pieces = _Cutting(seeker, max(1, math.ceil(rows / wanted))).pieces(rows)
    return _key_chunks(whole, seeker.columns, pieces, rows)


def _whole(table: Table) -> Chunk:
    return Chunk("", table.name, rows=max(table.rows, 0), bytes=table.bytes)


def _range_key(table: Table) -> Key | None:
    """The key whose ranges become chunks; a table without a row identity isn't cut: its chunks
    would see different states.
    """
    if not table.identity:
        return None
    identity = set(table.identity)
    for key in sorted(table.keys, key=lambda k: (set(k.columns) != identity, not k.primary)):
        columns = [table.column(name) for name in key.columns]
        if orderable(columns[0]) and not any(c.nullable for c in columns):
            return key
    return None


def _unless_stale(seeker: _Seeker, whole: Chunk, rows_per_chunk: int) -> Planned:
    """One chunk, unless the table is far larger than its statistics say."""
    beyond = max(2 * whole.rows, FEW_ROWS)
    if rows_per_chunk < beyond or not seeker.has_more_than(beyond):
        return [(whole, False)]
    edges: list[Bound | None] = [None, *seeker.walk(None, None, rows_per_chunk, _MOST_CHUNKS)]
    pieces = [(low, high, rows_per_chunk) for low, high in pairwise([*edges, None])]
    return _key_chunks(whole, seeker.columns, pieces, rows_per_chunk * len(pieces))


def _key_chunks(
    whole: Chunk,
    columns: tuple[str, ...],
    pieces: Sequence[tuple[Bound | None, Bound | None, int]],
    rows: int,
) -> Planned:
    if len(pieces) < 2:
        return [(whole, False)]
    total = max(1, sum(n for _, _, n in pieces))
    return [
        (
            replace(
                whole,
                how="key",
                columns=columns,
                lower=lower,
                upper=upper,
                rows=rows * n // total,
                bytes=whole.bytes * n // total,
            ),
            False,
        )
        for lower, upper, n in pieces
    ]


# -- seeks


def _seeker(session: Session, table: Table, key: Key) -> _Seeker | None:
    """Ways to look into the key's index; None when the server cannot be told to use it."""
    with session.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(f"SHOW INDEX FROM {quoted(*table.name)}")
        parts = [row for row in cursor.fetchall() if row["Key_name"] == key.name]
    parts.sort(key=lambda row: int(row["Seq_in_index"]))
    if not parts or parts[0].get("Visible") == "NO" or parts[0].get("Ignored") == "YES":
        return None
    columns: list[str] = []
    for part in parts:
        # ORDER BY follows the index only as far as all columns go the same way.
        if part["Collation"] != parts[0]["Collation"]:
            break
        if not orderable(table.column(part["Column_name"])):
            break
        columns.append(part["Column_name"])
    return _Seeker(session, table, key.name, tuple(columns)) if columns else None


class _Seeker:
    """Looks into one index of one table."""

    def __init__(
        self, session: Session, table: Table, index: str, columns: tuple[str, ...]
    ) -> None:
        self.session = session
        self.table = table
        self.columns = columns
        self._source = f"{quoted(*table.name)} FORCE INDEX ({quoted(index)})"
        # With FORCE INDEX, MySQL doesn't look into the index for an estimate.
        self._estimated = f"{quoted(*table.name)} USE INDEX ({quoted(index)})"
        self._texts = ", ".join(text_of(table.column(c), quoted(c)) for c in columns)

    def edge(
        self,
        lower: Bound | None,
        upper: Bound | None,
        *,
        last: bool = False,
        guess: Bound = (),
        skip: int = 0,
    ) -> Bound | None:
        """The first (or last) key of a range, not below `guess`; a bound of the first columns."""
        columns = self.columns
        terms = [key_range(self.table, columns, lower, upper)]
        if guess:
            terms.append(key_range(self.table, columns[: len(guess)], guess, None))
        order = ", ".join(f"{quoted(c)} {'DESC' if last else 'ASC'}" for c in columns)
        row = self.session.row(
            f"SELECT {self._texts} FROM {self._source}{_where(terms)} ORDER BY {order} LIMIT 1"
            + (f" OFFSET {skip}" if skip else "")
        )
        return self._bound(row) if row else None

    def _bound(self, row: Sequence[object]) -> Bound:
        named = zip(self.columns, row, strict=True)
        return tuple(bound_text(self.table.column(c), str(v)) for c, v in named)

    def estimate(self, lower: Bound | None, upper: Bound | None) -> int:
        """How many rows the server thinks lie in the range."""
        where = _where([key_range(self.table, self.columns, lower, upper)])
        with self.session.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(f"EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM {self._estimated}{where}")
            row = cursor.fetchone() or {}
        # An empty range is told in words, without a number.
        return int(row.get("rows") or 1)

    def has_more_than(self, rows: int) -> bool:
        """Whether the table has more rows than these; looks at no more."""
        found = self.session.value(f"SELECT 1 FROM {self._source} LIMIT 1 OFFSET {rows}")
        return found is not None

    def walk(self, lower: Bound | None, upper: Bound | None, step: int, most: int) -> list[Bound]:
        """The key of every `step`-th row of a range: reads the range's keys once."""
        found: list[Bound] = []
        while len(found) < most:
            bound = self.edge(lower, upper, skip=step)
            if bound is None or bound == lower:
                break
            if usable(bound):
                found.append(bound)
            lower = bound
        return found


def _where(terms: Sequence[str]) -> str:
    given = [term for term in terms if term]
    return f" WHERE {' AND '.join(given)}" if given else ""


def usable(bound: Bound) -> bool:
    """Whether a bound can be kept and shown: not too long, no control characters."""
    return sum(map(len, bound)) <= _LONGEST_BOUND and all(t.isprintable() for t in bound)


# -- cutting


class _Cutting:
    """Cuts one table into pieces of about so many rows."""

    def __init__(self, seeker: _Seeker, rows: int) -> None:
        self._seeker = seeker
        self._rows = rows
        self._found: list[_Piece] = []

    def pieces(self, total: int) -> list[tuple[Bound | None, Bound | None, int]]:
        """Ranges in ascending order with estimates, together the whole table."""
        first, last = self._seeker.edge(None, None), self._seeker.edge(None, None, last=True)
        if first is None or last is None:
            return [(None, None, 0)]
        self._split(_Piece(None, None, first, last, total), 0)
        merged = self._merged()
        bounds = [lower for lower, _, _ in merged[1:] if lower is not None]
        if not ascending(self._seeker.session, self._seeker.table, self._seeker.columns, bounds):
            # E.g. texts that their own character set doesn't know.
            return [(None, None, total)]
        return merged

    def _split(self, piece: _Piece, depth: int) -> None:
        """Add the piece, or the pieces it is cut into, in order."""
        full = depth >= _DEEPEST or len(self._found) >= 2 * _MOST_CHUNKS
        if full or piece.rows <= self._rows * TOLERANCE or piece.first == piece.last:
            self._found.append(piece)
            return
        for part in self._cut(piece):
            if part.lower == piece.lower and part.upper == piece.upper:
                self._found.append(part)
            else:
                self._split(part, depth + 1)

    def _cut(self, piece: _Piece) -> list[_Piece]:
        parts = min(FAN_OUT, max(2, round(piece.rows / self._rows)))
        bounds = self._between(piece, parts)
        if not bounds:
            bounds = self._seeker.walk(piece.lower, piece.upper, self._rows, _MOST_CHUNKS)
            edges = [piece.lower, *bounds, piece.upper]
            walked = replace(piece, rows=self._rows)
            # Counted, not guessed: nothing to judge again.
            self._found += [replace(walked, lower=a, upper=b) for a, b in pairwise(edges)]
            return []
        edges = [piece.lower, *bounds, piece.upper]
        return [p for a, b in pairwise(edges) if (p := self._piece(a, b, piece)) is not None]

    def _between(self, piece: _Piece, parts: int) -> list[Bound]:
        """Keys of rows between the piece's first and last, in the server's order."""
        seeker = self._seeker
        for guessed in guesses(seeker.table, seeker.columns, piece.first, piece.last, parts):
            found: list[Bound] = []
            before = piece.first
            for guess in guessed:
                bound = self._seek(before, piece.upper, guess)
                if bound is None or bound == before:
                    continue
                before = bound
                if usable(bound):
                    found.append(bound)
            if found:
                return found
        return []

    def _seek(self, lower: Bound, upper: Bound | None, guess: Bound) -> Bound | None:
        try:
            return self._seeker.edge(lower, upper, guess=guess)
        except pymysql.MySQLError as error:
            if error.args and error.args[0] in _NOT_COMPARABLE:
                return None
            raise

    def _piece(self, lower: Bound | None, upper: Bound | None, of: _Piece) -> _Piece | None:
        seeker = self._seeker
        first = of.first if lower == of.lower else lower
        last = of.last if upper == of.upper else seeker.edge(lower, upper, last=True)
        if first is None or last is None:  # its rows have just been deleted
            first = last = of.first
        return _Piece(lower, upper, first, last, seeker.estimate(lower, upper))

    def _merged(self) -> list[tuple[Bound | None, Bound | None, int]]:
        """Neighbours that are small together become one."""
        merged: list[tuple[Bound | None, Bound | None, int]] = []
        for piece in self._found:
            small = piece.rows < self._rows * SCRAP
            room = self._rows * (TOLERANCE if small else 1)
            if merged and merged[-1][2] + piece.rows <= room:
                lower, _, rows = merged.pop()
                merged.append((lower, piece.upper, rows + piece.rows))
            else:
                merged.append((piece.lower, piece.upper, piece.rows))
        return merged


# -- hand-written bounds


def _by_hand(session: Session, mapping: TableMapping) -> Planned:
    """Chunks between the definition's own bounds."""
    table = mapping.source
    columns, bounds = mapping.boundaries or ((), ())
    where = f"{table.name} ({', '.join(columns)})"
    try:
        ordered = ascending(session, table, columns, bounds)
    except ValueError as error:
        raise LoadError(
            "one of the table's boundaries cannot be read",
            where=where,
            why=str(error),
            hint="write values as the column's type has them (bytes as hex digits)",
        ) from None
    if not ordered:
        raise LoadError(
            "the table's boundaries are not in ascending order",
            where=where,
            why="each boundary must lie above the one before, as the source compares them",
            hint="sort the boundaries of the table's parallel-load rule",
        )
    whole = _whole(table)
    if not table.identity:
        return [(whole, False)]
    edges: list[Bound | None] = [None, *bounds, None]
    pieces = [(lower, upper, 1) for lower, upper in pairwise(edges)]
    return _key_chunks(whole, tuple(columns), pieces, whole.rows)

"""Content hashing inside the server, over the server's own text of each row.

A row's text is ``ROW(…)::text``: NULL is empty, an empty text is ``""``, every value is quoted
where it must be, so equal texts mean equal values in equal columns. It is the cheapest complete
text the server makes (measured: 1.2 CPU-seconds per million rows of ten columns, against 2.1 for a
concatenation with lengths); with the hash and the sums a scan costs 1.7. The session settings of
`Connector` pin everything that shapes a value's text, from version 13 to 18.

The row's hash is the MD5 of that text in UTF-8, whatever the database's encoding. For the sums it
is folded into two 64-bit numbers by the server's hash function with two seeds, which costs half of
cutting the hexadecimal digits in two (the server parses bit strings slowly).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import psycopg

from godwit.engines.postgres import hashing, hashing_values
from godwit.engines.postgres.connection import Connector, Session
from godwit.engines.postgres.value_forms import forms
from godwit.errors import EndpointError
from godwit.model.catalog import Table, TableName
from godwit.model.values import FAMILY, TEXT, family, folded, key_text, key_texts
from godwit.protocols import BucketSum, CompareSpec, KeyRange

_FETCH = 5_000
#: SQLSTATE class "data exception": its messages quote values.
_DATA_CLASS = "22"


class Checksum:
    """Compares one endpoint's tables; see `godwit.protocols.Comparable`. Thread-safe.

    Args:
        connector: of the endpoint.
        role: ``source`` or ``target``.
    """

    def __init__(self, connector: Connector, role: str) -> None:
        self._connector = connector
        self._role = role
        self._lock = threading.Lock()
        self._shapes: dict[TableName, hashing.Shape] = {}

    @contextmanager
    def _session(self, table: TableName) -> Iterator[Session]:
        """A session for one call; the server's errors get a place and lose values."""
        try:
            with self._connector.lease(self._role) as session:
                yield session
        except psycopg.Error as cause:
            raise _refused(cause, table, self._connector.where) from None

    # -- what can be compared

    def canonical_kinds(self, table: Table, columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """``text:postgres:<probe>``, then the forms that every engine knows. The probe tells if
        both servers' hash functions agree (they depend on the machine's byte order).
        """
        with self._session(table.name) as session:
            shape = hashing.read_shape(session, table.name)
            with self._lock:
                self._shapes.pop(table.name, None)
                if shape is not None:
                    self._shapes[table.name] = shape
            if shape is None:
                return ((),) * len(columns)
            kind = hashing.canonical_kind(session)
            types = shape.bases
        return tuple(
            (kind, *self._forms(table, name, types[name])) if name in types else ()
            for name in columns
        )

    def _forms(self, table: Table, name: str, type_name: str) -> tuple[str, ...]:
        if self._role == "target" and type_name == "jsonb" and name in table.by_name:
            # It keeps the meaning of another engine's document, not its text.
            return () if table.by_name[name].native != type_name else forms(type_name)
        if self._role == "target" and self._connector.settings.get("nul_characters") == "strip":
            return tuple(f for f in forms(type_name) if f != TEXT)
        return forms(type_name)

    def _shape(self, session: Session, table: TableName) -> hashing.Shape:
        with self._lock:
            known = self._shapes.get(table)
        shape = known or hashing.read_shape(session, table)
        if shape is None:
            raise EndpointError(
                "the table isn't there",
                where=f"{table} at {self._connector.where}",
                hint="convert the schema first, or correct the table mappings",
            )
        with self._lock:
            self._shapes[table] = shape
        return shape

    # -- ranges

    def compare_ranges(self, spec: CompareSpec, rows_per_range: int) -> tuple[KeyRange | None, ...]:
        """Ranges of the first identity column by the server's statistics; (None,) = all at once."""
        rows = spec.mapping.source.rows
        if rows < 0:
            rows = spec.mapping.source.bytes // 100
        wanted = -(-rows // rows_per_range)
        if not spec.key or wanted < 2:
            return (None,)
        name = spec.columns[spec.key[0]]
        with self._session(spec.table) as session:
            bounds = hashing.bounds(session, self._shape(session, spec.table), name, wanted)
        if not bounds:
            return (None,)
        edges = [None, *bounds, None]
        return tuple(KeyRange(name, lower, upper) for lower, upper in pairwise(edges))

    # -- hashing

    def bucket_sums(self, spec: CompareSpec, buckets: int) -> dict[int, BucketSum]:
        """One scan: rows are put into buckets by a hash of their key (or row), and summed."""
        with self._session(spec.table) as session:
            shape = self._shape(session, spec.table)
            kind = hashing_values if _shared(spec) else hashing
            query = kind.sums(spec, shape, buckets)
            found = session.execute(query).fetchall()
        if _shared(spec):
            return {n: BucketSum(rows, folded(a), folded(b)) for n, rows, a, b in found}
        return {bucket: BucketSum(rows, int(a), int(b)) for bucket, rows, a, b in found}

    def row_hashes(
        self, spec: CompareSpec, buckets: int, wanted: Sequence[int]
    ) -> Iterator[tuple[str, str]]:
        """`(key, hash)` of the rows in the wanted buckets; the key is empty without identity."""
        with self._session(spec.table) as session:
            shape = self._shape(session, spec.table)
            kind = hashing_values if _shared(spec) else hashing
            query = kind.rows_in(spec, shape, buckets, wanted)
            with session.transaction():
                # Otherwise the server plans for the first tenth of the rows.
                session.execute("SET LOCAL cursor_tuple_fraction = 1")
                with session.cursor("godwit_row_hashes") as cursor:
                    cursor.itersize = _FETCH
                    found = cursor.execute(query)
                    yield from map(_keyed, found) if _shared(spec) else found

    def hashes_of(self, spec: CompareSpec, keys: Sequence[str]) -> dict[str, str]:
        """Current hashes of rows by key; absent rows are left out. Uses the key's index, except for
        keys with NULLs, which only a table without such an index has.
        """
        texts = [key_texts(key) for key in keys]
        whole = [text for text in texts if None not in text]
        partial = [text for text in texts if None in text]
        found: dict[str, str] = {}
        with self._session(spec.table) as session:
            shape = self._shape(session, spec.table)
            if _shared(spec):
                query = hashing_values.rows_of(spec, shape, whole)
                return dict(map(_keyed, session.execute(query).fetchall()))
            if whole:
                query = hashing.rows_of(spec, shape, whole)
                found.update(session.execute(query).fetchall())
            if partial:
                query = hashing.rows_of(spec, shape, partial, nulls=True)
                found.update(session.execute(query).fetchall())
        return found


def _shared(spec: CompareSpec) -> bool:
    """The comparison is over forms that every engine knows."""
    return any(family(kind) == FAMILY for kind in spec.kinds)


def _keyed(row: Sequence[str]) -> tuple[str, str]:
    """The key as JSON and the hash."""
    return key_text(row[1:]) if len(row) > 1 else "", row[0]


def _refused(cause: psycopg.Error, table: TableName, where: str) -> EndpointError:
    state = cause.sqlstate or ""
    # A message about data quotes the value.
    message = (cause.diag.message_primary or " ".join(str(cause).split())) if state else str(cause)
    shown = type(cause).__name__ if state.startswith(_DATA_CLASS) else message
    return EndpointError(
        "the table cannot be compared",
        where=f"{table} at {where}",
        why=f"{shown} (SQLSTATE {state})" if state else shown,
        hint="the login needs SELECT on the table and its columns",
    )

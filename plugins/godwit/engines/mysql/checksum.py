"""Content hashing inside the server, over canonical forms of the values."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pymysql
from pymysql.cursors import SSCursor

from godwit.engines.mysql import hashing
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.value_forms import FormColumn, forms
from godwit.errors import EndpointError
from godwit.model.catalog import Table, TableName
from godwit.model.values import folded, key_text, key_texts
from godwit.protocols import BucketSum, CompareSpec, KeyRange

_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})


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
        except pymysql.Error as cause:
            code = cause.args[0] if cause.args else type(cause).__name__
            raise EndpointError(
                "the table cannot be compared",
                where=f"{table} at {self._connector.where}",
                why=f"the server says error {code}",
                hint="the login needs SELECT on the table and its columns",
            ) from None

    # -- what can be compared

    def canonical_kinds(self, table: Table, columns: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The engine's own forms, then those that every engine knows."""
        with self._session(table.name) as session:
            shape = self._read_shape(session, table.name)
        with self._lock:
            self._shapes.pop(table.name, None)
            if shape is not None:
                self._shapes[table.name] = shape
        known = shape.columns if shape else {}
        return tuple(forms(known[name]) if name in known else () for name in columns)

    def _read_shape(self, session: Session, table: TableName) -> hashing.Shape | None:
        with session.cursor() as cursor:
            cursor.execute(
                "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME"
                " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                list(table),
            )
            rows = cursor.fetchall()
        if not rows:
            return None
        columns = {
            row[0]: FormColumn(row[0], row[1].lower(), row[2].lower(), row[3]) for row in rows
        }
        zero_dates = str(self._connector.settings.get("zero_dates", "sentinel"))
        return hashing.Shape(columns, zero_dates)

    def _shape(self, session: Session, table: TableName) -> hashing.Shape:
        with self._lock:
            known = self._shapes.get(table)
        shape = known or self._read_shape(session, table)
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
        """Even ranges of an integer first identity column; (None,) = all at once."""
        rows = spec.mapping.source.rows
        wanted = -(-rows // rows_per_range)
        if not spec.key or wanted < 2:
            return (None,)
        name = spec.columns[spec.key[0]]
        with self._session(spec.table) as session:
            column = self._shape(session, spec.table).columns[name]
            if column.type not in _INTEGERS:
                return (None,)
            with session.cursor() as cursor:
                table, key = quoted(*spec.table), quoted(name)
                cursor.execute(f"SELECT MIN({key}), MAX({key}) FROM {table}")
                low, high = cursor.fetchone() or (None, None)
        if low is None or high is None:
            return (None,)
        bounds = sorted({int(low) + (int(high) - int(low)) * n // wanted for n in range(1, wanted)})
        edges = [None, *map(str, bounds), None]
        return tuple(KeyRange(name, lower, upper) for lower, upper in pairwise(edges))

    # -- hashing

    def bucket_sums(self, spec: CompareSpec, buckets: int) -> dict[int, BucketSum]:
        """One scan: rows are put into buckets by a hash of their key (or row), and summed."""
        with self._session(spec.table) as session, session.cursor() as cursor:
            cursor.execute(*hashing.sums(spec, self._shape(session, spec.table), buckets))
            found = cursor.fetchall()
        return {
            int(bucket): BucketSum(int(rows), folded(int(first)), folded(int(second)))
            for bucket, rows, first, second in found
        }

    def row_hashes(
        self, spec: CompareSpec, buckets: int, wanted: Sequence[int]
    ) -> Iterator[tuple[str, str]]:
        """`(key, hash)` of the rows in the wanted buckets; the key is empty without identity."""
        with self._session(spec.table) as session:
            query = hashing.rows_in(spec, self._shape(session, spec.table), buckets, wanted)
            with session.cursor(SSCursor) as cursor:
                cursor.execute(*query)
                yield from map(_keyed, cursor)

    def hashes_of(self, spec: CompareSpec, keys: Sequence[str]) -> dict[str, str]:
        """Current hashes of rows by key; absent rows are left out. Keys with NULLs are not found:
        only a table without an identity on this side has them.
        """
        texts = [text for text in map(key_texts, keys) if None not in text]
        whole = [[t for t in text if t is not None] for text in texts]
        if not whole:
            return {}
        with self._session(spec.table) as session, session.cursor() as cursor:
            cursor.execute(*hashing.rows_of(spec, self._shape(session, spec.table), whole))
            return dict(map(_keyed, cursor.fetchall()))


def _keyed(row: Sequence[str]) -> tuple[str, str]:
    """The key as JSON and the hash."""
    return key_text(row[1:]) if len(row) > 1 else "", row[0]

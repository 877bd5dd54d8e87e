"""Rows as they are now, by row identity: lists of keys in the WHERE, nothing written on the source.

A key counts as found only when a row bears the very same values. Where a collation takes two texts
for equal, the row comes back under its own key, and the key that was asked for is gone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pymysql
from pymysql.constants import ER

from godwit.engines.mysql.bounds import literal_of
from godwit.engines.mysql.connection import MYSQL_COLUMNS, Connector, Session
from godwit.engines.mysql.filters import filter_terms
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.prepared import Result
from godwit.engines.mysql.read import begin, decoder_of, end
from godwit.engines.mysql.refusals import refusal
from godwit.errors import LoadError
from godwit.model.catalog import Column, Table
from godwit.model.changes import Format, Payload
from godwit.model.datatypes import Kind
from godwit.model.mapping import TableMapping

#: Keys asked for at once: the server looks into the index for each as long as they are not many.
KEYS = 200
_MOMENTS = (Kind.DATE, Kind.TIMESTAMP, Kind.INTERVAL, Kind.TIME)
#: What a date with zeros is called on its way to another engine.
_SENTINEL = "-infinity"
_NOT_COMPARABLE = (ER.CANT_AGGREGATE_2COLLATIONS, 1270, 1271, 1525, 3854, 3988)

#: A key as literals; None = no value of the source can be meant.
_Key = tuple[str, ...]


def rows_by_key(
    connector: Connector, mapping: TableMapping, keys: Payload, format: Format
) -> tuple[Payload, Payload]:
    """`(rows found, identities not found)`; see `godwit.protocols.Source.rows_by_key`.

    Raises:
        LoadError: the source refuses.
    """
    if not isinstance(keys.data, pa.RecordBatch):
        raise TypeError("keys of this engine are record batches")
    table = mapping.source
    asked = _spelled(table, keys.columns, keys.data)
    wanted = list(dict.fromkeys(key for key in asked if key is not None))
    columns = mapping.read_columns
    every = (*columns, *(c for c in keys.columns if c not in columns))
    try:
        with connector.lease("source") as session:
            begin(connector, session)
            rows = _Rows(connector, session, mapping, every, native=format == MYSQL_COLUMNS)
            batch = rows.read(keys.columns, wanted)
            end(session)
    except (pymysql.MySQLError, OSError) as error:
        told = refusal(error)
        raise LoadError(
            "rows cannot be read again from the source",
            where=str(table.name),
            why=told.reason,
            hint=told.hint,
        ) from None
    present = _spelled(table, keys.columns, batch.select(list(keys.columns)))
    # Keys that the server takes for equal bring the same row twice.
    first = {key: n for n, key in reversed(list(enumerate(present)))}
    batch = batch.select(list(columns)).take(pa.array(sorted(first.values()), pa.int64()))
    missing = [n for n, key in enumerate(asked) if key not in first]
    gone = keys.data.take(pa.array(missing, pa.int64()))
    return Payload(columns, batch.num_rows, batch), Payload(keys.columns, len(missing), gone)


class _Rows:
    """Reads rows of one table in one open snapshot."""

    def __init__(
        self,
        connector: Connector,
        session: Session,
        mapping: TableMapping,
        columns: Sequence[str],
        *,
        native: bool,
    ) -> None:
        self._connector = connector
        self._session = session
        self._mapping = mapping
        self._columns = columns
        self._native = native
        self._buffer = bytearray()
        self._starts = array("q")

    def read(self, names: Sequence[str], keys: Sequence[_Key]) -> pa.RecordBatch:
        """The rows with these keys, as one batch: its columns are typed alike."""
        result = self._select("FALSE")
        for n in range(0, len(keys), KEYS):
            self._some(names, keys[n : n + KEYS])
        decoder = decoder_of(
            self._connector,
            self._mapping.source,
            self._columns,
            result,
            native=self._native,
        )
        return decoder.results(self._buffer, self._starts, self._columns)

    def _some(self, names: Sequence[str], keys: Sequence[_Key]) -> None:
        try:
            self._select(_condition(names, keys))
        except pymysql.MySQLError as error:
            if not error.args or error.args[0] not in _NOT_COMPARABLE:
                raise
            if len(keys) > 1:
                half = len(keys) // 2
                self._some(names, keys[:half])
                self._some(names, keys[half:])
            # else: characters that the column's character set lacks: no row has them.

    def _select(self, condition: str) -> Result:
        mapping = self._mapping
        terms = [condition]
        if mapping.row_filter is not None:
            terms += filter_terms(mapping.source, mapping.row_filter)[0]
        listed = ", ".join(map(quoted, self._columns))
        result = Result(
            self._session,
            f"SELECT {listed} FROM {quoted(*mapping.source.name)} WHERE {' AND '.join(terms)}",
        )
        for buffer, starts in result.blocks():
            first, shift = starts[0], len(self._buffer) - starts[0]
            self._buffer += memoryview(buffer)[first : first + _length(buffer, starts)]
            self._starts.extend(start + shift for start in starts)
        return result


def _length(buffer: bytearray, starts: Sequence[int]) -> int:
    """Bytes from the first row to somewhere behind the last one's end."""
    return len(buffer) - starts[0]


def _condition(names: Sequence[str], keys: Sequence[_Key]) -> str:
    """``(a, b) IN (…)``; keys with a date of zeros apart, as many dates may be meant."""
    plain = [key for key in keys if _SENTINEL not in key]
    terms = []
    if plain and len(names) == 1:
        terms.append(f"{quoted(names[0])} IN ({', '.join(key[0] for key in plain)})")
    elif plain:
        listed = ", ".join(f"({', '.join(key)})" for key in plain)
        terms.append(f"({', '.join(map(quoted, names))}) IN ({listed})")
    terms += [" AND ".join(map(_zero_or_equal, names, key)) for key in keys if _SENTINEL in key]
    return "(" + " OR ".join(terms) + ")"


def _zero_or_equal(name: str, literal: str) -> str:
    place = quoted(name)
    if literal == _SENTINEL:
        return no_date(place)
    return f"{place} = {literal}"


def no_date(place: str) -> str:
    """Whether a date has zeros or a day that its month hasn't: what is told as ``-infinity``."""
    month, day, year = f"MONTH({place})", f"DAYOFMONTH({place})", f"YEAR({place})"
    leap = f"({year} % 4 = 0 AND ({year} % 100 <> 0 OR {year} % 400 = 0))"
    return (
        f"({month} = 0 OR {day} = 0 OR ({day} > 30 AND {month} IN (4, 6, 9, 11))"
        f" OR ({month} = 2 AND ({day} > 29 OR ({day} > 28 AND NOT {leap}))))"
    )


# -- keys as literals


def _spelled(table: Table, names: Sequence[str], batch: pa.RecordBatch) -> list[_Key | None]:
    columns = [list(_literals(table.column(name), batch.column(n))) for n, name in enumerate(names)]
    return [None if None in key else key for key in zip(*columns, strict=True)]


def _literals(column: Column, values: pa.Array) -> Iterator[str | None]:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us"))
    for value in values.to_pylist():
        literal = None
        if value is not None:
            with suppress(ValueError, ArithmeticError):
                literal = _literal(column, value)
        yield literal


def _literal(column: Column, value: Any) -> str:
    kind = column.type.kind
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    text = str(value)
    if kind is Kind.FLOAT:
        return repr(float(value) + 0.0)
    if kind is Kind.DECIMAL:
        return format(Decimal(text).normalize(), "f") if Decimal(text) else "0"
    if kind is Kind.BIT and isinstance(value, str):
        return str(int(text, 2))
    if kind is Kind.SET:
        return f"_utf8mb4 x'{text.encode().hex()}'"
    if kind is Kind.TEXT and column.type.fixed:
        text = text.rstrip(" ")
    if kind in _MOMENTS:
        return _moment(column, text)
    return literal_of(column, text)


def _moment(column: Column, text: str) -> str:
    if text == _SENTINEL:
        return _SENTINEL
    text = text.removesuffix("+00")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return literal_of(column, text)

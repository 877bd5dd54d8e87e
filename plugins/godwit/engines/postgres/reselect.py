"""Rows as they are now, by row identity.

Keys come in the format the rows leave in: binary tuples are turned into binary arrays, everything
else into arrays of text. Nothing is written on the source.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import cast

import psycopg
import pyarrow as pa
from psycopg import pq, sql

from godwit.engines.postgres.connection import BINARY, Connector, Session
from godwit.engines.postgres.exchange import Receiver, column_receivers, from_columns, to_columns
from godwit.engines.postgres.read import filter_terms, identifier, read_columns
from godwit.engines.postgres.refusals import refusal
from godwit.engines.postgres.text_columns import batch_csv, csv_batch
from godwit.errors import LoadError
from godwit.model.changes import COLUMNS, Format, Payload
from godwit.model.mapping import TableMapping

_COUNT = struct.Struct(">h")
_LENGTH = struct.Struct(">i")
_ARRAY = struct.Struct(">iiIii")
_TEXT_ARRAY = 1009

#: A row of a result: the values as bytes of the asked form; None = NULL.
_Row = list[bytes | None]


def rows_by_key(
    connector: Connector, mapping: TableMapping, keys: Payload, format: Format
) -> tuple[Payload, Payload]:
    """`(rows found, identities not found)`; see `godwit.protocols.Source.rows_by_key`.

    Raises:
        LoadError: the source refuses.
    """
    columns = read_columns(mapping, format)
    binary = format == BINARY
    tuples = split_tuples(cast("bytes", keys.data)) if binary else []
    batch = None if binary else _key_batch(keys)
    try:
        with connector.lease("source") as session:
            if binary:
                types = _types(session, mapping, keys.columns)
                arrays = _binary_arrays(tuples, [element for element, _array in types])
                oids = [array for _element, array in types]
            else:
                own = batch
                if format == COLUMNS:
                    own = _own_text(session, mapping, cast("pa.RecordBatch", batch), keys.columns)
                arrays = [_text_array(column.to_pylist()) for column in _columns(own)]
                oids = [_TEXT_ARRAY] * len(arrays)
            statement = _statement(mapping, keys.columns, columns, cast_keys=not binary)
            numbers, rows = _select(session, statement, arrays, oids, binary=binary)
    except psycopg.Error as error:
        told = refusal(error)
        raise LoadError(
            "rows cannot be read again from the source",
            where=str(mapping.source.name),
            why=told.reason,
            hint=told.hint,
        ) from None
    data = _encode(rows, columns, format)
    if format == COLUMNS:
        kinds = [mapping.source.column(name).type.kind for name in columns]
        data = to_columns(cast("pa.RecordBatch", data), kinds)
    found = Payload(columns, len(rows), data)
    missing = sorted(set(range(keys.rows)) - numbers)
    gone: bytes | pa.RecordBatch
    if binary:
        gone = b"".join(tuples[n][0] for n in missing)
    else:
        taken = cast("pa.RecordBatch", batch).take(pa.array(missing, pa.int64()))
        gone = taken if format.columnar else batch_csv(taken)
    return found, Payload(keys.columns, len(missing), gone)


def _statement(
    mapping: TableMapping, keys: Sequence[str], columns: Sequence[str], *, cast_keys: bool
) -> sql.Composed:
    table = mapping.source
    types = [sql.SQL(table.column(name).native) for name in keys]
    wanted = [sql.Identifier(f"godwit_k{n}") for n in range(len(keys))]
    shape = "t.{} = k.{}::{}" if cast_keys else "t.{} = k.{}"
    terms: list[sql.Composable] = [
        sql.SQL(shape).format(sql.Identifier(name), key, *([kind] if cast_keys else []))
        for name, key, kind in zip(keys, wanted, types, strict=True)
    ]
    if mapping.row_filter is not None:
        terms += filter_terms(table, mapping.row_filter)
    selected = [
        sql.SQL("k.godwit_n"),
        *(sql.SQL("t.{}").format(sql.Identifier(c)) for c in columns),
    ]
    return sql.SQL(
        "SELECT {} FROM {}{} AS t JOIN unnest({}) WITH ORDINALITY AS k ({}) ON {}"
    ).format(
        sql.SQL(", ").join(selected),
        sql.SQL("" if table.parts else "ONLY "),
        identifier(table.name),
        sql.SQL(", ").join(sql.SQL(f"${n + 1}") for n in range(len(keys))),
        sql.SQL(", ").join([*wanted, sql.Identifier("godwit_n")]),
        sql.SQL(" AND ").join(terms),
    )


def _select(
    session: Session,
    statement: sql.Composed,
    arrays: Sequence[bytes],
    oids: Sequence[int],
    *,
    binary: bool,
) -> tuple[set[int], list[_Row]]:
    """Positions of the keys that were found, and the rows, in the driver's raw bytes."""
    form = pq.Format.BINARY if binary else pq.Format.TEXT
    result = session.pgconn.exec_params(
        statement.as_bytes(session),
        list(arrays),
        list(oids),
        [form] * len(arrays),
        form,
    )
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result)
    numbers = set()
    # Keys that are equal in other bytes find the same row.
    rows: dict[tuple[bytes | None, ...], None] = {}
    for n in range(result.ntuples):
        ordinal = result.get_value(n, 0) or b""
        numbers.add((int.from_bytes(ordinal, "big") if binary else int(ordinal)) - 1)
        rows[tuple(result.get_value(n, i) for i in range(1, result.nfields))] = None
    return numbers, [list(row) for row in rows]


def _types(session: Session, mapping: TableMapping, keys: Sequence[str]) -> list[tuple[int, int]]:
    """Element and array type ids of the key columns."""
    rows = session.execute(
        "SELECT a.attname, t.oid::bigint, t.typarray::bigint FROM pg_attribute a"
        " JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND a.attname = ANY(%s)",
        [*mapping.source.name, list(keys)],
    ).fetchall()
    found = {name: (element, array) for name, element, array in rows}
    return [found[name] for name in keys]


# -- encodings


def split_tuples(data: bytes) -> list[tuple[bytes, list[bytes]]]:
    """Tuples of COPY BINARY without nulls: the whole tuple, and its values."""
    tuples = []
    p = 0
    while p < len(data):
        start = p
        (count,) = _COUNT.unpack_from(data, p)
        p += 2
        values = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, p)
            values.append(data[p + 4 : p + 4 + length])
            p += 4 + length
        tuples.append((data[start:p], values))
    return tuples


def _binary_arrays(
    tuples: Sequence[tuple[bytes, list[bytes]]], elements: Sequence[int]
) -> list[bytes]:
    arrays = []
    for position, element in enumerate(elements):
        body = b"".join(
            _LENGTH.pack(len(values[position])) + values[position] for _raw, values in tuples
        )
        arrays.append(_ARRAY.pack(1, 0, element, len(tuples), 1) + body)
    return arrays


def _text_array(values: Sequence[str | None]) -> bytes:
    return ("{" + ",".join(map(_element, values)) + "}").encode()


def _element(value: str | None) -> str:
    if value is None:
        return "NULL"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _key_batch(keys: Payload) -> pa.RecordBatch:
    if isinstance(keys.data, bytes):
        return csv_batch(keys.columns, keys.data, keys.rows)
    return keys.data


def _own_text(
    session: Session, mapping: TableMapping, batch: pa.RecordBatch, keys: Sequence[str]
) -> pa.RecordBatch:
    types = column_receivers(session, mapping.source.name)
    return from_columns(batch, [Receiver(types.get(name, "")) for name in keys])


def _columns(batch: pa.RecordBatch | None) -> list[pa.Array]:
    return [column.cast(pa.string()) for column in cast("pa.RecordBatch", batch).columns]


def _encode(rows: Sequence[_Row], columns: Sequence[str], format: Format) -> bytes | pa.RecordBatch:
    if format == BINARY:
        return b"".join(map(_binary_tuple, rows))
    arrays = [
        pa.array([row[n] for row in rows], pa.binary()).cast(pa.string())
        for n in range(len(columns))
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    return batch if format.columnar else batch_csv(batch)


def _binary_tuple(row: _Row) -> bytes:
    fields = (b"\xff\xff\xff\xff" if v is None else _LENGTH.pack(len(v)) + v for v in row)
    return _COUNT.pack(len(row)) + b"".join(fields)

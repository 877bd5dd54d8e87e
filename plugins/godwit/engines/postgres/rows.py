"""Single rows inside payloads: only for the few that were refused or are put together by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pyarrow as pa

from godwit.engines.postgres.connection import BINARY
from godwit.engines.postgres.text_columns import csv_batch
from godwit.model.changes import Format, Payload

Fields = list[bytes | None]


def split_rows(format: Format, payload: Payload) -> list[Payload]:
    """One payload per row."""
    if isinstance(payload.data, pa.RecordBatch):
        return [Payload(payload.columns, 1, payload.data.slice(i, 1)) for i in range(payload.rows)]
    cut = _cut_binary if format == BINARY else _cut_csv
    return [Payload(payload.columns, 1, row) for row in cut(payload.data)]


def concat_rows(format: Format, payloads: Sequence[Payload]) -> Payload:
    """The inverse of `split_rows`; the payloads have the same columns."""
    rows = sum(p.rows for p in payloads)
    if format.columnar:
        batches = [p.data for p in payloads if isinstance(p.data, pa.RecordBatch)]
        whole = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
        return Payload(payloads[0].columns, rows, whole)
    return Payload(
        payloads[0].columns, rows, b"".join(p.data for p in payloads if isinstance(p.data, bytes))
    )


def _cut_binary(data: bytes) -> list[bytes]:
    rows, p = [], 0
    while p < len(data):
        start = p
        count = struct.unpack_from(">h", data, p)[0]
        p += 2
        for _ in range(count):
            size = struct.unpack_from(">i", data, p)[0]
            p += 4 + max(size, 0)
        rows.append(data[start:p])
    return rows


def _cut_csv(data: bytes) -> list[bytes]:
    rows, start, p = [], 0, 0
    while p < len(data):
        end = data.index(b"\n", p) + 1
        # Inside a value the number of quotes so far is odd.
        if data.count(b'"', start, end) % 2 == 0:
            rows.append(data[start:end])
            start = end
        p = end
    return rows


def fields_of(format: Format, payload: Payload) -> Fields:
    """The values of a payload of one row: binary or text as the format has them."""
    if isinstance(payload.data, pa.RecordBatch):
        return [
            None if (value := column[0].as_py()) is None else str(value).encode()
            for column in payload.data.columns
        ]
    if format == BINARY:
        return _fields_binary(payload.data)
    return _fields_csv(payload.data.rstrip(b"\n"), len(payload.columns))


def _fields_binary(row: bytes) -> Fields:
    fields: Fields = []
    p = 2
    while p < len(row):
        size = struct.unpack_from(">i", row, p)[0]
        fields.append(row[p + 4 : p + 4 + size] if size >= 0 else None)
        p += 4 + max(size, 0)
    return fields


def _fields_csv(row: bytes, count: int) -> Fields:
    fields: Fields = []
    p = 0
    while len(fields) < count:
        if row[p : p + 1] != b'"':
            fields.append(None)
            p += 1
            continue
        end = p + 1
        while True:
            end = row.index(b'"', end)
            if row[end : end + 2] != b'""':
                break
            end += 2
        fields.append(row[p + 1 : end].replace(b'""', b'"'))
        p = end + 2
    return fields


def row_of(format: Format, columns: tuple[str, ...], fields: Fields) -> Payload:
    """The inverse of `fields_of`."""
    if format == BINARY:
        data = struct.pack(">h", len(fields)) + b"".join(
            b"\xff\xff\xff\xff" if f is None else struct.pack(">i", len(f)) + f for f in fields
        )
        return Payload(columns, 1, data)
    texts = [b"" if f is None else b'"' + f.replace(b'"', b'""') + b'"' for f in fields]
    line = b",".join(texts) + b"\n"
    return Payload(columns, 1, csv_batch(columns, line, 1) if format.columnar else line)


def join_rows(
    format: Format, columns: tuple[str, ...], *parts: tuple[tuple[str, ...], Payload]
) -> Payload:
    """One row with `columns`, taken from payloads of one row each under the names given."""
    values: dict[str, bytes | None] = {}
    for names, payload in parts:
        values.update(zip(names, fields_of(format, payload), strict=True))
    return row_of(format, columns, [values[c] for c in columns])

"""Rows inside payloads: parts of them, and their keys for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import cast

import pyarrow as pa

from godwit.model.changes import Payload


def batch_of(payload: Payload) -> pa.RecordBatch:
    """The rows; this engine takes columnar payloads only."""
    return cast("pa.RecordBatch", payload.data)


def cut_rows(payload: Payload, first: int, count: int) -> Payload:
    """`count` rows from the one at `first` on."""
    return Payload(payload.columns, count, batch_of(payload).slice(first, count))


def take_rows(payload: Payload, places: Sequence[int], columns: Sequence[str]) -> Payload:
    """The rows at these places, with these columns of theirs."""
    batch = batch_of(payload)
    wanted = pa.array(places, pa.int64())
    arrays = [batch.column(payload.columns.index(c)).take(wanted) for c in columns]
    return Payload(
        tuple(columns), len(places), pa.RecordBatch.from_arrays(arrays, names=list(columns))
    )


def concat_rows(payloads: Sequence[Payload]) -> Payload:
    """All rows as one payload; the payloads have the same columns, and there is at least one."""
    if len(payloads) == 1:
        return payloads[0]
    rows = sum(p.rows for p in payloads)
    table = pa.Table.from_batches([batch_of(p) for p in payloads]).combine_chunks()
    batches = table.to_batches()
    return Payload(payloads[0].columns, rows, batches[0] if batches else batch_of(payloads[0]))


def renamed(payload: Payload, columns: Sequence[str]) -> Payload:
    """The same rows under other names."""
    batch = pa.RecordBatch.from_arrays(batch_of(payload).columns, names=list(columns))
    return Payload(tuple(columns), payload.rows, batch)


def numbered(payload: Payload, column: str, first: int = 0) -> Payload:
    """The rows with their positions, counted from `first`, in a last column."""
    batch = batch_of(payload)
    numbers = pa.array(range(first, first + payload.rows), pa.uint32())
    names = [*payload.columns, column]
    return Payload(
        tuple(names),
        payload.rows,
        pa.RecordBatch.from_arrays([*batch.columns, numbers], names=names),
    )


def shown(columns: Sequence[str], values: Sequence[object]) -> str:
    """``a=1, b=x`` for an identity: how a person finds the row."""
    pairs = zip(columns, values, strict=True)
    return ", ".join(f"{column}={_text(value)[:64]}" for column, value in pairs)


def shown_row(payload: Payload, columns: Sequence[str]) -> str:
    """The same for a payload of one row."""
    batch = batch_of(payload)
    values = [batch.column(payload.columns.index(c))[0].as_py() for c in columns]
    return shown(columns, values)


def _text(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date) else str(value)

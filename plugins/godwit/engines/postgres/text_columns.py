"""Rows as columns of text, by way of COPY CSV: exact for every type PostgreSQL has.

COPY writes with every value quoted, so an empty text (``""``) and NULL (nothing) stay apart, and
pyarrow reads and writes the same distinction.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import csv


def csv_batch(columns: Sequence[str], data: bytes, rows: int) -> pa.RecordBatch:
    """CSV rows (as `Payload.data` of the CSV format holds them) as one batch of text columns."""
    if not columns:
        return pa.record_batch([pa.nulls(rows)], names=[""]).select([])
    if not rows:
        return pa.record_batch([pa.array([], pa.string()) for _ in columns], names=list(columns))
    # Names are given by position: two columns may differ in case or hold any character.
    names = [str(i) for i in range(len(columns))]
    table = csv.read_csv(
        io.BytesIO(data),
        read_options=csv.ReadOptions(
            column_names=names, block_size=max(len(data) + 1, 1 << 16), use_threads=False
        ),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
    arrays = [column.combine_chunks() for column in table.columns]
    return pa.record_batch(arrays, names=list(columns))


def batch_csv(batch: pa.RecordBatch) -> bytes:
    """The inverse of `csv_batch`; columns that aren't text are cast to it."""
    if not batch.num_columns:
        return b"\n" * int(batch.num_rows)
    out = io.BytesIO()
    texts = [c if pa.types.is_string(c.type) else c.cast(pa.string()) for c in batch.columns]
    names = [str(i) for i in range(len(texts))]
    csv.write_csv(
        pa.record_batch(texts, names=names),
        out,
        csv.WriteOptions(include_header=False, quoting_style="needed"),
    )
    return bytes(out.getvalue())

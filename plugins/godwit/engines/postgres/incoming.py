"""Rows of the format `COLUMNS` on their way into one target table: as binary tuples where every
value has that form, else as text columns, which the server judges.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from godwit.engines.postgres.connection import Session
from godwit.engines.postgres.encode import SIGNATURE, TRAILER, Encoder, UnencodableError
from godwit.engines.postgres.exchange import (
    Receiver,
    column_receivers,
    from_columns,
    plain_storage,
    to_columns,
)
from godwit.engines.postgres.read import identifier
from godwit.engines.postgres.text_columns import batch_csv
from godwit.engines.postgres.wire import CopyIn, copy_in
from godwit.errors import EndpointError, LoadError
from godwit.model.catalog import TableName
from godwit.model.changes import KeyMove, Payload, TableChanges
from godwit.model.datatypes import DataType
from godwit.model.mapping import TableMapping
from godwit.protocols import RowStream

log = logging.getLogger(__name__)

#: What becomes of the character U+0000, which PostgreSQL's text cannot hold.
REJECT, STRIP = "reject", "strip"


class Incoming:
    """See above.

    Args:
        session: looks the target's columns up.
        mapping: of the table.
        settings: the target endpoint's; ``nul_characters`` is `REJECT` (default) or `STRIP`.
    """

    def __init__(
        self, session: Session, mapping: TableMapping, settings: Mapping[str, Any]
    ) -> None:
        self._mapping = mapping
        self._types = column_receivers(session, mapping.target)
        self._carries = {c.target: _carried(mapping, c.target) for c in mapping.columns}
        self._encoders: dict[tuple[str, ...], Encoder] = {}
        self._strip = nul_characters(settings) == STRIP
        #: Characters left out, by column.
        self.stripped: dict[str, int] = {}

    def receivers(self, columns: Sequence[str]) -> list[Receiver]:
        """What these columns of the target take."""
        return [Receiver(self._types.get(c, ""), self._carries.get(c)) for c in columns]

    def tuples(self, columns: tuple[str, ...], batch: pa.RecordBatch) -> bytes:
        """Rows as COPY BINARY has them, without signature and trailer.

        Raises:
            UnencodableError: they have no such form.
            LoadError: a text holds U+0000, and is not to be changed.
        """
        encoder = self._encoders.get(columns)
        if encoder is None:
            encoder = self._encoders[columns] = Encoder(self.receivers(columns))
        return encoder.tuples(self._without_nul(columns, batch))

    def texts(
        self, columns: tuple[str, ...], batch: pa.RecordBatch, *, checked: bool = True
    ) -> pa.RecordBatch:
        """Rows as columns of PostgreSQL's own text.

        Raises:
            LoadError: a text holds U+0000, and is not to be changed (`checked` False: the server
                is left to refuse the row).
        """
        batch = from_columns(batch, self.receivers(columns))
        return self._without_nul(columns, batch) if checked or self._strip else batch

    def payload(self, payload: Payload) -> Payload:
        """A payload of `COLUMNS` (target names): bytes of tuples, else text columns."""
        batch = _batch(payload)
        try:
            data: bytes | pa.RecordBatch = self.tuples(payload.columns, batch)
        except UnencodableError:
            data = self.texts(payload.columns, batch)
        return Payload(payload.columns, payload.rows, data)

    def text_payload(self, payload: Payload) -> Payload:
        """The same as text columns, for the server to judge."""
        batch = self.texts(payload.columns, _batch(payload), checked=False)
        return Payload(payload.columns, payload.rows, batch)

    def exchanged(self, payload: Payload, columns: Sequence[str]) -> Payload:
        """Own text of the target's `columns` as `COLUMNS`; the payload keeps its names."""
        batch = to_columns(_batch(payload), [r.kind for r in self.receivers(columns)])
        return Payload(payload.columns, payload.rows, batch)

    def _without_nul(self, columns: Sequence[str], batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = list(batch.columns)
        changed = False
        for i, array in enumerate(arrays):
            if not _has_nul(array):
                continue
            if not self._strip:
                raise self._refused(columns[i])
            text = plain_storage(array)
            count = int(pc.sum(pc.count_substring(text, "\0")).as_py() or 0)
            self.stripped[columns[i]] = self.stripped.get(columns[i], 0) + count
            arrays[i] = pc.replace_substring(text, "\0", "")
            changed = True
        if not changed:
            return batch
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    def _refused(self, column: str) -> LoadError:
        return LoadError(
            "a text holds the character U+0000",
            where=f"{self._mapping.target} column {column}",
            why="PostgreSQL's text cannot hold it",
            hint="correct the source's rows, or set nul_characters: strip at the target endpoint, "
            "which leaves the characters out",
        )

    def tell_stripped(self) -> None:
        """Log what has been left out since the last call."""
        for column, count in self.stripped.items():
            where = f"{self._mapping.target} column {column}"
            log.warning("%s: %d character(s) U+0000 were left out", where, count)
        self.stripped.clear()


def nul_characters(settings: Mapping[str, Any]) -> str:
    """The setting of that name.

    Raises:
        EndpointError: it is neither.
    """
    found = str(settings.get("nul_characters", REJECT))
    if found not in {REJECT, STRIP}:
        raise EndpointError(
            "the setting nul_characters is unknown",
            why="it is neither reject nor strip",
            hint="reject stops at texts that hold U+0000, strip leaves the character out",
        )
    return found


def _carried(mapping: TableMapping, target: str) -> DataType | None:
    column = next(c for c in mapping.columns if c.target == target)
    if column.type is not None or column.source is None:
        return column.type
    return mapping.source.column(column.source).type


def _batch(payload: Payload) -> pa.RecordBatch:
    if not isinstance(payload.data, pa.RecordBatch):
        raise TypeError("a payload of COLUMNS is a record batch")
    return payload.data


def _has_nul(array: pa.Array) -> bool:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        _validity, offset_buffer, data = array.buffers()
        if data is None or not len(array):
            return False
        width = np.int32 if pa.types.is_string(kind) else np.int64
        offsets = np.frombuffer(offset_buffer, width)
        first, last = offsets[array.offset], offsets[array.offset + len(array)]
        return bool(first < last and np.frombuffer(data, np.uint8)[first:last].min() == 0)
    if pa.types.is_dictionary(kind):
        return _has_nul(array.dictionary)
    if pa.types.is_string_view(kind):
        return _has_nul(array.cast(pa.string()))
    return False


# -- changes


def converted(
    stage: TableChanges | KeyMove, convert: Callable[[Payload], Payload]
) -> TableChanges | KeyMove:
    """The stage with every payload converted."""
    if isinstance(stage, KeyMove):
        return replace(stage, old=convert(stage.old), new=convert(stage.new))
    return replace(
        stage,
        inserts=convert(stage.inserts) if stage.inserts else None,
        updates=tuple(map(convert, stage.updates)),
        deletes=convert(stage.deletes) if stage.deletes else None,
        cancelled=convert(stage.cancelled) if stage.cancelled else None,
    )


# -- COPY


def copy_columns(
    session: Session,
    incoming: Incoming,
    destination: TableName,
    rows: RowStream,
    *,
    freeze: bool = False,
) -> tuple[int, int]:
    """COPY a stream of `COLUMNS`; returns rows and bytes.

    Binary as long as every batch has that form. The first that hasn't ends that COPY, and another
    one goes on with text: both are of one transaction.
    """
    copying = _Copying(session, destination, rows.columns, freeze=freeze)
    binary = True
    try:
        for batch in rows:
            assert isinstance(batch, pa.RecordBatch)
            if binary:
                try:
                    copying.write(incoming.tuples(rows.columns, batch), binary=True)
                    continue
                except UnencodableError:
                    binary = False
            copying.write(batch_csv(incoming.texts(rows.columns, batch)), binary=False)
        if not copying.begun:
            # Nothing came: the server still says whether it would have taken rows.
            copying.write(b"", binary=False)
        copying.finish()
    except psycopg.Error:
        raise
    except BaseException:
        # The source failed, or nobody wants it any more: never let the half become a whole.
        copying.abort()
        raise
    finally:
        copying.close()
    incoming.tell_stripped()
    return copying.rows, copying.bytes


class _Copying:
    """COPY statements one after the other, each for as long as the form of the data stays."""

    def __init__(
        self, session: Session, table: TableName, columns: Sequence[str], *, freeze: bool
    ) -> None:
        self._session, self._table, self._columns = session, table, columns
        self._freeze = freeze
        self._copy: CopyIn | None = None
        self._binary = self.begun = False
        self.rows = self.bytes = 0

    def write(self, data: bytes, *, binary: bool) -> None:
        if self._copy is None or binary != self._binary:
            self.finish()
            self._copy = self._begin(binary=binary)
        self._copy.write(data)
        self.bytes += len(data)

    def _begin(self, *, binary: bool) -> CopyIn:
        self._binary, self.begun = binary, True
        options = "FORMAT binary" if binary else "FORMAT csv"
        names = sql.SQL(", ").join(map(sql.Identifier, self._columns))
        statement = sql.SQL("COPY {}{} FROM STDIN ({})").format(
            identifier(self._table),
            sql.SQL(" ({})").format(names) if self._columns else sql.SQL(""),
            sql.SQL(options + (", FREEZE" if self._freeze else "")),
        )
        copy = copy_in(self._session, statement.as_bytes(self._session))
        if binary:
            copy.write(SIGNATURE)
        return copy

    def finish(self) -> None:
        """End the COPY under way."""
        copy = self._copy
        if copy is None:
            return
        if self._binary:
            copy.write(TRAILER)
        self.rows += copy.finish()
        self._copy = None
        copy.close()

    def abort(self) -> None:
        if self._copy is not None:
            self._copy.abort()

    def close(self) -> None:
        if self._copy is not None:
            self._copy.close()

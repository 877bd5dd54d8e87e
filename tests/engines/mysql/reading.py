"""What the tests of reading share: the catalog's tables, rows loaded, rows from the log."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from pymysql.constants import COMMAND

from godwit.engines.mysql.catalog import read_catalog
from godwit.engines.mysql.connection import COLUMNS, MYSQL_COLUMNS, Connector
from godwit.engines.mysql.decode import (
    Field,
    RowDecoder,
    log_field,
    metadata_of,
    skipped_field,
)
from godwit.engines.mysql.layouts import log_type
from godwit.engines.mysql.read import character_sets, read
from godwit.model.catalog import Table, TableName
from godwit.model.changes import Format
from godwit.model.chunks import Chunk
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, RowFilter, TableMapping
from include.demo.mysql_servers import MySqlDatabase

_TABLE_MAP, _WRITES, _UPDATES, _DELETES = 19, (23, 30), (24, 31), (25, 32)


def source_of(database: MySqlDatabase, **settings: Any) -> Connector:
    """The database as a source."""
    return Connector(connection_from_text("source", database.conn_uri), settings)


def table_of(connector: Connector, name: str) -> Table:
    """The table as the catalog has it."""
    schema = connector.connection.database
    with connector.lease() as session:
        catalog = read_catalog(session, connector.version, lambda t: t.name == name)
    return catalog.table(TableName(schema, name))


def mapping_of(
    table: Table, row_filter: RowFilter | None = None, columns: Sequence[str] | None = None
) -> TableMapping:
    """Every stored column (or these), as they are."""
    names = [c.name for c in table.stored_columns] if columns is None else columns
    return TableMapping(
        table, table.name, tuple(ColumnMapping(n, n) for n in names), row_filter=row_filter
    )


def loaded(
    connector: Connector,
    mapping: TableMapping,
    format: Format = MYSQL_COLUMNS,
    chunk: Chunk | None = None,
) -> pa.Table:
    """The rows that `read` gives."""
    with read(connector, chunk or Chunk("", mapping.source.name), mapping, format) as rows:
        batches = list(rows)
        assert rows.columns == mapping.read_columns
    return pa.Table.from_batches(batches) if batches else pa.table({})


class Log:
    """The row images of one table, taken from the log by the plainest means."""

    def __init__(self, connector: Connector, table: Table) -> None:
        self._connector, self._table = connector, table
        with connector.lease() as session:
            self._file, self._offset = _end(session.row, connector.version.mariadb)[:2]
            self._sets = character_sets(session)
            self._charsets = dict(
                session.rows(
                    "SELECT COLUMN_NAME, CHARACTER_SET_NAME FROM information_schema.COLUMNS"
                    " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
                    tuple(table.name),
                )
            )
            self._names = [
                str(row[0])
                for row in session.rows(
                    "SELECT COLUMN_NAME FROM information_schema.COLUMNS"
                    " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
                    tuple(table.name),
                )
            ]

    def events(self) -> Iterator[tuple[int, bytes]]:
        """`(type, body)` of the events since then, checksums taken off."""
        session = self._connector.connect()
        if self._connector.version.mariadb:
            session.run("SET @mariadb_slave_capability = 4")
        session.run("SET @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'")
        checksum = 0 if session.value("SELECT @@global.binlog_checksum") == "NONE" else 4
        request = struct.pack("<IHI", self._offset, 1, 4711) + self._file.encode()
        session._execute_command(COMMAND.COM_BINLOG_DUMP, request)
        fake = True
        while True:
            packet = session._read_packet().get_all_data()
            if packet[0] == 0xFE and len(packet) < 9:
                break
            kind = packet[5]
            fake = fake and kind in (4, 15)
            if not fake:
                yield kind, packet[20 : len(packet) - checksum]
        session._force_close()

    def images(
        self, **options: Any
    ) -> tuple[RowDecoder, list[tuple[int, bytes, list[int], tuple[bytes, ...]]]]:
        """A decoder, and `(event type, body, starts, bitmaps)` of each event of the table."""
        decoder, found = None, []
        number = -1
        for kind, body in self.events():
            if kind == _TABLE_MAP:
                name, types, metadata = _table_map(body)
                if name == self._table.name.name:
                    number = int.from_bytes(body[:6], "little")
                    fields = self.fields(types, metadata)
                    decoder = RowDecoder(str(self._table.name), fields, **options)
            elif kind in (*_WRITES, *_UPDATES, *_DELETES):
                if int.from_bytes(body[:6], "little") != number:
                    continue
                assert decoder is not None
                start, masks = _row_event(kind, body)
                found.append(
                    (kind, body, list(decoder.split(body, start, len(body), masks)), masks)
                )
        assert decoder is not None
        return decoder, found

    def fields(self, types: bytes, metadata: list[int]) -> list[Field]:
        """How the catalog's columns lie in the log."""
        known = {c.name: c for c in self._table.stored_columns}
        fields = []
        for name, code, meta in zip(self._names, types, metadata, strict=True):
            if name not in known:
                fields.append(skipped_field(code, meta))
                continue
            column = known[name]
            charset = self._charsets[name]
            real = log_type(code, meta)[0]
            if charset is None and real in (15, 253, 254, 252):
                charset = "binary"
            fields.append(
                log_field(column, code, meta, unsigned=column.type.unsigned, charset_name=charset)
            )
        return fields

    def inserted(self, format: Format = MYSQL_COLUMNS, **options: Any) -> pa.Table:
        """The rows inserted since then."""
        decoder, events = self.images(native=format == MYSQL_COLUMNS, **options)
        buffer, starts, masks = bytearray(), [], set()
        for kind, body, places, bitmaps in events:
            if kind in _WRITES:
                starts += [len(buffer) + place for place in places]
                buffer += body
                masks.add(bitmaps[0])
        (mask,) = masks
        return pa.Table.from_batches([decoder.images(buffer, starts, mask)])


def _end(row: Callable[[str], Any], mariadb: bool) -> tuple[str, int]:
    found = row("SHOW MASTER STATUS" if mariadb else "SHOW BINARY LOG STATUS")
    return str(found[0]), int(found[1])


def _table_map(body: bytes) -> tuple[str, bytes, list[int]]:
    p = 8
    p += body[p] + 2
    name = body[p + 1 : p + 1 + body[p]].decode()
    p += body[p] + 2
    count = body[p]
    types = body[p + 1 : p + 1 + count]
    p += 1 + count
    size, p = body[p], p + 1
    if size == 0xFC:
        size, p = int.from_bytes(body[p : p + 2], "little"), p + 2
    return name, types, metadata_of(types, body[p : p + size])


def _row_event(kind: int, body: bytes) -> tuple[int, tuple[bytes, ...]]:
    p = 8
    if kind in (30, 31, 32):
        p += int.from_bytes(body[p : p + 2], "little")
    count, p = body[p], p + 1
    masks = []
    for _ in range(2 if kind in _UPDATES else 1):
        masks.append(bytes(body[p : p + (count + 7) // 8]))
        p += (count + 7) // 8
    return p, tuple(masks)


__all__ = ["COLUMNS", "MYSQL_COLUMNS", "Log", "loaded", "mapping_of", "source_of", "table_of"]

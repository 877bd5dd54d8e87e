"""The events of the binary log: their layout, as MySQL's and MariaDB's documents describe it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from godwit.errors import CaptureError

QUERY, STOP, ROTATE, INTVAR, RAND, USER_VAR = 2, 3, 4, 5, 13, 14
APPEND_BLOCK, DELETE_FILE, FORMAT_DESCRIPTION, XID = 9, 11, 15, 16
BEGIN_LOAD_QUERY, EXECUTE_LOAD_QUERY, TABLE_MAP = 17, 18, 19
WRITE_V1, UPDATE_V1, DELETE_V1, INCIDENT, HEARTBEAT, IGNORABLE, ROWS_QUERY = range(23, 30)
WRITE, UPDATE, DELETE, GTID, ANONYMOUS_GTID, PREVIOUS_GTIDS = range(30, 36)
TRANSACTION_CONTEXT, VIEW_CHANGE, XA_PREPARE, PARTIAL_UPDATE = range(36, 40)
TRANSACTION_PAYLOAD, HEARTBEAT_V2, GTID_TAGGED = range(40, 43)
# MariaDB's own.
ANNOTATE_ROWS, BINLOG_CHECKPOINT, MARIA_GTID, GTID_LIST, START_ENCRYPTION = range(160, 165)
QUERY_COMPRESSED = 165
WRITE_COMPRESSED_V1, UPDATE_COMPRESSED_V1, DELETE_COMPRESSED_V1 = range(166, 169)
WRITE_COMPRESSED, UPDATE_COMPRESSED, DELETE_COMPRESSED = range(169, 172)

#: Row events: `(kind, second version, compressed)`; kinds are those of the second version.
ROWS = {
    WRITE_V1: (WRITE, False, False),
    UPDATE_V1: (UPDATE, False, False),
    DELETE_V1: (DELETE, False, False),
    WRITE: (WRITE, True, False),
    UPDATE: (UPDATE, True, False),
    DELETE: (DELETE, True, False),
    WRITE_COMPRESSED_V1: (WRITE, False, True),
    UPDATE_COMPRESSED_V1: (UPDATE, False, True),
    DELETE_COMPRESSED_V1: (DELETE, False, True),
    WRITE_COMPRESSED: (WRITE, True, True),
    UPDATE_COMPRESSED: (UPDATE, True, True),
    DELETE_COMPRESSED: (DELETE, True, True),
}
#: Of row events: the session has switched foreign keys off.
NO_FOREIGN_KEY_CHECKS = 2
#: Events that carry nothing for us: comments, variables of statements, the servers' own affairs.
QUIET = frozenset(
    {STOP, INTVAR, RAND, USER_VAR, APPEND_BLOCK, DELETE_FILE, BEGIN_LOAD_QUERY, IGNORABLE}
    | {ROWS_QUERY, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE}
    | {ANNOTATE_ROWS, BINLOG_CHECKPOINT, GTID_LIST, START_ENCRYPTION}
)
#: A number bytes before the body: time, type, server id, size, position, flags.
HEADER = 19
IS_IGNORABLE, IS_ARTIFICIAL = 0x80, 0x20
CHECKSUM = 4
_CRC32 = 1
_PAYLOAD_SIZE, _PAYLOAD_KIND, _PAYLOAD_WHOLE, _ZSTD, _STORED = 1, 2, 3, 0, 255

header = struct.Struct("<IBIIIH").unpack_from
_U2 = struct.Struct("<H").unpack_from
_U4 = struct.Struct("<I").unpack_from
_U8 = struct.Struct("<Q").unpack_from

# MariaDB's GTID flags.
STANDALONE, GROUP_COMMIT, PREPARED_XA, COMPLETED_XA = 0x01, 0x02, 0x40, 0x80


def malformed(what: str) -> CaptureError:
    """The error for an event that is not laid out as it should be."""
    return CaptureError(
        f"the binary log holds {what} that cannot be read",
        why="it is damaged, or of a version of the server that Godwit does not know",
        hint="check the file with mysqlbinlog --verify-binlog-checksum; Godwit has not moved past",
    )


def length(data: bytes, p: int) -> tuple[int, int]:
    """A length-encoded integer and the position behind it."""
    first = data[p]
    if first < 251:
        return first, p + 1
    if first == 252:
        return _U2(data, p + 1)[0], p + 3
    if first == 253:
        return data[p + 1] | data[p + 2] << 8 | data[p + 3] << 16, p + 4
    return _U8(data, p + 1)[0], p + 9


def varint(data: bytes, p: int) -> tuple[int, int]:
    """An integer of MySQL's newer events: leading ones of the first byte count more bytes."""
    first = data[p]
    more = 0
    while more < 8 and first >> more & 1:
        more += 1
    rest = int.from_bytes(data[p + 1 : p + 1 + more], "little")
    return (first >> (more + 1)) | rest << max(7 - more, 0), p + 1 + more


def checksummed(event: bytes) -> bool:
    """Whether the event's last four bytes are its checksum."""
    stored = _U4(event, len(event) - CHECKSUM)[0]
    return bool(zlib.crc32(memoryview(event)[:-CHECKSUM]) == stored)


def format_description(event: bytes) -> tuple[bool, tuple[int, ...]]:
    """Whether the file's events carry checksums, and the lengths of their fixed parts by type.

    The algorithm is told in the last byte but four, whatever the session has asked for.
    """
    if _U2(event, HEADER)[0] != 4 or event[HEADER + 56] != HEADER:
        raise malformed("a format")
    lengths = event[HEADER + 57 : -CHECKSUM - 1]
    return event[-CHECKSUM - 1] == _CRC32, (0, *lengths)


def rotate(event: bytes) -> tuple[str, int]:
    """The file that follows, and the offset in it."""
    return event[HEADER + 8 :].decode(), _U8(event, HEADER)[0]


@dataclass(frozen=True, slots=True)
class Gtid:
    """MySQL's GTID event; `committed` in seconds, None when the server is too old to tell."""

    uuid: str
    tag: str
    number: int
    committed: float | None


def gtid(event: bytes) -> Gtid:
    """A GTID event without a tag."""
    raw = event[HEADER + 1 : HEADER + 17].hex()
    return Gtid(dashed(raw), "", _U8(event, HEADER + 17)[0], _committed(event))


def _committed(event: bytes) -> float | None:
    # Behind the number: the kind of logical clock, two clocks, the commit time in 55 bits.
    p = HEADER + 25 + 17
    if len(event) < p + 7 or event[HEADER + 25] != 2:
        return None
    return (int.from_bytes(event[p : p + 7], "little") & ((1 << 55) - 1)) / 1e6


def dashed(raw: str) -> str:
    """A UUID as text from its 32 digits."""
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def tagged_gtid(event: bytes) -> Gtid:
    """A GTID event with a tag: fields by number, in ascending order, absent when by default."""
    version, p = varint(event, HEADER)
    size, p = varint(event, p)
    required, p = varint(event, p)
    if version != 1 or required > 12:
        raise malformed("a tagged GTID")
    uuid, tag, number, committed = "", "", 0, None
    end = HEADER + size
    while p < end:
        identifier, p = varint(event, p)
        if identifier == 1:
            digits = bytearray()
            for _ in range(16):
                digit, p = varint(event, p)
                digits.append(digit)
            uuid = dashed(digits.hex())
        elif identifier == 3:
            characters, p = varint(event, p)
            tag = event[p : p + characters].decode()
            p += characters
        else:
            value, p = varint(event, p)
            if identifier == 2:
                number = value >> 1  # a signed one: its lowest bit is the sign
            elif identifier == 6:
                committed = value / 1e6
        if identifier > 5 and committed is not None:
            break
    if not uuid or not number:
        raise malformed("a tagged GTID")
    return Gtid(uuid, tag, number, committed)


@dataclass(frozen=True, slots=True)
class MariaGtid:
    """MariaDB's GTID event. `xid` names the XA transaction that it prepares or completes."""

    domain: int
    server: int
    number: int
    flags: int
    xid: bytes = b""


def maria_gtid(event: bytes) -> MariaGtid:
    """MariaDB's GTID event."""
    number, domain, flags = struct.unpack_from("<QIB", event, HEADER)
    xid = b""
    if flags & (PREPARED_XA | COMPLETED_XA):
        p = HEADER + 13 + (8 if flags & GROUP_COMMIT else 0)
        if len(event) >= p + 6:
            xid = event[p : p + 6 + event[p + 4] + event[p + 5]]
    return MariaGtid(domain, _U4(event, 5)[0], number, flags, xid)


def xa_prepare(event: bytes) -> tuple[bool, bytes]:
    """Whether it commits at once (one phase), and the xid: format, two lengths, data."""
    one_phase, form, first, second = struct.unpack_from("<BIII", event, HEADER)
    data = event[HEADER + 13 : HEADER + 13 + first + second]
    return bool(one_phase), struct.pack("<IBB", form, first, second) + data


@dataclass(frozen=True, slots=True)
class Query:
    """A statement in the log."""

    database: str
    text: str


def query(event: bytes, *, compressed: bool = False, load: bool = False) -> Query:
    """A QUERY event, compressed perhaps, or one of a statement's LOAD DATA (`load`)."""
    databases, status = event[HEADER + 8], _U2(event, HEADER + 11)[0]
    p = HEADER + 13 + (13 if load else 0) + status
    name = event[p : p + databases].decode("utf-8", "replace")
    body = event[p + databases + 1 :]
    text = inflated(body) if compressed else body
    return Query(name, text.decode("utf-8", "replace"))


def inflated(data: bytes | memoryview) -> bytes:
    """MariaDB's compressed part of an event: a byte (algorithm, length's length), length, data."""
    head = data[0]
    size = head & 0x07
    if head & 0xF0 != 0x80:
        raise malformed("a compression")
    try:
        found = zlib.decompress(data[1 + size :])
    except zlib.error:
        raise malformed("a compressed event") from None
    if len(found) != int.from_bytes(data[1 : 1 + size], "big"):
        raise malformed("a compressed event")
    return found


def payload(event: bytes) -> Iterator[bytes]:
    """The events inside a TRANSACTION_PAYLOAD; they carry no checksums."""
    data = _unpacked(event)
    p = 0
    while p < len(data):
        size = _U4(data, p + 9)[0]
        if size < HEADER or p + size > len(data):
            raise malformed("a compressed transaction")
        yield data[p : p + size]
        p += size


def _unpacked(event: bytes) -> bytes:
    fields = {_PAYLOAD_SIZE: 0, _PAYLOAD_KIND: _STORED}
    p = HEADER
    while True:
        field, p = length(event, p)
        if field == 0:
            break
        width, p = length(event, p)
        fields[field], _ = length(event, p)
        p += width
    data = event[p : p + fields[_PAYLOAD_SIZE]]
    complete = len(data) == fields[_PAYLOAD_SIZE]
    if fields[_PAYLOAD_KIND] == _ZSTD and complete:
        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    elif fields[_PAYLOAD_KIND] != _STORED:
        raise malformed("a compression")
    if not complete or len(data) != fields.get(_PAYLOAD_WHOLE, len(data)):
        raise malformed("a compressed transaction")
    return data


@dataclass(frozen=True, slots=True)
class RowsEvent:
    """A row event: bitmaps of present columns, and the images.

    `after` is that of the new image of an update, else the same as `before`.
    """

    flags: int

    table: int
    kind: int
    columns: int
    before: bytes
    after: bytes
    images: bytes


def rows(event: bytes) -> RowsEvent:
    """A row event of any version, decompressed."""
    kind, second, compressed = ROWS[event[4]]
    table = int.from_bytes(event[HEADER : HEADER + 6], "little")
    p = HEADER + 8
    if second:
        # Partition ids and the like, which are not needed; the length counts itself.
        p += _U2(event, p)[0]
    count, p = length(event, p)
    width = (count + 7) // 8
    before = after = event[p : p + width]
    p += width
    if kind == UPDATE:
        after = event[p : p + width]
        p += width
    images = inflated(memoryview(event)[p:]) if compressed else event[p:]
    return RowsEvent(_U2(event, HEADER + 6)[0], table, kind, count, before, after, images)

"""Reading pgoutput messages in bulk: find commits, net out changes, re-frame rows for COPY.

`scan` and `compact` are the two hot functions of change data capture. They exist twice: here in
Python, as the reference, and compiled in ``_frames.pyx``; `scan` and `compact` at the end of this
file are the compiled ones where the extension could be built. A property test holds both against
each other.

Layout of the stream (PostgreSQL documentation, "Message Formats" and "Logical Replication Message
Formats"): CopyData frames ``d``, int32 length; inside ``w`` start, end, time, message — or ``k``
end, time, reply — so a message begins 30 bytes after its frame. A pgoutput tuple is an int16 number
of columns and for each a kind byte (``n`` null, ``u`` unchanged TOAST, ``t`` text, ``b`` binary),
the latter two followed by int32 length and the value. Without its kind bytes that is exactly a row
of COPY BINARY: rows are passed on, never decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

_U2 = struct.Struct(">H").unpack_from
_U4 = struct.Struct(">I").unpack_from
_U8 = struct.Struct(">Q").unpack_from

MESSAGE = 30
#: Microseconds between the epochs of PostgreSQL (2000) and Unix (1970).
EPOCH_SHIFT = 946_684_800_000_000

NULL, UNCHANGED = ord("n"), ord("u")
IGNORE, KEYED, MULTISET = 0, 1, 2


@dataclass(slots=True)
class Plan:
    """How the rows of one relation are treated.

    Attributes:
        mode: `IGNORE`, `KEYED` (net change per key) or `MULTISET` (no key: rows are counted).
        keys: positions of the identity columns, in identity order.
        serial: equal keys may differ in bytes: at most one change per stage.
        skip: transactions (xid) whose changes a loaded chunk has already seen.
        owner: whatever the caller wants to find again.
    """

    mode: int
    keys: tuple[int, ...] = ()
    serial: bool = False
    skip: Callable[[int], bool] | None = None
    owner: object = None


@dataclass(slots=True)
class Scan:
    """What a scan found.

    Attributes:
        position: the first byte not scanned (start of an incomplete frame).
        cut: end of the last complete transaction, 0 when there is none.
        end_lsn: of that transaction.
        commits: commit times, seconds since 1970.
        changes: row changes seen before `cut`; `open_changes` after it.
        wal_end: what keepalives said, 0 when none came.
        reply: the server asks for an answer.
        foreign: position of a frame that is no CopyData (an error, the end), -1 when none.
    """

    position: int = 0
    cut: int = 0
    end_lsn: int = 0
    commits: list[float] = field(default_factory=list)
    changes: int = 0
    open_changes: int = 0
    wal_end: int = 0
    reply: bool = False
    foreign: int = -1


@dataclass(slots=True)
class Rows:
    """Net changes of one relation in one stage, as rows of COPY (no header, no trailer).

    `updates`: (positions of the known columns, number of rows, data); full rows come first.
    """

    plan: Plan
    inserts: tuple[int, bytes]
    updates: list[tuple[tuple[int, ...], int, bytes]]
    deletes: tuple[int, bytes]
    cancelled: tuple[int, bytes]


@dataclass(slots=True)
class Move:
    """A changed key with unknown columns: old key, known columns and the row."""

    plan: Plan
    old: bytes
    columns: tuple[int, ...]
    row: bytes


@dataclass(slots=True)
class Truncate:
    """TRUNCATE of relations by id; options as in the protocol (1 cascade, 2 restart identity)."""

    options: int
    relations: tuple[int, ...]
    xid: int


PrimitiveStage = list[Rows] | Move | Truncate | object


def scan_python(buffer: bytearray | memoryview, start: int, end: int) -> Scan:
    """Walk over complete frames in ``buffer[start:end]``."""
    found = Scan(position=start)
    p = start
    while end - p >= 6:
        if buffer[p] != 0x64:
            found.foreign = p
            break
        length = _U4(buffer, p + 1)[0]
        if p + 1 + length > end:
            break
        kind = buffer[p + 5]
        if kind == 0x77:
            message = buffer[p + MESSAGE]
            if message == 0x43:
                found.cut = p + 1 + length
                found.end_lsn = _U8(buffer, p + 40)[0]
                found.commits.append((_U8(buffer, p + 48)[0] + EPOCH_SHIFT) / 1e6)
                found.changes += found.open_changes
                found.open_changes = 0
            elif message in (0x49, 0x55, 0x44, 0x54):
                found.open_changes += 1
        elif kind == 0x6B:
            found.wal_end = _U8(buffer, p + 6)[0]
            found.reply = found.reply or buffer[p + 22] == 1
        p += 1 + length
    found.position = p
    return found


Tuple = tuple[bytes, int]
_DELETED = None


def _skip(raw: bytes, p: int) -> tuple[int, bool]:
    """End of the tuple at `p`, and whether it has unchanged TOAST columns."""
    unknown = False
    count = _U2(raw, p)[0]
    p += 2
    for _ in range(count):
        kind = raw[p]
        if kind == NULL:
            p += 1
        elif kind == UNCHANGED:
            unknown = True
            p += 1
        else:
            p += 5 + _U4(raw, p + 1)[0]
    return p, unknown


def _fields(raw: bytes, p: int) -> list[tuple[int, bytes]]:
    """(kind, length and value) of each field of the tuple at `p`."""
    fields = []
    count = _U2(raw, p)[0]
    p += 2
    for _ in range(count):
        kind = raw[p]
        if kind in (NULL, UNCHANGED):
            fields.append((kind, b""))
            p += 1
        else:
            end = p + 5 + _U4(raw, p + 1)[0]
            fields.append((kind, raw[p + 1 : end]))
            p = end
    return fields


def _key(raw: bytes, p: int, keys: tuple[int, ...]) -> bytes:
    fields = _fields(raw, p)
    return b"".join(fields[k][1] if fields[k][0] != NULL else b"\xff\xff\xff\xff" for k in keys)


def _merge(new: Tuple, old: Tuple, only: tuple[int, ...] | None) -> tuple[Tuple, bool]:
    """`new` with its unknown columns (of `only`, unless None) taken from `old`; whether any is
    still unknown.
    """
    pairs = zip(_fields(*new), _fields(*old), strict=True)
    fields = [
        o if n[0] == UNCHANGED and (only is None or i in only) else n
        for i, (n, o) in enumerate(pairs)
    ]
    data = struct.pack(">H", len(fields)) + b"".join(bytes((k,)) + v for k, v in fields)
    return (data, 0), any(k == UNCHANGED for k, _ in fields)


def _encode(fields: list[tuple[int, bytes]], *, binary: bool) -> bytes:
    if binary:
        values = [b"\xff\xff\xff\xff" if kind == NULL else value for kind, value in fields]
        return struct.pack(">H", len(fields)) + b"".join(values)
    texts = [
        b"" if kind == NULL else b'"' + value[4:].replace(b'"', b'""') + b'"'
        for kind, value in fields
    ]
    return b",".join(texts) + b"\n"


def _encode_key(key: bytes, *, binary: bool) -> bytes:
    fields, p = [], 0
    while p < len(key):
        if key[p : p + 4] == b"\xff\xff\xff\xff":
            fields.append((NULL, b""))
            p += 4
        else:
            end = p + 4 + _U4(key, p)[0]
            fields.append((0x74, key[p:end]))
            p = end
    return _encode(fields, binary=binary)


class _Table:
    """Net changes of one relation in the current stage."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rows: dict[bytes, Tuple | None] = {}
        self.fresh: set[bytes] = set()
        self.counts: dict[bytes, int] = {}

    def insert(self, raw: bytes, p: int) -> None:
        if self.plan.mode == MULTISET:
            self.count((raw, p), 1)
            return
        key = _key(raw, p, self.plan.keys)
        if key not in self.rows:
            self.fresh.add(key)
        self.rows[key] = (raw, p)

    def count(self, row: Tuple, by: int) -> None:
        raw, p = row
        data = raw[p : _skip(raw, p)[0]]
        self.counts[data] = self.counts.get(data, 0) + by

    def delete(self, raw: bytes, p: int) -> None:
        if self.plan.mode == MULTISET:
            self.count((raw, p), -1)
        else:
            self.rows[_key(raw, p, self.plan.keys)] = _DELETED

    def encoded(self, *, binary: bool) -> Rows:
        if self.plan.mode == MULTISET:
            return self._encoded_multiset(binary=binary)
        inserts: list[bytes] = []
        deletes: list[bytes] = []
        cancelled: list[bytes] = []
        updates: dict[tuple[int, ...], list[bytes]] = {}
        for key in sorted(self.rows):
            row = self.rows[key]
            if row is None:
                gone = cancelled if key in self.fresh else deletes
                gone.append(_encode_key(key, binary=binary))
                continue
            fields = _fields(*row)
            known = tuple(i for i, (kind, _) in enumerate(fields) if kind != UNCHANGED)
            data = _encode([fields[i] for i in known], binary=binary)
            if key in self.fresh:
                inserts.append(data)
            else:
                updates.setdefault(known, []).append(data)
        groups = sorted(updates.items(), key=lambda item: (-len(item[0]), item[0]))
        return Rows(
            self.plan,
            (len(inserts), b"".join(inserts)),
            [(known, len(rows), b"".join(rows)) for known, rows in groups],
            (len(deletes), b"".join(deletes)),
            (len(cancelled), b"".join(cancelled)),
        )

    def _encoded_multiset(self, *, binary: bool) -> Rows:
        more: list[bytes] = []
        fewer: list[bytes] = []
        for data, count in sorted(self.counts.items()):
            row = _encode(_fields(data, 0), binary=binary)
            (more if count > 0 else fewer).extend([row] * abs(count))
        return Rows(
            self.plan, (len(more), b"".join(more)), [], (len(fewer), b"".join(fewer)), (0, b"")
        )


class _Compactor:
    """The state of one `compact` call."""

    def __init__(self, plans: dict[int, Plan], *, binary: bool) -> None:
        self.plans = plans
        self.binary = binary
        self.stages: list[PrimitiveStage] = []
        self.tables: dict[int, _Table] = {}

    def flush(self) -> None:
        if self.tables:
            stage = [table.encoded(binary=self.binary) for table in self.tables.values()]
            self.stages.append(stage)
            self.tables = {}

    def change(self, raw: bytes, p: int, xid: int) -> None:
        relation = _U4(raw, p + MESSAGE + 1)[0]
        plan = self.plans[relation]
        if plan.mode == IGNORE or (plan.skip is not None and plan.skip(xid)):
            return
        if plan.serial and relation in self.tables:
            self.flush()
        table = self.tables.get(relation)
        if table is None:
            table = self.tables[relation] = _Table(plan)
        kind, body = raw[p + MESSAGE], p + MESSAGE + 6
        if kind == 0x49:
            table.insert(raw, body)
        elif kind == 0x44:
            table.delete(raw, body)
        else:
            self.update(table, relation, raw, body)

    def update(self, table: _Table, relation: int, raw: bytes, body: int) -> None:
        before = raw[body - 1]
        old: Tuple | None = None
        if before != 0x4E:
            old = (raw, body)
            body = _skip(raw, body)[0] + 1
        new: Tuple = (raw, body)
        unknown = _skip(raw, body)[1]
        if unknown and old is not None:
            # A key ('K') image holds nothing but the key, which may itself be TOASTed.
            new, unknown = _merge(new, old, None if before == 0x4F else table.plan.keys)
        if table.plan.mode == MULTISET:
            if old is not None:
                table.count(old, -1)
                table.count(new, 1)
            return
        key = _key(*new, table.plan.keys)
        old_key = key if old is None else _key(*old, table.plan.keys)
        previous = table.rows.get(old_key)
        if unknown and previous is not None:
            new, unknown = _merge(new, previous, None)
        if key == old_key:
            table.rows[key] = new
        elif unknown:
            if not table.rows:
                del self.tables[relation]
            self.flush()
            self.stages.append(self.move(table.plan, old_key, new))
        else:
            table.rows[old_key] = _DELETED
            if key not in table.rows:
                table.fresh.add(key)
            table.rows[key] = new

    def move(self, plan: Plan, old_key: bytes, new: Tuple) -> Move:
        fields = _fields(*new)
        known = tuple(i for i, (kind, _) in enumerate(fields) if kind != UNCHANGED)
        row = _encode([fields[i] for i in known], binary=self.binary)
        return Move(plan, _encode_key(old_key, binary=self.binary), known, row)


def compact_python(
    raw: bytes,
    plans: dict[int, Plan],
    relation: Callable[[bytes], object | None],
    xid: int,
    *,
    binary: bool,
) -> tuple[list[PrimitiveStage], int]:
    """Net changes of the frames in `raw`, in stages.

    Args:
        raw: whole frames.
        plans: by relation id; `relation` keeps them up to date.
        relation: called with each Relation message; may return a stage of its own.
        xid: of the transaction `raw` begins in the middle of.
        binary: rows as COPY BINARY (tuples are binary), else as COPY CSV (tuples are text).

    Returns:
        The stages (`list[Rows]`, `Move`, `Truncate` or what `relation` returned) and the xid of the
        last transaction.
    """
    work = _Compactor(plans, binary=binary)
    p, end = 0, len(raw)
    while p < end:
        length = _U4(raw, p + 1)[0]
        if raw[p + 5] == 0x77:
            kind = raw[p + MESSAGE]
            if kind in (0x49, 0x55, 0x44):
                work.change(raw, p, xid)
            elif kind == 0x42:
                xid = _U4(raw, p + MESSAGE + 17)[0]
            elif kind == 0x52:
                stage = relation(raw[p + MESSAGE : p + 1 + length])
                if stage is not None:
                    work.flush()
                    work.stages.append(stage)
            elif kind == 0x54:
                work.flush()
                count = _U4(raw, p + MESSAGE + 1)[0]
                ids = struct.unpack_from(f">{count}I", raw, p + MESSAGE + 6)
                work.stages.append(Truncate(raw[p + MESSAGE + 5], ids, xid))
        p += 1 + length
    work.flush()
    return work.stages, xid


try:
    from godwit.engines.postgres._frames import (  # type: ignore[import-not-found,unused-ignore]
        compact as _compact,
    )
    from godwit.engines.postgres._frames import (  # type: ignore[import-not-found,unused-ignore]
        scan as _scan,
    )

    COMPILED = True
except ImportError:
    _scan, _compact = scan_python, compact_python
    COMPILED = False

scan: Callable[[bytearray | memoryview, int, int], Scan] = _scan
compact: Callable[..., tuple[list[PrimitiveStage], int]] = _compact

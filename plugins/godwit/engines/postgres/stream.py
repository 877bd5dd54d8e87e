"""A running session on a replication slot: receive, cut at commits, net out.

libpq makes the connection and starts replication. Then, where the connection is plain, its socket
is read directly in large blocks: libpq hands over one message at a time, which costs ten times as
much as everything else done here. Over TLS libpq goes on reading.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import psycopg
from psycopg import pq, sql

from godwit.engines.postgres.capture import CaptureNames, Lsn, check_start, release_slot
from godwit.engines.postgres.connection import (
    BINARY,
    Connector,
    Session,
    unencrypted,
)
from godwit.engines.postgres.frames import EPOCH_SHIFT, Plan, Scan, compact, scan
from godwit.engines.postgres.relations import Relations
from godwit.engines.postgres.reshaped import ReshapedError
from godwit.errors import CaptureError
from godwit.model.catalog import TableName
from godwit.model.changes import ChangeBatch, Format, Idle, Position, ShapeChange, Stage
from godwit.model.mapping import TableMapping
from godwit.protocols import Wanted

#: A small receive buffer lets the server gather many messages for one send; see `_nap`.
RECEIVE_BUFFER = 64 << 10
BLOCK = 1 << 20
#: While data pours in, batches of so many bytes are gathered, for so many seconds at most.
GATHER_BYTES = 2 << 20
GATHER = 0.03
#: Seconds: a nap while behind; silence after which the source is asked how far it is; waiting for
#: data after that; between questions, between answers; until silence is an error.
NAP = 0.002
PAUSE = 0.005
WAIT = 0.05
ASK = 0.1
ANSWER = 5.0
SILENCE = 90.0


def open_stream(
    connector: Connector,
    names: CaptureNames,
    start: Lsn,
    mappings: Sequence[TableMapping],
    format: Format,
    marks: Mapping[TableName, str],
    *,
    batch_bytes: int,
) -> Stream:
    """Start replication after `start`.

    Raises:
        CaptureLostError: the slot cannot serve that position.
        CaptureError: replication does not start.
    """
    with connector.connect() as session:
        release_slot(session, names.slot)
        check_start(session, names, start)
        version = session.info.server_version
    catalog = connector.connect()
    try:
        relations = Relations(catalog, mappings, marks, format)
        wire = _start(connector, names, start, binary=format == BINARY, version=version)
    except BaseException:
        catalog.close()
        raise
    return Stream(wire, relations, start, format, batch_bytes)


def _start(
    connector: Connector, names: CaptureNames, start: Lsn, *, binary: bool, version: int
) -> Wire:
    session = connector.connect(replication=True)
    publications = [names.publication]
    if names.own_publication:
        publications.append(names.inserts_publication)
    options: dict[str, str] = {"proto_version": "1"}
    if binary and version >= 140000:
        options["binary"] = "true"
    try:
        options["publication_names"] = ", ".join(
            f'"{name}"' for name in publications if _published(connector, name)
        )
        query = sql.SQL("START_REPLICATION SLOT {} LOGICAL {} ({})").format(
            sql.Identifier(names.slot),
            sql.SQL(str(start)),
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(key), sql.Literal(value))
                for key, value in options.items()
            ),
        )
        return Wire(session, query.as_bytes(session))
    except BaseException:
        session.close()
        raise


def _published(connector: Connector, publication: str) -> bool:
    with connector.connect() as session:
        query = "SELECT 1 FROM pg_publication WHERE pubname = %s"
        return session.execute(query, [publication]).fetchone() is not None


class Wire:
    """The connection in COPY BOTH mode: CopyData frames in, standby status updates out."""

    def __init__(self, session: Session, query: bytes) -> None:
        self._session = session
        self._pgconn = session.pgconn
        self._socket: socket.socket | None = None
        self._rest = memoryview(b"")
        if self.encrypted:
            result = self._pgconn.exec_(query)
            if result.status != pq.ExecStatus.COPY_BOTH:
                raise CaptureError("replication does not start", why=_text(result.error_message))
        else:
            self._take_over(query)

    @property
    def encrypted(self) -> bool:
        """The socket carries TLS or GSSAPI, which only libpq can read."""
        return not unencrypted(self._session)

    def _take_over(self, query: bytes) -> None:
        """Send the query with libpq, then read the answer and all that follows ourselves."""
        self._pgconn.nonblocking = 1
        self._pgconn.send_query(query)
        while self._pgconn.flush():
            select.select([], [self._pgconn.socket], [], 1.0)
        sock = socket.socket(fileno=os.dup(self._pgconn.socket))
        self._socket = sock
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        header = self._exactly(5)
        body = self._exactly(struct.unpack(">I", header[1:])[0] - 4)
        if header[:1] == b"E":
            raise CaptureError("replication does not start", why=error_text(body))
        if header[:1] != b"W":
            raise CaptureError("replication does not start", why=f"unexpected answer {header!r}")

    def _exactly(self, size: int) -> bytes:
        assert self._socket is not None
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise CaptureError("the source closed the connection")
            data += part
        return data

    def receive(self, into: memoryview, timeout: float) -> int:
        """Whole or partial frames into `into`; 0 when nothing came in time."""
        if self._socket is None:
            return self._receive_libpq(into, timeout)
        if not select.select([self._socket], [], [], timeout)[0]:
            return 0
        size = self._socket.recv_into(into)
        if size == 0:
            raise CaptureError("the source closed the connection")
        return size

    def _receive_libpq(self, into: memoryview, timeout: float) -> int:
        """The same frames, put together from libpq's messages."""
        size = 0
        while size < len(into):
            if not self._rest and not self._next_message(0.0 if size else timeout):
                break
            part = self._rest[: len(into) - size]
            into[size : size + len(part)] = part
            self._rest = self._rest[len(part) :]
            size += len(part)
        return size

    def _next_message(self, timeout: float) -> bool:
        """Put libpq's next message into `_rest` as a frame; False when none comes in time."""
        for attempt in (1, 2):
            length, data = self._pgconn.get_copy_data(1)
            if length > 0:
                self._rest = memoryview(b"d" + struct.pack(">I", length + 4) + bytes(data))
                return True
            if length < 0:
                why = self._pgconn.get_error_message()
                raise CaptureError("the source ended the replication", why=why.strip())
            if attempt == 2 or not select.select([self._pgconn.socket], [], [], timeout)[0]:
                break
            self._pgconn.consume_input()
        return False

    def send(self, message: bytes) -> None:
        """One CopyData message."""
        if self._socket is None:
            self._pgconn.put_copy_data(message)
            self._pgconn.flush()
        else:
            self._socket.sendall(b"d" + struct.pack(">I", len(message) + 4) + message)

    def close(self) -> None:
        """Close at once; the server notices."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        self._pgconn.finish()


class Stream:
    """See `godwit.protocols.ChangeStream`."""

    def __init__(
        self, wire: Wire, relations: Relations, start: Lsn, format: Format, batch_bytes: int
    ) -> None:
        self._wire, self._relations, self._format = wire, relations, format
        self._limit = batch_bytes
        self._buffer = bytearray(batch_bytes + 2 * BLOCK)
        self._filled = self._scanned = self._cut = 0
        self._end = self._confirmed = self._wal_end = start.value
        #: The position of what was handed over last.
        self._at = start.value
        self._commits: list[float] = []
        self._changes = self._open_changes = 0
        self._xid = 0
        self._open = False
        #: When the source was answered, asked, heard of, and when it last sent data.
        self._answered = self._asked = self._heard = self._fed = time.monotonic()
        self._taken = time.monotonic()
        self._flowing = False
        self._told = 0
        self._plans: dict[int, Plan] = relations.plans

    def read(self, wanted: Callable[[], Wanted]) -> ChangeBatch | Idle | None:
        """See `godwit.protocols.ChangeStream.read`."""
        try:
            return self._read(wanted)
        except (OSError, psycopg.Error) as cause:
            raise CaptureError(
                "the connection to the source broke",
                where=f"position {Lsn(self._end)}",
                why=str(cause).strip(),
                hint="it is opened again from the checkpoint",
            ) from cause

    def _read(self, wanted: Callable[[], Wanted]) -> ChangeBatch | Idle | None:
        want = wanted()
        gather = self._gathers()
        if self._cut and want == Wanted.ANY and not gather:
            return self._take(self._cut, final=True)
        if self._filled >= self._limit and self._scanned:
            if want == Wanted.NOTHING:
                time.sleep(NAP)
                self._answer(quiet=False)
                return None
            return self._take(self._cut or self._scanned, final=self._cut > 0)
        asked = self._asked > self._fed
        received = self._receive(NAP / 2 if self._cut else WAIT if asked else PAUSE)
        self._flowing = received > 0
        self._answer(quiet=not received)
        if asked and not self._filled and not self._open:
            # The server's answer (or none yet): all before it has been read.
            self._at = max(self._at, self._wal_end)
            return Idle(Lsn(self._wal_end))
        behind = gather or (want != Wanted.ANY and self._filled >= RECEIVE_BUFFER)
        if behind and 0 < received < 2 * RECEIVE_BUFFER:
            # While behind, let the server fill its buffer: it sends more at once for less work.
            time.sleep(NAP)
        return None

    def _gathers(self) -> bool:
        """Data pours in: a moment more makes a batch that is worth its commit."""
        much = RECEIVE_BUFFER <= self._filled < GATHER_BYTES
        return much and self._flowing and time.monotonic() - self._taken < GATHER

    def _receive(self, timeout: float) -> int:
        if self._filled + BLOCK > len(self._buffer):
            # One message larger than all before: make room for it.
            self._buffer.extend(bytes(len(self._buffer)))
        view = memoryview(self._buffer)
        try:
            received = self._wire.receive(view[self._filled : self._filled + 4 * BLOCK], timeout)
            now = time.monotonic()
            if received:
                self._heard = now
                self._filled += received
                self._walk(view)
                if self._filled:
                    self._fed = now
            elif now - self._heard > SILENCE:
                raise CaptureError("the source has gone silent", why=f"no answer for {SILENCE} s")
        finally:
            view.release()
        return received

    def _walk(self, view: memoryview) -> None:
        found = scan(view, self._scanned, self._filled)
        self._scanned = found.position
        if found.foreign >= 0:
            self._ended(bytes(view[found.foreign : self._filled]))
        if found.cut:
            self._cut, self._end = found.cut, found.end_lsn
            self._commits += found.commits
            self._changes += self._open_changes + found.changes
            self._open_changes = found.open_changes
        else:
            self._open_changes += found.open_changes
        self._wal_end = max(self._wal_end, found.wal_end)
        if found.reply:
            self._answered = 0.0
        self._forget_keepalives(view)

    def _forget_keepalives(self, view: memoryview) -> None:
        """Empty the buffer when there is nothing but keepalives in it."""
        whole = self._scanned == self._filled and not self._cut and not self._open_changes
        if whole and not self._open and _keepalives(view, self._filled):
            self._filled = self._scanned = 0

    def _ended(self, rest: bytes) -> None:
        why = "the server ended the stream"
        if rest[:1] == b"E" and len(rest) > 5:
            why = error_text(rest[5:])
        raise CaptureError("the source ended the replication", where=f"{Lsn(self._end)}", why=why)

    def _take(self, end: int, *, final: bool) -> ChangeBatch:
        """The frames up to `end` as a batch, or those before a table has another shape."""
        change: ShapeChange | None = None
        while True:
            with memoryview(self._buffer) as view:
                raw = bytes(view[:end])
            try:
                stages, xid = self._net(raw)
                break
            except ReshapedError as found:
                self._relations.restore()
                before = found.before(raw, self._xid)
                if self._open and not before.cut:
                    # A part of this transaction was handed over: there is no way back.
                    self._relations.tell_in_part(found.change.table)
                else:
                    change, end, final = found.change, before.cut, True
        self._xid = xid
        if change is None:
            batch = self._whole(stages, end, final=final)
            self._at = self._end
        else:
            batch = self._cut_short(stages, raw, change)
        self._drop(end)
        self._taken = time.monotonic()
        with memoryview(self._buffer) as view:
            self._forget_keepalives(view)
        self._wal_end = max(self._wal_end, self._end)
        return batch

    def _net(self, raw: bytes) -> tuple[tuple[Stage, ...], int]:
        self._relations.begin()
        stages, xid = compact(
            raw, self._plans, self._relations.seen, self._xid, binary=self._format == BINARY
        )
        return self._relations.stages(stages), xid

    def _whole(self, stages: tuple[Stage, ...], end: int, *, final: bool) -> ChangeBatch:
        """All complete transactions, or a part of the one that is open."""
        batch = ChangeBatch(
            stages=stages,
            position=Lsn(self._end),
            final=final,
            transactions=len(self._commits),
            changes=self._changes if final else self._open_changes,
            commits=tuple(self._commits),
            bytes=end,
        )
        self._commits, self._changes = [], 0
        self._open = not final
        if not final:
            self._open_changes = 0
        return batch

    def _cut_short(self, stages: tuple[Stage, ...], raw: bytes, change: ShapeChange) -> ChangeBatch:
        """The complete transactions in `raw`, behind which the table has another shape."""
        self._relations.leave_out(change.table)
        before = scan(memoryview(raw), 0, len(raw)) if raw else Scan()
        self._at = before.end_lsn or self._at
        batch = ChangeBatch(
            stages=(*stages, replace(change, clean=True)),
            position=Lsn(self._at),
            transactions=len(before.commits),
            changes=before.changes,
            commits=tuple(before.commits),
            bytes=len(raw),
        )
        del self._commits[: len(before.commits)]
        self._changes -= before.changes
        self._open = False
        return batch

    def _drop(self, end: int) -> None:
        """Forget the frames up to `end`."""
        with memoryview(self._buffer) as view:
            rest = self._filled - end
            view[:rest] = bytes(view[end : self._filled])
        self._filled, self._scanned = rest, self._scanned - end
        self._cut = max(self._cut - end, 0)

    def confirm(self, position: Position) -> None:
        """See `godwit.protocols.ChangeStream.confirm`; sent by the reading thread."""
        assert isinstance(position, Lsn)
        self._confirmed = max(self._confirmed, position.value)

    def _answer(self, *, quiet: bool) -> None:
        """Tell the source what is durable, and ask how far it is when nothing comes."""
        now = time.monotonic()
        ask = quiet and (self._asked <= self._fed or now - self._asked > ASK)
        due = now - self._answered > ANSWER
        news = self._confirmed > self._told and now - self._answered > ASK
        if not (ask or due or news):
            return
        self._told = self._confirmed
        self._answered = now
        if ask:
            self._asked = now
        clock = int(time.time() * 1e6) - EPOCH_SHIFT
        self._wire.send(struct.pack(">cQQQQB", b"r", *[self._told] * 3, clock, ask))

    def close(self) -> None:
        """End the session; what was confirmed last is told before."""
        with contextlib.suppress(OSError, CaptureError, psycopg.Error):
            clock = int(time.time() * 1e6) - EPOCH_SHIFT
            self._wire.send(struct.pack(">cQQQQB", b"r", *[self._confirmed] * 3, clock, 0))
        self._wire.close()
        self._relations.close()


def _keepalives(view: memoryview, end: int) -> bool:
    p = 0
    while p < end:
        if view[p + 5] != 0x6B:
            return False
        p += 1 + int.from_bytes(view[p + 1 : p + 5], "big")
    return True


def _text(message: bytes | None) -> str:
    return (message or b"").decode("utf-8", "replace").strip()


def error_text(body: bytes) -> str:
    """The message of an ErrorResponse's fields."""
    fields = {part[:1]: part[1:] for part in body.split(b"\0") if part}
    return _text(fields.get(b"M"))

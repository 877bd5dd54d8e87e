"""Events put together to what the server committed at once: their changes, and where they end."""

from __future__ import annotations

import re
from collections.abc import Callable

from godwit.engines.mysql import events as e
from godwit.engines.mysql.backlog import Backlog, Taken
from godwit.engines.mysql.gtid import LogPoint, LogPosition
from godwit.engines.mysql.netting import Images
from godwit.engines.mysql.relations import IGNORED, Plan, Relations
from godwit.engines.mysql.statements import NOTHING, Statements
from godwit.engines.mysql.tracks import Cursor, GroupName, Track
from godwit.engines.mysql.xa import HELD_BYTES, Held, parse_statement, too_many
from godwit.errors import CaptureLostError, UntoldError
from godwit.model.catalog import TableName
from godwit.model.changes import ShapeChange

#: What a transaction with savepoints may hold in memory before it is handed over in parts.
SAVEPOINT_BYTES = 256 << 20
_ROLLBACK_TO = re.compile(r"ROLLBACK\s+TO\s+(SAVEPOINT\s+)?", re.IGNORECASE)
_RELOAD = "load the tables again (`godwit reload`)"


class Transactions:
    """Takes events in and keeps the changes of captured tables until they are taken.

    Attributes:
        caught_up: the server has said that there is nothing more.
    """

    def __init__(
        self, relations: Relations, statements: Statements, track: Track, at: LogPoint
    ) -> None:
        self._relations, self._statements, self._track = relations, statements, track
        self._cursor = Cursor(at)
        self._kept = Backlog(track.position)
        self._maps: dict[int, Plan] = {}
        self._checksums = True
        self.caught_up = False
        # The group that is being read.
        self._in_group = self._explicit = self._xa = self._skipping = False
        self._committed: float | None = None
        self._savepoints: dict[str, int] = {}
        self._held = Held()
        self._reads: dict[int, Callable[[bytes, int], None]] = {
            e.TABLE_MAP: self._table_map,
            **dict.fromkeys(e.ROWS, self._rows),
            e.XID: lambda _event, moment: self._end(moment),
            e.QUERY: self._query,
            e.QUERY_COMPRESSED: self._compressed_query,
            e.EXECUTE_LOAD_QUERY: self._load_query,
            e.GTID: lambda event, _: self._gtid(e.gtid(event)),
            e.GTID_TAGGED: lambda event, _: self._gtid(e.tagged_gtid(event)),
            e.ANONYMOUS_GTID: self._anonymous,
            e.MARIA_GTID: self._maria_gtid,
            e.XA_PREPARE: self._xa_prepare,
            e.TRANSACTION_PAYLOAD: self._payload,
            e.PARTIAL_UPDATE: self._partial,
            e.INCIDENT: self._incident,
        }
        self._size = 0

    # -- what is kept

    @property
    def kept_bytes(self) -> int:
        """Of row images kept, those of prepared XA transactions apart."""
        return self._kept.bytes

    @property
    def complete(self) -> bool:
        """There are changes of complete transactions, or the end of one that went in parts."""
        return self._kept.complete

    @property
    def cut(self) -> bool:
        """A table has another shape: that is to be taken before the next event comes in."""
        return self._kept.cut

    @property
    def pending(self) -> bool:
        """There are changes, or a transaction is being read."""
        return not self._kept.empty or self._in_group

    @property
    def divisible(self) -> bool:
        """What is open may be handed over in parts: it cannot be taken back any more."""
        if not self._kept.open or self._xa:
            return False
        # To a savepoint is rarely rolled back in the log, but then it must still be possible.
        return not self._savepoints or self.kept_bytes > SAVEPOINT_BYTES

    def position(self) -> LogPosition:
        """Behind the last complete transaction."""
        return self._track.position()

    def take(self) -> Taken:
        """All changes of complete transactions, up to where a shape has changed."""
        return self._kept.take()

    def take_open(self) -> Taken:
        """The changes so far of the transaction that is being read, when nothing is complete."""
        return self._kept.take_open()

    # -- events

    def feed(self, event: bytes) -> None:
        """Take the next event in.

        Raises:
            UntoldError: it cannot be told what it means, or it tells too little.
        """
        moment, kind, _, size, position, flags = e.header(event)
        if kind in (e.HEARTBEAT, e.HEARTBEAT_V2):
            self.caught_up = True
            return
        self.caught_up = False
        if kind == e.ROTATE:
            self._rotate(event)
            return
        if kind == e.FORMAT_DESCRIPTION:
            self._format(event, position)
            return
        if self._checksums:
            if not e.checksummed(event):
                raise e.malformed("an event with a wrong checksum")
            event = event[: -e.CHECKSUM]
        if position and not flags & e.IS_ARTIFICIAL:
            self._cursor.advance(position)
        self._size = size
        self._dispatch(kind, event, moment, flags)
        if not self._in_group:
            self._track.passed(self._cursor.point())

    def _dispatch(self, kind: int, event: bytes, moment: int, flags: int) -> None:
        read = self._reads.get(kind)
        if read is not None:
            read(event, moment)
        elif kind not in e.QUIET and not flags & e.IS_IGNORABLE:
            raise UntoldError(
                f"the binary log holds an event that is not known (type {kind})",
                where=str(self._cursor.point()),
                why="the server is newer than this version of Godwit, or uses a feature it lacks",
                hint="use a newer Godwit; nothing has been applied beyond this event",
            )

    def _rotate(self, event: bytes) -> None:
        # Whether this one has a checksum cannot be known before the file's format is.
        body = event[: -e.CHECKSUM] if e.checksummed(event) else event
        file, offset = e.rotate(body)
        self._cursor.move(file, offset)
        self._maps.clear()

    def _format(self, event: bytes, position: int) -> None:
        self._checksums, _ = e.format_description(event)
        if position:
            self._cursor.advance(position)
        if self._in_group and position:
            # The server crashed while it wrote this transaction: it never happened.
            self._undo()
            self._close_group()

    # -- groups

    def _begin(self, name: GroupName, *, explicit: bool) -> None:
        self._in_group, self._explicit = True, explicit
        self._track.begin(name, self._cursor.point(self._size))
        self._skipping = self._track.seen()

    def _gtid(self, name: e.Gtid) -> None:
        self._committed = name.committed
        self._begin(name, explicit=False)

    def _anonymous(self, event: bytes, _moment: int) -> None:
        self._committed = e.gtid(event).committed
        self._begin(None, explicit=False)

    def _maria_gtid(self, event: bytes, _moment: int) -> None:
        name = e.maria_gtid(event)
        self._begin(name, explicit=not name.flags & e.STANDALONE)
        self._xa = bool(name.flags & e.PREPARED_XA)

    def _end(self, moment: int) -> None:
        """The group is committed."""
        self._track.end(self._cursor.point())
        if self._skipping:
            self._undo()
        self._kept.end(float(moment) if self._committed is None else self._committed)
        self._close_group()

    def _close_group(self) -> None:
        self._in_group = self._explicit = self._xa = self._skipping = False
        self._committed = None
        if self._savepoints:
            self._savepoints = {}

    def _undo(self, since: int = 0) -> None:
        """Take changes back, but for the group's first `since`."""
        if self._kept.handed:
            raise UntoldError(
                "a transaction was taken back after a part of it was handed over",
                where=str(self._cursor.point()),
                why="it is larger than one batch",
                hint="let batches be larger (MemoryLimitTotal) and run again",
            )
        self._kept.undo(since)

    # -- rows

    def _table_map(self, event: bytes, _moment: int) -> None:
        if self._skipping and not self._xa:
            return
        body = event[e.HEADER + 8 :]
        plan = self._relations.known(body)
        if plan is None:
            plan, change = self._relations.seen(body, self._passed)
            if change is not None:
                self._kept.reshape(change)
        self._maps[int.from_bytes(event[e.HEADER : e.HEADER + 6], "little")] = plan

    def _passed(self, mark: LogPosition | None) -> bool:
        """The group is only read again, or lies before what a table with that mark was loaded
        with: its shape at that time does not matter.
        """
        return self._skipping or (mark is not None and self._track.within(mark))

    def _passed_over(self, table: TableName) -> bool:
        """A statement about it now means nothing."""
        return self._relations.left_out(table) or self._passed(self._relations.mark(table))

    def _rows(self, event: bytes, _moment: int) -> None:
        if self._skipping and not self._xa:
            return
        table = int.from_bytes(event[e.HEADER : e.HEADER + 6], "little")
        plan = self._maps.get(table)
        if plan is IGNORED or table == 0xFFFFFF:
            return
        if plan is None:
            raise e.malformed("rows of a table that it does not describe")
        found = e.rows(event)
        if found.columns != plan.width:
            raise e.malformed("rows with another number of columns than their table has")
        if (found.before, found.after) not in plan.checked:
            plan.check(found.before, found.after)
        within = self._track.within
        loaded = plan.mark is not None and within(plan.mark)
        without = None
        if plan.silent is not None and not found.flags & e.NO_FOREIGN_KEY_CHECKS:
            without = frozenset(t for t, mark in plan.later if within(mark))
        if loaded and without is None:
            return
        self._kept.add(
            Images(plan, found.kind, found.before, found.after, found.images, without, loaded)
        )
        if self._xa and self.kept_bytes > HELD_BYTES:
            raise too_many(str(self._cursor.point()))

    def _partial(self, event: bytes, _moment: int) -> None:
        plan = self._maps.get(int.from_bytes(event[e.HEADER : e.HEADER + 6], "little"))
        if plan is IGNORED or (self._skipping and not self._xa):
            return
        raise UntoldError(
            "a change in the binary log does not tell the whole row",
            where=str(plan.table if plan else self._cursor.point()),
            why="a session has set binlog_row_value_options to PARTIAL_JSON",
            hint=f"set it to '' everywhere, then {_RELOAD}",
        )

    def _incident(self, _event: bytes, _moment: int) -> None:
        raise CaptureLostError(
            "the binary log tells of an incident: changes may be missing in it",
            where=str(self._cursor.point()),
            why="the server could not write everything into its log (a full disk, a crash)",
            hint=_RELOAD,
        )

    def _payload(self, event: bytes, _moment: int) -> None:
        """A compressed transaction, its position that of the event around it."""
        for inner in e.payload(event):
            moment, kind, _, _, _, flags = e.header(inner)
            self._dispatch(kind, inner, moment, flags)

    # -- statements

    def _compressed_query(self, event: bytes, moment: int) -> None:
        self._statement(e.query(event, compressed=True), moment)

    def _load_query(self, event: bytes, moment: int) -> None:
        self._statement(e.query(event, load=True), moment)

    def _query(self, event: bytes, moment: int) -> None:
        self._statement(e.query(event), moment)

    def _statement(self, query: e.Query, moment: int) -> None:
        text = query.text
        word = text[:9].upper()
        if not self._in_group:
            self._begin(None, explicit=False)
        if text == "BEGIN":
            self._explicit = True
        elif text == "COMMIT":
            self._end(moment)
        elif text == "ROLLBACK":
            self._undo()
            self._end(moment)
        elif word == "SAVEPOINT":
            self._savepoints[text[9:].strip()] = self._kept.open
        elif word.startswith("ROLLBACK "):
            self._rollback_to(text)
        elif word.startswith("XA ") and (parsed := parse_statement(text)) is not None:
            self._xa_statement(*parsed, moment)
        elif not word.startswith("RELEASE S"):
            self._definition(query, moment)

    def _rollback_to(self, text: str) -> None:
        """Only logged for what was rolled back beside rows of tables without transactions, which
        have a group of their own.
        """
        since = self._savepoints.get(_ROLLBACK_TO.sub("", text).strip())
        if since is None:
            raise e.malformed("a savepoint")
        self._undo(since)

    def _definition(self, query: e.Query, moment: int) -> None:
        found = NOTHING
        if not self._skipping:
            found = self._statements.meaning(query.text, query.database)
        changes: list[ShapeChange] = []
        for stage in found.stages:
            if isinstance(stage, ShapeChange):
                changes.append(stage)
            elif not all(self._passed(self._relations.mark(t)) for t in stage.tables):
                self._kept.add(stage)
        for table in found.altered:
            if self._passed_over(table):
                continue
            change = self._relations.altered(table, query.text, found.alteration)
            changes += [change] if change is not None else []
        changes = [c for c in changes if not self._passed_over(c.table)]
        if found.altered or found.stages:
            self._maps.clear()
        if not self._explicit:
            self._end(moment)
        for change in changes:
            # Behind the statement: it is a group of its own, or else a table's rows as text.
            self._relations.changed(change)
            self._kept.reshape(change)

    # -- XA

    def _xa_statement(self, verb: str, xid: bytes, moment: int) -> None:
        if verb in {"START", "BEGIN"}:
            self._explicit = self._xa = True
        elif verb in {"COMMIT", "ROLLBACK"} and self._xa:  # one phase
            if verb == "ROLLBACK":
                self._undo()
            self._end(moment)
        elif verb in {"COMMIT", "ROLLBACK"}:
            self._xa_finish(xid, moment, commit=verb == "COMMIT")

    def _xa_prepare(self, event: bytes, moment: int) -> None:
        one_phase, xid = e.xa_prepare(event)
        if one_phase:
            self._end(moment)
            return
        self._held.put(xid, self._kept.hold(), str(self._cursor.point()))
        self._track.hold(xid)
        self._track.end(self._cursor.point())
        self._close_group()

    def _xa_finish(self, xid: bytes, moment: int, *, commit: bool) -> None:
        held = self._held.pop(xid)
        if held is None and commit and not self._skipping:
            raise CaptureLostError(
                "an XA transaction was committed that was prepared before the capture began",
                where=str(self._cursor.point()),
                why="its rows lie in a part of the log that was not read",
                hint=_RELOAD,
            )
        if commit and not self._skipping:
            for operation in held or []:
                self._kept.add(operation)
        self._track.release(xid)
        self._end(moment)

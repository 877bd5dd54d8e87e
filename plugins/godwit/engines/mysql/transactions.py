"""Events put together to what the server committed at once: their changes, and where they end."""

from __future__ import annotations

import re
from collections.abc import Callable

from godwit.engines.mysql import events as e
from godwit.engines.mysql.gtid import LogPoint, LogPosition
from godwit.engines.mysql.netting import Images, Operation
from godwit.engines.mysql.relations import IGNORED, Plan, Relations
from godwit.engines.mysql.statements import Statements
from godwit.engines.mysql.tracks import Cursor, GroupName, Track
from godwit.engines.mysql.xa import HELD_BYTES, Held, images_bytes, parse_statement, too_many
from godwit.errors import CaptureLostError, UntoldError
from godwit.model.changes import ShapeChange

#: What a transaction with savepoints may hold in memory before it is handed over in parts.
SAVEPOINT_BYTES = 256 << 20
_ROLLBACK_TO = re.compile(r"ROLLBACK\s+TO\s+(SAVEPOINT\s+)?", re.IGNORECASE)
_RELOAD = "load the tables again (`godwit reload`)"


class Transactions:
    """Takes events in and keeps the changes of captured tables until they are taken.

    Attributes:
        bytes: of row images kept, those of prepared XA transactions apart.
        transactions, commits: complete ones with changes that were kept; when they committed.
        caught_up: the server has said that there is nothing more.
    """

    def __init__(
        self, relations: Relations, statements: Statements, track: Track, at: LogPoint
    ) -> None:
        self._relations, self._statements, self._track = relations, statements, track
        self._cursor = Cursor(at)
        self._operations: list[Operation] = []
        self._cut = 0
        #: The transaction of which a part was handed over has ended.
        self._owed = False
        self._maps: dict[int, Plan] = {}
        self._checksums = True
        self.bytes = 0
        self.transactions = 0
        self.commits: list[float] = []
        self.caught_up = False
        # The group that is being read.
        self._in_group = self._explicit = self._xa = self._skipping = self._handed = False
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
    def complete(self) -> bool:
        """There are changes of complete transactions, or the end of one that went in parts."""
        return self._cut > 0 or self._owed

    @property
    def pending(self) -> bool:
        """There are changes, or a transaction is being read."""
        return bool(self._operations) or self._in_group

    @property
    def divisible(self) -> bool:
        """What is open may be handed over in parts: it cannot be taken back any more."""
        if len(self._operations) <= self._cut or self._xa:
            return False
        # To a savepoint is rarely rolled back in the log, but then it must still be possible.
        return not self._savepoints or self.bytes > SAVEPOINT_BYTES

    def position(self) -> LogPosition:
        """Behind the last complete transaction."""
        return self._track.position()

    def take(self) -> list[Operation]:
        """All changes of complete transactions."""
        taken = self._operations[: self._cut]
        self._operations = self._operations[self._cut :]
        self._cut, self._owed = 0, False
        self._forget(taken)
        self.transactions, self.commits = 0, []
        return taken

    def take_open(self) -> list[Operation]:
        """The changes so far of the transaction that is being read, when nothing is complete."""
        taken, self._operations = self._operations, []
        self._handed = True
        self._forget(taken)
        return taken

    def _forget(self, taken: list[Operation]) -> None:
        self.bytes -= images_bytes(taken)

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
            self._undo(self._cut)
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
            self._undo(self._cut)
        if len(self._operations) > self._cut or self._handed:
            self._cut, self._owed = len(self._operations), self._handed
            self.transactions += 1
            committed = self._committed
            self.commits.append(float(moment) if committed is None else committed)
        self._close_group()

    def _close_group(self) -> None:
        self._in_group = self._explicit = self._xa = self._skipping = self._handed = False
        self._committed = None
        if self._savepoints:
            self._savepoints = {}

    def _undo(self, since: int) -> None:
        """Take changes back; that a table has another shape stays true."""
        if self._handed:
            raise UntoldError(
                "a transaction was taken back after a part of it was handed over",
                where=str(self._cursor.point()),
                why="it is larger than one batch",
                hint="let batches be larger (MemoryLimitTotal) and run again",
            )
        gone = self._operations[since:]
        self._operations[since:] = [o for o in gone if isinstance(o, ShapeChange)]
        self._forget(gone)

    # -- rows

    def _table_map(self, event: bytes, _moment: int) -> None:
        if self._skipping and not self._xa:
            return
        body = event[e.HEADER + 8 :]
        plan = self._relations.known(body)
        if plan is None:
            plan, change = self._relations.seen(body)
            if change is not None:
                self._operations.append(change)
        self._maps[int.from_bytes(event[e.HEADER : e.HEADER + 6], "little")] = plan

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
        self._operations.append(
            Images(plan, found.kind, found.before, found.after, found.images, without, loaded)
        )
        self.bytes += len(found.images)
        if self._xa and self.bytes > HELD_BYTES:
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
            self._undo(self._cut)
            self._end(moment)
        elif word == "SAVEPOINT":
            self._savepoints[text[9:].strip()] = len(self._operations)
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
        if not self._skipping:
            found = self._statements.meaning(query.text, query.database)
            stages = list(found.stages)
            for table in found.altered:
                self._relations.altered(table)
                keys = self._relations.keys_altered(table, query.text)
                stages += [keys] if keys else []
            for stage in stages:
                self._operations.append(stage)
                if isinstance(stage, ShapeChange):
                    self._relations.give_up(stage.table)
            if found.altered or found.stages:
                self._maps.clear()
        if not self._explicit:
            self._end(moment)

    # -- XA

    def _xa_statement(self, verb: str, xid: bytes, moment: int) -> None:
        if verb in {"START", "BEGIN"}:
            self._explicit = self._xa = True
        elif verb in {"COMMIT", "ROLLBACK"} and self._xa:  # one phase
            if verb == "ROLLBACK":
                self._undo(self._cut)
            self._end(moment)
        elif verb in {"COMMIT", "ROLLBACK"}:
            self._xa_finish(xid, moment, commit=verb == "COMMIT")

    def _xa_prepare(self, event: bytes, moment: int) -> None:
        one_phase, xid = e.xa_prepare(event)
        if one_phase:
            self._end(moment)
            return
        held = self._operations[self._cut :]
        del self._operations[self._cut :]
        self._forget(held)
        self._held.put(xid, held, str(self._cursor.point()))
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
            self._operations += held or []
            self.bytes += images_bytes(held or [])
        else:
            self._operations += [o for o in held or [] if isinstance(o, ShapeChange)]
        self._track.release(xid)
        self._end(moment)

"""The source's promise to keep its log: one slot and one or two publications per migration.

Tables whose replica identity tells updates and deletes apart are published whole. Those without
one are published for inserts only, in a publication of their own: publishing their updates would
make the server refuse every UPDATE and DELETE that the applications send.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from godwit.engines.postgres.connection import Connector, Session
from godwit.errors import CaptureError, CaptureLostError, EndpointError
from godwit.model.catalog import Table, TableName
from godwit.model.changes import Position
from godwit.protocols import CaptureStatus

#: Seconds to wait for transactions that were running when the slot is made.
SLOT_SECONDS = 600
#: Seconds to wait for asynchronous commits to reach the disk.
FLUSH_SECONDS = 5
PLUGIN = "pgoutput"
#: What a WAL position at the start of a page may be ahead of the last record's end.
_PAGE_HEADERS = (24, 40)
_PAGE = 8192
_SHARED_STATISTICS = 150000


@dataclass(frozen=True, order=True)
class Lsn:
    """A position in the write-ahead log: the end of a commit record."""

    value: int

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """From ``X/Y``; ValueError when it is something else."""
        high, low = text.split("/")
        return cls((int(high, 16) << 32) + int(low, 16))

    def includes(self, other: Position) -> bool:
        """Everything up to `other` lies at or before this."""
        return isinstance(other, Lsn) and self.value >= other.value

    def __str__(self) -> str:
        return f"{self.value >> 32:X}/{self.value & 0xFFFFFFFF:X}"


def object_name(migration: str) -> str:
    """The name of slot and publication: ``godwit_<migration>``, at most 58 bytes."""
    name = "godwit_" + re.sub(r"[^a-z0-9_]", "_", migration.lower())
    if len(name) <= 58 and name == f"godwit_{migration}":
        return name
    # Another name could be spelled alike: tell them apart by a hash.
    return f"{name[:49]}_{hashlib.sha256(migration.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class CaptureNames:
    """Names of a migration's objects on the source; the user may have made them."""

    slot: str
    publication: str
    inserts_publication: str
    own_slot: bool
    own_publication: bool


def capture_names(migration: str, settings: Mapping[str, Any]) -> CaptureNames:
    """From the migration's name and the settings ``SlotName`` and ``PublicationName``."""
    name = object_name(migration)
    slot, publication = settings.get("SlotName"), settings.get("PublicationName")
    return CaptureNames(
        slot or name, publication or name, f"{name}_ins", slot is None, publication is None
    )


def current_position(connector: Connector) -> Lsn:
    """The end of the log, flushed: every transaction already committed lies at or before it."""
    with connector.lease() as session:
        return flushed_position(session)


def flushed_position(session: Session) -> Lsn:
    """`current_position` on an open session."""
    (text,) = _one(session, "SELECT pg_current_wal_insert_lsn()::text")
    value = Lsn.parse(text).value
    # At a page boundary the insert position is given behind the next page's header, where no
    # record has ended yet; a reader of the log never gets there before something is written.
    if value % _PAGE in _PAGE_HEADERS:
        value -= value % _PAGE
    # A transaction committed asynchronously is visible before its record can be read.
    waited = 0.0
    while waited < FLUSH_SECONDS:
        (flushed,) = _one(session, "SELECT pg_current_wal_flush_lsn()::text")
        if Lsn.parse(flushed).value >= value:
            break
        if waited == 0.0:
            _flush(session)
        session.execute("SELECT pg_sleep(0.01)")
        waited += 0.01
    return Lsn(value)


def _flush(session: Session) -> None:
    """Have the server write its log out. Records that belong to no transaction (a page that was
    tidied up by a reader) may otherwise wait for many seconds: nothing reads as far as that.
    """
    with contextlib.suppress(psycopg.Error), session.transaction():
        session.execute("SET LOCAL synchronous_commit = local")
        # Nobody subscribes to messages; a commit of its own is what flushes.
        session.execute("SELECT pg_logical_emit_message(true, 'godwit', '')")


def open_capture(
    connector: Connector, migration: str, tables: Sequence[Table], settings: Mapping[str, Any]
) -> Lsn:
    """Make or find publication and slot; returns the position from which the slot reads.

    Raises:
        EndpointError: a privilege or setting is missing, or old transactions do not end.
    """
    names = capture_names(migration, settings)
    try:
        with connector.connect() as session:
            # The publication comes first: the slot reads the catalog of each change's own time.
            if names.own_publication:
                _publish(session, names.publication, tables, "full")
                _publish(session, names.inserts_publication, tables, "insert")
            return _slot(session, names)
    except psycopg.Error as cause:
        raise EndpointError(
            "the capture cannot be made",
            where=f"{connector.where}, slot {names.slot}",
            why=str(cause).strip(),
            hint="godwit assess names the privileges and settings that are needed",
        ) from cause


def _publish(session: Session, name: str, tables: Sequence[Table], capture: str) -> None:
    wanted = {t.name for t in tables if t.capture == capture}
    rows = session.execute(
        "SELECT n.nspname, c.relname FROM pg_publication_rel r"
        " JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = %s",
        [name],
    ).fetchall()
    exists = session.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", [name]).fetchone()
    listed = {TableName(*row) for row in rows}
    missing = sorted(wanted - listed)
    lists = sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(*t)) for t in missing)
    publication = sql.Identifier(name)
    if not exists:
        if not wanted:
            return
        operations = "insert, update, delete, truncate" if capture == "full" else "insert, truncate"
        # Partitions are published as themselves: by way of the root, the TRUNCATE of a single
        # partition would not be told at all.
        query = sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {})")
        session.execute(query.format(publication, lists, sql.Literal(operations)))
        return
    if missing:
        session.execute(sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(publication, lists))
    # A table that has lost its key since: while they are published its updates are refused.
    for other in sorted(listed.intersection(t.name for t in tables) - wanted):
        table = sql.Identifier(*other)
        session.execute(sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(publication, table))


def _slot(session: Session, names: CaptureNames) -> Lsn:
    row = session.execute(
        "SELECT plugin, database = current_database(), confirmed_flush_lsn::text"
        " FROM pg_replication_slots WHERE slot_name = %s",
        [names.slot],
    ).fetchone()
    if row is not None:
        plugin, here, confirmed = row
        if plugin != PLUGIN or not here:
            raise EndpointError(
                f"the replication slot {names.slot!r} belongs to something else",
                why=f"plugin {plugin}" if here else "it is a slot of another database",
                hint="drop it, or name another one with the endpoint setting SlotName",
            )
        return Lsn.parse(confirmed)
    if not names.own_slot:
        raise EndpointError(
            f"the replication slot {names.slot!r} does not exist",
            why="the endpoint setting SlotName names a slot that you make yourself",
            hint=f"SELECT pg_create_logical_replication_slot('{names.slot}', '{PLUGIN}')",
        )
    session.execute(f"SET statement_timeout = '{SLOT_SECONDS}s'")
    try:
        (lsn,) = _one(
            session,
            "SELECT lsn::text FROM pg_create_logical_replication_slot(%s, %s)",
            [names.slot, PLUGIN],
        )
    except psycopg.errors.QueryCanceled:
        raise EndpointError(
            f"the replication slot {names.slot!r} could not be made",
            why=f"transactions older than {SLOT_SECONDS} s are still running: {_running(session)}",
            hint="end them, then run this step again",
        ) from None
    finally:
        session.execute("SET statement_timeout = 0")
    return Lsn.parse(lsn)


def _running(session: Session) -> str:
    rows = session.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
        " UNION ALL SELECT NULL FROM pg_prepared_xacts ORDER BY 1"
    ).fetchall()
    return ", ".join("a prepared transaction" if pid is None else f"pid {pid}" for (pid,) in rows)


def capture_status(
    connector: Connector, migration: str, settings: Mapping[str, Any]
) -> CaptureStatus:
    """How the slot is doing."""
    with connector.connect() as session:
        return slot_status(session, capture_names(migration, settings))


def slot_status(session: Session, names: CaptureNames) -> CaptureStatus:
    """`capture_status` on an open session."""
    row = session.execute(
        "SELECT active, confirmed_flush_lsn::text,"
        " pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, wal_status"
        " FROM pg_replication_slots WHERE slot_name = %s",
        [names.slot],
    ).fetchone()
    if row is None:
        return CaptureStatus(exists=False, detail=f"there is no slot {names.slot}")
    active, confirmed, retained, state = row
    lost = state == "lost"
    return CaptureStatus(
        exists=True,
        active=active,
        confirmed=Lsn.parse(confirmed) if confirmed else None,
        retained_bytes=retained or 0,
        lost=lost,
        detail="the server has removed log that the slot needs (max_slot_wal_keep_size)"
        if lost
        else state or "",
    )


def drop_capture(connector: Connector, migration: str, settings: Mapping[str, Any]) -> list[str]:
    """Remove what `open_capture` made; a session still reading is ended. Safe to repeat."""
    names = capture_names(migration, settings)
    removed = []
    with connector.connect() as session:
        if names.own_slot and slot_status(session, names).exists:
            release_slot(session, names.slot)
            session.execute("SELECT pg_drop_replication_slot(%s)", [names.slot])
            removed.append(f"slot {names.slot}")
        if names.own_publication:
            for publication in (names.publication, names.inserts_publication):
                found = session.execute(
                    "SELECT 1 FROM pg_publication WHERE pubname = %s", [publication]
                ).fetchone()
                if found:
                    query = sql.SQL("DROP PUBLICATION IF EXISTS {}")
                    session.execute(query.format(sql.Identifier(publication)))
                    removed.append(f"publication {publication}")
    return removed


def untold_changes(connector: Connector, tables: Sequence[Table]) -> dict[TableName, int]:
    """Changes so far that the log does not tell, by the server's statistics, partitions included.

    Of an unlogged table nothing is told, not even its TRUNCATE: that gives it another file, whose
    number is added.
    """
    names = {part: t for t in tables for part in (t.name, *(p.name for p in t.parts))}
    counts = {t.name: 0 for t in tables}
    with connector.connect() as session:
        if session.info.server_version < _SHARED_STATISTICS:
            # Until then statistics were written to a file that may be half a second old.
            session.execute("SELECT pg_sleep(0.6)")
        rows = session.execute(
            "SELECT s.schemaname, s.relname, s.n_tup_upd + s.n_tup_del,"
            " s.n_tup_ins + coalesce(pg_relation_filenode(s.relid), 0)::bigint"
            " FROM pg_stat_all_tables s"
            " JOIN unnest(%s::text[], %s::text[]) AS w(schemaname, relname)"
            " USING (schemaname, relname)",
            [[n.schema for n in names], [n.name for n in names]],
        ).fetchall()
    for schema, name, changed, more in rows:
        table = names[TableName(schema, name)]
        counts[table.name] += changed + (more if table.capture == "none" else 0)
    return counts


def release_slot(session: Session, slot: str) -> None:
    """End the session that reads the slot, if there is one: it has been fenced.

    Raises:
        CaptureError: it does not go.
    """
    for _ in range(100):
        row = session.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [slot]
        ).fetchone()
        if row is None or row[0] is None:
            return
        session.execute("SELECT pg_terminate_backend(%s)", [row[0]])
        session.execute("SELECT pg_sleep(0.05)")
    raise CaptureError(
        f"another session keeps the replication slot {slot!r}",
        hint="end it with pg_terminate_backend(active_pid), see pg_replication_slots",
    )


def check_start(session: Session, names: CaptureNames, start: Lsn) -> None:
    """Make sure that the slot still holds everything after `start`.

    Raises:
        CaptureLostError: it does not.
    """
    status = slot_status(session, names)
    hint = "run `godwit cleanup` and start the migration again: all tables must be loaded again"
    if not status.exists:
        raise CaptureLostError(
            f"the replication slot {names.slot!r} is gone",
            where=f"position {start}",
            why="it was dropped, or the server failed over to one that does not have it",
            hint=hint,
        )
    if status.lost:
        raise CaptureLostError(
            f"the replication slot {names.slot!r} is lost",
            where=f"position {start}",
            why=status.detail,
            hint=hint,
        )
    if isinstance(status.confirmed, Lsn) and status.confirmed > start:
        raise CaptureLostError(
            f"the replication slot {names.slot!r} has moved past the checkpoint",
            where=f"position {start}",
            why=f"it was advanced to {status.confirmed} by somebody else",
            hint=hint,
        )


def _one(session: Session, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = session.execute(query.encode(), values).fetchone()
    assert row is not None
    return row

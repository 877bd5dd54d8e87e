"""The source's promise to keep its log.

There is no slot: the servers keep their log for as long as they are set to, whoever reads. So a
capture is a position and the hope that the log still reaches back to it, which is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pymysql

from godwit.engines.mysql.binlog import RELOAD, report_host, server_id
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.gtid import (
    DomainPosition,
    Domains,
    FilePosition,
    GtidPosition,
    GtidSet,
    LogPoint,
    LogPosition,
    parse_position,
)
from godwit.errors import CaptureError, CaptureLostError, EndpointError
from godwit.model.catalog import Table, TableName
from godwit.protocols import CaptureStatus

__all__ = ["capture_status", "current_position", "drop_capture", "open_capture", "parse_position"]

#: Seconds to wait for transactions that are in the log but not yet visible.
PATIENCE = 600
_BY = ("auto", "gtid", "file")


def positions_by(session: Session, connector: Connector) -> str:
    """How positions are told: ``gtid``, ``domains`` or ``file`` (see the setting ``positions``).

    Raises:
        EndpointError: the setting asks for what the server has not.
    """
    chosen = str(connector.settings.get("positions") or "auto")
    if chosen not in _BY:
        raise EndpointError(
            f"the endpoint setting positions cannot be {chosen!r}",
            where=connector.where,
            hint=f"use one of {', '.join(_BY)}",
        )
    if chosen == "file":
        return "file"
    if connector.version.mariadb:
        return "domains"
    # Only with ON has every transaction a GTID.
    mode = _gtid_mode(session)
    if mode == "ON":
        return "gtid"
    if chosen == "gtid":
        raise EndpointError(
            f"the source's gtid_mode is {mode}",
            where=connector.where,
            hint="set gtid_mode=ON, or the endpoint setting positions to file",
        )
    return "file"


def _gtid_mode(session: Session) -> str:
    with suppress(pymysql.MySQLError):
        return str(session.value("SELECT @@global.gtid_mode"))
    return "unknown"


def current_position(connector: Connector) -> LogPosition:
    """The end of the log: every transaction already committed lies at or before it."""
    with _broken(connector), connector.lease() as session:
        return end_of_log(session, connector)


@contextmanager
def _broken(connector: Connector) -> Iterator[None]:
    """What the driver says of a connection that broke, as something that can be tried again."""
    try:
        yield
    except pymysql.MySQLError as cause:
        raise CaptureError(
            "the source's log cannot be looked at",
            where=connector.where,
            why=str(cause.args[-1] if cause.args else cause),
            hint="it is looked at again from the checkpoint",
        ) from cause


def end_of_log(session: Session, connector: Connector) -> LogPosition:
    """`current_position` on an open session.

    Raises:
        EndpointError: there is no binary log, or a privilege is missing.
    """
    by = positions_by(session, connector)
    if by == "gtid":
        at = log_end(session, connector)
        return GtidPosition(GtidSet.parse(str(session.value("SELECT @@global.gtid_executed"))), at)
    if by == "domains":
        at = log_end(session, connector)
        return DomainPosition(_domains(session, connector), at)
    return FilePosition(log_end(session, connector))


def _domains(session: Session, connector: Connector) -> Domains:
    # Not gtid_current_pos: a former replica's holds what its own log does not.
    last, state = session.row("SELECT @@global.gtid_binlog_pos, @@global.gtid_binlog_state") or (
        "",
        "",
    )
    domains = Domains.parse(str(last))
    for part in str(state).split(","):
        if part:
            domain, _, number = (int(n) for n in part.split("-"))
            if not domains.contains(domain, number):
                raise EndpointError(
                    f"the GTIDs of domain {domain} are out of order in the binary log",
                    where=connector.where,
                    why="servers have written to one domain independently of each other",
                    hint="set gtid_strict_mode=ON and give servers domains of their own, or set "
                    "the endpoint setting positions to file",
                )
    return domains


def log_end(session: Session, connector: Connector) -> LogPoint:
    """The file that is written, and its length.

    Raises:
        EndpointError: there is no binary log, or a privilege is missing.
    """
    try:
        row = session.row(_status(connector))
    except pymysql.MySQLError as cause:
        raise EndpointError(
            "the position in the binary log cannot be read",
            where=connector.where,
            why=str(cause.args[-1]),
            hint="GRANT REPLICATION CLIENT ON *.* TO the connection's user (MariaDB: BINLOG "
            "MONITOR)",
        ) from None
    if row is None:
        raise EndpointError(
            "the source writes no binary log",
            where=connector.where,
            hint="start the server with log_bin, or migrate with migration_type full-load",
        )
    return LogPoint.of(str(row[0]), int(row[1]))


def _status(connector: Connector) -> str:
    newer = connector.version.since(mysql=(8, 2, 0))
    return "SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS"


def open_capture(connector: Connector, migration: str, tables: Sequence[Table]) -> LogPosition:
    """Returns the position from which a stream is to read. Nothing is made on the source.

    Raises:
        EndpointError: a privilege or setting is missing, another replica has this migration's
            number, or XA transactions are prepared.
    """
    del tables
    with connector.connect() as session:
        _check_number(session, connector, migration)
        position = _visible_position(session, connector)
        _check_prepared(session, connector)
        return position


def _visible_position(session: Session, connector: Connector) -> LogPosition:
    """A position before which everything is visible to readers.

    A transaction is in the log before it is visible (much before, where a semi-synchronous replica
    is waited for): the end of the log would be too late.
    """
    by = positions_by(session, connector)
    if by == "gtid":
        # A transaction is added to the set after the storage engine has committed it.
        return end_of_log(session, connector)
    if connector.version.mariadb:
        return _snapshot_position(session, connector)
    return _settled_position(session, connector)


def _snapshot_position(session: Session, connector: Connector) -> LogPosition:
    """MariaDB: the end of the log, once a consistent snapshot says that it has come that far."""
    position = end_of_log(session, connector)
    written = log_end(session, connector)
    deadline = time.monotonic() + PATIENCE
    while _snapshot_end(session) < written:
        if time.monotonic() > deadline:
            raise EndpointError(
                "the capture cannot be opened",
                where=connector.where,
                why=f"what is in the log has not become visible for {PATIENCE} s",
                hint="see whether a semi-synchronous replica is waited for, then run this again",
            )
        session.run("DO SLEEP(0.02)")
    return position


def _snapshot_end(session: Session) -> LogPoint:
    """Where in the log a consistent snapshot is. BINLOG_GTID_POS is no help: it reads the whole
    file, and fails when that has an event larger than a packet may be.
    """
    session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
    try:
        rows = session.rows("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'")
    finally:
        session.run("ROLLBACK")
    told = {str(name).lower(): str(value) for name, value in rows}
    return LogPoint.of(told["binlog_snapshot_file"], int(told["binlog_snapshot_position"]))


def _settled_position(session: Session, connector: Connector) -> LogPosition:
    """MySQL without GTIDs: the end of the log, once every transaction older than it has ended."""
    position = FilePosition(log_end(session, connector))
    running = "SELECT trx_id FROM information_schema.INNODB_TRX WHERE trx_rows_modified > 0"
    try:
        older = {row[0] for row in session.rows(running)}
        deadline = time.monotonic() + PATIENCE
        while older:
            older &= {row[0] for row in session.rows(running)}
            if time.monotonic() > deadline:
                raise EndpointError(
                    "the capture cannot be opened",
                    where=connector.where,
                    why=f"transactions older than {PATIENCE} s are still running",
                    hint="end them, then run this step again; with gtid_mode=ON there is no wait",
                )
            if older:
                session.run("DO SLEEP(0.15)")
    except pymysql.MySQLError as cause:
        raise EndpointError(
            "running transactions cannot be seen",
            where=connector.where,
            why=str(cause.args[-1]),
            hint="GRANT PROCESS ON *.* TO the connection's user, or set gtid_mode=ON",
        ) from None
    return position


def _check_number(session: Session, connector: Connector, migration: str) -> None:
    """A server id belongs to one replica: the servers end the older one's session."""
    number = server_id(migration, connector.settings)
    if number == int(session.value("SELECT @@server_id")):
        taken = "by the server itself"
    else:
        host = dict(_replicas(session, connector)).get(number)
        if not host or host == report_host(migration):
            return
        taken = f"by the replica {host!r}"
    raise EndpointError(
        f"the server id {number} of this migration is already taken",
        where=connector.where,
        why=taken,
        hint="give the migration another one with the endpoint setting server_id",
    )


def _replicas(session: Session, connector: Connector) -> list[tuple[int, str]]:
    """`(server id, host)` of the replicas that are registered; none when they may not be seen."""
    newer = connector.version.since(mysql=(8, 0, 22))
    try:
        rows = session.rows("SHOW REPLICAS" if newer else "SHOW SLAVE HOSTS")
    except pymysql.MySQLError:
        return []
    return [(int(row[0]), str(row[1])) for row in rows]


def _check_prepared(session: Session, connector: Connector) -> None:
    """What was prepared before the capture would be committed in it without its rows."""
    try:
        prepared = session.rows("XA RECOVER")
    except pymysql.MySQLError:
        return  # the commit of such a transaction stops the stream by name
    if prepared:
        raise EndpointError(
            f"{len(prepared)} XA transactions are prepared on the source",
            where=connector.where,
            why="their rows lie before the capture, their commit after it",
            hint="commit them or roll them back (XA RECOVER lists them), then run this step again",
        )


def capture_status(
    connector: Connector, migration: str, confirmed: LogPosition | None = None
) -> CaptureStatus:
    """How the log is kept, and whether somebody reads it for this migration."""
    with connector.lease() as session:
        files = log_files(session)
        active = any(host == report_host(migration) for _, host in _replicas(session, connector))
        retained = sum(size for _, size in files)
        lost = lost_since(session, confirmed) if confirmed is not None else ""
    oldest = files[0][0].file if files else "nothing"
    return CaptureStatus(
        exists=True,
        active=active,
        confirmed=confirmed,
        retained_bytes=retained,
        lost=bool(lost),
        detail=lost or f"the log reaches back to {oldest}",
    )


def log_files(session: Session) -> list[tuple[LogPoint, int]]:
    """The files that the server has, oldest first, and their sizes."""
    return [(LogPoint.of(str(r[0]), 4), int(r[1])) for r in session.rows("SHOW BINARY LOGS")]


def lost_since(session: Session, start: LogPosition) -> str:
    """What of the log after `start` is gone; empty when it is all there."""
    if isinstance(start, GtidPosition):
        purged = GtidSet.parse(str(session.value("SELECT @@global.gtid_purged") or ""))
        missing = purged.minus(start.gtids.minus(start.held))
        if missing:
            return f"the transactions {missing} were purged from the binary log"
        executed = GtidSet.parse(str(session.value("SELECT @@global.gtid_executed") or ""))
        ahead = start.gtids.minus(executed)
        if ahead:
            return f"the server has never had the transactions {ahead}"
        return ""
    if isinstance(start, FilePosition):
        point = start.resume or start.point
        files = log_files(session)
        found = next((size for first, size in files if first.file == point.file), None)
        if found is None:
            oldest = files[0][0].file if files else "none"
            return f"the file {point.file} was purged; the oldest is {oldest}"
        if found < point.offset:
            return f"the file {point.file} ends at {found}, before {point.offset}: it is another"
    if isinstance(start, DomainPosition):
        files = log_files(session)
        gone = _before_file(session, files[0][0].file) if files else Domains({})
        if not (start.resume or start.domains).includes(gone):
            return f"transactions up to {gone} were purged from the binary log"
        # A former replica's own log may lack what its position has, and the position what others
        # have written into the log under their numbers.
        row = session.row("SELECT @@global.gtid_binlog_pos, @@global.gtid_current_pos") or ()
        had = Domains.parse(str(row[0] or "")).joined(Domains.parse(str(row[1] or "")))
        if not had.includes(start.domains):
            return f"the server has come to {str(had) or 'nothing'} only: its log was begun anew"
    return ""


def _before_file(session: Session, file: str) -> Domains:
    """The last GTIDs before a file of MariaDB's, which it tells at its beginning."""
    for row in session.rows("SHOW BINLOG EVENTS IN %s LIMIT 4", (file,)):
        if row[2] == "Gtid_list":
            return Domains.parse(str(row[5]).strip("[]"))
    return Domains({})


def check_start(session: Session, connector: Connector, migration: str, start: LogPosition) -> None:
    """Make sure that the log still holds everything after `start`.

    Raises:
        CaptureLostError: it does not.
        CaptureError: the connection broke.
        EndpointError: another replica has this migration's number.
    """
    with _broken(connector):
        lost = lost_since(session, start)
        if lost:
            raise CaptureLostError(
                "the source no longer has the binary log that is needed",
                where=f"position {start}",
                why=lost,
                hint=RELOAD,
            )
        _check_number(session, connector, migration)


def drop_capture(connector: Connector, migration: str) -> list[str]:
    """Nothing is removed from the source, because nothing was made there."""
    del connector, migration
    return []


def untold_changes(connector: Connector, tables: Sequence[Table]) -> dict[TableName, int]:
    """The log tells all changes of tables that it tells of at all; the others have no counter."""
    del connector
    return {table.name: 0 for table in tables}

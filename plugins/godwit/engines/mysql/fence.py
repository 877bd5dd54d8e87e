"""Keeping applications from writing to the source at cutover, and giving it back exactly.

``read-only``
    ``SET GLOBAL read_only = ON`` (and ``super_read_only`` where there is one), for the whole
    server: there is no such thing as a read-only database. Setting it waits for running statements
    and commits; transactions that have written are waited for, or ended. Replication goes on.
``revoke``
    INSERT, UPDATE, DELETE, DROP, ALTER and the like are taken from every account holding them
    on one of the tables, and given back with the same grant option. Accounts that hold them on the
    whole server or database are named: they can still write.
``none``
    The writers were stopped by hand: only running transactions are waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pymysql
from pymysql.constants import ER

from godwit.engines.mysql.capture import current_position
from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.fence_grants import (
    grant_back,
    other_writers,
    revoke,
    table_grants,
)
from godwit.engines.mysql.gtid import LogPosition
from godwit.engines.mysql.writers import Writers
from godwit.errors import CutoverError, EndpointError
from godwit.model.catalog import Table

MODES = ("read-only", "revoke", "none")
#: InnoDB shows its transactions as they were until nobody has asked for 0.1 seconds.
_POLL = 0.15
#: In this order they are set; the other way round they are given back.
_SETTINGS = ("read_only", "super_read_only")


def plan_fence(connector: Connector, tables: Sequence[Table], mode: str) -> dict[str, Any]:
    """What fencing will change and `unfence` has to give back; changes nothing."""
    if mode not in MODES:
        raise CutoverError(
            f"there is no fence {mode!r}", why=f"known: {', '.join(MODES)}", hint="correct `fence`"
        )
    plan: dict[str, Any] = {
        "mode": mode,
        "tables": [list(table.name) for table in tables],
        "warnings": [],
    }
    with connector.connect() as session:
        if mode == "read-only":
            plan["before"] = _settings(session)
            plan["warnings"] += _bypassing(session, connector)
        elif mode == "revoke":
            plan["grants"] = table_grants(session, plan["tables"])
            plan["warnings"] += other_writers(session, plan["tables"])
    return plan


def fence(
    connector: Connector,
    plan: Mapping[str, Any],
    *,
    patience: float = 60.0,
    terminate: bool = False,
) -> LogPosition:
    """Carry the plan out and wait; see `godwit.protocols.Source.fence`."""
    deadline = time.monotonic() + patience
    with connector.connect() as session:
        writers = Writers(session, plan["tables"], everything=plan["mode"] == "read-only")
        if plan["mode"] == "read-only":
            # The server itself waits for table locks and commits, longer than anybody would.
            session.run(f"SET SESSION lock_wait_timeout = {max(1, round(patience))}")
            _set_read_only(connector, session, plan["before"], writers, terminate=terminate)
        elif plan["mode"] == "revoke":
            try:
                revoke(session, plan["grants"])
            except pymysql.MySQLError as cause:
                raise _not_allowed(cause, connector, plan["mode"]) from None
        _wait(writers, deadline, patience, terminate=terminate)
        _verify(session, plan, connector)
    return current_position(connector)


def unfence(connector: Connector, plan: Mapping[str, Any]) -> None:
    """Give back what was taken, which may be nothing. Repeatable."""
    with connector.connect() as session:
        try:
            if plan["mode"] == "read-only":
                now = _settings(session)
                for name in reversed(_SETTINGS):
                    if name in plan["before"] and now.get(name) != plan["before"][name]:
                        session.run(f"SET GLOBAL {name} = {plan['before'][name]}")
            elif plan["mode"] == "revoke":
                grant_back(session, plan["grants"])
        except pymysql.MySQLError as cause:
            raise _not_allowed(cause, connector, plan["mode"]) from None


def _wait(writers: Writers, deadline: float, patience: float, *, terminate: bool) -> None:
    """Return when the last writer is gone; CutoverError names those that stay."""
    ended = False
    while busy := writers.busy():
        if time.monotonic() > deadline:
            kept = [w for w in busy if w.thread is None]
            if not terminate or kept or ended:
                raise CutoverError(
                    "transactions on the source don't end",
                    where=", ".join(w.name for w in kept or busy),
                    why=f"still open after {patience:.0f} seconds",
                    hint="end them (commit, roll back, KILL, XA COMMIT or XA ROLLBACK) and cut "
                    "over again, or set terminate_sessions",
                )
            writers.end(busy)
            ended = True
            deadline = time.monotonic() + max(patience, 5.0)
        time.sleep(_POLL)


def _verify(session: Session, plan: Mapping[str, Any], connector: Connector) -> None:
    """Nobody has lifted the fence while it was waited for."""
    if plan["mode"] == "read-only":
        lifted = "0" in _settings(session).values()
    else:
        lifted = plan["mode"] == "revoke" and bool(table_grants(session, plan["tables"]))
    if lifted:
        raise CutoverError(
            "the fence was lifted while it was put up",
            where=connector.where,
            why="somebody changed read_only or the tables' privileges",
            hint="find out who (a deployment, a second cutover), then cut over again",
        )


# -- read-only


def _settings(session: Session) -> dict[str, str]:
    """``read_only`` and, where there is one, ``super_read_only``, as ``0`` or ``1``."""
    rows = session.rows(
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only')"
    )
    # MariaDB 12 knows more than on and off; whatever isn't off keeps applications from writing.
    return {str(name): "0" if value == "OFF" else "1" for name, value in rows}


def _bypassing(session: Session, connector: Connector) -> list[str]:
    """Accounts that read_only doesn't bind, where nothing stronger can be set."""
    if "super_read_only" in _settings(session):
        return []
    privilege = "READ ONLY ADMIN" if connector.version.since(mariadb=(10, 5, 2)) else "SUPER"
    try:
        rows = session.rows(
            "SELECT DISTINCT p.USER FROM information_schema.PROCESSLIST p"
            " JOIN information_schema.USER_PRIVILEGES u"
            " ON u.GRANTEE LIKE CONCAT('''', REPLACE(p.USER, '_', '\\\\_'), '''@%%')"
            " WHERE u.PRIVILEGE_TYPE = %s AND p.ID <> CONNECTION_ID()"
            " AND p.COMMAND NOT LIKE 'Binlog Dump%%' ORDER BY 1",
            (privilege,),
        )
    except pymysql.MySQLError:
        return []
    return [f"user {name} is connected, has {privilege} and can still write" for (name,) in rows]


def _set_read_only(
    connector: Connector,
    session: Session,
    before: Mapping[str, str],
    writers: Writers,
    *,
    terminate: bool,
) -> None:
    for name in _SETTINGS:
        if name not in before:
            continue
        try:
            try:
                session.run(f"SET GLOBAL {name} = 1")
            except pymysql.MySQLError as cause:
                if cause.args[0] != ER.LOCK_WAIT_TIMEOUT or not terminate:
                    raise
                # A lock of a table, or a long statement, is in the way.
                writers.end(writers.busy())
                session.run(f"SET GLOBAL {name} = 1")
        except pymysql.MySQLError as cause:
            if cause.args[0] == ER.LOCK_WAIT_TIMEOUT:
                raise CutoverError(
                    "the source cannot be made read-only",
                    where=connector.where,
                    why="a session holds a lock on tables, or a statement is running for long",
                    hint="SHOW PROCESSLIST; end it and cut over again, or set terminate_sessions",
                ) from None
            raise _not_allowed(cause, connector, "read-only") from None


def _not_allowed(cause: pymysql.MySQLError, connector: Connector, mode: str) -> EndpointError:
    code = cause.args[0] if cause.args else "?"
    if mode == "read-only":
        needed = (
            "READ ONLY ADMIN ON *.* (before MariaDB 10.5: SUPER)"
            if connector.version.mariadb
            else "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.*"
        )
    else:
        needed = "the privileges that are to be revoked, WITH GRANT OPTION, and SELECT ON mysql.*"
    user = connector.connection.login
    return EndpointError(
        f"the fence {mode} is not allowed to this login",
        where=connector.where,
        why=f"the source answers with error {code}",
        hint=f"GRANT {needed} TO '{user}', or choose another fence in `cutover` (managed services "
        "have read_only in their own console)",
    )

"""Keeping applications from writing to the source at cutover, and giving it back exactly.

``read-only``
    ``ALTER DATABASE … SET default_transaction_read_only = on`` makes every new session read-only.
    Sessions that are already connected keep the old setting, so they are ended: idle ones at once,
    the others when their transaction is over. A session can still override the default on purpose.
``revoke``
    INSERT, UPDATE, DELETE and TRUNCATE on the tables are taken from every role that holds them,
    grant by grant, and granted back with the same grantors and grant options. Superusers are not
    bound by privileges.
``none``
    The writers were stopped by hand: only running transactions are waited for.

Replication and Godwit's own sessions go on in every mode.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from godwit.engines.postgres.capture import Lsn, flushed_position
from godwit.engines.postgres.connection import APPLICATION_NAME, Connector, Session
from godwit.errors import CutoverError, EndpointError
from godwit.model.catalog import Table

MODES = ("read-only", "revoke", "none")
_SETTING = "default_transaction_read_only"
_PRIVILEGES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
_POLL = 0.02

#: The tables with their partitions, to any depth.
_TREE = """
WITH RECURSIVE tree(oid) AS (
  SELECT c.oid FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w(schema, name)
  JOIN pg_namespace n ON n.nspname = w.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
  UNION
  SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
"""

_GRANTS = (
    _TREE
    + """
SELECT n.nspname, c.relname, c.oid::bigint, g.column_name, pg_get_userbyid(c.relowner),
       pg_get_userbyid(g.grantor),
       CASE g.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(g.grantee) END,
       g.privilege_type, g.is_grantable
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT NULL::text AS column_name, x.*
  FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x
  UNION ALL
  SELECT a.attname::text, x.* FROM pg_attribute a, aclexplode(a.attacl) AS x
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS g
WHERE g.privilege_type = ANY(%(privileges)s)
ORDER BY 1, 2, g.column_name NULLS FIRST, 6, 7, 8
"""
)

#: Sessions of applications in this database; backends that began before the fence are bound by the
#: settings of that time.
_SESSIONS = """
SELECT pid, state = 'idle' FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
  AND pid <> pg_backend_pid() AND application_name <> %(own)s AND backend_start <= %(since)s
ORDER BY pid
"""

#: Sessions that are starting: they may have read the settings of before, and are not listed yet.
#: The lock on the database is theirs from before that until they are listed.
_STARTING = """
SELECT pid FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass
  AND objid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
"""

#: Transactions, prepared ones too, that hold a lock with which rows are written.
_WRITERS = (
    _TREE
    + """
SELECT DISTINCT coalesce('pid ' || l.pid, 'prepared transaction ' || p.gid), l.pid
FROM tree JOIN pg_locks l ON l.locktype = 'relation' AND l.relation = tree.oid
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND '-1/' || p.transaction = l.virtualtransaction
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                               'AccessExclusiveLock')
  AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND coalesce(a.application_name <> %(own)s, true)
  AND coalesce(a.backend_type, '') NOT IN ('autovacuum worker', 'walsender')
ORDER BY 1
"""
)

_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1"


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
            _require_stats(session, connector)
            plan["before"] = _database_setting(session)
            plan["warnings"] += _overriding_roles(session)
        elif mode == "revoke":
            plan["grants"] = _grants(session, plan["tables"])
            plan["warnings"] += _superusers(session)
    return plan


def fence(
    connector: Connector,
    plan: Mapping[str, Any],
    *,
    patience: float = 60.0,
    terminate: bool = False,
) -> Lsn:
    """Carry the plan out and wait; see `godwit.protocols.Source.fence`."""
    with connector.connect() as session:
        try:
            if plan["mode"] == "read-only":
                _set_read_only(session, "on")
            elif plan["mode"] == "revoke":
                _revoke(session, plan["grants"])
        except psycopg.errors.InsufficientPrivilege as cause:
            raise _not_allowed(cause, connector, plan["mode"]) from None
        _Waiting(session, plan, patience, terminate=terminate).wait()
        _verify(session, plan, connector)
        return flushed_position(session)


def unfence(connector: Connector, plan: Mapping[str, Any]) -> None:
    """Give back what was taken. Repeatable."""
    with connector.connect() as session:
        try:
            if plan["mode"] == "read-only":
                _set_read_only(session, plan["before"])
            elif plan["mode"] == "revoke":
                _grant(session, plan["grants"])
        except psycopg.errors.InsufficientPrivilege as cause:
            raise _not_allowed(cause, connector, plan["mode"]) from None


def _verify(session: Session, plan: Mapping[str, Any], connector: Connector) -> None:
    """Nobody has lifted the fence while it was waited for."""
    open_again = (plan["mode"] == "read-only" and _database_setting(session) != "on") or (
        plan["mode"] == "revoke" and bool(_grants(session, plan["tables"]))
    )
    if open_again:
        raise CutoverError(
            "the fence was lifted while it was put up",
            where=connector.where,
            why="somebody changed the database's setting or the tables' privileges",
            hint="find out who (a deployment, a second cutover), then cut over again",
        )


def _require_stats(session: Session, connector: Connector) -> None:
    """Without this right the sessions of other roles can't be told from none."""
    row = session.execute("SELECT pg_has_role('pg_read_all_stats', 'USAGE')").fetchone()
    if not row or not row[0]:
        raise EndpointError(
            "the fence read-only needs to see the sessions of other roles",
            where=connector.where,
            hint="GRANT pg_read_all_stats, pg_signal_backend to the login, or choose another fence",
        )


def _not_allowed(cause: psycopg.Error, connector: Connector, mode: str) -> EndpointError:
    needed = "ownership of the database" if mode == "read-only" else "ownership of the tables"
    return EndpointError(
        f"the fence {mode} is not allowed to this login",
        where=connector.where,
        why=str(cause.diag.message_primary),
        hint=f"give it {needed}, or choose another fence in `cutover`",
    )


# -- waiting


class _Waiting:
    """Waits until nobody can write any more."""

    def __init__(
        self, session: Session, plan: Mapping[str, Any], patience: float, *, terminate: bool
    ) -> None:
        self._session = session
        self._mode = plan["mode"]
        self._patience = patience
        self._terminate = terminate
        tables = plan["tables"]
        row = session.execute("SELECT clock_timestamp()").fetchone()
        self._values = {
            "schemas": [schema for schema, _ in tables],
            "names": [name for _, name in tables],
            "own": APPLICATION_NAME,
            "since": row[0] if row else None,
        }

    def wait(self) -> None:
        """Return when the last writer is gone; CutoverError names those that stay."""
        deadline = time.monotonic() + self._patience
        while busy := self._busy():
            if time.monotonic() > deadline:
                names = ", ".join(name for name, _ in busy)
                pids = [pid for _, pid in busy if pid is not None]
                if not self._terminate or len(pids) < len(busy):
                    raise CutoverError(
                        "transactions on the source don't end",
                        where=names,
                        why=f"still open after {self._patience:.0f} seconds",
                        hint="end them (commit, roll back, or pg_terminate_backend) and cut over "
                        "again, or set terminate_sessions",
                    )
                self._end(pids)
            time.sleep(_POLL)

    def _busy(self) -> list[tuple[str, int | None]]:
        writers = self._session.execute(_WRITERS.encode(), self._values).fetchall()
        busy: list[tuple[str, int | None]] = [(name, pid) for name, pid in writers]
        if self._mode == "read-only":
            prepared = self._session.execute(_PREPARED).fetchall()
            busy += [(f"prepared transaction {gid}", None) for (gid,) in prepared]
            starting = self._session.execute(_STARTING).fetchall()
            busy += [(f"pid {pid}, starting", pid) for (pid,) in starting]
            sessions = self._session.execute(_SESSIONS.encode(), self._values).fetchall()
            # Their next transaction could write: a pool's idle connection is as good as a writer.
            self._end([pid for pid, idle in sessions if idle])
            busy += [(f"pid {pid}", pid) for pid, _ in sessions]
        return list(dict.fromkeys(busy))

    def _end(self, pids: Sequence[int]) -> None:
        for pid in pids:
            try:
                self._session.execute("SELECT pg_terminate_backend(%s)", [pid])
            except psycopg.errors.InsufficientPrivilege as cause:
                raise EndpointError(
                    "a session of the source can't be ended",
                    where=f"pid {pid}",
                    why=str(cause.diag.message_primary),
                    hint="grant pg_signal_backend to the login, or end the session by hand",
                ) from None


# -- read-only


def _database_setting(session: Session) -> str | None:
    row = session.execute(
        "SELECT split_part(c, '=', 2) FROM pg_db_role_setting s"
        " JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c"
        " WHERE d.datname = current_database() AND s.setrole = 0 AND split_part(c, '=', 1) = %s",
        [_SETTING],
    ).fetchone()
    return row[0] if row else None


def _set_read_only(session: Session, value: str | None) -> None:
    database = sql.Identifier(session.info.dbname)
    if value is None:
        session.execute(
            sql.SQL("ALTER DATABASE {} RESET {}").format(database, sql.Identifier(_SETTING))
        )
    else:
        session.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                database, sql.Identifier(_SETTING), sql.Literal(value)
            )
        )


def _overriding_roles(session: Session) -> list[str]:
    """Roles with a setting of their own, which goes before the database's."""
    rows = session.execute(
        "SELECT r.rolname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,"
        " unnest(s.setconfig) AS c WHERE split_part(c, '=', 1) = %s"
        " AND lower(split_part(c, '=', 2)) NOT IN ('on', 'true', 'yes', '1')"
        " AND s.setdatabase IN"
        " (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
        " ORDER BY 1",
        [_SETTING],
    ).fetchall()
    return [f"role {name} has {_SETTING} = off of its own and can still write" for (name,) in rows]


# -- revoke


def _grants(session: Session, tables: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    rows = session.execute(
        _GRANTS.encode(),
        {
            "schemas": [schema for schema, _ in tables],
            "names": [name for _, name in tables],
            "privileges": list(_PRIVILEGES),
        },
    ).fetchall()
    keys = (
        "schema",
        "table",
        "oid",
        "column",
        "owner",
        "grantor",
        "grantee",
        "privilege",
        "option",
    )
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _superusers(session: Session) -> list[str]:
    rows = session.execute(
        "SELECT DISTINCT usename FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename"
        " WHERE r.rolsuper AND a.backend_type = 'client backend' AND a.datname = current_database()"
        " AND a.application_name <> %s AND a.pid <> pg_backend_pid() ORDER BY 1",
        [APPLICATION_NAME],
    ).fetchall()
    return [f"superuser {name} is connected and can still write" for (name,) in rows]


def _revoke(session: Session, grants: Sequence[Mapping[str, Any]]) -> None:
    with session.transaction():
        for grant in grants:
            # Grants by others hang on the owner's and go with them.
            if grant["grantor"] == grant["owner"]:
                session.execute(_statement("REVOKE {} ON {} FROM {} CASCADE", grant))


def _grant(session: Session, grants: Sequence[Mapping[str, Any]]) -> None:
    """Grant back: the owner's grants first, then those of roles that hold the grant option."""
    holders = {(g["oid"], g["column"], g["privilege"], g["owner"]) for g in grants}
    waiting = list(grants)
    with session.transaction():
        while waiting:
            ready = [g for g in waiting if _may_grant(g, g["grantor"], holders)]
            for grant in ready or waiting:
                _as_grantor(session, grant)
                option = " WITH GRANT OPTION" if grant["option"] else ""
                session.execute(_statement(f"GRANT {{}} ON {{}} TO {{}}{option}", grant))
                if grant["option"]:
                    place = (grant["oid"], grant["column"], grant["privilege"])
                    holders.add((*place, grant["grantee"]))
            done = {id(g) for g in ready or waiting}
            waiting = [g for g in waiting if id(g) not in done]
        session.execute("RESET ROLE")


def _may_grant(grant: Mapping[str, Any], role: str, holders: set[tuple[Any, ...]]) -> bool:
    places = ((grant["oid"], grant["column"]), (grant["oid"], None))
    return any((*place, grant["privilege"], role) in holders for place in places)


def _as_grantor(session: Session, grant: Mapping[str, Any]) -> None:
    """Grants of a superuser count as the owner's; other grantors must be impersonated."""
    session.execute("RESET ROLE")
    if grant["grantor"] != grant["owner"]:
        session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(grant["grantor"])))


def _statement(template: str, grant: Mapping[str, Any]) -> sql.Composed:
    column = sql.SQL(" ({})").format(sql.Identifier(grant["column"])) if grant["column"] else None
    privilege = sql.SQL(grant["privilege"]) + (column or sql.SQL(""))
    grantee = sql.Identifier(grant["grantee"]) if grant["grantee"] else sql.SQL("PUBLIC")
    table = sql.Identifier(grant["schema"], grant["table"])
    return sql.SQL(template).format(privilege, table, grantee)

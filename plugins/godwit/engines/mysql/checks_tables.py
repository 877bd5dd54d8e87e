"""What the source's log does not tell of tables, and tables that are slow or risky to follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.grants import Grants
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import ForeignKey, Table, TableName
from godwit.model.report import Finding, Severity

#: Since then the server logs what its foreign keys do.
CASCADES_LOGGED = (9, 6, 0)
_ACTIONS = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})
#: These write rows in transactions, and read them in snapshots.
_TRANSACTIONAL = frozenset({"innodb", "rocksdb", "tokudb", "ndbcluster"})


def logs_cascades(session: Session, version: Version) -> bool:
    """Whether the server logs what its foreign keys do."""
    if not version.since(mysql=CASCADES_LOGGED):
        return False
    # Its storage engine can still be told to do it alone, as it did before.
    rows = session.rows("SHOW GLOBAL VARIABLES LIKE 'innodb\\_native\\_foreign\\_keys'")
    return not any(str(value).upper() in {"ON", "1"} for _, value in rows)


def cascaded_tables(tables: Iterable[Table], version: Version) -> tuple[TableName, ...]:
    """Tables whose rows foreign keys change on the source without a word in its log.

    The target repeats it where the keys refer to tables of the migration (`silent.py`).
    Empty when the server logs such changes (MySQL from 9.6 on).
    """
    if version.since(mysql=CASCADES_LOGGED):
        return ()
    found = {
        table.name
        for table in tables
        for key in table.foreign_keys
        if {key.on_delete, key.on_update} & _ACTIONS
    }
    return tuple(sorted(found))


def check_tables(
    session: Session,
    tables: Sequence[Table],
    grants: Grants,
    *,
    capture: bool,
) -> Iterator[Finding]:
    """Findings about single tables."""
    engines = _engines(session, tables)
    logged = bool(session.value("SELECT @@log_bin"))
    for table in tables:
        engine = engines.get(table.name, "")
        if engine.lower() not in _TRANSACTIONAL and engine:
            yield _not_transactional(table, engine)
        if not table.identity:
            yield from _without_identity(table, grants, logged=logged)
        if capture and table.capture == "none":
            yield Finding(
                "not-logged",
                Severity.WARNING,
                str(table.name),
                f"its engine is {engine}: changes are not in this server's log",
                "migrate the tables behind it; it itself is loaded once",
            )
        if capture:
            yield from _compressed(table)
    if capture:
        yield from _cascades(tables)


def _engines(session: Session, tables: Sequence[Table]) -> dict[TableName, str]:
    schemas = tuple({table.name.schema for table in tables})
    if not schemas:
        return {}
    rows = session.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA IN %s AND ENGINE IS NOT NULL",
        (schemas,),
    )
    return {TableName(schema, name): str(engine) for schema, name, engine in rows}


def _compressed(table: Table) -> Iterator[Finding]:
    for column in table.columns:
        if " COMPRESSED" in column.native.upper():
            yield Finding(
                "compressed-column",
                Severity.ERROR,
                f"{table.name}.{column.name}",
                f"its type is {column.native}: the log tells its values compressed, in a form that "
                "Godwit does not read",
                f"ALTER TABLE {quoted(*table.name)} MODIFY {quoted(column.name)} without "
                "COMPRESSED; or leave the table out; or migrate with migration_type full-load",
            )


def _not_transactional(table: Table, engine: str) -> Finding:
    return Finding(
        "not-transactional",
        Severity.WARNING,
        str(table.name),
        f"its engine is {engine}: it has no snapshots, so rows that change while a chunk is read "
        "may be seen half-way until their changes are applied; a statement that fails keeps what "
        "it has written",
        f"ALTER TABLE {quoted(*table.name)} ENGINE = InnoDB; or don't write to it during the load",
    )


def _without_identity(table: Table, grants: Grants, *, logged: bool) -> Iterator[Finding]:
    name = quoted(*table.name)
    yield Finding(
        "no-key",
        Severity.INFO,
        str(table.name),
        "it has no key without NULLs: it is loaded in one piece and its changes are matched by the "
        "whole old row, which is slow on big tables",
        f"ALTER TABLE {name} ADD PRIMARY KEY (…);",
    )
    if not logged:
        return
    missing = []
    if not grants.on_database(table.name.schema, "LOCK TABLES"):
        missing.append(f"GRANT LOCK TABLES ON {quoted(table.name.schema)}.* TO {grants.account};")
    if not grants.everywhere("REPLICATION CLIENT", "BINLOG MONITOR", "SUPER"):
        missing.append(f"GRANT REPLICATION CLIENT ON *.* TO {grants.account};")
    if missing:
        yield Finding(
            "lock-privilege",
            Severity.ERROR,
            str(table.name),
            "a table without a key is locked for an instant, so that its rows and a position in "
            "the log belong together; the login may not lock it, or not ask for the position",
            " ".join(missing),
        )


def _cascades(tables: Sequence[Table]) -> Iterator[Finding]:
    names = {table.name for table in tables}
    for table in tables:
        silent = [key for key in table.foreign_keys if key.silent]
        followed = [key for key in silent if key.referenced in names]
        outside = [key for key in silent if key.referenced not in names]
        if followed:
            yield Finding(
                "silent-cascade",
                Severity.INFO,
                str(table.name),
                "its foreign keys change rows, and the log doesn't tell it before MySQL 9.6: "
                f"{_from(followed)}. The target does the same when rows they refer to change. What "
                "follows through several tables during the load has them loaded again once",
            )
        if outside:
            yield Finding(
                "silent-cascade",
                Severity.WARNING,
                str(table.name),
                "foreign keys to tables that are not migrated change its rows, and the log doesn't "
                f"tell it before MySQL 9.6: {_from(outside)}. What cascades while changes are "
                "followed stays as it was on the target until the table is compared",
                "migrate the referenced tables as well, or let the table be validated and repaired "
                "before the cutover (validation with repair)",
            )


def _from(keys: Iterable[ForeignKey]) -> str:
    return ", ".join(f"{key.name} (from {key.referenced})" for key in keys)

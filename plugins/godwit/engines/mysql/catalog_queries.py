"""The bulk queries behind the catalog: rows of one database as mappings, whichever the flavour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from godwit.engines.mysql.connection import Session, Version

Row = dict[str, Any]

#: Databases that come with the server.
SYSTEM_DATABASES = frozenset({"information_schema", "performance_schema", "mysql", "sys"})

TABLES = (
    "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH, TABLE_COLLATION,"
    " TABLE_COMMENT, CREATE_OPTIONS"
    " FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s ORDER BY TABLE_NAME"
)
COLUMNS = (
    "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA,"
    " GENERATION_EXPRESSION, COLLATION_NAME, COLUMN_COMMENT"
    " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s"
    " ORDER BY TABLE_NAME, ORDINAL_POSITION"
)
_STATISTICS = (
    "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, COLLATION, INDEX_TYPE,"
    " INDEX_COMMENT, {expression}, {hidden}"
    " FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %s"
    " ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)
KEY_COLUMNS = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA,"
    " REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME"
    " FROM information_schema.KEY_COLUMN_USAGE"
    " WHERE TABLE_SCHEMA = %s AND REFERENCED_TABLE_NAME IS NOT NULL"
    " ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
)
ACTIONS = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE"
    " FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s"
)
_CHECKS_MARIADB = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, 'YES' AS ENFORCED"
    " FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s"
    " ORDER BY TABLE_NAME, CONSTRAINT_NAME"
)
_CHECKS_MYSQL = (
    "SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE, t.ENFORCED"
    " FROM information_schema.CHECK_CONSTRAINTS c JOIN information_schema.TABLE_CONSTRAINTS t"
    " USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)"
    " WHERE c.CONSTRAINT_SCHEMA = %s AND t.CONSTRAINT_TYPE = 'CHECK'"
    " ORDER BY t.TABLE_NAME, c.CONSTRAINT_NAME"
)
PARTITIONS = (
    "SELECT TABLE_NAME, PARTITION_NAME, SUBPARTITION_NAME, TABLE_ROWS, DATA_LENGTH"
    " FROM information_schema.PARTITIONS"
    " WHERE TABLE_SCHEMA = %s AND PARTITION_NAME IS NOT NULL"
    " ORDER BY TABLE_NAME, PARTITION_ORDINAL_POSITION, SUBPARTITION_ORDINAL_POSITION"
)
ROUTINES = (
    "SELECT LOWER(ROUTINE_TYPE) AS KIND, ROUTINE_NAME AS NAME"
    " FROM information_schema.ROUTINES"
    " WHERE ROUTINE_SCHEMA = %s ORDER BY 1, 2"
)
TRIGGERS = (
    "SELECT TRIGGER_NAME AS NAME, EVENT_OBJECT_TABLE AS TABLE_NAME"
    " FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = %s"
    " ORDER BY EVENT_OBJECT_TABLE, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER"
)
EVENTS = (
    "SELECT EVENT_NAME AS NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = %s ORDER BY 1"
)

CHECKS_SINCE = (8, 0, 16)
EXPRESSIONS_SINCE = (8, 0, 13)
IGNORED_SINCE = (10, 6, 0)


def statistics(version: Version) -> str:
    """Parts of indexes; expressions and hidden indexes where the server has them."""
    expression, hidden = "NULL AS EXPRESSION", "'NO' AS HIDDEN"
    if version.since(mariadb=IGNORED_SINCE):
        hidden = "IGNORED AS HIDDEN"
    elif version.since(mysql=EXPRESSIONS_SINCE):
        expression = "EXPRESSION"
        hidden = "IF(IS_VISIBLE = 'YES', 'NO', 'YES') AS HIDDEN"
    return _STATISTICS.format(expression=expression, hidden=hidden)


def checks(version: Version) -> str | None:
    """Check constraints; None where the server has none."""
    if version.mariadb:
        return _CHECKS_MARIADB
    return _CHECKS_MYSQL if version.since(mysql=CHECKS_SINCE) else None


def fetch(session: Session, query: str, values: Sequence[Any] = ()) -> list[Row]:
    """All rows of a query by name of column, in upper case whichever the flavour shows."""
    with session.cursor() as cursor:
        cursor.execute(query, tuple(values))
        names = [column[0].upper() for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def database_names(session: Session, asked: Sequence[str]) -> list[str]:
    """The databases asked for that exist; all but the server's own for ``*`` and for none."""
    rows = fetch(session, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1")
    names = [str(row["SCHEMA_NAME"]) for row in rows]
    if not asked or "*" in asked:
        return [name for name in names if name.lower() not in SYSTEM_DATABASES]
    return [name for name in names if name in set(asked)]

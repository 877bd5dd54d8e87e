"""The shape of the control tables. Times are in UTC; JSON is text, kept as it was written."""

from __future__ import annotations

from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.names import parameterless, quoted

#: Columns and keys by table.
DDL = {
    "epochs": (
        "migration varchar(200) NOT NULL, role varchar(400) NOT NULL, epoch bigint NOT NULL,"
        " taken_at datetime(6) NOT NULL, PRIMARY KEY (migration, role)"
    ),
    "checkpoints": (
        "migration varchar(200) NOT NULL PRIMARY KEY, low longtext, settled longtext,"
        " checkpoint longtext, stop_at longtext, transactions bigint NOT NULL DEFAULT 0,"
        " changes bigint NOT NULL DEFAULT 0, commit_time datetime(6), applied_at datetime(6),"
        " session_at datetime(6)"
    ),
    "plans": (
        "migration varchar(200) NOT NULL PRIMARY KEY, plan longtext NOT NULL,"
        " made_at datetime(6) NOT NULL"
    ),
    "chunks": (
        "migration varchar(200) NOT NULL, chunk_id varchar(200) NOT NULL,"
        " table_schema varchar(200) NOT NULL, table_name varchar(200) NOT NULL,"
        " label longtext NOT NULL, chunk longtext NOT NULL, `rows` bigint NOT NULL,"
        " bytes bigint NOT NULL, seconds double NOT NULL, mark longtext, epoch bigint NOT NULL,"
        " loaded_at datetime(6) NOT NULL, PRIMARY KEY (migration, chunk_id)"
    ),
    "suspended_tables": (
        "migration varchar(200) NOT NULL, table_schema varchar(200) NOT NULL,"
        " table_name varchar(200) NOT NULL, reason longtext NOT NULL,"
        " suspended_at datetime(6) NOT NULL, PRIMARY KEY (migration, table_schema, table_name)"
    ),
    "apply_exceptions": (
        "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, task_name varchar(200) NOT NULL,"
        " table_owner varchar(200) NOT NULL, table_name varchar(200) NOT NULL,"
        " error_time datetime(6) NOT NULL, statement longtext NOT NULL, error longtext NOT NULL,"
        " `key` longtext NOT NULL, position longtext NOT NULL,"
        " KEY apply_exceptions_task (task_name, id)"
    ),
    "journal": (
        "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, migration varchar(200) NOT NULL,"
        " step varchar(400) NOT NULL, state varchar(200) NOT NULL, detail longtext NOT NULL,"
        " at datetime(6) NOT NULL, KEY journal_migration (migration, id)"
    ),
    "memory": (
        "migration varchar(200) NOT NULL, `key` varchar(560) NOT NULL, value longtext,"
        " PRIMARY KEY (migration, `key`)"
    ),
}

#: Every control table and the column that names the migration.
TABLES = dict.fromkeys(DDL, "migration") | {"apply_exceptions": "task_name"}


def control_table(session: Session, name: str) -> str:
    """The quoted name of a control table, ready for a statement with values (``%`` doubled)."""
    return parameterless(quoted(session.control_database, name))


def collation(version: Version) -> str:
    """Equal keys have equal bytes, trailing blanks included, where the server has such a thing."""
    if version.mariadb:
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if version.numbers >= (8, 0, 17) else "utf8mb4_bin"

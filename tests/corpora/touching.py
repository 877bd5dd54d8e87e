"""Changes for any schema: every table has rows updated, deleted and inserted again."""

from __future__ import annotations

import psycopg
from psycopg import sql

from include.demo.mysql_servers import MySqlDatabase, quoted
from include.demo.servers import Database
from tests.corpora.cases import AnyDatabase

TABLES = """
SELECT n.nspname, c.relname,
  array_agg(a.attname::text ORDER BY a.attnum)
    FILTER (WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) OR relreplident = 'f'
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid
WHERE relkind = 'r' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
GROUP BY n.nspname, c.relname, c.oid ORDER BY 1, 2
"""


def touch(database: AnyDatabase) -> None:
    """Change some rows of every table, each table in its transaction.

    No trigger and no foreign key acts meanwhile: the database holds the same rows afterwards.
    """
    if isinstance(database, MySqlDatabase):
        touch_mysql(database)
    else:
        touch_postgres(database)


#: Tables that have a primary key, whose columns can be written and whose rows no trigger follows.
MYSQL_TABLES = """
SELECT c.TABLE_NAME, GROUP_CONCAT(IF(EXTRA LIKE '%% GENERATED', NULL, c.COLUMN_NAME)
    ORDER BY ORDINAL_POSITION SEPARATOR '\\0'),
  GROUP_CONCAT(IF(COLUMN_KEY = 'PRI', c.COLUMN_NAME, NULL) SEPARATOR '\\0')
FROM information_schema.COLUMNS c JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME)
WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'BASE TABLE' AND NOT EXISTS (
  SELECT 1 FROM information_schema.TRIGGERS
  WHERE EVENT_OBJECT_SCHEMA = TABLE_SCHEMA AND EVENT_OBJECT_TABLE = TABLE_NAME)
GROUP BY TABLE_NAME HAVING COUNT(IF(COLUMN_KEY = 'PRI', 1, NULL)) > 0
"""


def touch_mysql(database: MySqlDatabase) -> None:
    """Delete and insert again some rows of every table with a key."""
    with database.connect(autocommit=False) as session, session.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        cursor.execute("SET group_concat_max_len = 1000000")
        cursor.execute(MYSQL_TABLES, [database.name])
        for name, listed, keys in cursor.fetchall():
            table, columns = quoted(name), ", ".join(map(quoted, listed.split("\0")))
            same = " AND ".join(f"t.{c} <=> k.{c}" for c in map(quoted, keys.split("\0")))
            cursor.execute(
                f"CREATE TEMPORARY TABLE kept_rows AS SELECT {columns} FROM {table} LIMIT 30"
            )
            cursor.execute(f"DELETE t FROM {table} t JOIN kept_rows k ON {same}")
            cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM kept_rows")
            session.commit()
            cursor.execute("DROP TEMPORARY TABLE kept_rows")


def touch_postgres(database: Database, *, rows: int = 100) -> None:
    """Update, delete and insert again some rows of every table."""
    with database.connect() as session:
        session.execute("SET session_replication_role = replica")
        for schema, name, columns, identified in session.execute(TABLES.encode()).fetchall():
            if columns and identified:
                _touch(session, sql.Identifier(schema, name), columns, rows)


def _touch(
    session: psycopg.Connection[object], table: sql.Identifier, columns: list[str], rows: int
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    some = sql.SQL("(SELECT ctid FROM ONLY {} LIMIT {})").format(table, sql.Literal(rows))
    with session.transaction():
        session.execute(
            sql.SQL(
                "CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT {} FROM ONLY {} LIMIT 30"
            ).format(names, table)
        )
        session.execute(
            sql.SQL("DELETE FROM ONLY {} WHERE ctid IN (SELECT ctid FROM ONLY {} LIMIT 30)").format(
                table, table
            )
        )
        session.execute(
            sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT * FROM kept").format(
                table, names
            )
        )
    # Last: what has just been inserted is at the end of the table or in a hole at its beginning.
    for column in columns[:3]:
        try:
            session.execute(
                sql.SQL("UPDATE ONLY {} SET {} = {} WHERE ctid IN {}").format(
                    table, sql.Identifier(column), sql.Identifier(column), some
                )
            )
        except psycopg.errors.GeneratedAlways:
            continue

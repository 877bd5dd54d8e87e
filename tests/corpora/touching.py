"""Changes for any schema: every table has rows updated, deleted and inserted again."""

from __future__ import annotations

import psycopg
from psycopg import sql

from include.demo.servers import Database

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


def touch(database: Database, *, rows: int = 100) -> None:
    """Update, delete and insert again some rows of every table, each table in its transaction.

    No trigger and no foreign key acts meanwhile: the database holds the same rows afterwards.
    """
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

"""What the tests of the source endpoint share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from godwit.engines.mysql.source import MySqlSource
from godwit.model.catalog import Catalog, TableName
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from include.demo.mysql_servers import MySqlDatabase


@contextmanager
def source_of(database: MySqlDatabase, **settings: Any) -> Iterator[MySqlSource]:
    """The database as a source endpoint."""
    connection = connection_from_text("source", database.conn_uri)
    with closing(MySqlSource(connection, settings)) as source:
        yield source


def catalog_of(source: MySqlSource) -> Catalog:
    """Every table of the database."""
    return source.catalog(lambda _: True)


def mapping_of(source: MySqlSource, name: str, **more: Any) -> TableMapping:
    """The table as it is."""
    table = catalog_of(source).table(TableName(source.connector.connection.database, name))
    columns = tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns)
    return TableMapping(table, table.name, columns, identity=table.identity, **more)


def fill(database: MySqlDatabase, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert the rows in one transaction; refused duplicates are left out."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute("BEGIN")
        places = ", ".join(["%s"] * len(rows[0]))
        cursor.executemany(f"INSERT IGNORE INTO {table} VALUES ({places})", rows)
        connection.commit()
        cursor.execute(f"ANALYZE TABLE {table}")

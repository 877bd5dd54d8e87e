"""What tables hold, as the databases' own drivers tell it: nothing of Godwit looks on.

Two servers of one product can sum up their rows themselves. Between products the rows are read as
text, brought into one form, and summed up here. Sums do not depend on the rows' order.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

from include.demo.mysql_servers import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from include.demo.mysql_servers import MySqlServer
    from include.demo.servers import PostgresServer

    Form = Callable[[Any], str]

#: ``schema.table`` → rows and a sum over them.
Contents = dict[str, tuple[int, int]]

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2"""
_SUM = """
SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {} t"""
_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
_MYSQL_COLUMNS = """
SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION FROM information_schema.COLUMNS
JOIN information_schema.TABLES USING (TABLE_SCHEMA, TABLE_NAME)
WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME, ORDINAL_POSITION"""
_MASK = 2**64 - 1
_BATCH = 2000
#: What a zero date becomes, see the setting `zero_dates`.
_ZERO_DATE = "-infinity"


def summed_by_postgres(server: PostgresServer, database: str, schemas: Sequence[str]) -> Contents:
    """The server adds up hashes of its rows' text."""
    found = {}
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        for schema, table in connection.execute(_TABLES, [list(schemas)]).fetchall():
            query = sql.SQL(_SUM).format(sql.Identifier(schema, table))
            row = connection.execute(query).fetchone()
            found[f"{schema}.{table}"] = (int(row[0]), int(row[1])) if row else (0, 0)
    return found


def postgres_contents(
    server: PostgresServer,
    database: str,
    schemas: Sequence[str],
    without: Collection[str] = (),
) -> Contents:
    """The rows in the form that `mysql_contents` has, summed up here.

    `without`: ``schema.table`` or ``schema.table.column`` that are not looked at.
    """
    found = {}
    with psycopg.connect(server.url(database)) as connection:
        connection.execute(
            "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = postgres"
        )
        for schema, table in connection.execute(_TABLES, [list(schemas)]).fetchall():
            full = f"{schema}.{table}"
            if full in without:
                continue
            name = sql.Identifier(schema, table)
            there = connection.execute(_COLUMNS, [name.as_string(connection)]).fetchall()
            columns = [sql.Identifier(one) for (one,) in there if f"{full}.{one}" not in without]
            forms = _postgres_forms(connection, name, columns)
            shown = sql.SQL(", ").join(sql.SQL("{}::text").format(column) for column in columns)
            with connection.cursor(name="rows") as cursor:
                cursor.itersize = _BATCH
                cursor.execute(sql.SQL("SELECT {} FROM {}").format(shown, name))
                found[full] = _sum(cursor, forms)
    return found


def _postgres_forms(
    connection: psycopg.Connection[Any], table: sql.Identifier, columns: Sequence[sql.Identifier]
) -> list[Form | None]:
    listed = sql.SQL(", ").join(columns)
    # A result tells what a domain is made of.
    empty = connection.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(listed, table))
    kinds = [connection.adapters.types.get(c.type_code) for c in empty.description or ()]
    return [_POSTGRES_FORMS.get(kind.name) if kind else None for kind in kinds]


def mysql_contents(server: MySqlServer, schemas: Sequence[str]) -> Contents:
    """The rows of whole databases in the form that `postgres_contents` has, summed up here."""
    found = {}
    # Without the driver's ideas of types: dates that are none would come as something else.
    plain = {kind: how for kind, how in conversions.items() if not isinstance(kind, int)}
    with server.connect(conv=plain, cursorclass=SSCursor) as connection:
        cursor = connection.cursor()
        cursor.execute("SET time_zone = '+00:00'")
        for schema in schemas:
            tables: dict[str, list[tuple[str, str, str | None]]] = {}
            cursor.execute(_MYSQL_COLUMNS, [schema])
            for table, *column in cursor.fetchall():
                tables.setdefault(table, []).append(tuple(column))
            for table, columns in tables.items():
                shown = ", ".join(_shown(column, kind) for column, kind, _ in columns)
                cursor.execute(f"SELECT {shown} FROM {quoted(schema)}.{quoted(table)}")
                forms = [_mysql_form(kind, bits) for _, kind, bits in columns]
                found[f"{schema}.{table}"] = _sum(cursor, forms)
    return found


def _sum(rows: Iterable[Sequence[Any]], forms: Sequence[Form | None]) -> tuple[int, int]:
    shaped = [(place, form) for place, form in enumerate(forms) if form]
    count = total = 0
    for row in rows:
        values = list(row)
        for place, form in shaped:
            if values[place] is not None:
                values[place] = form(values[place])
        count += 1
        total += hash(tuple(values))
    return count, total & _MASK


def _shown(column: str, kind: str) -> str:
    # A float on its own is shown with six digits.
    return f"{quoted(column)} + 0e0" if kind == "float" else quoted(column)


def _mysql_form(kind: str, bits: str | None) -> Form | None:
    if kind == "bit":
        width = int(bits or 1)
        return lambda value: f"{int.from_bytes(value):0{width}b}"
    return _MYSQL_FORMS.get(kind)


def _trimmed(value: str) -> str:
    """Without zeros at the end of a fraction."""
    return value.rstrip("0").rstrip(".") if "." in value else value


def _moment(value: str) -> str:
    return _ZERO_DATE if value.startswith("0000-00-00") else _trimmed(value)


def _zoned(value: str) -> str:
    return _trimmed(value.removesuffix("+00"))


def _single(value: str) -> str:
    return _double(struct.unpack("f", struct.pack("f", float(value)))[0])


def _double(value: str) -> str:
    # Not every engine tells the two zeros apart.
    return repr(float(value) + 0.0)


def _number(value: str) -> str:
    return str(int(value))


def _address(value: str) -> str:
    """Without the length of a prefix that is the whole address."""
    return value.removesuffix("/128" if ":" in value else "/32")


def _unpadded(value: str) -> str:
    return value.rstrip(" ")


_MYSQL_FORMS: dict[str, Form] = {
    **dict.fromkeys(("date", "datetime", "timestamp"), _moment),
    **dict.fromkeys(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), bytes.hex
    ),
    "time": _trimmed,
    "decimal": _trimmed,
    "float": _single,
    "double": _double,
    "year": _number,
    "char": _unpadded,
}
_POSTGRES_FORMS: dict[str, Form] = {
    "bool": lambda value: str(int(value == "true")),
    "timestamp": _trimmed,
    "timestamptz": _zoned,
    "time": _trimmed,
    "interval": _trimmed,
    "numeric": _trimmed,
    "float4": _single,
    "float8": _double,
    "bpchar": _unpadded,
    "inet": _address,
    "bytea": lambda value: value.removeprefix("\\x"),
}

"""Migrations between different engines: sources and targets of every kind, and what to compare.

The rows are compared by these tests themselves, through the drivers, beside Godwit's own validation.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from godwit.migrator import Migrator
from godwit.steps.comparison import Pair, pair_of
from include.demo.mysql_servers import MySqlDatabase
from include.demo.mysql_servers import quoted as backticks
from include.demo.servers import Database
from tests.scenarios.migrations import Told, migrating

#: The number of PostgreSQL's type of fixed-length text.
BPCHAR = 1042
AnyDatabase = Database | MySqlDatabase


def is_mysql(database: AnyDatabase) -> bool:
    """The engine of one end."""
    return isinstance(database, MySqlDatabase)


@contextmanager
def moving(
    source: AnyDatabase, target: AnyDatabase, told: Told | None = None, /, **changed: Any
) -> Iterator[Migrator]:
    """A migrator over two databases of any kind, under a name of its own: control tables of a MySQL
    server are shared by all of its databases.
    """
    given = {"name": f"m_{source.name}", **changed}
    with migrating(source, target, told, **given) as migrator:  # type: ignore[arg-type]
        yield migrator


def loaded(source: AnyDatabase, target: AnyDatabase, /, **changed: Any) -> Told:
    """Everything up to a consistent target: schema, rows, changes so far."""
    told = Told()
    with moving(source, target, told, **changed) as migrator:
        migrator.configure_endpoints()
        migrator.convert_schema()
        for bundle in migrator.plan_chunks():
            migrator.load(bundle)
        migrator.catch_up()
        migrator.finish_schema()
    return told


def caught_up(source: AnyDatabase, target: AnyDatabase, /, **changed: Any) -> None:
    """Apply what has been committed on the source so far."""
    with moving(source, target, **changed) as migrator:
        migrator.follow(migrator.source.position())


def unequal(source: AnyDatabase, target: AnyDatabase, /, **changed: Any) -> dict[str, str]:
    """What Godwit's validation finds: tables that differ and what it says of them."""
    with moving(source, target, **changed) as migrator:
        report = migrator.validate()
        wrong = [table for table in report.tables if not table.equal or table.note]
        return {
            str(t.table): f"{t.note} {t.differences[:3]} in {_columns(migrator, t.table)}"
            for t in wrong
        }


def _columns(migrator: Migrator, table: Any) -> list[str]:
    """The columns that differ, for whoever has to find out why."""
    mapping = next(m for m in migrator.mappings if m.target == table or m.source.name == table)
    pair = pair_of(migrator.source, migrator.target, mapping)
    if not isinstance(pair, Pair):
        return [pair.reason]
    found = []
    for place, name in enumerate(pair.source.columns):
        key = (0,) if pair.source.key else ()
        chosen = [*pair.source.key[:1], place]
        sides = []
        for side, spec in ((migrator.source, pair.source), (migrator.target, pair.target)):
            narrow = replace(
                spec,
                columns=tuple(spec.columns[n] for n in chosen),
                kinds=tuple(spec.kinds[n] for n in chosen),
                key=key,
            )
            sides.append(sorted(side.row_hashes(narrow, 1, [0])))
        if sides[0] != sides[1]:
            found.append(f"{name} ({pair.source.kinds[place]})")
    return found


def rows(database: AnyDatabase, schema: str, table: str, columns: list[str]) -> Counter[Any]:
    """The rows of a table with values that both drivers agree on."""
    if isinstance(database, MySqlDatabase):
        listed = ", ".join(map(backticks, columns))
        with database.connect() as session, session.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            cursor.execute(f"SELECT {listed} FROM {backticks(schema)}.{backticks(table)}")
            found = list(cursor.fetchall())
    else:
        listed = ", ".join(f'"{name}"' for name in columns)
        with database.connect() as session:
            cursor = session.execute(f'SELECT {listed} FROM "{schema}"."{table}"'.encode())
            padded = {n for n, c in enumerate(cursor.description or ()) if c.type_code == BPCHAR}
            # Only one driver shows the blanks of fixed-length text.
            found = [
                tuple(v.rstrip(" ") if n in padded and v else v for n, v in enumerate(row))
                for row in cursor
            ]
    return Counter(tuple(map(plain, row)) for row in found)


def plain(value: Any) -> Any:
    """A value without what only one driver says of it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value.normalize()
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, memoryview):
        return bytes(value)
    return value


def assert_same(
    source: AnyDatabase, target: AnyDatabase, tables: dict[str, list[str]], schema: str
) -> None:
    """Source and target hold the same rows, by the drivers and by Godwit's own validation."""
    for table, columns in tables.items():
        here, there = (rows(end, schema, table, columns) for end in (source, target))
        assert here == there, f"{table}: {here - there} became {there - here}"

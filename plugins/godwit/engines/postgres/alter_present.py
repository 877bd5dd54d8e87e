"""What a table on the target looks like at this moment, as far as altering it is concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, fetch
from godwit.engines.postgres.names import canonical, quoted
from godwit.engines.postgres.objects_graph import Objects, Selection
from godwit.engines.postgres.objects_keys import NOT_VALID
from godwit.engines.postgres.objects_shapes import ColumnShape, TableShape
from godwit.engines.postgres.objects_tables import read_tables
from godwit.model.catalog import TableName

_OID: LiteralString = """
SELECT c.oid::bigint AS oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND c.relkind IN ('r', 'p')
"""

# A domain's enum is the domain's affair.
_ENUMS: LiteralString = """
SELECT a.attname AS column, n.nspname AS schema, t.typname AS name,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e
        WHERE e.enumtypid = t.oid) AS labels
FROM pg_attribute a
JOIN pg_type c ON c.oid = a.atttypid
JOIN pg_type t ON t.oid = CASE WHEN c.typcategory = 'A' THEN c.typelem ELSE c.oid END
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE a.attrelid = %(oid)s::oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typtype = 'e'
"""

_CONSTRAINTS: LiteralString = """
SELECT o.conname AS name, o.contype::text AS type, pg_get_constraintdef(o.oid) AS definition,
       n.nspname AS schema, c.relname AS table, o.conrelid = %(oid)s::oid AS own,
       array(SELECT a.attname::text FROM unnest(o.conkey) k(n)
             JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.n) AS columns,
       array(SELECT a.attname::text FROM unnest(o.confkey) k(n)
             JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.n) AS referenced,
       o.confrelid = %(oid)s::oid AS of_this
FROM pg_constraint o
JOIN pg_class c ON c.oid = o.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (o.conrelid = %(oid)s::oid OR o.confrelid = %(oid)s::oid) AND o.contype IN ('c', 'f')
  AND o.coninhcount = 0
"""

# Keys and indexes that go with a column, and come again with it.
_INDEXES: LiteralString = """
SELECT i.indexrelid::bigint AS oid, pg_get_indexdef(i.indexrelid) AS definition,
       o.conname AS constraint, pg_get_constraintdef(o.oid) AS constraint_definition,
       array(SELECT a.attname::text FROM pg_depend d
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
             WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
               AND (d.classid, d.objid) IN (('pg_class'::regclass, i.indexrelid),
                                            ('pg_constraint'::regclass, o.oid))) AS columns
FROM pg_index i LEFT JOIN pg_constraint o ON o.conindid = i.indexrelid AND o.conrelid = i.indrelid
  AND o.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %(oid)s::oid
"""


@dataclass(frozen=True)
class Enum:
    """The enum of a column (or of its elements)."""

    name: TableName
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Constraint:
    """A check, or a foreign key of this table or to it (`referenced`: columns of this table that
    are referred to). `definition`: canonical, as the plan has it.
    """

    name: str
    table: TableName
    check: bool
    definition: str
    columns: frozenset[str]
    referenced: frozenset[str]

    def drop(self) -> str:
        """The statement that takes it away, if it is there."""
        return f"ALTER TABLE {quoted(*self.table)} DROP CONSTRAINT IF EXISTS {quoted(self.name)}"


@dataclass(frozen=True)
class Present:
    """A table of the target with its partitions."""

    oid: int
    shape: TableShape
    parts: frozenset[TableName]
    enums: Mapping[str, Enum]

    @property
    def columns(self) -> dict[str, ColumnShape]:
        """Columns by name."""
        return {c.name: c for c in self.shape.columns}


def read_present(conn: Connection, table: TableName) -> Present | None:
    """The table as it is; None when it is not there."""
    found = fetch(conn, _OID, schema=table.schema, name=table.name)
    if not found:
        return None
    oid = found[0]["oid"]
    objects = Objects()
    read_tables(conn, Selection(frozenset([oid]), frozenset()), objects)
    shapes = [o for o in objects.found.values() if isinstance(o, TableShape)]
    enums = {
        row["column"]: Enum(TableName(row["schema"], row["name"]), tuple(row["labels"] or ()))
        for row in fetch(conn, _ENUMS, oid=oid)
    }
    shape = next(s for s in shapes if TableName(s.schema, s.name) == table)
    parts = frozenset(TableName(s.schema, s.name) for s in shapes) - {table}
    return Present(oid, shape, parts, enums)


def read_constraints(conn: Connection, oid: int) -> list[Constraint]:
    """Checks of the table, foreign keys of it and to it."""
    found = []
    for row in fetch(conn, _CONSTRAINTS, oid=oid):
        table = TableName(row["schema"], row["table"])
        head = f"ALTER TABLE {quoted(*table)} ADD CONSTRAINT {quoted(row['name'])}"
        definition = canonical(f"{head} {row['definition'].removesuffix(NOT_VALID)}")
        own = frozenset(row["columns"]) if row["own"] else frozenset()
        other = frozenset(row["referenced"]) if row["of_this"] else frozenset()
        check = row["type"] == "c"
        found.append(Constraint(row["name"], table, check, definition, own, other))
    return found


def indexes_over(
    conn: Connection, oid: int, columns: set[str], without: set[str], table: TableName
) -> list[str]:
    """Statements that make the keys and indexes that use these columns, and none of `without`."""
    made = []
    for row in fetch(conn, _INDEXES, oid=oid):
        if not columns.intersection(row["columns"]) or without.intersection(row["columns"]):
            continue
        if row["constraint"]:
            head = f"ALTER TABLE {quoted(*table)} ADD CONSTRAINT {quoted(row['constraint'])}"
            made.append(f"{head} {row['constraint_definition']}")
        else:
            made.append(row["definition"].replace(" ON ONLY ", " ON "))
    return made

"""Keys, constraints, indexes and extended statistics as native objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.names import canonical, quoted
from godwit.engines.postgres.objects_graph import Key, Objects
from godwit.model.catalog import NativeObject, TableName

#: Added to the definition of an object that is there but not finished.
NOT_VALID = " NOT VALID"
INVALID = " INVALID"

_KINDS = {
    "p": "primary key",
    "u": "unique constraint",
    "x": "exclusion constraint",
    "c": "check constraint",
    "f": "foreign key",
    "n": "not-null constraint",
}


@dataclass(frozen=True)
class IndexShape(NativeObject):
    """A key or index. `columns`: of its key, None for expressions; `deep`: how far below the root
    of a partition tree its table is (leaves are made first, and found by what is above them).
    """

    columns: tuple[str | None, ...] = ()
    unique: bool = False
    immediate: bool = True
    partial: bool = False
    root_index: TableName | None = None
    deep: int = 0
    partitioned: bool = False


# Only what is declared on the table itself: what came from a parent comes there again.
_CONSTRAINTS: LiteralString = """
SELECT o.oid::bigint AS oid, o.conrelid::bigint AS relation, n.nspname AS schema,
       c.relname AS table, c.relkind = 'p' AS partitioned, o.conname AS name,
       o.contype::text AS type, pg_get_constraintdef(o.oid) AS definition, o.convalidated AS valid,
       o.conindid::bigint AS index, o.confrelid::bigint AS referenced,
       o.condeferrable AS deferrable, o.conparentid <> 0 AS from_parent,
       o.conislocal AND o.coninhcount = 0 AS own,
       array(SELECT a.attname::text FROM unnest(o.conkey) WITH ORDINALITY k(n, i)
             JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.n
             ORDER BY k.i) AS columns
FROM pg_constraint o
JOIN pg_class c ON c.oid = o.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE o.conrelid = ANY(%(oids)s::oid[]) AND o.contype IN ('p', 'u', 'x', 'c', 'f', 'n')
  AND (o.contype <> 'n' OR NOT o.convalidated)
ORDER BY n.nspname, c.relname, o.conname
"""

_INDEXES: LiteralString = """
SELECT i.indexrelid::bigint AS oid, i.indrelid::bigint AS relation, n.nspname AS schema,
       t.relname AS table, t.relkind = 'p' AS partitioned, c.relname AS name,
       pg_get_indexdef(i.indexrelid) AS definition, i.indisvalid AS valid,
       i.indisunique AS unique, i.indpred IS NOT NULL AS partial, i.indisclustered AS clustered,
       i.indimmediate AS immediate, k.contype IS NOT NULL AS of_constraint,
       k.oid::bigint AS constraint_oid, h.inhparent::bigint AS parent, ix.columns
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
  AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid
CROSS JOIN LATERAL (
  SELECT array_agg(a.attname::text ORDER BY e.i) AS columns
  FROM unnest(i.indkey::int2[]) WITH ORDINALITY e(n, i)
  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = e.n AND e.n > 0
  WHERE e.i <= i.indnkeyatts) ix
WHERE i.indrelid = ANY(%(oids)s::oid[])
ORDER BY n.nspname, t.relname, c.relname
"""

_STATISTICS: LiteralString = """
SELECT s.oid::bigint AS oid, n.nspname AS schema, s.stxname AS name,
       s.stxrelid::bigint AS relation, tn.nspname AS table_schema, t.relname AS table,
       pg_get_statisticsobjdef(s.oid) AS definition,
       (to_jsonb(s) ->> 'stxstattarget')::int AS target
FROM pg_statistic_ext s
JOIN pg_namespace n ON n.oid = s.stxnamespace
JOIN pg_class t ON t.oid = s.stxrelid
JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE s.stxrelid = ANY(%(oids)s::oid[])
ORDER BY 2, 3
"""


def read_keys(conn: Connection, depth: Mapping[int, int], objects: Objects) -> None:
    """Constraints and indexes of tables (and materialized views) by OID; `depth` is each one's
    distance from the root of its partition tree.
    """
    indexes = {row["oid"]: row for row in fetch(conn, _INDEXES, oids=list(depth))}
    constraints = fetch(conn, _CONSTRAINTS, oids=list(depth))
    for row in constraints:
        _constraint(row, indexes.get(row["index"]), depth, indexes, objects)
    for row in indexes.values():
        if row["of_constraint"]:
            objects.alias["pg_class", row["oid"]] = ("pg_constraint", row["constraint_oid"])
        else:
            _index(row, depth, indexes, objects)
    for row in fetch(conn, _STATISTICS, oids=list(depth)):
        _statistics(row, objects)


def _constraint(
    row: Row,
    index: Row | None,
    depth: Mapping[int, int],
    indexes: Mapping[int, Row],
    objects: Objects,
) -> None:
    key: Key = ("pg_constraint", row["oid"])
    table = TableName(row["schema"], row["table"])
    if row["type"] in {"p", "u", "x"}:
        _key_constraint(key, row, index, depth, indexes, objects)
    elif row["type"] == "f":
        if not row["from_parent"]:
            _late_constraint(key, row, table, objects)
    elif row["own"]:
        _late_constraint(key, row, table, objects)


def _key_constraint(
    key: Key,
    row: Row,
    index: Row | None,
    depth: Mapping[int, int],
    indexes: Mapping[int, Row],
    objects: Objects,
) -> None:
    table = TableName(row["schema"], row["table"])
    statement = (
        f"ALTER TABLE {quoted(*table)} ADD CONSTRAINT {quoted(row['name'])} {row['definition']}"
    )
    statements = (statement, *_cluster(index, table, row["name"]))
    thing = IndexShape(
        _KINDS[row["type"]],
        row["schema"],
        f"{row['table']}.{row['name']}",
        statements,
        "key" if row["type"] == "p" else "post",
        table,
        definition=canonical("; ".join(statements)),
        columns=tuple(row["columns"]),
        unique=row["type"] != "x",
        immediate=not row["deferrable"],
        root_index=_root_index(index, indexes),
        deep=depth[row["relation"]],
        partitioned=row["partitioned"],
    )
    objects.add(key, thing, ("pg_class", row["relation"]))
    _before_parent(index, indexes, key, objects)


def _late_constraint(key: Key, row: Row, table: TableName, objects: Objects) -> None:
    """Foreign keys and checks are added without looking at the rows, then validated: the second
    step takes time, but no lock that writers wait for.
    """
    definition = row["definition"].removesuffix(NOT_VALID)
    name = quoted(row["name"])
    add = f"ALTER TABLE {quoted(*table)} ADD CONSTRAINT {name} {definition}"
    # Before 18 a partitioned table refuses foreign keys that are NOT VALID.
    at_once = row["type"] == "f" and row["partitioned"] and row["valid"]
    statements = [add if at_once or "NOT ENFORCED" in definition else add + NOT_VALID]
    if row["valid"] and not at_once:
        statements.append(f"ALTER TABLE {quoted(*table)} VALIDATE CONSTRAINT {name}")
    thing = NativeObject(
        _KINDS[row["type"]],
        row["schema"],
        f"{row['table']}.{row['name']}",
        tuple(statements),
        "post",
        table,
        definition=canonical(add) + ("" if row["valid"] else NOT_VALID),
    )
    needs: list[Key] = [("pg_class", row["relation"])]
    if row["referenced"]:
        needs.append(("pg_class", row["referenced"]))
    objects.add(key, thing, *needs)


def _cluster(index: Row | None, table: TableName, name: str) -> list[str]:
    if not index or not index["clustered"]:
        return []
    return [f"ALTER TABLE {quoted(*table)} CLUSTER ON {quoted(name)}"]


def _root_index(index: Row | None, indexes: Mapping[int, Row]) -> TableName | None:
    """The index of the partition tree's root that this one belongs to."""
    while index and index["parent"] in indexes:
        index = indexes[index["parent"]]
    return TableName(index["schema"], f"{index['table']}.{index['name']}") if index else None


def _before_parent(
    index: Row | None, indexes: Mapping[int, Row], key: Key, objects: Objects
) -> None:
    # An index on a partitioned table takes over equal ones that its partitions already have.
    if index and index["parent"] in indexes:
        parent = indexes[index["parent"]]
        above: Key = ("pg_class", parent["oid"])
        if parent["of_constraint"]:
            above = ("pg_constraint", parent["constraint_oid"])
        objects.needs.append((above, key))


def _index(
    row: Row, depth: Mapping[int, int], indexes: Mapping[int, Row], objects: Objects
) -> None:
    key: Key = ("pg_class", row["oid"])
    table = TableName(row["schema"], row["table"])
    # The server writes ON ONLY for the index of a partitioned table.
    statement = row["definition"].replace(" ON ONLY ", " ON ", 1 if row["partitioned"] else 0)
    statements = (statement, *_cluster(row, table, row["name"]))
    thing = IndexShape(
        "index",
        row["schema"],
        row["name"],
        statements,
        "post",
        table,
        definition=canonical("; ".join(statements)) + ("" if row["valid"] else INVALID),
        columns=tuple(row["columns"]),
        unique=row["unique"],
        partial=row["partial"],
        immediate=row["immediate"],
        root_index=_root_index(row, indexes),
        deep=depth[row["relation"]],
        partitioned=row["partitioned"],
    )
    objects.add(key, thing, ("pg_class", row["relation"]))
    _before_parent(row, indexes, key, objects)


def _statistics(row: Row, objects: Objects) -> None:
    statements = [row["definition"]]
    if row["target"] is not None and row["target"] >= 0:
        name = quoted(row["schema"], row["name"])
        statements.append(f"ALTER STATISTICS {name} SET STATISTICS {row['target']}")
    table = TableName(row["table_schema"], row["table"])
    objects.add(
        ("pg_statistic_ext", row["oid"]),
        NativeObject(
            "statistics",
            row["schema"],
            row["name"],
            tuple(statements),
            "post",
            table,
            definition=canonical("; ".join(statements)),
        ),
        ("pg_class", row["relation"]),
    )

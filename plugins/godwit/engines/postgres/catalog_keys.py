"""Indexes, foreign keys and checks of tables, as targets of other engines are told of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from godwit.model.catalog import Check, ForeignKey, Index, IndexPart, TableName

Row = dict[str, Any]

# Unique ones over whole columns are keys; those of a constraint or a partition go with their owner.
INDEXES: LiteralString = """
SELECT i.indrelid::bigint AS relation, c.relname AS name, m.amname AS kind, i.indisunique AS unique,
       pg_get_expr(i.indpred, i.indrelid) AS condition, d.description AS comment,
       k.place, a.attname AS column, i.indoption[k.place - 1] & 1 = 1 AS descending,
       CASE WHEN k.attnum = 0 THEN pg_get_indexdef(i.indexrelid, k.place::int, false) END
         AS expression
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am m ON m.oid = c.relam
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
  AND d.objsubid = 0
WHERE i.indrelid = ANY(%(oids)s::oid[]) AND i.indisvalid AND k.place <= i.indnkeyatts
  AND NOT (i.indisunique AND i.indpred IS NULL AND NOT 0 = ANY(i.indkey))
  AND NOT EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = i.indexrelid AND x.contype = 'x')
ORDER BY i.indrelid, c.relname, k.place
"""

FOREIGN_KEYS: LiteralString = """
SELECT o.conrelid::bigint AS relation, o.conname AS name, rn.nspname AS other_schema,
       r.relname AS other, o.confupdtype::text AS on_update, o.confdeltype::text AS on_delete,
       o.condeferrable AS deferrable, o.convalidated AS validated,
       array(SELECT a.attname::text FROM unnest(o.conkey) WITH ORDINALITY k(n, i)
             JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.n
             ORDER BY k.i) AS columns,
       array(SELECT a.attname::text FROM unnest(o.confkey) WITH ORDINALITY k(n, i)
             JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.n
             ORDER BY k.i) AS other_columns
FROM pg_constraint o
JOIN pg_class r ON r.oid = o.confrelid
JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE o.contype = 'f' AND o.conparentid = 0 AND o.conrelid = ANY(%(oids)s::oid[])
ORDER BY o.conrelid, o.conname
"""

# Since 18 a check may not be enforced.
CHECKS: LiteralString = """
SELECT o.conrelid::bigint AS relation, o.conname AS name,
       pg_get_expr(o.conbin, o.conrelid) AS expression,
       coalesce((to_jsonb(o) ->> 'conenforced')::boolean, true) AS enforced,
       o.convalidated AS validated
FROM pg_constraint o
WHERE o.contype = 'c' AND o.conrelid = ANY(%(oids)s::oid[])
ORDER BY o.conrelid, o.conname
"""

_ACTIONS = {
    "a": "NO ACTION",
    "r": "RESTRICT",
    "c": "CASCADE",
    "n": "SET NULL",
    "d": "SET DEFAULT",
}


@dataclass
class Attached:
    """What hangs on tables, by the table's OID."""

    indexes: dict[int, list[Index]] = field(default_factory=lambda: defaultdict(list))
    foreign_keys: dict[int, list[ForeignKey]] = field(default_factory=lambda: defaultdict(list))
    checks: dict[int, list[Check]] = field(default_factory=lambda: defaultdict(list))


def read_attached(conn: psycopg.Connection[Any], oids: Sequence[int]) -> Attached:
    """Indexes that are no keys, foreign keys and checks of these tables."""
    from godwit.engines.postgres.catalog import fetch

    found = Attached()
    by_index: dict[tuple[int, str], list[Row]] = {}
    for row in fetch(conn, INDEXES, oids=list(oids)):
        by_index.setdefault((row["relation"], row["name"]), []).append(row)
    for (relation, name), rows in by_index.items():
        found.indexes[relation].append(_index(name, rows))
    for row in fetch(conn, FOREIGN_KEYS, oids=list(oids)):
        found.foreign_keys[row["relation"]].append(_foreign_key(row))
    for row in fetch(conn, CHECKS, oids=list(oids)):
        check = Check(
            row["name"],
            row["expression"],
            enforced=row["enforced"],
            validated=row["validated"] or not row["enforced"],
        )
        found.checks[row["relation"]].append(check)
    return found


def _index(name: str, rows: Sequence[Row]) -> Index:
    first = rows[0]
    parts = tuple(
        IndexPart(row["column"], row["expression"], descending=row["descending"]) for row in rows
    )
    return Index(
        name=name,
        parts=parts,
        unique=first["unique"],
        kind=first["kind"],
        where=first["condition"],
        comment=first["comment"],
    )


def _foreign_key(row: Row) -> ForeignKey:
    return ForeignKey(
        name=row["name"],
        columns=tuple(row["columns"]),
        referenced=TableName(row["other_schema"], row["other"]),
        referenced_columns=tuple(row["other_columns"]),
        on_delete=_ACTIONS[row["on_delete"]],
        on_update=_ACTIONS[row["on_update"]],
        deferrable=row["deferrable"],
        validated=row["validated"],
    )

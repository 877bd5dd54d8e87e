"""Tables, sequences, keys, constraints and indexes as native objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.names import canonical, literal, quoted
from godwit.engines.postgres.objects_graph import Objects, Selection, Unconverted
from godwit.engines.postgres.objects_shapes import ColumnShape, TableShape
from godwit.model.catalog import NativeObject, TableName

COMPRESSION_SINCE = 140000
NULLS_NOT_DISTINCT_SINCE = 150000
STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
COMPRESSION = {"p": "pglz", "l": "lz4"}
SEQUENCE_DEFAULT_CACHE = 1
MAX_NAME_BYTES = 63


_TREE: LiteralString = """
WITH RECURSIVE tree(root, oid) AS (
  SELECT r.oid, r.oid FROM unnest(%(oids)s::oid[]) AS r(oid)
  UNION
  SELECT t.root, i.inhrelid FROM tree t
  JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = t.oid)
SELECT root::bigint AS root, oid::bigint AS oid FROM tree
"""

_TABLES: LiteralString = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relpersistence = 'u' AS unlogged, c.relispartition AS partition,
       array_to_string(c.reloptions, E'\\n') AS options,
       array_to_string(t.reloptions, E'\\n') AS toast_options,
       CASE WHEN m.amname <> 'heap' THEN m.amname END AS method,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_by,
       pg_get_expr(c.relpartbound, c.oid) AS bound
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_am m ON m.oid = c.relam
WHERE c.oid = ANY(%(oids)s::oid[])
ORDER BY 2, 3
"""

_PARENTS: LiteralString = """
SELECT i.inhrelid::bigint AS child, i.inhparent::bigint AS oid, n.nspname AS schema,
       c.relname AS name
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhrelid = ANY(%(oids)s::oid[]) ORDER BY i.inhrelid, i.inhseqno
"""

_COLUMNS: LiteralString = """
SELECT a.attrelid::bigint AS relation, a.attname AS name, a.attnum AS number,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull OR n.conname IS NOT NULL AS nullable,
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END AS collation,
       ln.nspname AS collation_schema, pg_get_expr(d.adbin, d.adrelid) AS expression,
       a.attgenerated::text AS generated, a.attidentity::text AS identity,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS statistics,
       array_to_string(a.attoptions, ', ') AS options,
       to_jsonb(a) ->> 'attcompression' AS compression,
       NOT a.attislocal AS inherited, nn.conname AS not_null_name, r.relname AS table
FROM pg_attribute a
JOIN pg_class r ON r.oid = a.attrelid
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_constraint nn ON nn.conrelid = a.attrelid AND nn.contype = 'n' AND nn.convalidated
  AND nn.conkey[1] = a.attnum
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
LEFT JOIN pg_constraint n ON n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
  AND n.conkey[1] = a.attnum
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_SEQUENCES: LiteralString = """
SELECT c.oid::bigint AS oid, c.relnamespace::bigint AS namespace, n.nspname AS schema,
       c.relname AS name, format_type(s.seqtypid, NULL) AS type, s.seqstart AS start,
       s.seqincrement AS increment, s.seqmax AS maximum, s.seqmin AS minimum, s.seqcache AS cache,
       s.seqcycle AS cycle, d.refobjid::bigint AS owner, d.refobjsubid AS number,
       d.deptype::text AS owned, c.relpersistence = 'u' AS unlogged
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
WHERE c.relpersistence <> 't'
ORDER BY n.nspname, c.relname
"""


def partition_tree(conn: Connection, relations: Sequence[int]) -> dict[int, int]:
    """Every table of these tables' partition trees, and the root above it."""
    return {row["oid"]: row["root"] for row in fetch(conn, _TREE, oids=list(relations))}


def read_tables(conn: Connection, selection: Selection, objects: Objects) -> None:
    """Tables with their partitions, and sequences."""
    roots = partition_tree(conn, sorted(selection.relations))
    oids = list(roots)
    columns: dict[int, list[Row]] = defaultdict(list)
    for row in fetch(conn, _COLUMNS, oids=oids):
        columns[row["relation"]].append(row)
    parents: dict[int, list[Row]] = defaultdict(list)
    for row in fetch(conn, _PARENTS, oids=oids):
        parents[row["child"]].append(row)
    sequences = fetch(conn, _SEQUENCES)
    owned: dict[int, list[Row]] = defaultdict(list)
    for row in sequences:
        if row["owner"]:
            owned[row["owner"]].append(row)
    tables = {row["oid"]: row for row in fetch(conn, _TABLES, oids=oids)}
    _read_sequences(sequences, selection, roots, objects)
    for oid, row in tables.items():
        if row["kind"] not in {"r", "p"}:
            _foreign_partition(row, objects)
            continue
        above = tables[roots[oid]]
        # A child of a table that isn't selected becomes a table like any other.
        known = [p for p in parents[oid] if p["oid"] in tables]
        objects.left_behind |= {
            (("pg_class", oid), ("pg_class", p["oid"])) for p in parents[oid] if p not in known
        }
        above_not_null = {c["name"] for p in known for c in columns[p["oid"]] if not c["nullable"]}
        shape = _shape(row, columns[oid], known, owned[oid], above_not_null)
        shape = replace(shape, root=TableName(above["schema"], above["name"])).rendered()
        needs = [("pg_class", p["oid"]) for p in known]
        needs += [("pg_class", s["oid"]) for s in owned[oid] if s["owned"] == "a"]
        objects.add(("pg_class", oid), shape, *needs)


def _foreign_partition(row: Row, objects: Objects) -> None:
    objects.add(
        ("pg_class", row["oid"]),
        _unconverted("foreign table", row, "a foreign table holds no rows of its own"),
    )


def _unconverted(kind: str, row: Row, reason: str) -> NativeObject:
    hint = "make it on the target by hand, or load the remote server's table itself"
    return Unconverted(kind, row["schema"], row["name"], (), "pre", reason=reason, hint=hint)


def _shape(
    row: Row,
    columns: Sequence[Row],
    parents: Sequence[Row],
    owned: Sequence[Row],
    above_not_null: set[str],
) -> TableShape:
    names = {c["number"]: c["name"] for c in columns}
    identities = {s["number"]: s for s in owned if s["owned"] == "i"}
    return TableShape(
        kind="table",
        schema=row["schema"],
        name=row["name"],
        statements=(),
        phase="pre",
        table=TableName(row["schema"], row["name"]),
        columns=tuple(
            replace(
                _column(c, identities.get(c["number"]), partition=row["partition"]),
                inherited=bool(parents) and not row["partition"] and c["inherited"],
                stricter=not c["nullable"] and c["name"] not in above_not_null,
            )
            for c in columns
        ),
        partition_by=row["partition_by"] or "",
        bound=row["bound"] or "",
        parents=tuple(TableName(p["schema"], p["name"]) for p in parents),
        options=_options(row["options"], row["toast_options"]),
        unlogged=row["unlogged"],
        method=row["method"] or "",
        owned=tuple(
            (TableName(s["schema"], s["name"]), names[s["number"]])
            for s in owned
            if s["owned"] == "a"
        ),
    )


def _options(own: str | None, toast: str | None) -> str:
    lines = [*(own or "").split("\n"), *(f"toast.{o}" for o in (toast or "").split("\n") if o)]
    pairs = (line.split("=", 1) for line in lines if line)
    return ", ".join(f"{name}={literal(value)}" for name, value in pairs)


def _column(row: Row, identity: Row | None, *, partition: bool) -> ColumnShape:
    # Since 17 partitions have their root's identity; attaching gives it to them.
    kind = "" if partition else row["identity"]
    return ColumnShape(
        name=row["name"],
        type=row["type"],
        nullable=row["nullable"],
        collation=(row["collation_schema"], row["collation"]) if row["collation"] else None,
        expression=row["expression"],
        generated=row["generated"],
        identity=kind,
        sequence=_sequence_options(identity, typed=False) if kind and identity else "",
        sequence_name=TableName(identity["schema"], identity["name"])
        if kind and identity
        else None,
        storage=STORAGE.get(row["storage"] or "", ""),
        compression=COMPRESSION.get(row["compression"] or "", ""),
        statistics=row["statistics"],
        options=row["options"] or "",
        not_null_name=_not_null_name(row),
    )


def _not_null_name(row: Row) -> str:
    """The name of the NOT NULL constraint (since 18), when it isn't the one the server gives."""
    name: str = row["not_null_name"] or ""
    given = name == f"{row['table']}_{row['name']}_not_null"
    shortened = name.endswith("_not_null") and len(name.encode()) == MAX_NAME_BYTES
    return "" if given or shortened else name


def _sequence_options(row: Row, *, typed: bool = True) -> str:
    words = [f"AS {row['type']}"] if typed else []
    words += [f"START WITH {row['start']}", f"INCREMENT BY {row['increment']}"]
    words += [f"MINVALUE {row['minimum']}", f"MAXVALUE {row['maximum']}"]
    if row["cache"] != SEQUENCE_DEFAULT_CACHE:
        words.append(f"CACHE {row['cache']}")
    if row["cycle"]:
        words.append("CYCLE")
    return " ".join(words)


def _read_sequences(
    rows: Iterable[Row], selection: Selection, roots: dict[int, int], objects: Objects
) -> None:
    for row in rows:
        key = ("pg_class", row["oid"])
        if row["owned"] == "i":
            objects.alias[key] = ("pg_class", row["owner"])
            continue
        chosen = row["owner"] in roots
        free = not row["owner"] and row["namespace"] in selection.schemas
        name = quoted(row["schema"], row["name"])
        options = _sequence_options(row)
        unlogged = "UNLOGGED " if row["unlogged"] else ""
        statement = f"CREATE {unlogged}SEQUENCE {name} {options}"
        objects.add(
            key,
            NativeObject(
                "sequence",
                row["schema"],
                row["name"],
                (statement,),
                "pre",
                definition=canonical(statement),
            ),
            on_demand=not (chosen or free),
        )

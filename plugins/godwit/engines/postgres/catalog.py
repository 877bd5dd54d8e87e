"""Tables of a PostgreSQL database, read in a handful of bulk queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from godwit.engines.postgres.catalog_keys import Attached, read_attached
from godwit.engines.postgres.datatypes import PgType, byte_equal, datatype, native_safe
from godwit.engines.postgres.objects_shapes import TableShape
from godwit.model.catalog import Catalog, Column, Key, NativeObject, Part, Table, TableName

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
Wanted = Callable[[TableName], bool]

ENGINE_NAME = "postgres"

# Extension members come with CREATE EXTENSION; the control schema is Godwit's own.
_RELATIONS: LiteralString = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relreplident::text AS replica, c.relpersistence = 'u' AS unlogged,
       d.oid::bigint AS database
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_database d ON d.datname = current_database()
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'godwit')
  AND n.nspname NOT LIKE 'pg\\_temp\\_%%'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
                  AND e.deptype = 'e')
ORDER BY 2, 3
"""

_LEAVES: LiteralString = """
WITH RECURSIVE tree(root, oid) AS (
  SELECT r.oid, r.oid FROM unnest(%(oids)s::oid[]) AS r(oid)
  UNION ALL
  SELECT t.root, i.inhrelid FROM tree t
  JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = t.oid)
SELECT t.root::bigint AS root, c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       c.relkind::text AS kind, c.relreplident::text AS replica, c.relpersistence = 'u' AS unlogged
FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p' AND t.oid <> t.root
ORDER BY 1, 3, 4
"""

# reltuples of a table that was never analysed: -1 since 14, before that 0 with no pages.
_SIZES: LiteralString = """
SELECT c.oid::bigint AS oid,
       CASE WHEN c.reltuples < 0 THEN -1
            WHEN c.reltuples = 0 AND c.relpages = 0
                 AND current_setting('server_version_num')::int < 140000 THEN -1
            ELSE c.reltuples::bigint END AS rows,
       coalesce(pg_table_size(c.oid), 0) AS bytes, c.relfilenode::bigint::text AS storage
FROM pg_class c WHERE c.oid = ANY(%(oids)s::oid[])
"""

# Since 18 a NOT NULL may be NOT VALID: such a column can hold nulls.
_COLUMNS: LiteralString = """
SELECT a.attrelid::bigint AS relation, a.attname AS name, a.atttypid::bigint AS type,
       a.atttypmod AS typmod, format_type(a.atttypid, a.atttypmod) AS native,
       NOT a.attnotnull OR n.conname IS NOT NULL AS nullable,
       pg_get_expr(d.adbin, d.adrelid) AS expression,
       a.attgenerated::text AS generated, a.attidentity::text AS identity,
       coalesce(l.collisdeterministic, true) AS deterministic,
       col_description(a.attrelid, a.attnum) AS comment, a.attnum::int AS number,
       a.xmin::text::bigint AS version, a.atthasmissing AS filled
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_constraint n ON n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
  AND n.conkey[1] = a.attnum
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

# Only keys over plain columns that hold for every row; INCLUDE columns are no part of the key.
_KEYS: LiteralString = """
SELECT i.indexrelid::bigint AS oid, i.indrelid::bigint AS relation, c.relname AS name,
       i.indisprimary AS primary, i.indimmediate AS immediate, i.indisreplident AS replica,
       array_agg(a.attname::text ORDER BY k.place) AS columns, bool_and(a.attnotnull) AS complete
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
WHERE i.indrelid = ANY(%(oids)s::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND k.place <= i.indnkeyatts
GROUP BY i.indexrelid, i.indrelid, c.relname, i.indisprimary, i.indimmediate, i.indisreplident
HAVING bool_and(k.attnum > 0)
ORDER BY i.indrelid, NOT i.indisprimary, count(*), c.relname
"""

# Row types of tables and their arrays are left out: there are two for every table.
_TYPES: LiteralString = """
SELECT t.oid::bigint AS oid, t.typname AS name, t.typtype::text AS kind,
       t.typbasetype::bigint AS base, t.typtypmod AS base_typmod,
       CASE WHEN t.typcategory = 'A' AND t.typlen = -1
                 AND t.typname NOT IN ('int2vector', 'oidvector')
            THEN t.typelem::bigint ELSE 0 END AS element,
       coalesce(r.rngsubtype::bigint, 0) AS subtype, t.typsend <> 0 AS sends,
       CASE WHEN t.typtype = 'e' THEN (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
                                       FROM pg_enum e WHERE e.enumtypid = t.oid) END AS labels
FROM pg_type t
LEFT JOIN pg_class c ON c.oid = t.typrelid
LEFT JOIN pg_type x ON x.oid = t.typelem
LEFT JOIN pg_class xc ON xc.oid = x.typrelid
LEFT JOIN pg_range r ON t.oid IN (r.rngtypid{multirange})
WHERE coalesce(c.relkind, 'c') = 'c' AND coalesce(xc.relkind, 'c') = 'c'
"""

#: Kinds of objects that no engine but this one knows how to make.
_OTHERS = frozenset(
    {"extension", "collation", "composite type", "domain", "range", "sequence", "function"}
    | {"procedure", "aggregate", "exclusion constraint", "statistics", "view", "rule", "trigger"}
    | {"materialized view", "policy", "row security", "event trigger", "operator", "cast"}
    | {"text search configuration", "text search dictionary", "publication", "foreign table"}
)
#: A column whose default takes the next value of a sequence.
_NUMBERED = "by a sequence"
_IDENTITIES = {"a": "always", "d": "by default"}
MULTIRANGES_SINCE = 140000


def fetch(conn: Connection, query: LiteralString, **values: Any) -> list[Row]:
    """All rows of a query as dictionaries, whatever the connection's own row factory is."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()


@dataclass
class _Found:
    """What the bulk queries brought, by table."""

    types: Mapping[int, PgType]
    columns: dict[int, list[Column]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))
    leaves: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[int, Row] = field(default_factory=dict)
    comments: dict[int, str] = field(default_factory=dict)
    attached: Attached = field(default_factory=Attached)


def read_catalog(conn: Connection, wanted: Wanted, objects: bool = False) -> Catalog:  # noqa: FBT001, FBT002
    """Tables that are wanted; with `objects` also native objects that belong to them.

    The connection's search_path must be pg_catalog alone: definitions are qualified by it.
    """
    relations = [r for r in fetch(conn, _RELATIONS) if wanted(TableName(r["schema"], r["name"]))]
    found = _read(conn, relations)
    tables = tuple(_table(relation, found) for relation in relations)
    native: tuple[NativeObject, ...] = ()
    if objects:
        from godwit.engines.postgres.objects import read_objects

        native = read_objects(conn, [r["oid"] for r in relations], wanted)
    version = str(conn.info.server_version)
    others = tuple(_others(native))
    return Catalog(ENGINE_NAME, version, tables, native, others=others)


def _others(objects: Iterable[NativeObject]) -> Iterable[tuple[str, str]]:
    """Objects that tables of another engine don't come with."""
    owned = {
        sequence
        for thing in objects
        if isinstance(thing, TableShape)
        for sequence, _ in thing.owned
    }
    for thing in objects:
        name = TableName(thing.schema, thing.name)
        if thing.kind in _OTHERS and not (thing.kind == "sequence" and name in owned):
            yield thing.kind, f"{thing.schema}.{thing.name}" if thing.schema else thing.name


def read_types(conn: Connection) -> dict[int, PgType]:
    """Every type a column can have, by OID."""
    multirange: LiteralString = ", r.rngmultitypid" if _has_multiranges(conn) else ""
    return {
        row["oid"]: PgType(**{**row, "labels": tuple(row["labels"] or ())})
        for row in fetch(conn, _TYPES.replace("{multirange}", multirange))
    }


def _has_multiranges(conn: Connection) -> bool:
    return conn.info.server_version >= MULTIRANGES_SINCE


def _read(conn: Connection, relations: Sequence[Row]) -> _Found:
    oids = [r["oid"] for r in relations]
    found = _Found(read_types(conn))
    for row in fetch(conn, _LEAVES, oids=[r["oid"] for r in relations if r["kind"] == "p"]):
        found.leaves[row["root"]].append(row)
    with_leaves = oids + [leaf["oid"] for leaves in found.leaves.values() for leaf in leaves]
    found.sizes = {row["oid"]: row for row in fetch(conn, _SIZES, oids=with_leaves)}
    for row in fetch(conn, _COLUMNS, oids=oids):
        found.columns[row["relation"]].append(_column(row, found.types))
    for row in fetch(conn, _KEYS, oids=with_leaves):
        found.keys[row["relation"]].append(row)
    comments = fetch(
        conn,
        "SELECT objoid::bigint AS oid, description FROM pg_description "
        "WHERE classoid = 'pg_class'::regclass AND objsubid = 0 AND objoid = ANY(%(oids)s::oid[])",
        oids=oids,
    )
    found.comments = {row["oid"]: row["description"] for row in comments}
    found.attached = read_attached(conn, oids)
    return found


def _column(row: Row, types: Mapping[int, PgType]) -> Column:
    generated = bool(row["generated"])
    return Column(
        name=row["name"],
        type=datatype(types, row["type"], row["typmod"]),
        native=row["native"],
        nullable=row["nullable"],
        default=None if generated else row["expression"],
        generated=row["expression"] if generated else None,
        identity=_IDENTITIES.get(row["identity"]) or _numbered(row, generated=generated),
        comment=row["comment"],
        native_safe=native_safe(types, row["type"]),
        byte_equal=byte_equal(
            types, row["type"], row["typmod"], deterministic=row["deterministic"]
        ),
        number=row["number"],
        version=row["version"],
        filled=row["filled"],
    )


def _numbered(row: Row, *, generated: bool) -> str | None:
    given = not generated and (row["expression"] or "").startswith("nextval(")
    return _NUMBERED if given else None


def _table(relation: Row, found: _Found) -> Table:
    oid = relation["oid"]
    keys = found.keys.get(oid, [])
    leaves = found.leaves.get(oid, [])
    identity, capture, old_rows = _captured(relation, leaves, found.keys)
    parts = tuple(_part(leaf, found.sizes) for leaf in leaves if leaf["kind"] == "r")
    rows, size = _size(found.sizes.get(oid), parts, partitioned=relation["kind"] == "p")
    return Table(
        name=TableName(relation["schema"], relation["name"]),
        columns=tuple(found.columns.get(oid, ())),
        keys=tuple(Key(k["name"], tuple(k["columns"]), primary=k["primary"]) for k in keys),
        identity=identity,
        capture=capture,
        old_rows=old_rows,
        rows=rows,
        bytes=size,
        parts=parts,
        incarnation=f"{relation['database']}.{oid}",
        storage=",".join(
            found.sizes[o]["storage"]
            for o in (oid, *(x["oid"] for x in leaves))
            if o in found.sizes
        ),
        comment=found.comments.get(oid),
        indexes=tuple(found.attached.indexes.get(oid, ())),
        foreign_keys=tuple(found.attached.foreign_keys.get(oid, ())),
        checks=tuple(found.attached.checks.get(oid, ())),
    )


def _part(leaf: Row, sizes: Mapping[int, Row]) -> Part:
    size = sizes.get(leaf["oid"], {"rows": -1, "bytes": 0})
    return Part(TableName(leaf["schema"], leaf["name"]), size["rows"], size["bytes"])


def _size(own: Row | None, parts: Sequence[Part], *, partitioned: bool) -> tuple[int, int]:
    if not partitioned:
        return (own["rows"], own["bytes"]) if own else (-1, 0)
    rows = -1 if any(p.rows < 0 for p in parts) else sum(p.rows for p in parts)
    return rows, sum(p.bytes for p in parts)


def _captured(
    relation: Row, leaves: Sequence[Row], keys: Mapping[int, list[Row]]
) -> tuple[tuple[str, ...], str, bool]:
    """`(identity, capture, old rows in the log)`.

    Changes are logged by the leaves, under the leaves' replica identity; they must agree on a key
    that the whole table has.
    """
    own = keys.get(relation["oid"], [])
    usable = [tuple(k["columns"]) for k in own if k["complete"] and k["immediate"]]
    stores = leaves or [relation]
    if any(store["unlogged"] or store["kind"] == "f" for store in stores):
        return (usable[0] if usable else ()), "none", False
    carried = [_carried(store, keys.get(store["oid"], [])) for store in stores]
    full = all(c is None for c in carried)
    for key in usable:
        if all(c is None or set(key) == set(c) for c in carried):
            return key, "full", full
    if full:
        return (), "full", True
    return (), "insert", False


def _carried(store: Row, keys: Iterable[Row]) -> tuple[str, ...] | None:
    """Columns of the old row that the log carries; None = all of them."""
    if store["replica"] == "f":
        return None
    if store["replica"] == "n":
        return ()
    # A deferrable primary key is no replica identity.
    of_index = store["replica"] == "i"
    for key in keys:
        if key["immediate"] and key["complete"] and key["replica" if of_index else "primary"]:
            return tuple(key["columns"])
    return ()

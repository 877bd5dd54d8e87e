"""Comments, row security and replica identity, and what is not brought over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.names import canonical, literal, quoted
from godwit.engines.postgres.objects_graph import Key, Objects, Selection, Unconverted
from godwit.model.catalog import NativeObject, TableName

# The server names an object exactly as COMMENT ON wants it.
_COMMENTS: LiteralString = """
SELECT d.classoid::regclass::text AS class, d.objoid::bigint AS oid, d.objsubid AS part,
       d.description AS text, i.type, i.identity
FROM pg_description d
CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
WHERE d.objoid >= 16384 OR d.classoid = 'pg_namespace'::regclass
ORDER BY i.type, i.identity
"""

_SETTINGS: LiteralString = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relrowsecurity AS secured,
       c.relforcerowsecurity AS forced, c.relreplident::text AS replica,
       x.relname AS index, x.oid::bigint AS index_oid
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident AND c.relreplident = 'i'
LEFT JOIN pg_class x ON x.oid = i.indexrelid
WHERE c.oid = ANY(%(oids)s::oid[]) AND c.relkind IN ('r', 'p')
  AND (c.relrowsecurity OR c.relforcerowsecurity OR c.relreplident IN ('i', 'f', 'n'))
ORDER BY 2, 3
"""

_OTHERS: LiteralString = """
SELECT * FROM (
  SELECT 'foreign table' AS kind, n.nspname AS schema, c.relname AS name, c.oid::bigint AS oid,
         'pg_class' AS class
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'f' AND NOT c.relispartition AND n.oid = ANY(%(schemas)s::oid[])
  UNION ALL
  SELECT 'operator', n.nspname, o.oid::regoperator::text, o.oid::bigint, 'pg_operator'
  FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
  WHERE o.oid >= 16384 AND n.oid = ANY(%(schemas)s::oid[])
  UNION ALL
  SELECT 'operator class', n.nspname, o.opcname, o.oid::bigint, 'pg_opclass'
  FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace
  WHERE o.oid >= 16384 AND n.oid = ANY(%(schemas)s::oid[])
  UNION ALL
  SELECT 'text search configuration', n.nspname, o.cfgname, o.oid::bigint, 'pg_ts_config'
  FROM pg_ts_config o JOIN pg_namespace n ON n.oid = o.cfgnamespace
  WHERE o.oid >= 16384 AND n.oid = ANY(%(schemas)s::oid[])
  UNION ALL
  SELECT 'text search dictionary', n.nspname, o.dictname, o.oid::bigint, 'pg_ts_dict'
  FROM pg_ts_dict o JOIN pg_namespace n ON n.oid = o.dictnamespace
  WHERE o.oid >= 16384 AND n.oid = ANY(%(schemas)s::oid[])
  UNION ALL
  SELECT 'cast', '', format('(%%s AS %%s)', format_type(c.castsource, NULL),
                            format_type(c.casttarget, NULL)), c.oid::bigint, 'pg_cast'
  FROM pg_cast c WHERE c.oid >= 16384
  UNION ALL
  SELECT 'event trigger', '', e.evtname, e.oid::bigint, 'pg_event_trigger' FROM pg_event_trigger e
) o WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = o.class::regclass
                      AND e.objid = o.oid AND e.deptype IN ('e', 'i'))
ORDER BY kind, schema, name
"""

_ON = {
    "table": "TABLE",
    "table column": "COLUMN",
    "view": "VIEW",
    "view column": "COLUMN",
    "materialized view": "MATERIALIZED VIEW",
    "materialized view column": "COLUMN",
    "composite type": "TYPE",
    "composite type column": "COLUMN",
    "index": "INDEX",
    "sequence": "SEQUENCE",
    "type": "TYPE",
    "function": "FUNCTION",
    "procedure": "PROCEDURE",
    "aggregate": "AGGREGATE",
    "table constraint": "CONSTRAINT",
    "domain constraint": "CONSTRAINT",
    "trigger": "TRIGGER",
    "rule": "RULE",
    "policy": "POLICY",
    "schema": "SCHEMA",
    "collation": "COLLATION",
    "statistics object": "STATISTICS",
}
#: Written by initdb.
_STANDARD_COMMENTS = {("public", "standard public schema")}


def read_comments(conn: Connection, objects: Objects) -> None:
    """Comments on everything taken in so far."""
    for row in fetch(conn, _COMMENTS):
        on: Key = objects.resolve((row["class"], row["oid"]))
        owner = objects.found.get(on)
        what = _ON.get(row["type"])
        if owner is None or what is None or owner.kind == "extension":
            continue
        if (row["identity"], row["text"]) in _STANDARD_COMMENTS:
            continue
        identity = row["identity"]
        if row["type"] == "domain constraint":
            identity = identity.replace(" on ", " ON DOMAIN ", 1)
        thing = NativeObject(
            "comment",
            "",
            f"on {row['type']} {row['identity']}",
            (f"COMMENT ON {what} {identity} IS {literal(row['text'])}",),
            "post",
            owner.table,
            definition=row["text"],
        )
        key = (f"comment {row['class']} {row['part']}", row["oid"])
        objects.add(key, thing, on, on_demand=on in objects.on_demand)
        if on in objects.on_demand:
            objects.with_owner.append((key, on))


def read_settings(conn: Connection, oids: Iterable[int], objects: Objects) -> None:
    """Row security and replica identity of tables."""
    for row in fetch(conn, _SETTINGS, oids=list(oids)):
        table: Key = ("pg_class", row["oid"])
        if row["secured"]:
            thing = _setting("row security", row, "post", "ENABLE ROW LEVEL SECURITY")
            objects.add(("row security", row["oid"]), thing, table)
        if row["forced"]:
            # It binds the owner too: not while rows are being applied.
            thing = _setting("forced row security", row, "late", "FORCE ROW LEVEL SECURITY")
            objects.add(("forced row security", row["oid"]), thing, table)
        identity = {"f": "FULL", "n": "NOTHING"}.get(row["replica"])
        if row["index"]:
            identity = f"USING INDEX {quoted(row['index'])}"
        if identity:
            thing = _setting("replica identity", row, "post", f"REPLICA IDENTITY {identity}")
            needs = [table, ("pg_class", row["index_oid"])] if row["index"] else [table]
            objects.add(("replica identity", row["oid"]), thing, *needs)


def _setting(kind: str, row: Row, phase: str, action: str) -> NativeObject:
    table = TableName(row["schema"], row["name"])
    statement = f"ALTER TABLE {quoted(*table)} {action}"
    return NativeObject(
        kind,
        row["schema"],
        row["name"],
        (statement,),
        phase,
        table,
        definition=canonical(action),
    )


def read_others(conn: Connection, selection: Selection, objects: Objects) -> None:
    """What the selected schemas have and nobody brings over: said, not left out silently."""
    for row in fetch(conn, _OTHERS, schemas=sorted(selection.schemas)):
        thing = Unconverted(
            row["kind"],
            row["schema"],
            row["name"],
            (),
            "post",
            reason=f"objects of the kind {row['kind']} are not brought over",
            hint="make it on the target by hand if applications need it",
        )
        objects.add((row["class"], row["oid"]), thing)

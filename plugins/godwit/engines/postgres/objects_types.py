"""Schemas, extensions, collations and types as native objects."""

from __future__ import annotations

from collections import defaultdict
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.names import canonical, literal, quoted
from godwit.engines.postgres.objects_graph import Objects, Selection
from godwit.model.catalog import NativeObject

MULTIRANGES_SINCE = 140000
COLLATION_RULES_SINCE = 160000
BUILTIN_PROVIDER_SINCE = 170000
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}

_SCHEMAS: LiteralString = """
SELECT n.oid::bigint AS oid, n.nspname AS name FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass
                  AND e.objid = n.oid AND e.deptype = 'e')
ORDER BY 2
"""

_EXTENSIONS: LiteralString = """
SELECT e.oid::bigint AS oid, e.extname AS name, n.nspname AS schema,
       n.oid::bigint AS namespace, x.objid IS NOT NULL AS owns_schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
LEFT JOIN pg_depend x ON x.classid = 'pg_namespace'::regclass AND x.objid = n.oid
  AND x.refclassid = 'pg_extension'::regclass AND x.refobjid = e.oid AND x.deptype = 'e'
WHERE e.oid >= 16384 ORDER BY 2
"""

_COLLATIONS: LiteralString = """
SELECT c.oid::bigint AS oid, c.collnamespace::bigint AS namespace, n.nspname AS schema,
       c.collname AS name, c.collprovider::text AS provider, c.collisdeterministic AS deterministic,
       c.collcollate AS collate, c.collctype AS ctype,
       coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale') AS locale,
       to_jsonb(c) ->> 'collicurules' AS rules
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE c.oid >= 16384 AND n.nspname <> 'pg_catalog' ORDER BY 3, 4
"""

_TYPES: LiteralString = """
SELECT t.oid::bigint AS oid, t.typnamespace::bigint AS namespace, n.nspname AS schema,
       t.typname AS name, t.typtype::text AS type, t.typrelid::bigint AS relation,
       format_type(t.typbasetype, t.typtypmod) AS base, t.typnotnull AS not_null,
       t.typdefault AS fallback, l.collname AS collation, ln.nspname AS collation_schema,
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e
        WHERE e.enumtypid = t.oid) AS labels
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_collation l ON l.oid = t.typcollation AND t.typcollation <> b.typcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
ORDER BY 3, 4
"""

_ATTRIBUTES: LiteralString = """
SELECT a.attrelid::bigint AS relation, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END AS collation,
       ln.nspname AS collation_schema
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'c'
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""

# Domain checks, with those that are not validated after all others.
_CHECKS: LiteralString = """
SELECT o.oid::bigint AS oid, o.contypid::bigint AS type, o.conname AS name,
       pg_get_constraintdef(o.oid) AS definition
FROM pg_constraint o WHERE o.contypid <> 0 AND o.contype = 'c' ORDER BY o.conname
"""

_RANGES: LiteralString = """
SELECT r.rngtypid::bigint AS oid, format_type(r.rngsubtype, NULL) AS subtype,
       on_.nspname AS class_schema, oc.opcname AS class,
       CASE WHEN NOT oc.opcdefault THEN true END AS class_given,
       CASE WHEN r.rngcollation <> st.typcollation THEN l.collname END AS collation,
       ln.nspname AS collation_schema,
       nullif(r.rngcanonical::text, '-') AS canonical,
       nullif(r.rngsubdiff::text, '-') AS difference,
       (to_jsonb(r) ->> 'rngmultitypid')::bigint AS multirange
FROM pg_range r
JOIN pg_type st ON st.oid = r.rngsubtype
JOIN pg_opclass oc ON oc.oid = r.rngsubopc
JOIN pg_namespace on_ ON on_.oid = oc.opcnamespace
LEFT JOIN pg_collation l ON l.oid = r.rngcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
WHERE r.rngtypid >= 16384
"""

_TYPE_ROWS: LiteralString = """
SELECT t.oid::bigint AS oid, t.typname AS name, n.nspname AS schema, t.typtype::text AS type,
       t.typelem::bigint AS element, t.typcategory = 'A' AND t.typelem <> 0 AS array,
       t.typrelid::bigint AS relation
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid >= 16384
"""


def read_types(conn: Connection, selection: Selection, objects: Objects) -> None:
    """Schemas, extensions, collations and user types."""
    _read_schemas(conn, selection, objects)
    for row in fetch(conn, _COLLATIONS):
        _collation(row, selection, objects)
    names = {row["oid"]: row for row in fetch(conn, _TYPE_ROWS)}
    for row in names.values():
        # Arrays go with their elements, row types with their tables.
        if row["array"]:
            objects.alias["pg_type", row["oid"]] = ("pg_type", row["element"])
        elif row["relation"] and row["type"] == "c":
            objects.alias["pg_type", row["oid"]] = ("pg_class", row["relation"])
    _read_user_types(conn, selection, objects, names)


def _read_schemas(conn: Connection, selection: Selection, objects: Objects) -> None:
    for row in fetch(conn, _SCHEMAS):
        statement = f"CREATE SCHEMA IF NOT EXISTS {quoted(row['name'])}"
        thing = NativeObject("schema", "", row["name"], (statement,), "pre", definition="schema")
        chosen = row["oid"] in selection.schemas
        objects.add(("pg_namespace", row["oid"]), thing, on_demand=not chosen)
    for row in fetch(conn, _EXTENSIONS):
        where = "" if row["owns_schema"] else f" WITH SCHEMA {quoted(row['schema'])}"
        statement = f"CREATE EXTENSION IF NOT EXISTS {quoted(row['name'])}{where}"
        thing = NativeObject(
            "extension", "", row["name"], (statement,), "pre", definition="extension"
        )
        objects.add(("pg_extension", row["oid"]), thing, on_demand=True)


def _collation(row: Row, selection: Selection, objects: Objects) -> None:
    words = [f"provider = {_PROVIDERS.get(row['provider'], 'libc')}"]
    # ICU's locale is called so since 15; before, it was in collcollate.
    locale = row["locale"] or (row["collate"] if row["collate"] == row["ctype"] else None)
    if locale:
        words.append(f"locale = {literal(locale)}")
    else:
        words += [f"lc_collate = {literal(row['collate'])}", f"lc_ctype = {literal(row['ctype'])}"]
    if not row["deterministic"]:
        words.append("deterministic = false")
    if row["rules"]:
        words.append(f"rules = {literal(row['rules'])}")
    statement = f"CREATE COLLATION {quoted(row['schema'], row['name'])} ({', '.join(words)})"
    thing = _type("collation", row, [statement])
    chosen = row["namespace"] in selection.schemas
    objects.add(("pg_collation", row["oid"]), thing, on_demand=not chosen)


def _read_user_types(
    conn: Connection, selection: Selection, objects: Objects, names: dict[int, Row]
) -> None:
    attributes: dict[int, list[Row]] = defaultdict(list)
    for row in fetch(conn, _ATTRIBUTES):
        attributes[row["relation"]].append(row)
    checks: dict[int, list[Row]] = defaultdict(list)
    for row in fetch(conn, _CHECKS):
        checks[row["type"]].append(row)
        objects.alias["pg_constraint", row["oid"]] = ("pg_type", row["type"])
    ranges = {row["oid"]: row for row in fetch(conn, _RANGES)}
    for row in fetch(conn, _TYPES):
        key = ("pg_type", row["oid"])
        if row["type"] == "e":
            thing = _enum(row)
        elif row["type"] == "d":
            thing = _domain(row, checks[row["oid"]])
        elif row["type"] == "c":
            thing = _composite(row, attributes[row["relation"]])
            objects.alias["pg_class", row["relation"]] = key
            objects.alias.pop(key, None)
        else:
            multirange = ranges[row["oid"]]["multirange"]
            if multirange:
                objects.alias["pg_type", multirange] = key
            thing = _range(row, ranges[row["oid"]], names.get(multirange))
        objects.add(key, thing, on_demand=row["namespace"] not in selection.schemas)


def _type(kind: str, row: Row, statements: list[str]) -> NativeObject:
    return NativeObject(
        kind,
        row["schema"],
        row["name"],
        tuple(statements),
        "pre",
        definition=canonical("; ".join(statements)),
    )


def _enum(row: Row) -> NativeObject:
    labels = ", ".join(literal(label) for label in row["labels"] or ())
    return _type(
        "enum", row, [f"CREATE TYPE {quoted(row['schema'], row['name'])} AS ENUM ({labels})"]
    )


def _collate(row: Row) -> str:
    if not row["collation"]:
        return ""
    return f" COLLATE {quoted(row['collation_schema'], row['collation'])}"


def _domain(row: Row, checks: list[Row]) -> NativeObject:
    name = quoted(row["schema"], row["name"])
    text = f"CREATE DOMAIN {name} AS {row['base']}{_collate(row)}"
    if row["fallback"] is not None:
        text += f" DEFAULT {row['fallback']}"
    if row["not_null"]:
        text += " NOT NULL"
    statements = [text]
    for check in checks:
        constraint = f"CONSTRAINT {quoted(check['name'])} {check['definition']}"
        if check["definition"].endswith(" NOT VALID"):
            statements.append(f"ALTER DOMAIN {name} ADD {constraint}")
        else:
            statements[0] += f" {constraint}"
    return _type("domain", row, statements)


def _composite(row: Row, attributes: list[Row]) -> NativeObject:
    fields = ", ".join(f"{quoted(a['name'])} {a['type']}{_collate(a)}" for a in attributes)
    name = quoted(row["schema"], row["name"])
    return _type("composite type", row, [f"CREATE TYPE {name} AS ({fields})"])


def _range(row: Row, details: Row, multirange: Row | None) -> NativeObject:
    words = [f"subtype = {details['subtype']}"]
    if details["class_given"]:
        words.append(f"subtype_opclass = {quoted(details['class_schema'], details['class'])}")
    if details["collation"]:
        words.append(f"collation ={_collate(details).removeprefix(' COLLATE')}")
    if details["canonical"]:
        words.append(f"canonical = {details['canonical']}")
    if details["difference"]:
        words.append(f"subtype_diff = {details['difference']}")
    name = quoted(row["schema"], row["name"])
    statement = f"CREATE TYPE {name} AS RANGE ({', '.join(words)})"
    if multirange and multirange["name"] != _default_multirange(row["name"]):
        extra = f", multirange_type_name = {quoted(multirange['schema'], multirange['name'])})"
        statement = statement[:-1] + extra
    return _type("range", row, [statement])


def _default_multirange(name: str) -> str:
    if "range" in name:
        return name.replace("range", "multirange", 1)
    return f"{name}_multirange"

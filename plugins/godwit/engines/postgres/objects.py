"""Native objects of a PostgreSQL database: everything that belongs to the selected tables.

Definitions are the server's own (`pg_get_…def`, `pg_get_expr`), read with search_path pg_catalog so
that every name in them is qualified; order comes from pg_depend.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, Wanted, fetch
from godwit.engines.postgres.objects_code import read_attached, read_routines, read_views
from godwit.engines.postgres.objects_extra import read_comments, read_others, read_settings
from godwit.engines.postgres.objects_graph import Key, Objects, Selection, Unconverted
from godwit.engines.postgres.objects_keys import read_keys
from godwit.engines.postgres.objects_tables import partition_tree, read_tables
from godwit.engines.postgres.objects_types import read_types
from godwit.model.catalog import NativeObject, TableName

PHASES = ("pre", "key", "post", "late")
#: Order among objects that do not depend on each other.
KINDS = (
    "schema",
    "extension",
    "collation",
    "enum",
    "composite type",
    "domain",
    "range",
    "sequence",
    "function",
    "procedure",
    "aggregate",
    "table",
    "primary key",
    "unique constraint",
    "index",
    "exclusion constraint",
    "not-null constraint",
    "check constraint",
    "foreign key",
    "replica identity",
    "statistics",
    "view",
    "materialized view",
    "rule",
    "trigger",
    "policy",
    "row security",
    "comment",
    "trigger state",
    "rule state",
    "forced row security",
)
_KIND_RANK = {kind: rank for rank, kind in enumerate(KINDS)}

# P and S tie what a partition inherited to the root's: the readers order those themselves.
_DEPENDENCIES: LiteralString = """
SELECT DISTINCT d.classid::regclass::text AS class, d.objid::bigint AS oid,
       d.refclassid::regclass::text AS on_class, d.refobjid::bigint AS on_oid,
       d.deptype::text AS type
FROM pg_depend d
WHERE d.deptype IN ('n', 'a', 'i', 'e') AND d.objid >= 16384
  AND (d.refobjid >= 16384 OR d.refclassid = 'pg_namespace'::regclass)
"""

_SCHEMAS_OF: LiteralString = """
SELECT DISTINCT relnamespace::bigint AS oid FROM pg_class WHERE oid = ANY(%(oids)s::oid[])
"""

_EVERY_SCHEMA: LiteralString = """
SELECT oid::bigint AS oid FROM pg_namespace
WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'godwit')
"""

_VIEW_NAMES: LiteralString = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')
"""

_DESCRIBE: LiteralString = """
SELECT k.class, k.oid::bigint AS oid,
       pg_describe_object(k.class::regclass, k.oid::oid, 0) AS name
FROM unnest(%(classes)s::text[], %(oids)s::bigint[]) AS k(class, oid)
"""


def read_objects(
    conn: Connection,
    relations: Sequence[int],
    wanted: Wanted | None = None,
    *,
    every_schema: bool = False,
) -> tuple[NativeObject, ...]:
    """Objects that belong to these tables and their schemas (or to every schema), or are needed by
    them, in the order in which they can be made. `wanted` is asked for views.
    """
    query = _EVERY_SCHEMA if every_schema else _SCHEMAS_OF
    schemas = frozenset(row["oid"] for row in fetch(conn, query, oids=list(relations)))
    if not schemas:
        return ()
    unwanted = frozenset(
        row["oid"]
        for row in fetch(conn, _VIEW_NAMES)
        if wanted and not wanted(TableName(row["schema"], row["name"]))
    )
    selection = Selection(frozenset(relations), schemas, unwanted)
    objects = _read(conn, selection)
    dependencies = fetch(conn, _DEPENDENCIES)
    _settle_ownership(objects, dependencies)
    read_comments(conn, objects)
    edges, missing = _edges(objects, dependencies)
    _mark_unconverted(conn, objects, edges, missing)
    chosen = _closure(objects, edges)
    _assign_phases(objects, edges, chosen)
    return _ordered(objects, edges, chosen)


def _read(conn: Connection, selection: Selection) -> Objects:
    objects = Objects()
    read_types(conn, selection, objects)
    read_routines(conn, selection, objects)
    read_tables(conn, selection, objects)
    views = read_views(conn, selection, objects)
    tables = [
        oid
        for oid in partition_tree(conn, sorted(selection.relations))
        if getattr(objects.found.get(("pg_class", oid)), "kind", "") == "table"
    ]
    depth = _depths(conn, tables)
    read_keys(conn, {**depth, **dict.fromkeys(views, 0)}, objects)
    read_attached(conn, [*tables, *views], objects)
    read_settings(conn, tables, objects)
    read_others(conn, selection, objects)
    return objects


def _depths(conn: Connection, tables: Sequence[int]) -> dict[int, int]:
    rows = fetch(
        conn,
        "SELECT i.inhrelid::bigint AS child, i.inhparent::bigint AS parent FROM pg_inherits i "
        "JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition "
        "AND c.relkind IN ('r', 'p') AND i.inhrelid = ANY(%(oids)s::oid[])",
        oids=list(tables),
    )
    parents = {row["child"]: row["parent"] for row in rows}
    depth = {}
    for table in tables:
        steps, at = 0, table
        while at in parents:
            at, steps = parents[at], steps + 1
        depth[table] = steps
    return depth


def _settle_ownership(objects: Objects, dependencies: Sequence[Row]) -> None:
    """Members of an extension come with it; internal parts with what they are part of."""
    for row in dependencies:
        key, on = (row["class"], row["oid"]), (row["on_class"], row["on_oid"])
        if row["type"] == "e":
            objects.found.pop(key, None)
            objects.alias[key] = on
        elif (
            (row["type"] == "i" or (row["class"] == "pg_attrdef" and row["type"] == "a"))
            and key not in objects.found
            and key not in objects.alias
        ):
            objects.alias[key] = on


Edges = dict[Key, set[Key]]
#: Nothing stops being possible when these aren't brought over.
_FREE = frozenset({"pg_namespace", "pg_publication"})


def _edges(objects: Objects, dependencies: Sequence[Row]) -> tuple[Edges, dict[Key, set[Key]]]:
    """What needs what among the objects found, and what they need that was not found."""
    edges: Edges = defaultdict(set)
    missing: dict[Key, set[Key]] = defaultdict(set)
    for row in dependencies:
        if row["type"] == "e":
            continue
        source = objects.resolve((row["class"], row["oid"]))
        thing = objects.found.get(source)
        # A sequence depends on the column that owns it: the table says so once it is there.
        if thing is None or (thing.kind == "sequence" and row["type"] == "a"):
            continue
        needed = objects.resolve((row["on_class"], row["on_oid"]))
        if needed == source:
            continue
        if needed in objects.found:
            edges[source].add(needed)
        elif not (row["on_class"] in _FREE or (source, needed) in objects.left_behind):
            missing[source].add(needed)
    for source, needed in objects.needs:
        resolved = objects.resolve(needed)
        if source in objects.found and resolved != source:
            (edges if resolved in objects.found else missing)[source].add(resolved)
    return edges, missing


def _mark_unconverted(
    conn: Connection, objects: Objects, edges: Edges, missing: dict[Key, set[Key]]
) -> None:
    """What needs something that isn't selected, and what needs that, becomes a finding."""
    wanted = {key for keys in missing.values() for key in keys}
    names = {
        (row["class"], row["oid"]): row["name"]
        for row in fetch(
            conn, _DESCRIBE, classes=[k[0] for k in wanted], oids=[k[1] for k in wanted]
        )
    }
    dependents: Edges = defaultdict(set)
    for source, needed in edges.items():
        for key in needed:
            dependents[key].add(source)
    todo: list[tuple[Key, str]] = []
    for source, keys in missing.items():
        needs = ", ".join(sorted(str(names.get(k) or k[0]) for k in keys))
        todo.append((source, f"it needs {needs}, which is not part of the migration"))
    todo += [
        (d, f"it needs the {thing.label}, which is not brought over")
        for key, thing in objects.found.items()
        if isinstance(thing, Unconverted)
        for d in dependents[key]
    ]
    while todo:
        key, reason = todo.pop()
        thing = objects.found[key]
        if isinstance(thing, Unconverted):
            continue
        objects.found[key] = Unconverted(
            thing.kind,
            thing.schema,
            thing.name,
            (),
            thing.phase,
            thing.table,
            reason=reason,
            hint="select what it needs too, or make it on the target by hand",
        )
        because = f"it needs the {thing.label}, which is not brought over"
        todo += [(d, because) for d in dependents[key]]


def _closure(objects: Objects, edges: Edges) -> set[Key]:
    """Objects asked for, and everything they need."""
    chosen: set[Key] = set()
    todo = [key for key in objects.found if key not in objects.on_demand]
    while todo:
        key = todo.pop()
        if key not in chosen:
            chosen.add(key)
            todo += edges.get(key, ())
    chosen |= {key for key, owner in objects.with_owner if owner in chosen}
    return chosen


def _assign_phases(objects: Objects, edges: Edges, chosen: set[Key]) -> None:
    """Whatever an earlier phase needs moves there, e.g. a function in a column's default."""
    for rank, phase in enumerate(PHASES):
        todo = [k for k in chosen if objects.found[k].phase == phase]
        while todo:
            for needed in edges.get(todo.pop(), ()):
                thing = objects.found[needed]
                if PHASES.index(thing.phase) > rank:
                    objects.found[needed] = replace(thing, phase=phase)
                    todo.append(needed)


def _rank(key: Key, thing: NativeObject) -> tuple[int, int, str, str, Key]:
    kind = _KIND_RANK.get(thing.kind, len(KINDS))
    return PHASES.index(thing.phase), kind, thing.schema, thing.name, key


def _ordered(objects: Objects, edges: Edges, chosen: set[Key]) -> tuple[NativeObject, ...]:
    """Topological order; a cycle is broken at the object that would come first anyway."""
    open_needs = {key: {n for n in edges.get(key, ()) if n in chosen} for key in chosen}
    dependents: Edges = defaultdict(set)
    for key, needs in open_needs.items():
        for needed in needs:
            dependents[needed].add(key)
    rank = {key: _rank(key, objects.found[key]) for key in chosen}
    ready = [(rank[key], key) for key, needs in open_needs.items() if not needs]
    heapq.heapify(ready)
    blocked = sorted((k for k, needs in open_needs.items() if needs), key=rank.__getitem__)
    done: dict[Key, NativeObject] = {}
    while ready or blocked:
        if not ready:
            blocked = [k for k in blocked if k not in done]
            if not blocked:
                break
            heapq.heappush(ready, (rank[blocked[0]], blocked[0]))
        _, key = heapq.heappop(ready)
        if key in done:
            continue
        made_before = [n for n in edges.get(key, ()) if n in done]
        done[key] = _with_needs(objects.found[key], made_before, objects)
        for dependent in dependents[key]:
            open_needs[dependent].discard(key)
            if not open_needs[dependent] and dependent not in done:
                heapq.heappush(ready, (rank[dependent], dependent))
    return tuple(done.values())


def _with_needs(thing: NativeObject, needs: Sequence[Key], objects: Objects) -> NativeObject:
    names = ((n.kind, n.schema, n.name) for n in (objects.found[k] for k in needs))
    return replace(thing, depends=tuple(sorted(names)))

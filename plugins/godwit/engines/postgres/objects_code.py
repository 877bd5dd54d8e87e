"""Routines, views, rules, triggers and policies as native objects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.names import canonical, literal, quoted
from godwit.engines.postgres.objects_graph import Key, Objects, Selection
from godwit.model.catalog import NativeObject, TableName

_ROUTINES: LiteralString = """
SELECT p.oid::bigint AS oid, p.pronamespace::bigint AS namespace, n.nspname AS schema,
       p.proname AS name, p.prokind::text AS type,
       pg_get_function_identity_arguments(p.oid) AS arguments,
       CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END AS definition
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                  AND e.objid = p.oid AND e.deptype IN ('e', 'i'))
ORDER BY 3, 4, 6
"""

_AGGREGATES: LiteralString = """
SELECT a.aggfnoid::oid::bigint AS oid, a.aggkind::text AS type, a.aggtransfn::text AS sfunc,
       format_type(a.aggtranstype, NULL) AS stype, nullif(a.aggtransspace, 0)::text AS sspace,
       nullif(a.aggfinalfn::text, '-') AS finalfunc, a.aggfinalextra AS final_extra,
       nullif(a.aggcombinefn::text, '-') AS combinefunc,
       nullif(a.aggserialfn::text, '-') AS serialfunc,
       nullif(a.aggdeserialfn::text, '-') AS deserialfunc,
       nullif(a.aggmtransfn::text, '-') AS msfunc, nullif(a.aggminvtransfn::text, '-') AS minvfunc,
       CASE WHEN a.aggmtranstype <> 0 THEN format_type(a.aggmtranstype, NULL) END AS mstype,
       nullif(a.aggmfinalfn::text, '-') AS mfinalfunc, a.agginitval AS initcond,
       a.aggminitval AS minitcond, o.oprname AS sort, os.nspname AS sort_schema,
       p.proparallel::text AS parallel
FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
LEFT JOIN pg_operator o ON o.oid = a.aggsortop LEFT JOIN pg_namespace os ON os.oid = o.oprnamespace
WHERE a.aggfnoid >= 16384
"""

_VIEWS: LiteralString = """
SELECT c.oid::bigint AS oid, c.relnamespace::bigint AS namespace, n.nspname AS schema,
       c.relname AS name, c.relkind = 'm' AS materialized, c.relispopulated AS populated,
       pg_get_viewdef(c.oid) AS definition, array_to_string(c.reloptions, ', ') AS options,
       array(SELECT quote_ident(a.attname) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum) AS columns,
       array(SELECT format('%%I SET DEFAULT %%s', a.attname, pg_get_expr(d.adbin, d.adrelid))
             FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
             WHERE d.adrelid = c.oid ORDER BY d.adnum) AS defaults
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND c.oid >= 16384 AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                  AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY 3, 4
"""

_RULES: LiteralString = """
SELECT r.oid::bigint AS oid, r.ev_class::bigint AS relation, n.nspname AS schema,
       c.relname AS table, r.rulename AS name, pg_get_ruledef(r.oid) AS definition,
       r.ev_enabled::text AS enabled, c.relkind::text AS kind
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 3, 4, 5
"""

_TRIGGERS: LiteralString = """
SELECT t.oid::bigint AS oid, t.tgrelid::bigint AS relation, n.nspname AS schema,
       c.relname AS table, t.tgname AS name, pg_get_triggerdef(t.oid) AS definition,
       t.tgenabled::text AS enabled, c.relkind::text AS kind
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgrelid = ANY(%(oids)s::oid[])
ORDER BY 3, 4, 5
"""

_POLICIES: LiteralString = """
SELECT p.oid::bigint AS oid, p.polrelid::bigint AS relation, n.nspname AS schema,
       c.relname AS table, p.polname AS name, p.polcmd::text AS command,
       p.polpermissive AS permissive,
       pg_get_expr(p.polqual, p.polrelid) AS using,
       pg_get_expr(p.polwithcheck, p.polrelid) AS check,
       array(SELECT coalesce(quote_ident(r.rolname), 'PUBLIC') FROM unnest(p.polroles) AS o(oid)
             LEFT JOIN pg_roles r ON r.oid = o.oid ORDER BY 1) AS roles
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.polrelid = ANY(%(oids)s::oid[])
ORDER BY 3, 4, 5
"""

_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}
_STATES = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def read_routines(conn: Connection, selection: Selection, objects: Objects) -> None:
    """Functions, procedures and aggregates."""
    aggregates = {row["oid"]: row for row in fetch(conn, _AGGREGATES)}
    for row in fetch(conn, _ROUTINES):
        name = f"{row['name']}({_without_in(row['arguments'])})"
        if row["type"] == "a":
            kind, statement = "aggregate", _aggregate(row, aggregates[row["oid"]])
        else:
            kind = "procedure" if row["type"] == "p" else "function"
            statement = row["definition"].rstrip()
        head, line, rest = statement.partition("\n")
        definition = canonical(_without_in(head) + line + rest)
        thing = NativeObject(kind, row["schema"], name, (statement,), "post", definition=definition)
        chosen = row["namespace"] in selection.schemas
        objects.add(("pg_proc", row["oid"]), thing, on_demand=not chosen)


def _without_in(arguments: str) -> str:
    """Arguments of procedures are marked IN since 14; it means the same without."""
    return re.sub(r"(^|[(]|, )IN ", r"\1", arguments)


_PARALLEL = {"s": "safe", "r": "restricted"}


def _aggregate(row: Row, details: Row) -> str:
    words = [f"sfunc = {details['sfunc']}", f"stype = {details['stype']}"]
    plain = "sspace finalfunc combinefunc serialfunc deserialfunc msfunc minvfunc mstype mfinalfunc"
    words += [f"{w} = {details[w]}" for w in plain.split() if details[w] not in {None, "-"}]
    words += [
        f"{w} = {literal(details[w])}" for w in ("initcond", "minitcond") if details[w] is not None
    ]
    if details["final_extra"]:
        words.append("finalfunc_extra")
    if details["sort"]:
        words.append(f"sortop = OPERATOR({quoted(details['sort_schema'])}.{details['sort']})")
    if details["parallel"] in _PARALLEL:
        words.append(f"parallel = {_PARALLEL[details['parallel']]}")
    if details["type"] == "h":
        words.append("hypothetical")
    name = quoted(row["schema"], row["name"])
    return f"CREATE AGGREGATE {name}({row['arguments'] or '*'}) ({', '.join(words)})"


def read_views(conn: Connection, selection: Selection, objects: Objects) -> list[int]:
    """Views and materialized views; returns the OIDs of those taken in."""
    taken = []
    for row in fetch(conn, _VIEWS):
        if row["namespace"] not in selection.schemas or row["oid"] in selection.unwanted_views:
            continue
        taken.append(row["oid"])
        objects.add(("pg_class", row["oid"]), _view(row))
    return taken


def _view(row: Row) -> NativeObject:
    name = quoted(row["schema"], row["name"])
    options = f" WITH ({row['options']})" if row["options"] else ""
    body = row["definition"].rstrip().removesuffix(";")
    # The columns' names are the view's own: a renamed column of a table leaves them as they are.
    head = f"{name} ({', '.join(row['columns'])}){options} AS\n{body}"
    if row["materialized"]:
        statements = [f"CREATE MATERIALIZED VIEW {head}\nWITH NO DATA"]
        if row["populated"]:
            statements.append(f"REFRESH MATERIALIZED VIEW {name}")
        definition = statements[0]
        kind = "materialized view"
    else:
        statements = [f"CREATE VIEW {head}"]
        statements += [f"ALTER VIEW {name} ALTER COLUMN {d}" for d in row["defaults"]]
        definition = "; ".join(statements)
        kind = "view"
    return NativeObject(
        kind,
        row["schema"],
        row["name"],
        tuple(statements),
        "post",
        definition=canonical(definition),
    )


def read_attached(conn: Connection, relations: Iterable[int], objects: Objects) -> None:
    """Rules, triggers and policies of these tables and views."""
    oids = list(relations)
    chosen = set(oids)
    for row in fetch(conn, _RULES):
        key, relation = ("pg_rewrite", row["oid"]), ("pg_class", row["relation"])
        if row["name"] == "_RETURN":
            objects.alias[key] = relation
        elif row["relation"] in chosen:
            _switched("rule", row, objects, key)
    for row in fetch(conn, _TRIGGERS, oids=oids):
        _switched("trigger", row, objects, ("pg_trigger", row["oid"]))
    for row in fetch(conn, _POLICIES, oids=oids):
        objects.add(("pg_policy", row["oid"]), _policy(row), ("pg_class", row["relation"]))


def _switched(kind: str, row: Row, objects: Objects, key: Key) -> None:
    """A rule or trigger. What fires while changes are applied stays off until cutover."""
    table = TableName(row["schema"], row["table"])
    statement = row["definition"].rstrip().removesuffix(";")
    name = f"{row['table']}.{row['name']}"
    held_back = row["enabled"] in {"R", "A"}
    statements = (statement, _switch(kind, row, "DISABLE")) if held_back else (statement,)
    thing = NativeObject(
        kind, row["schema"], name, statements, "post", table, definition=canonical(statement)
    )
    objects.add(key, thing, ("pg_class", row["relation"]))
    if row["enabled"] in _STATES:
        # Not a row of any catalog: the state has a key of its own.
        state = NativeObject(
            f"{kind} state",
            row["schema"],
            name,
            (_switch(kind, row, _STATES[row["enabled"]]),),
            "late" if held_back else "post",
            table,
            definition=_STATES[row["enabled"]],
        )
        objects.add((f"{kind} state", row["oid"]), state, key)


def _switch(kind: str, row: Row, state: str) -> str:
    table = quoted(row["schema"], row["table"])
    return f"ALTER TABLE {table} {state} {kind.upper()} {quoted(row['name'])}"


def _policy(row: Row) -> NativeObject:
    table = TableName(row["schema"], row["table"])
    text = f"CREATE POLICY {quoted(row['name'])} ON {quoted(*table)}"
    if not row["permissive"]:
        text += " AS RESTRICTIVE"
    text += f" FOR {_COMMANDS[row['command']]} TO {', '.join(row['roles'])}"
    if row["using"] is not None:
        text += f" USING ({row['using']})"
    if row["check"] is not None:
        text += f" WITH CHECK ({row['check']})"
    name = f"{row['table']}.{row['name']}"
    return NativeObject(
        "policy", row["schema"], name, (text,), "post", table, definition=canonical(text)
    )

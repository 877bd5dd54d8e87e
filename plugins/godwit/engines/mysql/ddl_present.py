"""What a target has of a plan's objects, and whether it is what the plan wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import pymysql

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects import read_code, read_table
from godwit.engines.mysql.objects_shapes import TableShape, parse_table
from godwit.engines.mysql.sqltext import canonical
from godwit.model.catalog import TableName
from godwit.model.report import ObjectParity
from godwit.protocols import SchemaStep

Present = dict[tuple[str, str], str]

SHOWN_CHARACTERS = 240
_OF_TABLES = frozenset({"table", "primary key", "unique key", "index", "foreign key"})
_CODE = frozenset({"view", "function", "procedure", "trigger", "event", "sequence"})
_SCRATCH = "godwit_scratch"
_NO_SUCH = frozenset({1049, 1146, 1305, 1360, 1539, 4091, 1347, 4089})


def present(session: Session, steps: Sequence[SchemaStep]) -> Present:
    """Definitions of the objects that these steps make, as far as they are there."""
    found: Present = {}
    databases = {str(row[0]) for row in session.rows("SHOW DATABASES")}
    for step in steps:
        if step.kind == "database" and step.name in databases:
            found["database", step.name] = step.definition
    tables = {s.table for s in steps if s.table is not None and s.kind in _OF_TABLES}
    for table in sorted(tables & _existing(session, {t.schema for t in tables})):
        found.update(_of_table(_shape(session, table)))
    for step in steps:
        if step.kind in _CODE:
            schema, _, name = step.name.partition(".")
            definition = _code(session, step.kind, schema, name)
            if definition is not None:
                found[step.kind, step.name] = definition
    return found


def _existing(session: Session, databases: Iterable[str]) -> set[TableName]:
    return {
        TableName(database, str(row[0]))
        for database in databases
        for row in session.rows(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"
            " AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')",
            (database,),
        )
    }


def _shape(session: Session, name: TableName) -> TableShape:
    shape = read_table(session, name)
    assert isinstance(shape, TableShape)
    return shape


def _of_table(shape: TableShape) -> Present:
    name = str(shape.full_name)
    found = {("table", name): shape.summary()}
    for key in shape.keys:
        found[key.kind, f"{name}.{key.name}"] = canonical(key.sql())
    for foreign in shape.foreign_keys:
        found["foreign key", f"{name}.{foreign.name}"] = canonical(foreign.sql())
    return found


def _code(session: Session, kind: str, schema: str, name: str) -> str | None:
    try:
        found = read_code(session, kind, schema, name)
    except pymysql.MySQLError as cause:
        if cause.args and cause.args[0] in _NO_SUCH:
            return None
        raise
    return found.definition


def compare(session: Session, step: SchemaStep, there: Present) -> ObjectParity:
    """The object of one step against what is there."""
    found = there.get((step.kind, step.name))
    if found is None:
        return ObjectParity(step.kind, step.name, "missing", "the target does not have it")
    if found == step.definition:
        return ObjectParity(step.kind, step.name, "equal")
    if same_on_server(session, step, found):
        return ObjectParity(step.kind, step.name, "equal", "spelt otherwise")
    return ObjectParity(step.kind, step.name, "differs", _difference(step.definition, found))


def _difference(expected: str, found: str) -> str:
    """Both texts from where they part."""
    same = 0
    while same < min(len(expected), len(found)) and expected[same] == found[same]:
        same += 1
    start = max(same - 30, 0)
    end = start + SHOWN_CHARACTERS
    return f"source: …{expected[start:end]} | target: …{found[start:end]}"


def same_on_server(session: Session, step: SchemaStep, found: str) -> bool:
    """Whether the server, asked to make the object once more, spells it as the one that is there:
    defaults, checks and computed columns are stored in its own words.
    """
    if step.kind not in {"table", "index", "unique key"} or step.table is None:
        return False
    try:
        return _spelt(session, step, found)
    except pymysql.MySQLError:
        return False
    finally:
        with suppress(pymysql.MySQLError):
            name = quoted(step.table.schema, _SCRATCH)
            session.run(f"DROP TEMPORARY TABLE IF EXISTS {name}")


def _spelt(session: Session, step: SchemaStep, found: str) -> bool:
    assert step.table is not None
    scratch = TableName(step.table.schema, _SCRATCH)
    with suppress(pymysql.MySQLError):
        session.run("SET SESSION innodb_strict_mode = 0")
    if step.kind == "table":
        wanted = parse_table(*step.table, step.statements[0])
        session.run(wanted.create(temporary=_SCRATCH))
        made = replace(_shape(session, scratch), inline=wanted.inline)
        partitions = wanted.summary().removeprefix(wanted.summary(partitions=False))
        versioned = " WITH SYSTEM VERSIONING" in wanted.options
        options = made.options + (" WITH SYSTEM VERSIONING" if versioned else "")
        made = replace(made, options=options)
        # Checks without a name are numbered under the table's.
        own = made.summary(partitions=False).replace(
            f"`{_SCRATCH}_chk_", f"`{step.table.name}_chk_"
        )
        return own + partitions == found
    session.run(f"CREATE TEMPORARY TABLE {quoted(*scratch)} LIKE {quoted(*step.table)}")
    name = step.name.removeprefix(f"{step.table}.")
    session.run(f"ALTER TABLE {quoted(*scratch)} DROP KEY {quoted(name)}")
    head = f"ALTER TABLE {quoted(*step.table)} "
    session.run(f"ALTER TABLE {quoted(*scratch)} {step.statements[0].removeprefix(head)}")
    keys = {k.name: canonical(k.sql()) for k in _shape(session, scratch).keys}
    return keys.get(name) == found


def orphan_query(session: Session, step: SchemaStep) -> str | None:
    """Finds one row of a foreign key's table that refers to no row; None = the key is not there."""
    if step.table is None:
        return None
    name = step.name.removeprefix(f"{step.table}.")
    key = next((k for k in _shape(session, step.table).foreign_keys if k.name == name), None)
    if key is None:
        return None
    pairs = list(zip(key.columns, key.referenced_columns, strict=True))
    same = " AND ".join(f"p.{quoted(theirs)} = c.{quoted(own)}" for own, theirs in pairs)
    given = " AND ".join(f"c.{quoted(own)} IS NOT NULL" for own, _ in pairs)
    return (
        f"SELECT 1 FROM {quoted(*step.table)} c WHERE {given} AND NOT EXISTS"
        f" (SELECT 1 FROM {quoted(*key.referenced)} p WHERE {same}) LIMIT 1"
    )

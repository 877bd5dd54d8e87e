"""DDL from logical types alone: for tables of another engine, and for added columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from godwit.engines.postgres.datatypes import spelling
from godwit.engines.postgres.names import canonical, literal, quoted
from godwit.engines.postgres.objects_shapes import ColumnShape, TableShape
from godwit.model.catalog import Key, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import SchemaPlan, SchemaStep

MAX_NAME_BYTES = 63


def added_column(column: ColumnMapping) -> ColumnShape:
    """A column that the source doesn't have, or has under another type."""
    return ColumnShape(column.target, spelling(column.type or DataType(Kind.TEXT)))


def generic_steps(mappings: Sequence[TableMapping]) -> SchemaPlan:
    """Schemas, tables, keys and comments. Defaults, views and routines are the converter's."""
    schemas = sorted({m.target.schema for m in mappings})
    steps = [
        SchemaStep(
            "schema",
            name,
            "pre",
            (f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}",),
            definition="schema",
        )
        for name in schemas
    ]
    keys: list[SchemaStep] = []
    for mapping in mappings:
        table = _table(mapping)
        steps.append(
            SchemaStep(
                "table",
                str(mapping.target),
                "pre",
                table.statements,
                mapping.target,
                table.definition,
                (f"schema {mapping.target.schema}",),
            )
        )
        keys += _keys(mapping)
    comments = [step for mapping in mappings for step in _comments(mapping)]
    return SchemaPlan((*steps, *sorted(keys, key=lambda s: s.phase), *comments))


def _table(mapping: TableMapping) -> TableShape:
    columns = []
    for column in mapping.columns:
        source = mapping.source.column(column.source) if column.source else None
        kind = column.type or (source.type if source else DataType(Kind.TEXT))
        nullable = (source is None or source.nullable) and column.target not in mapping.identity
        columns.append(
            ColumnShape(
                column.target,
                spelling(kind),
                nullable=nullable,
                identity="d" if source and source.identity and kind.kind is Kind.INTEGER else "",
                sequence="START WITH 1" if source and source.identity else "",
            )
        )
    name = mapping.target
    shape = TableShape("table", name.schema, name.name, (), "pre", name, columns=tuple(columns))
    return shape.rendered()


def _keys(mapping: TableMapping) -> list[SchemaStep]:
    """The row identity in phase key, other keys whose columns all arrive in phase post."""
    steps = []
    names = mapping.target_names
    keys = [k for k in mapping.source.keys if all(c in names for c in k.columns)]
    found = [(k, tuple(names[c] for c in k.columns)) for k in keys]
    if mapping.identity and not any(set(c) == set(mapping.identity) for _, c in found):
        primary = not any(k.primary for k in keys)
        found.insert(0, (Key("identity", mapping.identity, primary=primary), mapping.identity))
    taken: set[str] = set()
    for key, columns in found:
        phase = "key" if set(columns) == set(mapping.identity) else "post"
        name = _free_name(mapping.target, key, taken)
        kind = "PRIMARY KEY" if key.primary else "UNIQUE"
        text = (
            f"ALTER TABLE {quoted(*mapping.target)} ADD CONSTRAINT {quoted(name)} {kind} "
            f"({', '.join(quoted(c) for c in columns)})"
        )
        steps.append(
            SchemaStep(
                "primary key" if key.primary else "unique constraint",
                f"{mapping.target.schema}.{mapping.target.name}.{name}",
                phase,
                (text,),
                mapping.target,
                canonical(text),
                (f"table {mapping.target}",),
            )
        )
    return steps


def _free_name(table: TableName, key: Key, taken: set[str]) -> str:
    # Names of keys are the table's own in other engines, here they are relations of the schema.
    ending = "pkey" if key.primary else f"{key.name}_key"
    for number in count():
        suffix = f"_{ending}{number or ''}"
        room = MAX_NAME_BYTES - len(suffix.encode())
        name = table.name.encode()[: max(room, 0)].decode(errors="ignore") + suffix
        if name not in taken:
            taken.add(name)
            return name
    raise AssertionError("unreachable: count() has no end")


def _comments(mapping: TableMapping) -> list[SchemaStep]:
    texts = []
    if mapping.source.comment:
        texts.append(("TABLE", "table", quoted(*mapping.target), mapping.source.comment))
    for column in mapping.columns:
        source = mapping.source.column(column.source) if column.source else None
        if source and source.comment:
            name = f"{quoted(*mapping.target)}.{quoted(column.target)}"
            texts.append(("COLUMN", "table column", name, source.comment))
    return [
        SchemaStep(
            "comment",
            f"on {what} {canonical(name)}",
            "post",
            (f"COMMENT ON {word} {name} IS {literal(text)}",),
            mapping.target,
            text,
            (f"table {mapping.target}",),
        )
        for word, what, name, text in texts
    ]

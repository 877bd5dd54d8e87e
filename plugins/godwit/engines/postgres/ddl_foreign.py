"""The DDL plan for tables of another engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from godwit.engines.postgres.catalog import ENGINE_NAME, Connection, fetch
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.datatypes import Choices
from godwit.engines.postgres.ddl_foreign_names import Names, shortened
from godwit.engines.postgres.ddl_foreign_table import TablePlan
from godwit.engines.postgres.ddl_trial import NO_TABLE, Refusal, trial_schemas, tried
from godwit.engines.postgres.names import canonical, quoted
from godwit.engines.postgres.objects_keys import NOT_VALID, IndexShape
from godwit.engines.postgres.objects_shapes import TableShape
from godwit.errors import EndpointError
from godwit.model.catalog import Catalog, Column, ForeignKey, Key, NativeObject, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import Finding, Severity

#: Values of the target endpoint's settings, the first is what holds when nothing is said.
SETTINGS = {
    "enum": ("type", "check", "text"),
    "set": ("text", "array", "check"),
    "json": ("json", "jsonb", "text"),
}
Converted = tuple[Catalog, tuple[TableMapping, ...], list[Finding]]


def chosen(settings: Mapping[str, Any], name: str) -> str:
    """The value of a setting.

    Raises:
        EndpointError: it is none of those there are.
    """
    value = str(settings.get(name, SETTINGS[name][0]))
    if value not in SETTINGS[name]:
        raise EndpointError(
            f"the target's setting {name} cannot be {value!r}",
            where="the target's settings",
            why=f"it is none of {', '.join(SETTINGS[name])}",
            hint=f"set it to one of {', '.join(SETTINGS[name])}",
        )
    return value


def own_types(mappings: Sequence[TableMapping]) -> list[TableName]:
    """Names of the enums that are made for columns whose engine has the labels in the column."""
    names = Names.of(mappings)
    return [
        TableName(m.target.schema, names.free(m.target, c.target))
        for m in mappings
        for c in m.columns
        if c.source and m.source.column(c.source).native.lower().startswith("enum(")
    ]


def choices(conn: Connection, settings: Mapping[str, Any]) -> Choices:
    """How types are spelled on this target."""
    rows = fetch(
        conn,
        "SELECT quote_ident(n.nspname) AS schema FROM pg_extension e"
        " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postgis'",
    )
    geometry = f"{rows[0]['schema']}.geometry" if rows else None
    return Choices(chosen(settings, "json"), chosen(settings, "set"), geometry)


def converted(
    connector: Connector, catalog: Catalog, mappings: Sequence[TableMapping]
) -> Converted:
    """The mapped tables as a catalog of PostgreSQL's own, and mappings that take it as it is.

    Raises:
        EndpointError: the target refuses to make a table for a moment.
    """
    with connector.lease("target") as conn:
        schemas = trial_schemas(conn, sorted({m.target.schema for m in mappings}))
        spelled = choices(conn, connector.settings)
        names = Names.of(mappings)
        enums = chosen(connector.settings, "enum")
        plans = [
            TablePlan(m, catalog.engine, schemas[m.target.schema], names, spelled, enums)
            for m in mappings
        ]
        drafts = [plan.draft() for plan in plans]
        try:
            objects, refusals = tried(conn, drafts, schemas)
        except psycopg.Error as cause:
            raise _refused(connector, cause) from None
    findings = [f for plan in plans for f in plan.findings]
    findings += [_finding(refusal) for refusal in refusals]
    foreign_keys, remarks = _foreign_keys(mappings, objects)
    findings += [*remarks, *_others(catalog)]
    own = Catalog(ENGINE_NAME, str(connector.version), (), (*objects, *foreign_keys))
    shapes = {TableName(o.schema, o.name): o for o in objects if isinstance(o, TableShape)}
    return own, tuple(_as_it_is(m, shapes[m.target], objects) for m in mappings), findings


def _refused(connector: Connector, cause: psycopg.Error) -> EndpointError:
    hint = "see the server's log; tables are tried in a schema of their own, which is rolled back"
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        hint = (
            "GRANT CREATE ON DATABASE … to the target's login: tables are tried in a schema of "
            "their own, which is rolled back"
        )
    if isinstance(cause, psycopg.errors.OutOfMemory):
        hint = "raise max_locks_per_transaction on the target"
    return EndpointError(
        "tables cannot be tried on the target",
        where=connector.where,
        why=cause.diag.message_primary or type(cause).__name__,
        hint=hint,
    )


def _finding(refusal: Refusal) -> Finding:
    severity = Severity.ERROR if refusal.code == NO_TABLE else Severity.WARNING
    return Finding(refusal.code, severity, refusal.subject, refusal.reason, refusal.hint)


def _others(catalog: Catalog) -> Iterable[Finding]:
    for kind, name in catalog.others:
        reason = f"a {kind} of another engine is not converted"
        yield Finding(
            "object-not-converted",
            Severity.WARNING,
            f"{kind} {name}",
            reason,
            "write it anew on the target",
        )


def _as_it_is(
    mapping: TableMapping, shape: TableShape, objects: Sequence[NativeObject]
) -> TableMapping:
    """A mapping of the converted table to itself, with the original's identity and size."""
    keys = tuple(
        Key(o.name, tuple(c or "" for c in o.columns), primary=o.kind == "primary key")
        for o in objects
        if isinstance(o, IndexShape) and o.table == mapping.target and o.kind != "index"
    )
    columns = tuple(
        Column(
            c.name,
            DataType(Kind.OPAQUE),
            c.type,
            nullable=c.nullable,
            generated=c.expression if c.generated else None,
        )
        for c in shape.columns
    )
    table = Table(mapping.target, columns, keys, mapping.identity, rows=mapping.source.rows)
    same = tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns)
    return replace(mapping, source=table, columns=same, row_filter=None, boundaries=None)


def _foreign_keys(
    mappings: Sequence[TableMapping], objects: Sequence[NativeObject]
) -> tuple[list[NativeObject], list[Finding]]:
    """Foreign keys, in the server's own words, between tables that are mapped."""
    by_source = {m.source.name: m for m in mappings}
    uniques = [o for o in objects if isinstance(o, IndexShape) and o.unique and not o.partial]
    shapes = {TableName(o.schema, o.name): o for o in objects if isinstance(o, TableShape)}
    made, findings = [], []
    for mapping in mappings:
        for key in mapping.source.foreign_keys:
            referenced = by_source.get(key.referenced)
            reason = _obstacle(mapping, key, referenced) or _unlike(mapping, key, by_source, shapes)
            index = None
            if referenced is not None and not reason:
                wanted = sorted(referenced.target_names[c] for c in key.referenced_columns)
                index = _unique_over(uniques, referenced.target, wanted)
                reason = "" if index else f"{key.referenced} has no unique key over what it names"
            if referenced is None or index is None:
                subject = f"foreign key {key.name} of {mapping.target}"
                hint = "make it on the target by hand, once what it needs is there"
                code = "foreign-key-left-out"
                findings.append(Finding(code, Severity.WARNING, subject, reason, hint))
            else:
                made.append(_foreign_key(mapping, key, referenced, index))
    return made, findings


def _obstacle(mapping: TableMapping, key: ForeignKey, referenced: TableMapping | None) -> str:
    if referenced is None:
        return f"it refers to {key.referenced}, which is not part of the migration"
    gone = [c for c in key.columns if c not in mapping.target_names]
    gone += [c for c in key.referenced_columns if c not in referenced.target_names]
    return f"it uses column {', '.join(gone)}, which the target does not have" if gone else ""


def _unlike(
    mapping: TableMapping,
    key: ForeignKey,
    by_source: Mapping[TableName, TableMapping],
    shapes: Mapping[TableName, TableShape],
) -> str:
    """Types of one's own (enums) are equal to themselves only."""
    other = by_source[key.referenced]
    types = {t: {c.name: c.type for c in shapes[t].columns} for t in (mapping.target, other.target)}
    for here, there in zip(key.columns, key.referenced_columns, strict=True):
        one = types[mapping.target].get(mapping.target_names[here], "")
        two = types[other.target].get(other.target_names[there], "")
        if one != two and "." in one + two:
            return f"{here} is {one}, but {there} is {two}"
    return ""


def _unique_over(
    uniques: Sequence[IndexShape], table: TableName, columns: Sequence[str]
) -> IndexShape | None:
    same = (
        u for u in uniques if u.table == table and sorted(c or "" for c in u.columns) == columns
    )
    return next(same, None)


def _foreign_key(
    mapping: TableMapping, key: ForeignKey, referenced: TableMapping, index: IndexShape
) -> NativeObject:
    table, name = mapping.target, shortened(key.name)
    own = _list(key.columns, mapping.target_names.__getitem__)
    other = _list(key.referenced_columns, referenced.target_names.__getitem__)
    add = (
        f"ALTER TABLE {quoted(*table)} ADD CONSTRAINT {quoted(name)} FOREIGN KEY ({own}) "
        f"REFERENCES {quoted(*referenced.target)}({other})"
    )
    for word, action in (("UPDATE", key.on_update), ("DELETE", key.on_delete)):
        add += f" ON {word} {action}" if action != "NO ACTION" else ""
    add += " DEFERRABLE" if key.deferrable else ""
    validate = f"ALTER TABLE {quoted(*table)} VALIDATE CONSTRAINT {quoted(name)}"
    return NativeObject(
        "foreign key",
        table.schema,
        f"{table.name}.{name}",
        (add + NOT_VALID, validate),
        "post",
        table,
        (
            ("table", *table),
            ("table", *referenced.target),
            (index.kind, index.schema, index.name),
        ),
        canonical(add),
    )


def _list(columns: Iterable[str], name: Callable[[str], str]) -> str:
    return ", ".join(quoted(name(column)) for column in columns)

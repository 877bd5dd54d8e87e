"""The definition's rules for tables that were altered while their changes are followed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from godwit.errors import SchemaChangedError
from godwit.model.datatypes import Kind
from godwit.model.definition import resolve
from godwit.model.report import Severity
from godwit.steps import load
from godwit.steps.alteration import Rules

if TYPE_CHECKING:
    from godwit.migrator.opened import OpenMigration
    from godwit.model.catalog import Catalog, Column, Table, TableName
    from godwit.model.chunks import Bundle
    from godwit.model.mapping import TableMapping


def rules(migration: OpenMigration) -> Rules:
    """How the migration maps a table that has another shape now."""

    def plan(mapping: TableMapping) -> list[Bundle]:
        streams = migration.definition.streams
        return load.plan(migration.source, [mapping], migration=migration.name, streams=streams)

    return Rules(lambda table: _remapped(migration, table), migration.replace_mapping, plan)


def _remapped(migration: OpenMigration, table: TableName) -> tuple[Catalog, TableMapping]:
    """The source's catalog of the table as it is now, and what the rules make of it.

    Raises:
        SchemaChangedError: it is gone, or the rules cannot be applied to it any more.
    """
    known = {m.source.name: m for m in migration.mappings}
    catalog = migration.source.catalog(lambda name: name == table, objects=True)
    if not any(t.name == table for t in catalog):
        raise SchemaChangedError("the source has no table of that name any more", where=str(table))
    resolution = resolve(migration.definition, catalog, {table})
    errors = [f for f in resolution.findings if f.severity is Severity.ERROR]
    fresh = next((m for m in resolution.mappings if m.source.name == table), None)
    if errors or fresh is None:
        raise SchemaChangedError(
            "the migration's rules do not fit the table any more",
            where=str(table),
            why="; ".join(f.reason for f in errors) or "they leave it out",
            hint="; ".join(f.hint for f in errors if f.hint),
        )
    # Names are fitted beside those of the others, which keep theirs.
    if table in known:
        fresh = replace(fresh, source=_with_labels(known[table].source, fresh.source))
    others = [m for name, m in known.items() if name != table]
    fitted, _ = migration.target.fit(catalog, [*others, fresh])
    return catalog, next(m for m in fitted if m.source.name == table)


def _with_labels(before: Table, now: Table) -> Table:
    """Enums that were given the empty label of refused values keep it (`with_empty_labels`)."""

    def labelled(column: Column) -> Column:
        old = before.by_name.get(column.name)
        held = old is not None and old.type.labels[:1] == ("",)
        if not held or column.type.kind is not Kind.ENUM or column.type.labels[:1] == ("",):
            return column
        return replace(column, type=replace(column.type, labels=("", *column.type.labels)))

    return replace(now, columns=tuple(map(labelled, now.columns)))

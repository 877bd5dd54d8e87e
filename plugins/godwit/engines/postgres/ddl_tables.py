"""Tables under mappings: columns renamed, removed, retyped, added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from godwit.engines.postgres.ddl_generic import added_column
from godwit.engines.postgres.ddl_mapped import Mapped
from godwit.engines.postgres.ddl_versions import fit_column
from godwit.engines.postgres.names import Renaming, canonical, mentions, quoted
from godwit.engines.postgres.objects_shapes import ColumnShape, TableShape
from godwit.model.catalog import TableName
from godwit.model.mapping import ColumnMapping, DeclaredKey, TableMapping
from godwit.protocols import SchemaStep

#: `(code, reason)` of findings.
Notes = list[tuple[str, str]]
#: Leaves room for the ending in a name of 63 bytes.
NAME_CHARACTERS = 50


def mapped_table(
    shape: TableShape, mapped: Mapped, version: int
) -> tuple[TableShape | None, Notes]:
    """The table or partition as the target shall have it, and what there is to say about it.

    None when it cannot be made; the notes say why.
    """
    name = TableName(shape.schema, shape.name)
    mapping = mapped.by_source[mapped.root[name]]
    removed, renaming = mapped.removed(name), mapped.renaming(name)
    if gone := mentions(shape.partition_by, removed.__contains__):
        reason = f"its partition key uses {', '.join(sorted(gone))}, which is not on the target"
        return None, [("uses-removed-column", reason)]
    columns: list[ColumnShape] = []
    keyed = frozenset(mapping.identity)
    notes: Notes = []
    for source, target in _in_order(shape, mapping):
        column = _column(source, target, removed, renaming, notes)
        if column is None:
            continue
        if mapping.declared_key and mapping.declared_key.primary:
            column = replace(column, nullable=column.nullable and column.name not in keyed)
        fitted, changes = fit_column(column, version)
        notes += [("target-version", f"column {column.name}: {change}") for change in changes]
        columns.append(fitted)
    names = {c.name for c in columns}
    owned = [(sequence, renaming.columns.get(c, c)) for sequence, c in shape.owned]
    new = replace(
        shape,
        columns=tuple(columns),
        partition_by=renaming.apply(shape.partition_by),
        owned=tuple((sequence, c) for sequence, c in owned if c in names),
    )
    return new.rendered(renaming), notes


def _in_order(
    shape: TableShape, mapping: TableMapping
) -> Iterator[tuple[ColumnShape | None, ColumnMapping | None]]:
    """The table's columns in their own order with what becomes of them, then added ones."""
    by_source = {c.source: c for c in mapping.columns if c.source is not None}
    for column in shape.columns:
        if column.name in by_source:
            yield column, by_source[column.name]
        elif column.generated:
            yield column, None
    for target in mapping.columns:
        if target.source is None:
            yield None, target


def _column(
    source: ColumnShape | None,
    target: ColumnMapping | None,
    removed: set[str],
    renaming: Renaming,
    notes: Notes,
) -> ColumnShape | None:
    if source is None:
        return added_column(target) if target else None
    if source.generated and (gone := mentions(source.expression or "", removed.__contains__)):
        needs = ", ".join(sorted(gone))
        notes.append(
            ("uses-removed-column", f"column {source.name} is computed from {needs}, not on target")
        )
        return None
    new = replace(
        source,
        name=target.target if target else source.name,
        expression=renaming.apply(source.expression) if source.expression else None,
        sequence_name=renaming.relation(source.sequence_name) if source.sequence_name else None,
    )
    return _retyped(new, target) if target and target.type else new


def _retyped(column: ColumnShape, target: ColumnMapping) -> ColumnShape:
    """The column under the mapping's data type; a default of the old type is not kept."""
    return replace(
        column,
        type=added_column(target).type,
        collation=None,
        expression=None,
        identity="",
        sequence_name=None,
        storage="",
        compression="",
    )


def defined_key(mapping: TableMapping) -> SchemaStep:
    """A row identity that the mapping defines and the source has no key for."""
    wanted = mapping.declared_key or DeclaredKey()
    has_primary = not wanted.primary or any(k.primary for k in mapping.source.keys)
    columns = ", ".join(quoted(c) for c in mapping.identity)
    name = wanted.name or f"{mapping.target.name[:NAME_CHARACTERS]}_identity"
    text = (
        f"ALTER TABLE {quoted(*mapping.target)} ADD CONSTRAINT {quoted(name)} "
        f"{'UNIQUE' if has_primary else 'PRIMARY KEY'} ({columns})"
    )
    return SchemaStep(
        kind="unique constraint" if has_primary else "primary key",
        name=f"{mapping.target}.{name}",
        phase="key",
        statements=(text,),
        table=mapping.target,
        definition=canonical(text),
        depends=(f"table {mapping.target}",),
    )

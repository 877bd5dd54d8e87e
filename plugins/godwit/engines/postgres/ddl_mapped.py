"""What the mappings mean for native objects: new names, removed columns, row identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from godwit.engines.postgres.names import Renaming, canonical, mentions
from godwit.engines.postgres.objects_keys import IndexShape
from godwit.engines.postgres.objects_shapes import TableShape
from godwit.model.catalog import Catalog, NativeObject, TableName
from godwit.model.mapping import TableMapping

#: Objects that bear the name of a relation.
_RELATION_SETTINGS = frozenset(
    {"sequence", "row security", "forced row security", "replica identity"}
)
_ROUTINES = frozenset({"function", "procedure"})


@dataclass(frozen=True)
class Mapped:
    """A catalog under mappings."""

    catalog: Catalog
    mappings: Sequence[TableMapping]

    @cached_property
    def by_source(self) -> dict[TableName, TableMapping]:
        """Mappings by source table."""
        return {m.source.name: m for m in self.mappings}

    @cached_property
    def shapes(self) -> dict[TableName, TableShape]:
        """Every table and partition of the catalog."""
        shapes = (o for o in self.catalog.objects if isinstance(o, TableShape))
        return {TableName(s.schema, s.name): s for s in shapes}

    @cached_property
    def root(self) -> dict[TableName, TableName]:
        """The mapped table that a table or partition belongs to."""
        return {
            name: shape.root for name, shape in self.shapes.items() if shape.root in self.by_source
        }

    def mapping(self, table: TableName | None) -> TableMapping | None:
        """The mapping that a table or partition belongs to."""
        return self.by_source.get(self.root[table]) if table in self.root else None

    @cached_property
    def relations(self) -> dict[TableName, TableName]:
        """New names of tables; partitions and sequences follow their table into its schema."""
        new: dict[TableName, TableName] = {}
        for name, shape in self.shapes.items():
            mapping = self.mapping(name)
            if mapping is None or not mapping.renamed:
                continue
            moved = mapping.target.schema != mapping.source.name.schema
            new[name] = mapping.target
            if name != mapping.source.name:
                new[name] = TableName(mapping.target.schema if moved else name.schema, name.name)
            followers = [s for s, _ in shape.owned]
            followers += [c.sequence_name for c in shape.columns if c.sequence_name]
            if moved:
                new |= {s: TableName(new[name].schema, s.name) for s in followers}
        return new

    @cached_property
    def changed(self) -> frozenset[TableName]:
        """Tables (and their partitions) that have another name or shape on the target."""
        changed = set()
        for mapping in self.mappings:
            kept = {c.source for c in mapping.columns if c.source == c.target and not c.type}
            gone = {c.name for c in mapping.source.stored_columns} - kept
            if gone or mapping.target != mapping.source.name:
                changed.add(mapping.source.name)
        return frozenset(t for t, root in self.root.items() if root in changed)

    def renaming(self, table: TableName | None) -> Renaming:
        """New names of relations, and of this table's columns."""
        mapping = self.mapping(table)
        names = mapping.target_names if mapping else {}
        return Renaming(self.relations, {old: new for old, new in names.items() if old != new})

    def removed(self, table: TableName | None) -> set[str]:
        """Source columns of the table that don't arrive."""
        mapping = self.mapping(table)
        if mapping is None:
            return set()
        return {c.name for c in mapping.source.stored_columns} - set(mapping.target_names)

    def uses_changed(self, thing: NativeObject) -> list[str]:
        """Changed tables that a view, routine, trigger … uses, by pg_depend or in its body."""
        found = {thing.table} & self.changed if thing.table else set()
        found |= {TableName(s, n) for k, s, n in thing.depends if k == "table"} & self.changed
        if thing.kind in _ROUTINES:
            old = {t.name: t for t in self.changed}
            found |= {old[n] for n in mentions(" ".join(thing.statements), old.__contains__)}
        return sorted(str(t) for t in found)

    def label(self, thing: NativeObject, renaming: Renaming) -> tuple[str, str]:
        """Schema and name of an object after renaming."""
        if thing.kind == "comment":
            return "", canonical(renaming.apply(thing.name))
        own = renaming.relations.get(TableName(thing.schema, thing.name))
        if own and thing.kind in _RELATION_SETTINGS:
            return own
        if thing.table is None:
            return thing.schema, thing.name
        new = renaming.relation(thing.table)
        rest = thing.name.removeprefix(thing.table.name)
        if rest.startswith(".") and rest != thing.name:
            return new.schema, f"{new.name}{rest}"
        # An index lives in its table's schema; extended statistics have one of their own.
        return (new.schema if thing.kind == "index" else thing.schema), thing.name

    def phase(self, thing: NativeObject) -> str:
        """Row identities are made before catch-up, other unique keys after it: while changes are
        being replayed over rows of different ages, other keys may be violated for a moment.
        """
        mapping = self.mapping(thing.table)
        if not isinstance(thing, IndexShape) or mapping is None:
            return thing.phase
        if not mapping.identity:
            return "key" if thing.kind == "primary key" else "post"
        chosen = self.identity_keys.get(mapping.source.name)
        return "key" if chosen is not None and _index_name(thing) == chosen else "post"

    def lacks_key(self, mapping: TableMapping) -> bool:
        """The source has no key over the row identity, or not the kind that a rule asks for."""
        if not mapping.identity:
            return False
        wanted = mapping.declared_key
        has_primary = any(k.primary for k in mapping.source.keys)
        if wanted is not None and wanted.primary and not has_primary:
            return True
        return mapping.source.name not in self.identity_keys

    @cached_property
    def identity_keys(self) -> dict[TableName, TableName]:
        """By mapped table: the root's key or unique index over its row identity."""
        found: dict[TableName, TableName] = {}
        for thing in self.catalog.objects:
            if not isinstance(thing, IndexShape) or thing.table not in self.by_source:
                continue
            mapping = self.by_source[thing.table]
            columns = [mapping.target_names.get(c or "", "") for c in thing.columns]
            usable = thing.unique and thing.immediate and not thing.partial
            if usable and sorted(columns) == sorted(mapping.identity):
                found.setdefault(mapping.source.name, _index_name(thing))
        return found


def _index_name(thing: IndexShape) -> TableName:
    """The root index's name, as `IndexShape.root_index` writes it."""
    if thing.root_index:
        return thing.root_index
    table = thing.table.name if thing.table else ""
    name = thing.name if thing.kind != "index" else f"{table}.{thing.name}"
    return TableName(thing.schema, name)


@dataclass(frozen=True)
class ForeignKeyRenaming:
    """Renames a foreign key: its own columns before REFERENCES, the other table's after."""

    own: Renaming
    other: Renaming

    def __call__(self, text: str) -> str:
        """The text under both."""
        left, word, right = text.partition(" REFERENCES ")
        return self.own.apply(left) + word + (self.other.apply(right) if word else "")

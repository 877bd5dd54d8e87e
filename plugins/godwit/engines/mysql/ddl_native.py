"""Tables and code of this engine under mappings: columns renamed, removed, retyped, added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.ddl_code import Code, linked
from godwit.engines.mysql.ddl_columns import (
    is_required,
    made_text,
    other,
    quoted_names,
    with_identity,
    without_default,
)
from godwit.engines.mysql.ddl_flavours import adapted, own_spelling
from godwit.engines.mysql.ddl_foreign_types import index_bytes
from godwit.engines.mysql.ddl_steps import Findings, database_step, in_order, table_steps
from godwit.engines.mysql.ddl_trial import tried
from godwit.engines.mysql.objects import CodeObject
from godwit.engines.mysql.objects_shapes import (
    CheckLine,
    ColumnLine,
    ForeignKeyLine,
    KeyLine,
    TableShape,
    inline_keys,
)
from godwit.engines.mysql.sqltext import mentions, names, renamed
from godwit.errors import ConversionError
from godwit.model.catalog import Catalog, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.protocols import SchemaPlan, SchemaStep


@dataclass
class NativePlan:
    """Turns native objects into steps under the names and shapes of the mappings."""

    catalog: Catalog
    mappings: Sequence[TableMapping]
    version: Version
    settings: Mapping[str, Any] = field(default_factory=dict)
    session: Session | None = None
    findings: Findings = field(default_factory=Findings)

    @cached_property
    def by_source(self) -> dict[TableName, TableMapping]:
        """Mappings by source table."""
        return {m.source.name: m for m in self.mappings}

    @cached_property
    def same_flavour(self) -> bool:
        """Whether code is understood as it is."""
        return self.catalog.flavour == self.version.flavour

    @cached_property
    def databases(self) -> dict[str, str]:
        """New names of databases whose tables all go to one other database."""
        new: dict[str, set[str]] = {}
        for mapping in self.mappings:
            new.setdefault(mapping.source.name.schema, set()).add(mapping.target.schema)
        return {old: next(iter(to)) for old, to in new.items() if len(to) == 1 and to != {old}}

    def plan(self) -> SchemaPlan:
        """Databases, tables with all that hangs on them, and code."""
        shapes, identities = [], {}
        code: list[SchemaStep] = []
        of_code = Code(
            self.mappings, self.by_source, self.databases, self.same_flavour, self.findings
        )
        for thing in self.catalog.objects:
            if isinstance(thing, TableShape) and thing.full_name in self.by_source:
                mapping = self.by_source[thing.full_name]
                shapes.append(self._table(thing, mapping))
                identities[mapping.target] = mapping.identity
            elif isinstance(thing, CodeObject):
                step = of_code.step(thing)
                code += [step] if step else []
        self._complete(identities)
        self._beside()
        if self.session is not None and not self.same_flavour:
            shapes = tried(self.session, shapes, self.findings)
        steps = [*self._database_steps(), *table_steps(shapes, identities), *code]
        return SchemaPlan(tuple(in_order(linked(steps))), tuple(self.findings.made))

    def _complete(self, made: Mapping[TableName, object]) -> None:
        missing = [str(m.source.name) for m in self.mappings if m.target not in made]
        if missing:
            raise ConversionError(
                "tables cannot be planned",
                where=", ".join(missing[:5]),
                why="the catalog was read without its objects, or the tables are gone",
                hint="read the catalog with objects=True",
            )

    def _beside(self) -> None:
        """What the catalog names and no object stands for."""
        there = {(o.kind, f"{o.schema}.{o.name}") for o in self.catalog.objects}
        there |= {
            (o.kind, f"{o.table}.{o.name}") for o in self.catalog.objects if o.table is not None
        }
        for kind, name in self.catalog.others:
            if (kind, name) not in there and kind != "row history":
                self.findings.warn(
                    "object-not-converted",
                    f"{kind} {name}",
                    "it is not brought over",
                    "make it on the target by hand",
                )
        for kind, name in self.catalog.others:
            if kind == "row history":
                reason = "rows are brought over as they are now, their history is not"
                self.findings.warn("row-history", name, reason, "keep the source for its history")

    def _database_steps(self) -> list[SchemaStep]:
        own = {o.name: o.statements[0] for o in self.catalog.objects if o.kind == "database"}
        source = {m.target.schema: m.source.name.schema for m in self.mappings}
        steps = []
        for name in sorted({m.target.schema for m in self.mappings}):
            text = own.get(source[name], "")
            text = own_spelling(text, self.version).replace(f"`{source[name]}`", f"`{name}`", 1)
            steps.append(database_step(name, text))
        return steps

    # -- tables

    def _table(self, shape: TableShape, mapping: TableMapping) -> TableShape:
        removed = {c.name for c in mapping.source.stored_columns} - set(mapping.target_names)
        columns = self._columns(shape, mapping, removed)
        made = {c.name for c in columns}
        gone = {
            c.name for c in shape.columns if mapping.target_names.get(c.name, c.name) not in made
        }
        gone |= removed
        new_names = {o: n for o, n in mapping.target_names.items() if o != n}
        target = replace(
            shape,
            schema=mapping.target.schema,
            name=mapping.target.name,
            table=mapping.target,
            columns=tuple(columns),
            keys=tuple(self._keys(shape, gone, new_names)),
            foreign_keys=tuple(self._foreign_keys(shape, mapping, gone)),
            checks=tuple(self._checks(shape, gone, new_names)),
            partitions=self._partitions(shape, gone, new_names),
        )
        target = adapted(target, self.catalog.flavour, self.version, self.settings, self.findings)
        target = with_identity(target, mapping)
        return replace(target, inline=inline_keys(target))

    def _columns(
        self, shape: TableShape, mapping: TableMapping, removed: set[str]
    ) -> list[ColumnLine]:
        by_source = {c.source: c for c in mapping.columns if c.source is not None}
        new_names = {o: n for o, n in mapping.target_names.items() if o != n}
        stored = {c.name for c in mapping.source.stored_columns}
        out = []
        for column in shape.columns:
            text = column.text
            if column.name in removed:
                continue
            if lost := mentions(quoted_names(column.text), other(removed, column.name)):
                self._lost(shape, f"column {column.name}", lost)
                if column.name not in stored:
                    continue
                text = without_default(text)
            target = by_source.get(column.name)
            if target is not None and target.type is not None:
                out.append(self._made(target, mapping.identity, required=is_required(text)))
                continue
            name = target.target if target else column.name
            out.append(ColumnLine(name, renamed(text, new_names)))
        added = (c for c in mapping.columns if c.source is None)
        return out + [self._made(c, mapping.identity, required=False) for c in added]

    def _made(
        self, column: ColumnMapping, identity: Sequence[str], *, required: bool
    ) -> ColumnLine:
        kind = column.type or DataType(Kind.TEXT)
        room = index_bytes(self.version) // len(identity) if column.target in identity else None
        text = made_text(kind, self.version, self.settings, required=required, key_bytes=room)
        return ColumnLine(column.target, text)

    def _lost(self, shape: TableShape, what: str, lost: set[str]) -> None:
        reason = f"{what} uses {', '.join(sorted(lost))}, which is not on the target"
        self.findings.warn(
            "uses-removed-column", shape.full_name, reason, "it is left out; make a replacement"
        )

    def _keys(
        self, shape: TableShape, gone: set[str], new_names: Mapping[str, str]
    ) -> list[KeyLine]:
        out = []
        for key in shape.keys:
            lost = {n for part in key.parts for n in names(part)} & gone
            if lost:
                self._lost(shape, f"{key.kind} {key.name}", lost)
            else:
                out.append(key.renamed(new_names))
        return out

    def _checks(
        self, shape: TableShape, gone: set[str], new_names: Mapping[str, str]
    ) -> list[CheckLine]:
        out = []
        for check in shape.checks:
            if lost := set(names(check.text)) & gone:
                self._lost(shape, f"check {check.name}", lost)
            else:
                out.append(replace(check, text=renamed(check.text, new_names)))
        return out

    def _foreign_keys(
        self, shape: TableShape, mapping: TableMapping, gone: set[str]
    ) -> list[ForeignKeyLine]:
        out = []
        for key in shape.foreign_keys:
            other = self.by_source.get(key.referenced)
            if other is None:
                reason = f"foreign key {key.name} refers to {key.referenced}, which is not migrated"
                self.findings.warn(
                    "foreign-key-left-out", shape.full_name, reason, "migrate that table as well"
                )
                continue
            away = {c.name for c in other.source.stored_columns} - set(other.target_names)
            lost = (set(key.columns) & gone) | (set(key.referenced_columns) & away)
            if lost:
                self._lost(shape, f"foreign key {key.name}", lost)
                continue
            own, theirs = mapping.target_names, other.target_names
            new = replace(
                key,
                columns=tuple(own.get(c, c) for c in key.columns),
                referenced=other.target,
                referenced_columns=tuple(theirs.get(c, c) for c in key.referenced_columns),
            )
            out.append(new)
        return out

    def _partitions(self, shape: TableShape, gone: set[str], new_names: Mapping[str, str]) -> str:
        head, line, rest = shape.partitions.partition("\n(")
        if lost := set(names(head)) & gone:
            self._lost(shape, "its partitioning", lost)
            return ""
        return renamed(head, new_names) + line + rest

"""Tables and code of this engine under mappings: columns renamed, removed, retyped, added."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.datatypes import holds_text, spelling, text_collation
from godwit.engines.mysql.ddl_flavours import adapted, own_spelling
from godwit.engines.mysql.ddl_steps import (
    Findings,
    database_step,
    identity_key,
    in_order,
    table_steps,
)
from godwit.engines.mysql.ddl_trial import tried
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects import CodeObject, code_definition
from godwit.engines.mysql.objects_shapes import (
    CheckLine,
    ColumnLine,
    ForeignKeyLine,
    KeyLine,
    TableShape,
    inline_keys,
)
from godwit.engines.mysql.sqltext import mentions, moved, names, renamed, tokens
from godwit.model.catalog import Catalog, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, DeclaredKey, TableMapping
from godwit.protocols import SchemaPlan, SchemaStep

_NULLABLE = re.compile(r"(?<!NOT )\bNULL\b")
_DEFAULT_NULL = re.compile(r"\s+DEFAULT NULL\b")


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
        for thing in self.catalog.objects:
            if isinstance(thing, TableShape) and thing.full_name in self.by_source:
                mapping = self.by_source[thing.full_name]
                shapes.append(self._table(thing, mapping))
                identities[mapping.target] = mapping.identity
            elif isinstance(thing, CodeObject):
                step = self._code(thing)
                code += [step] if step else []
        self._beside()
        if self.session is not None and not self.same_flavour:
            shapes = tried(self.session, shapes, self.findings)
        steps = [*self._database_steps(), *table_steps(shapes, identities), *code]
        return SchemaPlan(tuple(in_order(_linked(steps))), tuple(self.findings.made))

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
            if lost := mentions(_behind_type(column.text), _other(removed, column.name)):
                self._lost(shape, f"column {column.name}", lost)
                if column.name not in stored:
                    continue
                text = _without_default(text)
            target = by_source.get(column.name)
            if target is not None and target.type is not None:
                out.append(self._made(target, _is_required(text)))
                continue
            name = target.target if target else column.name
            out.append(ColumnLine(name, renamed(text, new_names)))
        out += [self._made(c, required=False) for c in mapping.columns if c.source is None]
        return out

    def _made(self, column: ColumnMapping, required: bool) -> ColumnLine:  # noqa: FBT001
        kind = column.type or DataType(Kind.TEXT)
        return ColumnLine(column.target, _spelt(kind, self.version, self.settings, required))

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

    # -- code

    def _code(self, thing: CodeObject) -> SchemaStep | None:
        label = f"{thing.kind} {thing.schema}.{thing.name}"
        hint = "make it on the target by hand"
        if thing.table is not None and thing.table not in self.by_source:
            return None
        if thing.refused:
            self.findings.warn("object-not-converted", label, thing.refused, hint)
            return None
        if not self.same_flavour:
            reason = "code is not brought over between MySQL and MariaDB: they differ in words"
            self.findings.warn("object-not-converted", label, reason, hint)
            return None
        if changed := self._uses_changed(thing):
            reason = f"it uses {', '.join(changed)}, which has another name or shape on the target"
            self.findings.warn("mentions-renamed", label, reason, f"{hint}, with the new names")
            return None
        if thing.definer:
            reason = f"on the source it has the rights of {thing.definer}"
            self.findings.note(
                "definer-replaced", label, reason, "on the target those of the migrating login"
            )
        return self._code_step(thing)

    def _uses_changed(self, thing: CodeObject) -> list[str]:
        """Tables that it mentions and whose name or columns are others on the target."""
        text = thing.statements[-1]
        found = []
        for mapping in self.mappings:
            old = mapping.source.name
            stays = {c.source for c in mapping.columns if c.source == c.target and not c.type}
            reshaped = {c.name for c in mapping.source.stored_columns} - stays
            moved_alone = mapping.target.schema != old.schema and old.schema not in self.databases
            if not (reshaped or mapping.target.name != old.name or moved_alone):
                continue
            if mentions(text, old.name.__eq__):
                found.append(str(old))
        return sorted(found)

    def _code_step(self, thing: CodeObject) -> SchemaStep:
        schema = self.databases.get(thing.schema, thing.schema)
        tables = {m.source.name: m.target for m in self.mappings}
        body = moved(thing.statements[-1], tables, self.databases)
        settings = thing.statements[:-1]
        # Names in code that have no database before them mean the one it was made in.
        statements = (*settings, f"USE {quoted(schema)}", body)
        table = self.by_source[thing.table].target if thing.table else None
        text = code_definition((*settings, body))
        depends = [f"database {schema}", *([f"table {table}"] if table else [])]
        name = f"{schema}.{thing.name}"
        return SchemaStep(thing.kind, name, thing.phase, statements, table, text, tuple(depends))


def _linked(steps: Sequence[SchemaStep]) -> list[SchemaStep]:
    """Views after the tables and views they name, tables after the sequences of their defaults."""
    functions = {s.name: s for s in steps if s.kind == "function"}
    makers = {
        s.name: f"{s.kind} {s.name}" for s in steps if s.kind in {"table", "view", "sequence"}
    }
    out = []
    for step in steps:
        if step.kind not in {"view", "table"}:
            out.append(step)
            continue
        line = list(tokens(step.statements[-1]))
        named = set()
        for at in range(len(line) - 2):
            if line[at][0] == line[at + 2][0] == "name" and line[at + 1][1] == ".":
                named.add(".".join(names(line[at][1]) + names(line[at + 2][1])))
        needs = [makers[n] for n in sorted(named) if n in makers and n != step.name]
        if step.kind == "view":
            called = {t.strip("`") for k, t in line if k in {"name", "word"}}
            schema = step.name.partition(".")[0]
            needs += [f"function {n}" for n in functions if n.removeprefix(f"{schema}.") in called]
        if step.kind == "table":
            needs = [n for n in needs if n.startswith("sequence ")]
        out.append(replace(step, depends=(*step.depends, *needs)))
    return out


def _other(removed: set[str], own: str) -> Any:
    return lambda name: name in removed and name != own


def _behind_type(text: str) -> str:
    """The names in a column's text that mean columns: those in backticks."""
    return " ".join(t for k, t in tokens(text) if k == "name")


def _without_default(text: str) -> str:
    return re.split(r"\s+DEFAULT\b", text, maxsplit=1)[0]


def _is_required(text: str) -> bool:
    return " NOT NULL" in text


def _spelt(
    kind: DataType,
    version: Version,
    settings: Mapping[str, Any],
    required: bool,  # noqa: FBT001
) -> str:
    text = spelling(kind, settings)
    if holds_text(text):
        charset, collation = text_collation(kind, version)
        text += f" CHARACTER SET {charset} COLLATE {collation}"
    return f"{text} NOT NULL" if required else f"{text} DEFAULT NULL"


def with_identity(shape: TableShape, mapping: TableMapping) -> TableShape:
    """The table with a key over its row identity, where the source has none that remains."""
    identity = mapping.identity
    has_primary = any(k.primary for k in shape.keys)
    wanted = mapping.declared_key or DeclaredKey(primary=not has_primary)
    if not identity:
        return shape
    if identity_key(shape, identity) and not (
        mapping.declared_key and wanted.primary and not has_primary
    ):
        return shape
    parts = tuple("`" + c.replace("`", "``") + "`" for c in identity)
    if wanted.primary and not has_primary:
        key = KeyLine("PRIMARY", "PRIMARY KEY", parts)
    else:
        key = KeyLine(wanted.name or "identity", "UNIQUE KEY", parts)
    columns = tuple(required(c) if c.name in identity else c for c in shape.columns)
    return replace(shape, columns=columns, keys=(key, *shape.keys))


def required(column: ColumnLine) -> ColumnLine:
    """The column without nulls."""
    if _is_required(column.text):
        return column
    text = _DEFAULT_NULL.sub("", column.text)
    text = _NULLABLE.sub("NOT NULL", text, count=1) if _NULLABLE.search(text) else text
    if not _is_required(text):
        type_end, rest = _split_type(text)
        text = f"{type_end} NOT NULL{rest}"
    return ColumnLine(column.name, text)


def _split_type(text: str) -> tuple[str, str]:
    match = re.search(r"\s+(DEFAULT|COMMENT|AUTO_INCREMENT|ON UPDATE|INVISIBLE|CHECK)\b", text)
    return (text[: match.start()], text[match.start() :]) if match else (text, "")

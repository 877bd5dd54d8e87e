"""The DDL plan for tables of another engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.ddl_columns import with_identity
from godwit.engines.mysql.ddl_foreign_index import keys_and_indexes
from godwit.engines.mysql.ddl_foreign_table import ForeignTable
from godwit.engines.mysql.ddl_foreign_types import Spelt, referenced_columns, spelt_columns
from godwit.engines.mysql.ddl_steps import (
    Findings,
    database_step,
    in_order,
    shortened,
    table_steps,
)
from godwit.engines.mysql.ddl_trial import tried
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import ForeignKeyLine, TableShape, inline_keys
from godwit.model.catalog import Catalog, ForeignKey, TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity
from godwit.protocols import SchemaPlan, SchemaStep

_HINT = "make it on the target by hand, once what it needs is there"


@dataclass
class ForeignPlan:
    """Tables from logical types; expressions in words that mean the same here.

    `session`: of the target; what was translated is tried there in a temporary table, and what the
    server refuses is left out and found.
    """

    catalog: Catalog
    mappings: Sequence[TableMapping]
    version: Version
    settings: Mapping[str, Any] = field(default_factory=dict)
    session: Session | None = None
    findings: Findings = field(default_factory=Findings)

    @cached_property
    def spelt(self) -> dict[TableName, dict[str, Spelt]]:
        """Types of columns by source table."""
        referenced = referenced_columns(self.mappings)
        return {
            m.source.name: spelt_columns(
                m, self.version, self.settings, referenced.get(m.source.name, ())
            )
            for m in self.mappings
        }

    def plan(self) -> SchemaPlan:
        """Databases, tables, keys, indexes and foreign keys."""
        self._align()
        shapes = [self._shape(m) for m in self.mappings if self._has_columns(m)]
        if self.session is not None:
            shapes = tried(self.session, shapes, self.findings)
        shapes = self._with_foreign_keys(shapes)
        identities = {m.target: m.identity for m in self.mappings}
        databases = [self._database(n) for n in sorted({m.target.schema for m in self.mappings})]
        for kind, name in self.catalog.others:
            reason = f"a {kind} of another engine is not converted"
            self.findings.warn(
                "object-not-converted", f"{kind} {name}", reason, "write it anew on the target"
            )
        steps = in_order([*databases, *table_steps(shapes, identities)])
        return SchemaPlan(tuple(steps), tuple(self.findings.made))

    def _has_columns(self, mapping: TableMapping) -> bool:
        if mapping.columns:
            return True
        reason = "it has no columns, and no table here can be without"
        self.findings.made.append(
            Finding(
                "table-without-columns",
                Severity.ERROR,
                str(mapping.target),
                reason,
                "exclude it by a rule",
            )
        )
        return False

    def _database(self, name: str) -> SchemaStep:
        text = f"CREATE DATABASE IF NOT EXISTS {quoted(name)} CHARACTER SET utf8mb4"
        return database_step(name, text)

    def _shape(self, mapping: TableMapping) -> TableShape:
        spelt = self.spelt[mapping.source.name]
        table = ForeignTable(
            mapping, self.catalog.engine, spelt, self.version, self.settings, self.findings
        )
        shape = table.shape()
        keys = keys_and_indexes(
            mapping, self.catalog.engine, spelt, self.version, self.settings, self.findings
        )
        shape = with_identity(replace(shape, keys=tuple(keys)), mapping)
        shape = table.counted(shape)
        return replace(shape, inline=inline_keys(shape))

    # -- foreign keys

    def _align(self) -> None:
        """Columns of a foreign key must be of the type of those they refer to: integers are
        widened to it.
        """
        by_source = {m.source.name: m for m in self.mappings}
        for mapping in self.mappings:
            for key in mapping.source.foreign_keys:
                other = by_source.get(key.referenced)
                if other is None:
                    continue
                own, theirs = self.spelt[mapping.source.name], self.spelt[other.source.name]
                for c, r in zip(key.columns, key.referenced_columns, strict=False):
                    mine, their = mapping.target_names.get(c), other.target_names.get(r)
                    if mine not in own or their not in theirs:
                        continue
                    wider = _wider_integer(own[mine], theirs[their])
                    if wider:
                        own[mine] = wider

    def _with_foreign_keys(self, shapes: Sequence[TableShape]) -> list[TableShape]:
        by_target = {s.full_name: s for s in shapes}
        by_source = {m.source.name: m for m in self.mappings}
        out = []
        for mapping in self.mappings:
            if mapping.target not in by_target:
                continue
            lines = []
            for key in mapping.source.foreign_keys:
                line, reason = self._foreign_key(mapping, key, by_source, by_target)
                if line is not None:
                    lines.append(line)
                    continue
                subject = f"foreign key {key.name} of {mapping.target}"
                self.findings.warn("foreign-key-left-out", subject, reason, _HINT)
            out.append(replace(by_target[mapping.target], foreign_keys=tuple(lines)))
        return out

    def _foreign_key(
        self,
        mapping: TableMapping,
        key: ForeignKey,
        by_source: Mapping[TableName, TableMapping],
        by_target: Mapping[TableName, TableShape],
    ) -> tuple[ForeignKeyLine | None, str]:
        other = by_source.get(key.referenced)
        if other is None or other.target not in by_target:
            return None, f"it refers to {key.referenced}, which is not part of the migration"
        gone = [c for c in key.columns if c not in mapping.target_names]
        gone += [c for c in key.referenced_columns if c not in other.target_names]
        if gone:
            return None, f"it uses column {', '.join(gone)}, which the target does not have"
        columns = tuple(mapping.target_names[c] for c in key.columns)
        referenced = tuple(other.target_names[c] for c in key.referenced_columns)
        keys = by_target[other.target].keys
        if not any(k.unique and k.whole and k.columns == referenced for k in keys):
            same = (k for k in keys if k.unique and k.whole and set(k.columns) == set(referenced))
            found = next(same, None)
            if found is None:
                return None, f"{other.target} has no unique key over what it refers to"
            order = [referenced.index(c) for c in found.columns]
            columns = tuple(columns[i] for i in order)
            referenced = found.columns
        own, theirs = self.spelt[mapping.source.name], self.spelt[other.source.name]
        for c, r in zip(columns, referenced, strict=True):
            if not _comparable(own[c], theirs[r]):
                return None, f"column {c} is {own[c].text}, what it refers to {theirs[r].text}"
        if {key.on_delete, key.on_update} & {"SET DEFAULT"}:
            return None, "InnoDB has no SET DEFAULT"
        if key.deferrable:
            reason = f"foreign key {key.name} is deferrable on the source, here it holds at once"
            self.findings.note("not-deferrable", mapping.target, reason)
        on_delete, on_update = key.on_delete, key.on_update
        required = _required(by_target[mapping.target]) & set(columns)
        if required and "SET NULL" in {on_delete, on_update}:
            # The source would refuse the delete as well, when it tries to set the null.
            reason = f"foreign key {key.name} cannot set {', '.join(sorted(required))} to null"
            self.findings.note("foreign-key-action", mapping.target, f"{reason}: no action instead")
            on_delete, on_update = (
                "NO ACTION" if a == "SET NULL" else a for a in (on_delete, on_update)
            )
        line = ForeignKeyLine(
            shortened(key.name), columns, other.target, referenced, on_delete, on_update
        )
        return line, ""


def _required(shape: TableShape) -> set[str]:
    return {c.name for c in shape.columns if " NOT NULL" in c.text} | {
        c for k in shape.keys if k.primary for c in k.columns
    }


_INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint")


def _wider_integer(own: Spelt, other: Spelt) -> Spelt | None:
    mine, theirs = own.text.split(" ")[0], other.text.split(" ")[0]
    if mine in _INTEGERS and theirs in _INTEGERS and own.text != other.text:
        unsigned = (" unsigned" in own.text, " unsigned" in other.text)
        if _INTEGERS.index(mine) < _INTEGERS.index(theirs) and unsigned in {
            (False, False),
            (True, True),
            (True, False),
        }:
            return replace(own, text=other.text)
    return None


def _comparable(own: Spelt, other: Spelt) -> bool:
    """Types that a foreign key may join: the same, but for the lengths of strings."""
    if own.text == other.text:
        return True
    mine, theirs = (s.text.partition("(")[0] for s in (own, other))
    text, binary = {"char", "varchar"}, {"binary", "varbinary"}
    same_family = any({mine, theirs} <= family for family in (text, binary))
    return same_family and own.kind.kind is other.kind.kind

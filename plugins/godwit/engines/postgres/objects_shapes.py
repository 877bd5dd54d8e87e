"""Tables and columns as DDL sees them, with their parts kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from godwit.engines.postgres.names import Renaming, canonical, quoted
from godwit.model.catalog import NativeObject, TableName


@dataclass(frozen=True)
class ColumnShape:
    """A column as DDL sees it. `expression` is the default, or what a generated column computes."""

    name: str
    type: str
    nullable: bool = True
    collation: tuple[str, str] | None = None
    expression: str | None = None
    generated: str = ""
    identity: str = ""
    sequence: str = ""
    sequence_name: TableName | None = None
    storage: str = ""
    compression: str = ""
    statistics: int | None = None
    options: str = ""
    not_null_name: str = ""
    #: Comes from a parent table; `stricter`: NOT NULL, which the parent's isn't.
    inherited: bool = False
    stricter: bool = False

    def line(self) -> str:
        """The column's line in CREATE TABLE."""
        words = [quoted(self.name), self.type]
        if self.collation:
            words.append(f"COLLATE {quoted(*self.collation)}")
        if self.compression:
            words.append(f"COMPRESSION {self.compression}")
        if self.generated:
            how = "STORED" if self.generated == "s" else "VIRTUAL"
            words.append(f"GENERATED ALWAYS AS ({self.expression}) {how}")
        elif self.identity:
            when = "ALWAYS" if self.identity == "a" else "BY DEFAULT"
            name = f"SEQUENCE NAME {quoted(*self.sequence_name)} " if self.sequence_name else ""
            words.append(f"GENERATED {when} AS IDENTITY ({name}{self.sequence})")
        elif self.expression is not None:
            words.append(f"DEFAULT {self.expression}")
        if not self.nullable and self.not_null_name:
            words.append(f"CONSTRAINT {quoted(self.not_null_name)}")
        if not self.nullable:
            words.append("NOT NULL")
        return " ".join(words)

    def settings(self, *, as_heir: bool = False) -> list[str]:
        """Actions of ALTER TABLE for what CREATE TABLE cannot say: in older versions, or of a
        column that is only inherited (`as_heir`).
        """
        prefix = f"ALTER COLUMN {quoted(self.name)}"
        actions = []
        if as_heir and self.inherited and not self.generated:
            given = self.expression is not None
            actions.append(f"{prefix} SET DEFAULT {self.expression}" if given else "")
            actions.append(f"{prefix} SET NOT NULL" if self.stricter else "")
            actions = [action for action in actions if action]
        if self.storage:
            actions.append(f"{prefix} SET STORAGE {self.storage}")
        if self.statistics is not None:
            actions.append(f"{prefix} SET STATISTICS {self.statistics}")
        if self.options:
            actions.append(f"{prefix} SET ({self.options})")
        return actions


@dataclass(frozen=True)
class TableShape(NativeObject):
    """A table with its parts kept apart, so that names, columns and types can be changed."""

    columns: tuple[ColumnShape, ...] = ()
    partition_by: str = ""
    bound: str = ""
    parents: tuple[TableName, ...] = ()
    options: str = ""
    unlogged: bool = False
    method: str = ""
    #: Sequences owned by a column: `(sequence, column)`.
    owned: tuple[tuple[TableName, str], ...] = ()
    #: The table that is selected by mappings: itself, or the root above a partition.
    root: TableName | None = None

    def rendered(self, renaming: Renaming | None = None) -> TableShape:
        """The same table with its statements and canonical definition written out."""
        new = renaming or Renaming()
        name = new.relation(TableName(self.schema, self.name))
        target = quoted(*name)
        above = [quoted(*new.relation(parent)) for parent in self.parents]
        statements = [self._create(target, above)]
        actions = [a for c in self.columns for a in c.settings(as_heir=self._as_heir)]
        if actions:
            statements.append(f"ALTER TABLE {target} {', '.join(actions)}")
        if self.bound:
            statements.append(f"ALTER TABLE {above[0]} ATTACH PARTITION {target} {self.bound}")
        elif not self._as_heir:
            statements += [f"ALTER TABLE {target} INHERIT {parent}" for parent in above]
        for sequence, column in self.owned:
            owner = quoted(*new.relation(sequence))
            statements.append(f"ALTER SEQUENCE {owner} OWNED BY {target}.{quoted(column)}")
        return replace(
            self,
            schema=name.schema,
            name=name.name,
            statements=tuple(statements),
            definition=canonical("; ".join(statements)),
        )

    @property
    def _as_heir(self) -> bool:
        """Made by INHERITS, which puts inherited columns first: so only where they are."""
        order = [c.inherited for c in self.columns]
        return bool(self.parents) and not self.bound and order == sorted(order, reverse=True)

    def _create(self, target: str, parents: Sequence[str]) -> str:
        own = [c for c in self.columns if not (self._as_heir and c.inherited)]
        lines = ",".join(f"\n    {c.line()}" for c in own)
        text = f"CREATE {'UNLOGGED ' if self.unlogged else ''}TABLE {target} ({lines}\n)"
        if self._as_heir:
            text += f" INHERITS ({', '.join(parents)})"
        if self.partition_by:
            text += f" PARTITION BY {self.partition_by}"
        if self.method:
            text += f" USING {quoted(self.method)}"
        if self.options:
            text += f" WITH ({self.options})"
        return text

"""What table mappings come to for one table: names, columns, filters, in one resolved form.

`godwit.model.rules` turns selection and transformation rules into these.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from godwit.model.catalog import Table, TableName
from godwit.model.datatypes import DataType
from godwit.model.expressions import parse_expression


@dataclass(frozen=True)
class Condition:
    """One comparison of a column: `operator` in the words of DMS filter conditions
    (``eq noteq lte ste gte between notbetween null notnull``), plus ``gt``/``lt``, which Godwit
    adds. `values`: none, one or two texts.
    """

    column: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowFilter:
    """All groups must hold; a group holds when any of its conditions does."""

    groups: tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True)
class ColumnMapping:
    """One target column.

    Attributes:
        target: its name.
        source: the source column it carries, None for an added column.
        expression: an expression in DMS's (SQLite) words over ``$column``; None = the value itself.
        type: a changed data type; None = as the source column.
        mask: ``digits-mask:<char>``, ``digits-randomize``, ``hash-mask`` or None.
    """

    target: str
    source: str | None = None
    expression: str | None = None
    type: DataType | None = None
    mask: str | None = None

    @property
    def plain(self) -> bool:
        """The value arrives as it is (its name may change)."""
        return self.source is not None and not (self.expression or self.type or self.mask)


@dataclass(frozen=True)
class DeclaredKey:
    """What ``define-primary-key`` asks for over the mapping's identity.

    Attributes:
        name: of the key on the target; "" = the engine gives it one.
        primary: a primary key, not only a unique one.
    """

    name: str = ""
    primary: bool = True


@dataclass(frozen=True)
class TableMapping:
    """One source table and what becomes of it on the target.

    Attributes:
        source: the table as the source has it.
        target: its name on the target.
        columns: target columns in order; generated columns are not among them.
        row_filter: which rows travel; None = all.
        load_order: higher first.
        boundaries: hand-written chunk bounds (DMS ``parallel-load: ranges``): columns, bounds.
        identity: target columns of the row identity (``define-primary-key`` may change it).
        declared_key: the key that ``define-primary-key`` asks for; None = no such rule.
    """

    source: Table
    target: TableName
    columns: tuple[ColumnMapping, ...]
    row_filter: RowFilter | None = None
    load_order: int = 0
    boundaries: tuple[tuple[str, ...], tuple[tuple[str, ...], ...]] | None = None
    identity: tuple[str, ...] = ()
    declared_key: DeclaredKey | None = None

    @property
    def plain_load(self) -> bool:
        """Rows can be read as they are (columns may be dropped, rows filtered by the source)."""
        return all(c.plain for c in self.columns)

    @property
    def plain_changes(self) -> bool:
        """Changes can be passed on as they are: every stored column, every row, no new value."""
        kept = {c.source for c in self.columns}
        return (
            self.plain_load
            and self.row_filter is None
            and kept == {c.name for c in self.source.stored_columns}
        )

    @property
    def renamed(self) -> bool:
        """Table or columns have other names on the target."""
        return self.target != self.source.name or any(c.source != c.target for c in self.columns)

    @cached_property
    def read_columns(self) -> tuple[str, ...]:
        """Source columns that are needed to make the target's rows, and to filter them."""
        wanted = {c.source for c in self.columns}
        for column in self.columns:
            if column.expression is not None:
                wanted.update(parse_expression(column.expression).columns)
        if self.row_filter is not None:
            wanted.update(c.column for group in self.row_filter.groups for c in group)
        return tuple(c.name for c in self.source.stored_columns if c.name in wanted)

    @cached_property
    def target_names(self) -> dict[str, str]:
        """Source column name → target column name."""
        return {c.source: c.target for c in self.columns if c.source is not None}

    @cached_property
    def signature(self) -> str:
        """A short hash: changes when anything that shapes the rows changes."""
        data = (
            [asdict(c) for c in self.columns],
            str(self.target),
            asdict(self.row_filter) if self.row_filter else None,
        )
        return hashlib.sha256(json.dumps(data, default=str).encode()).hexdigest()[:16]

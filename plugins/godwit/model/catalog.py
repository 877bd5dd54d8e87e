"""What a database contains, in logical types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from godwit.model.datatypes import DataType


class TableName(NamedTuple):
    """A schema-qualified name, as stored by the engine (no quoting, case kept)."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Column:
    """A column. `native` is the engine's own spelling of the type, e.g. ``numeric(12,2)``.

    `default` and `generated` are expressions in the engine's dialect (literals are quoted there);
    `generated` columns are never written. `identity`: the engine's word when new rows are numbered
    by it (a word that begins with ``always`` refuses other values). `on_update`: an expression that
    the engine stores whenever a row is updated. `native_safe` tells that the engine's own bulk
    format carries the type between servers (no server-local identifiers inside).
    """

    name: str
    type: DataType
    native: str
    nullable: bool = True
    default: str | None = None
    generated: str | None = None
    identity: str | None = None
    on_update: str | None = None
    comment: str | None = None
    native_safe: bool = True
    #: Equal keys have equal bytes (false e.g. for case-insensitive collations, unbounded decimals).
    byte_equal: bool = True
    #: The engine's own lasting number of the column, which no rename changes; 0 = it has none.
    number: int = field(default=0, compare=False)
    #: Changes whenever the column's definition does; 0 = the engine has no such number.
    version: int = field(default=0, compare=False)
    #: Rows from before the column have a value that the engine keeps apart.
    filled: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Key:
    """A primary or unique key; `columns` in index order."""

    name: str
    columns: tuple[str, ...]
    primary: bool = False


@dataclass(frozen=True)
class IndexPart:
    """One column, or one expression in the engine's dialect, of an index.

    `prefix`: only so many leading characters or bytes are indexed; 0 = all.
    """

    column: str | None = None
    expression: str | None = None
    prefix: int = 0
    descending: bool = False


@dataclass(frozen=True)
class Index:
    """An index that isn't a key of whole columns.

    `kind`: ``btree``, ``hash``, ``fulltext``, ``spatial`` or the engine's own word. `unique` ones
    have a prefix, an expression or a condition (`where`, in the engine's dialect), else they are
    `Key`s.
    """

    name: str
    parts: tuple[IndexPart, ...]
    unique: bool = False
    kind: str = "btree"
    where: str | None = None
    visible: bool = True
    comment: str | None = None


_ACTING = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key; actions in SQL's words, ``NO ACTION`` when there is none.

    `logged`: the source's log tells what the key does to other rows; else the target does the same
    (`godwit.model.changes.Cascade`).
    """

    name: str
    columns: tuple[str, ...]
    referenced: TableName
    referenced_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    deferrable: bool = False
    validated: bool = True
    logged: bool = True

    @property
    def silent(self) -> bool:
        """It changes rows, and the log doesn't tell it."""
        return not self.logged and {self.on_delete, self.on_update} & _ACTING != set()


@dataclass(frozen=True)
class Check:
    """A check constraint; `expression` in the engine's dialect.

    Attributes:
        enforced: the server looks at it.
        validated: every row that is there holds it.
    """

    name: str
    expression: str
    enforced: bool = True
    validated: bool = True


@dataclass(frozen=True)
class Part:
    """A leaf partition of a table: rows live here."""

    name: TableName
    rows: int
    bytes: int


@dataclass(frozen=True)
class Table:
    """A table as one unit of migration; a partitioned table is one table with `parts`.

    Attributes:
        identity: columns of the row identity that capture can rely on; empty = no usable key.
        capture: what the source's log tells of the table: ``full`` (inserts, updates, deletes),
            ``insert`` (only inserts: updates and deletes cannot be told), ``none``.
        old_rows: the log carries the complete old row of updates and deletes.
        rows, bytes: the source's estimates; -1 rows = never analysed.
        incarnation: changes when the table is dropped and made again.
        storage: changes when all rows are written anew; empty = the engine does not tell.
    """

    name: TableName
    columns: tuple[Column, ...]
    keys: tuple[Key, ...] = ()
    identity: tuple[str, ...] = ()
    capture: str = "full"
    old_rows: bool = False
    rows: int = -1
    bytes: int = 0
    parts: tuple[Part, ...] = ()
    incarnation: str = ""
    storage: str = field(default="", compare=False)
    comment: str | None = None
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """Columns that hold data of their own (generated ones don't)."""
        return tuple(c for c in self.columns if c.generated is None)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError when there is none."""
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {c.name: c for c in self.columns}


@dataclass(frozen=True)
class NativeObject:
    """A schema object in the source engine's own words, for targets of the same engine.

    Attributes:
        kind: ``schema``, ``enum``, ``domain``, ``table``, ``index``, ``view``, … (engine's terms).
        schema, name: qualified name; `name` of a routine includes its argument types.
        statements: DDL in order, complete and schema-qualified.
        phase: ``pre`` (before the rows), ``key`` (row identities, after load, before catch-up),
            ``post`` (after catch-up), ``late`` (at cutover, e.g. enabling triggers).
        table: the table it belongs to.
        depends: `(kind, schema, name)` of objects needed before it.
        definition: canonical text for the parity report (equal text = equal object).
    """

    kind: str
    schema: str
    name: str
    statements: tuple[str, ...]
    phase: str
    table: TableName | None = None
    depends: tuple[tuple[str, str, str], ...] = ()
    definition: str = ""

    @property
    def label(self) -> str:
        """``kind schema.name`` for people."""
        return (
            f"{self.kind} {self.schema}.{self.name}" if self.schema else f"{self.kind} {self.name}"
        )


@dataclass(frozen=True)
class Catalog:
    """Tables (and, for same-engine migrations, native objects) of one database.

    Attributes:
        engine: its name, which is also the name of its SQL dialect.
        version: the server's version as people write it.
        flavour: of the product, where there are several.
        others: objects beside tables that a target of another engine cannot be given yet (views,
            routines, triggers, events …): `(kind, qualified name)`.
    """

    engine: str
    version: str
    tables: tuple[Table, ...]
    objects: tuple[NativeObject, ...] = field(default=(), repr=False)
    flavour: str = ""
    others: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables)

    def table(self, name: TableName) -> Table:
        """The table of that name; KeyError when there is none."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[TableName, Table]:
        return {t.name: t for t in self.tables}

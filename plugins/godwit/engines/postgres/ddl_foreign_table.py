"""A table of another engine as PostgreSQL's: columns, keys, indexes, checks, comments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from godwit.engines.postgres.catalog import ENGINE_NAME
from godwit.engines.postgres.datatypes import Choices, spelling
from godwit.engines.postgres.ddl_foreign_defaults import default
from godwit.engines.postgres.ddl_foreign_index import index_piece
from godwit.engines.postgres.ddl_foreign_names import (
    MAX_NAME_BYTES,
    Names,
    column_name,
    shortened,
)
from godwit.engines.postgres.ddl_trial import Draft, Piece, lost_column, lost_default
from godwit.engines.postgres.names import literal, quoted
from godwit.engines.postgres.objects_shapes import ColumnShape
from godwit.model.catalog import Check, Column, Key, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.dialects import mentioned, translate
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import Finding, Severity

_IDENTITIES = frozenset({"smallint", "integer", "bigint"})
_HAND = "make it on the target by hand"


@dataclass
class TablePlan:
    """Drafts one table.

    Args:
        mapping: the table and what becomes of it.
        dialect: the source's.
        schema: the trial's schema that stands for the target's.
        names: taken in each schema.
        choices: how types are spelled.
        enums: ``type``, ``check`` or ``text``.
        virtual: generated columns may be computed when they are read.
    """

    mapping: TableMapping
    dialect: str
    schema: str
    names: Names
    choices: Choices
    enums: str = "type"
    findings: list[Finding] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def table(self) -> TableName:
        """The table in the trial."""
        return TableName(self.schema, self.mapping.target.name)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Target names of all columns that arrive, by source names; generated ones keep theirs."""
        kept = dict(self.mapping.target_names)
        taken = set(kept.values())
        for column in self.mapping.source.columns:
            name = column_name(column.name)
            if column.generated is not None and name not in taken:
                kept[column.name] = name
                taken.add(name)
        return kept

    def draft(self) -> Draft:
        """The table; what cannot even be tried is in `findings`."""
        columns = tuple(self._columns())
        for key in self.mapping.source.keys:
            self._key(key)
        for index in self.mapping.source.indexes:
            piece = index_piece(self, index)
            self.pieces += [piece] if piece else []
        for check in self.mapping.source.checks:
            self._check(check)
        self.pieces += self._comments()
        self._remarks()
        return self._drafted(columns)

    def _drafted(self, columns: tuple[ColumnShape, ...]) -> Draft:
        label = str(self.mapping.target)
        before, pieces = tuple(self.before), tuple(self.pieces)
        return Draft(self.table, label, columns, before, pieces, self.sources)

    def note(
        self, code: str, what: str, reason: str, hint: str = "", *, minor: bool = False
    ) -> None:
        """Something to tell of the table."""
        severity = Severity.INFO if minor else Severity.WARNING
        self.findings.append(Finding(code, severity, what, reason, hint))

    # -- columns

    def _columns(self) -> Iterator[ColumnShape]:
        by_source = {c.source: c for c in self.mapping.columns if c.source is not None}
        for column in self.mapping.source.columns:
            if column.name in by_source:
                yield self._column(column, by_source[column.name])
            elif column.generated is not None and column.name in self.columns:
                made = self._generated(column, column.generated)
                if made is not None:
                    yield made
            elif column.generated is not None:
                label = f"generated column {self.mapping.target}.{column.name}"
                self.note("column-left-out", label, "another column has its name on the target")
        for target in self.mapping.columns:
            if target.source is None:
                kind = spelling(target.type or DataType(Kind.TEXT), self.choices)
                nullable = target.target not in self.mapping.identity
                yield ColumnShape(target.target, kind, nullable=nullable)

    def _column(self, column: Column, target: ColumnMapping) -> ColumnShape:
        nullable = column.nullable and target.target not in self.mapping.identity
        if target.type is not None:
            return ColumnShape(target.target, spelling(target.type, self.choices), nullable)
        kind = self._type(column, target.target)
        label = f"{self.mapping.target}.{target.target}"
        if column.on_update:
            reason = f"the source stores {column.on_update} whenever a row is updated"
            self.note("on-update", label, reason, "a trigger on the target can do the same")
        if column.identity:
            return self._numbered(column, target.target, kind, nullable=nullable)
        expression, said = default(column, self.dialect, self.columns, self.choices)
        if said and expression is None:
            self.sources[target.target] = column.default or ""
            lost = lost_default(self._drafted(()), target.target, said)
            self.note(lost.code, lost.subject, lost.reason, lost.hint)
        elif said:
            self.note("zero-date", label, said, "set another default by hand", minor=True)
        self.sources[target.target] = column.default or ""
        return ColumnShape(target.target, kind, nullable, expression=expression)

    def _numbered(self, column: Column, name: str, kind: str, *, nullable: bool) -> ColumnShape:
        """A column that the source numbers: always so that given values are taken as well."""
        del column
        if kind in _IDENTITIES:
            return ColumnShape(name, kind, nullable, identity="d", sequence="START WITH 1")
        sequence = self.names.free(self.mapping.target, f"{name}_seq")
        where = quoted(self.schema, sequence)
        self.before.append(f"CREATE SEQUENCE {where}")
        self.pieces.append(
            Piece(
                f"ALTER SEQUENCE {where} OWNED BY {quoted(*self.table)}.{quoted(name)}",
                f"the counter of {name}",
            )
        )
        expression = f"nextval({literal(where)}::regclass)"
        return ColumnShape(name, kind, nullable, expression=expression)

    def _type(self, column: Column, name: str) -> str:
        kind = column.type
        if kind.kind is Kind.ENUM and self.enums != "text":
            return self._enum(kind, name)
        if kind.kind is Kind.SET and self.choices.sets == "check":
            labels = ", ".join(literal(label) for label in kind.labels)
            listed = f"string_to_array({quoted(name)}, ',') <@ ARRAY[{labels}]::text[]"
            self._constrain(f"{name}_labels", listed, f"the labels of {name}")
        return spelling(kind, self.choices)

    def _enum(self, kind: DataType, name: str) -> str:
        fits = all(len(label.encode()) <= MAX_NAME_BYTES for label in kind.labels)
        labels = ", ".join(literal(label) for label in kind.labels)
        if self.enums == "type" and fits and kind.labels:
            type_name = self.names.free(self.mapping.target, name)
            where = quoted(self.schema, type_name)
            self.before.append(f"CREATE TYPE {where} AS ENUM ({labels})")
            return where
        if not fits:
            reason = f"a label is longer than {MAX_NAME_BYTES} bytes: it is text with a check"
            self.note("enum-labels", f"{self.mapping.target}.{name}", reason, minor=True)
        if kind.labels:
            listed = f"{quoted(name)} = ANY (ARRAY[{labels}]::text[])"
            self._constrain(f"{name}_labels", listed, f"the labels of {name}")
        return "text"

    def _generated(self, column: Column, expression: str) -> ColumnShape | None:
        name = self.columns[column.name]
        self.sources[name] = expression
        said = translate(expression, self.dialect, ENGINE_NAME, self._stored)
        if said is None:
            del self.columns[column.name]
            lost = lost_column(self._drafted(()), name, self._why_not(expression, self._stored))
            self.note(lost.code, lost.subject, lost.reason, lost.hint)
            return None
        kind = self._type(column, name)
        return ColumnShape(name, kind, column.nullable, expression=said, generated="s")

    def _why_not(self, expression: str, columns: Mapping[str, str]) -> str:
        known = {name.casefold() for name in columns}
        used = mentioned(expression, self.dialect) or ()
        gone = sorted(name for name in used if name.casefold() not in known)
        if gone:
            return f"it uses {', '.join(gone)}, which holds no values of its own on the target"
        return "that has no translation"

    @cached_property
    def _stored(self) -> Mapping[str, str]:
        """What a generated column may use: not another generated one."""
        return self.mapping.target_names

    # -- keys and checks

    def arriving(self, columns: tuple[str | None, ...], what: str) -> bool:
        """Whether all these source columns are on the target; a finding when not."""
        gone = [c for c in columns if c is not None and c not in self.columns]
        if gone:
            reason = f"it uses column {', '.join(gone)}, which is not on the target"
            self.note("uses-removed-column", f"{what} of {self.mapping.target}", reason)
        return not gone

    def _key(self, key: Key) -> None:
        what = "primary key" if key.primary else f"unique key {key.name}"
        if not self.arriving(key.columns, what):
            return
        ending = "_pkey" if key.primary else "_key"
        name = self.names.free(self.mapping.target, "pkey" if key.primary else key.name, ending)
        columns = ", ".join(quoted(self.columns[c]) for c in key.columns)
        word = "PRIMARY KEY" if key.primary else "UNIQUE"
        statement = f"ALTER TABLE {quoted(*self.table)} ADD CONSTRAINT {quoted(name)} {word}"
        self.pieces.append(Piece(f"{statement} ({columns})", what))

    def _check(self, check: Check) -> None:
        what = f"check {check.name}"
        if not check.enforced:
            subject = f"{what} of {self.mapping.target}"
            self.note("check-left-out", subject, "the source does not enforce it", minor=True)
            return
        said = translate(check.expression, self.dialect, ENGINE_NAME, self.columns)
        if said is None:
            why = self._why_not(check.expression, self.columns)
            reason = f"the condition is {check.expression}: {why}"
            subject = f"{what} of {self.mapping.target}"
            self.note("check-left-out", subject, reason, _HAND)
            return
        self._constrain(check.name, said, f"{what} ({check.expression})")
        words = self._loose(mentioned(check.expression, self.dialect) or ())
        if words:
            reason = (
                f"it compares {', '.join(words)} by capitals and accents too; the source doesn't"
            )
            self.note("collation", f"{what} of {self.mapping.target}", reason, minor=True)

    def _constrain(self, name: str, condition: str, what: str) -> None:
        constraint = quoted(shortened(name))
        statement = f"ALTER TABLE {quoted(*self.table)} ADD CONSTRAINT {constraint}"
        self.pieces.append(Piece(f"{statement} CHECK ({condition})", what, "check-left-out"))

    # -- the rest

    def _comments(self) -> Iterator[Piece]:
        source, table = self.mapping.source, quoted(*self.table)
        if source.comment:
            yield Piece(f"COMMENT ON TABLE {table} IS {literal(source.comment)}", "the comment")
        for column in source.columns:
            name = self.columns.get(column.name)
            if name and column.comment:
                where = f"{table}.{quoted(name)}"
                text = f"COMMENT ON COLUMN {where} IS {literal(column.comment)}"
                yield Piece(text, f"the comment on {name}")

    def _remarks(self) -> None:
        source, label = self.mapping.source, str(self.mapping.target)
        if source.parts:
            reason = f"its {len(source.parts)} partitions become one table"
            hint = "partition it on the target before the load, if it should be"
            self.note("partitions-left-out", label, reason, hint, minor=True)
        loose = self._loose(c for key in source.keys for c in key.columns)
        if loose:
            reason = f"keys over {', '.join(loose)} tell capitals, accents or blanks apart that "
            reason += "the source takes for equal"
            self.note(
                "collation", label, reason, "use lower(…) or citext if that matters", minor=True
            )

    def _loose(self, columns: Iterable[str]) -> list[str]:
        """Those whose texts the source takes for equal when their letters differ."""
        source = {c.name: c for c in self.mapping.source.columns}
        return sorted(
            {
                name
                for name in columns
                if name in self.columns
                and source[name].type.kind is Kind.TEXT
                and not source[name].byte_equal
            }
        )

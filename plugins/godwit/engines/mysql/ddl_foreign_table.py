"""One table of another engine: columns, defaults, checks, comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.datatypes import holds_text, spelling, text_collation
from godwit.engines.mysql.ddl_columns import required
from godwit.engines.mysql.ddl_foreign_defaults import condition, default
from godwit.engines.mysql.ddl_foreign_types import Spelt
from godwit.engines.mysql.ddl_steps import Findings, shortened
from godwit.engines.mysql.names import literal, quoted
from godwit.engines.mysql.objects_shapes import CheckLine, ColumnLine, KeyLine, TableShape
from godwit.model.catalog import Column
from godwit.model.datatypes import DataType, Kind
from godwit.model.mapping import ColumnMapping, TableMapping

TABLE_COMMENT = 2048
COLUMN_COMMENT = 1024
MAX_COLUMNS = 1017


@dataclass
class ForeignTable:
    """The table as this engine has it."""

    mapping: TableMapping
    engine: str
    spelt: dict[str, Spelt]
    version: Version
    settings: Mapping[str, Any]
    findings: Findings

    def shape(self) -> TableShape:
        """Columns, checks and comment; keys are somebody else's."""
        source, target = self.mapping.source, self.mapping.target
        columns = tuple(self._columns())
        self._remarks(len(columns))
        charset, collation = self._collation(None)
        options = f"ENGINE=InnoDB DEFAULT CHARSET={charset} COLLATE={collation}"
        if source.comment:
            options += f" COMMENT={self._comment(source.comment, TABLE_COMMENT, 'the table')}"
        return TableShape(
            kind="table",
            schema=target.schema,
            name=target.name,
            statements=(),
            phase="pre",
            table=target,
            columns=columns,
            checks=tuple(self._checks()),
            options=options,
        )

    def _collation(self, spelt: Spelt | None) -> tuple[str, str]:
        return text_collation(spelt.kind if spelt else DataType(Kind.TEXT), self.version)

    def _warn(self, code: str, what: str, reason: str, hint: str = "") -> None:
        self.findings.warn(code, f"{what} of {self.mapping.target}", reason, hint)

    # -- columns

    def _columns(self) -> Iterator[ColumnLine]:
        """In the source's order, computed ones among them; added ones last."""
        by_source = {c.source: c for c in self.mapping.columns if c.source is not None}
        for column in self.mapping.source.columns:
            if column.name in by_source:
                yield self._stored(by_source[column.name], column)
            elif column.generated is not None and (line := self._computed(column)):
                yield line
        for target in self.mapping.columns:
            if target.source is None:
                yield self._stored(target, None)

    def _stored(self, target: ColumnMapping, source: Column | None) -> ColumnLine:
        spelt = self.spelt[target.target]
        text = self._typed(spelt)
        if target.expression or target.type or target.mask:
            source_default = None
        else:
            source_default = self._default(target, source, spelt)
        empty = source is None or source.nullable
        if empty and target.target not in self.mapping.identity:
            text += f" DEFAULT {source_default or 'NULL'}"
        else:
            text += f" NOT NULL DEFAULT {source_default}" if source_default else " NOT NULL"
        if source is not None and source.comment:
            where = f"column {target.target}"
            text += f" COMMENT {self._comment(source.comment, COLUMN_COMMENT, where)}"
        return ColumnLine(target.target, text)

    def _typed(self, spelt: Spelt) -> str:
        if not holds_text(spelt.text):
            return spelt.text
        charset, collation = self._collation(spelt)
        return f"{spelt.text} CHARACTER SET {charset} COLLATE {collation}"

    def _default(self, target: ColumnMapping, source: Column | None, spelt: Spelt) -> str | None:
        if source is None or source.default is None or counts(source):
            return None
        text = default(source.default, self.engine, spelt)
        if text is None:
            reason = "its default cannot be said in MySQL's words"
            self._warn(
                "default-left-out",
                f"column {target.target}",
                f"{reason}: {source.default}",
                "give the column a default on the target",
            )
        return text

    def _computed(self, column: Column) -> ColumnLine | None:
        name = column.name
        expression = condition(
            column.generated or "", self.engine, self.spelt, self.mapping.target_names, self.version
        )
        if expression is None or name in self.spelt:
            reason = f"how it is computed cannot be said in MySQL's words: {column.generated}"
            self._warn("column-left-out", f"column {name}", reason, "add it on the target by hand")
            return None
        spelt = Spelt(column.type, spelling(column.type, self.settings))
        return ColumnLine(name, f"{self._typed(spelt)} GENERATED ALWAYS AS ({expression}) STORED")

    def counted(self, shape: TableShape) -> TableShape:
        """With AUTO_INCREMENT on the one column that numbers rows and leads a key."""
        leading = {k.columns[0] for k in shape.keys if k.whole and k.columns}
        primary = next((k.columns[0] for k in shape.keys if k.primary and k.columns), "")
        numbered = [
            c.target
            for c in self.mapping.columns
            if c.source and counts(self.mapping.source.column(c.source)) and not c.type
        ]
        possible = [
            n for n in numbered if n in leading and self.spelt[n].text.split(" ")[0].endswith("int")
        ]
        chosen = primary if primary in possible else next(iter(possible), None)
        integers = [n for n in numbered if self.spelt[n].text.split(" ")[0].endswith("int")]
        if chosen is None and integers:
            chosen = integers[0]
            name = shortened(f"{chosen}_counter")
            shape = replace(shape, keys=(*shape.keys, KeyLine(name, "KEY", (quoted(chosen),))))
            reason = f"column {chosen} numbers rows: MySQL wants an index led by it"
            self.findings.note("index-added", self.mapping.target, reason)
        for name in numbered:
            if name != chosen:
                reason = "the source numbers it; MySQL numbers one column of a table"
                hint = "fill the column in the application or in a trigger"
                self._warn("not-numbered", f"column {name}", reason, hint)
        if chosen is None:
            return shape
        columns = tuple(_counter(c) if c.name == chosen else c for c in shape.columns)
        return replace(shape, columns=columns)

    # -- checks, comments

    def _checks(self) -> Iterator[CheckLine]:
        names = self.mapping.target_names
        for check in self.mapping.source.checks:
            text = condition(check.expression, self.engine, self.spelt, names, self.version)
            if text is None:
                reason = f"it cannot be said in MySQL's words: {check.expression}"
                self._warn("check-left-out", f"check {check.name}", reason, "write it anew")
                continue
            if not check.validated:
                reason = "older rows may break it on the source; here it would hold for every row"
                hint = "correct the rows, then add it by hand"
                self._warn("check-left-out", f"check {check.name}", reason, hint)
                continue
            if not check.enforced and self.version.mariadb:
                reason = "it is not enforced on the source; MariaDB would"
                self._warn("check-left-out", f"check {check.name}", reason, "add it by hand")
                continue
            text = text if text.startswith("(") and text.endswith(")") else f"({text})"
            ending = "" if check.enforced else " NOT ENFORCED"
            yield CheckLine(shortened(check.name), f"CHECK ({text}){ending}")
        if self.settings.get("json", "check") != "check":
            return
        for name, spelt in self.spelt.items():
            if spelt.kind.kind is Kind.JSON and holds_text(spelt.text):
                named = shortened(f"{self.mapping.target.name}_{name}_json")
                yield CheckLine(named, f"CHECK (json_valid({quoted(name)}))")

    def _comment(self, text: str, limit: int, where: str) -> str:
        if len(text) > limit:
            reason = f"its comment is cut: {limit} characters are kept"
            self.findings.note("comment-cut", f"{where} of {self.mapping.target}", reason)
        return literal(text[:limit])

    def _remarks(self, columns: int) -> None:
        target = self.mapping.target
        if columns > MAX_COLUMNS:
            reason = f"InnoDB takes {MAX_COLUMNS} columns, this table has {columns}"
            self.findings.warn("too-many-columns", target, reason, "remove columns by rules")
        zoned = [n for n, s in self.spelt.items() if s.kind.kind is Kind.TIMESTAMP and s.kind.zoned]
        if zoned:
            reason = f"moments become datetime and hold UTC: {', '.join(zoned)}"
            self.findings.note("holds-utc", target, reason, "read them as UTC in applications")
        if widened := [n for n, s in self.spelt.items() if s.widened]:
            reason = f"a row has no room for them, so they become text types: {', '.join(widened)}"
            self.findings.note("widened", target, reason)


def counts(column: Column) -> bool:
    """Whether the source numbers new rows in this column."""
    return column.type.kind is Kind.INTEGER and (
        column.identity is not None or (column.default or "").startswith("nextval(")
    )


def _counter(column: ColumnLine) -> ColumnLine:
    text = required(column).text
    head, comment, rest = text.partition(" COMMENT ")
    return ColumnLine(column.name, f"{head} AUTO_INCREMENT{comment}{rest}")

"""Two shapes of a table on the target: as it is, and as CREATE TABLE would make it now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pymysql

from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.ddl import plan_schema
from godwit.engines.mysql.ddl_flavours import split_default
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects import read_table
from godwit.engines.mysql.objects_shapes import ColumnLine, TableShape, counts, parse_table
from godwit.model.catalog import Catalog, TableName
from godwit.model.report import Finding
from godwit.model.reshaping import Reshaping
from godwit.protocols import SchemaStep

_SCRATCH = "godwit_altered"
#: A default that is the same for every row, whenever it is asked for.
_LITERAL = re.compile(
    r"\(*(?:NULL|-?\d+(?:\.\d*)?(?:e[+-]?\d+)?|b'[01]*'|0x[0-9a-f]*|x'[0-9a-f]*'|TRUE|FALSE"
    r"|(?:_\w+ ?)?'(?:[^'\\]|\\.|'')*')\)*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Wanted:
    """The table as it shall be.

    Attributes:
        shape: its columns and checks.
        spelt: its columns in the server's own words, where it could be asked.
        steps: the plan of it and of its indexes.
        findings: what was found while planning.
    """

    shape: TableShape
    spelt: TableShape
    steps: Sequence[SchemaStep]
    findings: Sequence[Finding]

    @cached_property
    def columns(self) -> dict[str, ColumnLine]:
        """Columns by name."""
        return {c.name: c for c in self.spelt.columns}

    @cached_property
    def checks(self) -> dict[str, str]:
        """Checks by name: their text from CHECK on."""
        return {c.name: c.text for c in self.shape.checks}

    def said(self, name: str, *, checked: bool) -> ColumnLine:
        """A column in the plan's words, which the server shows as it shows those of CREATE TABLE.

        `checked`: with a check that it brings along; one that is there already comes twice.
        """
        column = next((c for c in self.shape.columns if c.name == name), self.columns[name])
        return column if checked or " CHECK (" not in column.text else self.columns[name]

    def index(self, name: str) -> str | None:
        """The clause that adds the index of that name."""
        full = f"{self.shape.full_name}.{name}"
        head = f"ALTER TABLE {quoted(*self.shape.full_name)} "
        found = (s for s in self.steps if s.name == full and s.kind in {"index", "unique key"})
        return next((s.statements[0].removeprefix(head) for s in found), None)

    def default_said(self, name: str) -> bool:
        """Rows of before have exactly this column's default."""
        lost = f"column {name} of {self.shape.full_name}"
        if any(f.code == "default-left-out" and f.subject.endswith(lost) for f in self.findings):
            return False
        default = split_default(self.columns[name].text)[1]
        return default is None or _LITERAL.fullmatch(default) is not None


def computed(column: ColumnLine) -> bool:
    """Whether the column is computed."""
    return " GENERATED ALWAYS AS " in f" {column.text} "


def stored(column: ColumnLine) -> bool:
    """Whether a computed column is kept with the row."""
    return re.search(r"\) (STORED|PERSISTENT)\b", column.text) is not None


def required(column: ColumnLine) -> bool:
    """Whether the column takes no nulls and has no default."""
    filled = split_default(column.text)[1] is not None or counts(column) or computed(column)
    return " NOT NULL" in column.text and not filled


def read_present(session: Session, table: TableName) -> TableShape | None:
    """The table as it is; None when it is not there."""
    there = session.row(
        "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
        " AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')",
        tuple(table),
    )
    if there is None:
        return None
    shape = read_table(session, table)
    assert isinstance(shape, TableShape)
    return shape


def read_wanted(
    session: Session,
    version: Version,
    settings: Mapping[str, Any],
    catalog: Catalog,
    reshaping: Reshaping,
) -> Wanted:
    """The table of the new mapping, as this server would make it.

    Raises:
        ConversionError: it cannot be made.
    """
    plan = plan_schema(catalog, [reshaping.now], version, settings, session)
    name = str(reshaping.now.target)
    step = next((s for s in plan.steps if s.kind == "table" and s.name == name), None)
    if step is None:
        reasons = "; ".join(f.reason for f in plan.findings)
        raise reshaping.error("the target cannot have the table as it is now", reasons)
    shape = parse_table(*reshaping.now.target, step.statements[0])
    return Wanted(shape, _spelt(session, shape), plan.steps, plan.findings)


def _spelt(session: Session, shape: TableShape) -> TableShape:
    """The table in the server's words, asked by means of a temporary one."""
    scratch = TableName(shape.schema, _SCRATCH)
    drop = f"DROP TEMPORARY TABLE IF EXISTS {quoted(*scratch)}"
    try:
        session.run(drop)
        session.run(shape.create(temporary=_SCRATCH))
        made = read_table(session, scratch)
    except pymysql.MySQLError:
        return shape
    finally:
        with suppress(pymysql.MySQLError):
            session.run(drop)
    assert isinstance(made, TableShape)
    return replace(shape, columns=made.columns) if _alike(made, shape) else shape


def _alike(made: TableShape, shape: TableShape) -> bool:
    return [c.name for c in made.columns] == [c.name for c in shape.columns]

"""What a table on the target shall look like: as CREATE TABLE would make it now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from godwit.engines.postgres.catalog import ENGINE_NAME
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.ddl import plan_schema
from godwit.engines.postgres.ddl_foreign import converted, own_types
from godwit.engines.postgres.ddl_mapped import Mapped
from godwit.engines.postgres.ddl_run import run_schema
from godwit.engines.postgres.ddl_tables import mapped_table
from godwit.engines.postgres.ddl_trial import NO_TABLE
from godwit.engines.postgres.names import canonical, mentions, quoted
from godwit.engines.postgres.objects_shapes import ColumnShape, TableShape
from godwit.model.catalog import Catalog, TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding
from godwit.model.reshaping import Reshaping
from godwit.protocols import SchemaStep

#: A default that is the same for every row, whenever it is asked for.
_LITERAL = re.compile(
    r"\(?(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[eEbB]?'(?:[^']|'')*'|true|false|NULL)\)?"
    r"(?:::[\w .\"\[\](),]+)?",
    re.DOTALL | re.IGNORECASE,
)
#: What there may be to say about a default; rows of before have another value then.
_OTHER_VALUE = frozenset({"default-left-out", "zero-date"})
#: Kinds that come with the table itself, or are altered here.
_NOT_BEFORE = frozenset({"table", "comment", "analyze"})


@dataclass(frozen=True)
class Wanted:
    """The table as it shall be.

    Attributes:
        shape: its columns, in the server's own words.
        steps: the plan of it and of all that belongs to it.
        findings: what was found while making it another engine's table.
        own_types: enums that are made for this table's columns alone.
    """

    mapping: TableMapping
    shape: TableShape
    steps: Sequence[SchemaStep]
    findings: Sequence[Finding]
    own_types: frozenset[TableName]
    foreign: bool

    @cached_property
    def columns(self) -> dict[str, ColumnShape]:
        """Columns by name."""
        return {c.name: c for c in self.shape.columns}

    @cached_property
    def checks(self) -> dict[str, SchemaStep]:
        """Checks of the table by name."""
        prefix = f"{self.mapping.target}."
        return {
            s.name.removeprefix(prefix): s
            for s in self.steps
            if s.kind == "check constraint" and s.name.startswith(prefix)
        }

    def parts(self) -> list[SchemaStep]:
        """Partitions, in the order in which they are made."""
        own = str(self.mapping.target)
        return [s for s in self.steps if s.kind == "table" and s.name != own]

    def comment(self, column: str) -> tuple[str, ...]:
        """The statement that comments on a column."""
        head = f"COMMENT ON COLUMN {canonical(quoted(*self.mapping.target, column))} IS "
        said = (s.statements for s in self.steps if s.kind == "comment")
        return next((s for s in said if canonical(s[0]).startswith(head)), ())

    def default_said(self, column: str) -> bool:
        """Rows of before have exactly this column's default."""
        own = {f"default of {self.mapping.target}.{column}", f"{self.mapping.target}.{column}"}
        if any(f.code in _OTHER_VALUE and f.subject in own for f in self.findings):
            return False
        shape = self.columns[column]
        return shape.expression is None or _LITERAL.fullmatch(shape.expression) is not None

    def needed(self, columns: Iterable[ColumnShape]) -> list[SchemaStep]:
        """Types, sequences, functions … that these columns use, and what those need."""
        lines = " ".join(c.line() for c in columns)
        by_label = {f"{s.kind} {s.name}": s for s in self.steps if s.kind not in _NOT_BEFORE}
        table = next((s for s in self.steps if s.name == str(self.mapping.target)), None)
        todo = [
            label
            for label in (table.depends if table else ())
            if label in by_label and self._used(by_label[label], lines)
        ]
        chosen: set[str] = set()
        while todo:
            label = todo.pop()
            if label in by_label and label not in chosen:
                chosen.add(label)
                todo += by_label[label].depends
        return [s for label, s in by_label.items() if label in chosen]

    @staticmethod
    def _used(step: SchemaStep, lines: str) -> bool:
        name = step.name.partition("(")[0].rpartition(".")[2]
        # What an extension brings has other names than the extension.
        return step.kind in {"extension", "cast"} or bool(mentions(lines, {name}.__contains__))


def read_wanted(connector: Connector, catalog: Catalog, reshaping: Reshaping) -> Wanted:
    """The table of the new mapping, as this server would make it.

    Raises:
        ConversionError: it cannot be made.
    """
    mapping = reshaping.now
    own: tuple[TableMapping, ...] = (mapping,)
    findings: list[Finding] = []
    foreign = catalog.engine != ENGINE_NAME
    types: frozenset[TableName] = frozenset()
    if foreign:
        catalog, own, findings = converted(connector, catalog, own)
        types = frozenset(own_types([reshaping.before])) | frozenset(own_types([mapping]))
        lost = next((f for f in findings if f.code == NO_TABLE), None)
        if lost is not None:
            raise reshaping.error("the target cannot have the table as it is now", lost.reason)
    mapped = Mapped(catalog, own)
    shape = mapped.shapes.get(own[0].source.name)
    made = mapped_table(shape, mapped, connector.version)[0] if shape else None
    if made is None:
        why = "the catalog was read without its objects, or what its columns need is not there"
        raise reshaping.error("the table as it is now cannot be planned", why)
    plan = plan_schema(catalog, own, connector.version, silent=connector.replica_role)
    return Wanted(mapping, made, plan.steps, [*findings, *plan.findings], types, foreign)


def make_needed(
    connector: Connector, wanted: Wanted, columns: Sequence[ColumnShape], reshaping: Reshaping
) -> None:
    """Make the types (and what else) that these columns need and the target lacks.

    Raises:
        ConversionError: the target refuses one.
    """
    steps = wanted.needed(columns)
    if not steps:
        return
    for outcome in run_schema(connector, steps):
        if outcome.state == "failed":
            what = f"the {outcome.kind} {outcome.name} cannot be made"
            raise reshaping.error(what, outcome.detail)


def wanted_enum(wanted: Wanted, kind: str) -> TableName | None:
    """The enum that a type's text means (or an array of), when it is one of the plan's."""
    text = canonical(kind.removesuffix("[]"))
    names: Mapping[str, TableName] = {
        canonical(quoted(*_split(s))): _split(s) for s in wanted.steps if s.kind == "enum"
    }
    return names.get(text)


def _split(step: SchemaStep) -> TableName:
    schema, _, name = step.name.partition(".")
    return TableName(schema, name)

"""The rules of table mappings, one model for each of DMS's types of rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from godwit.model.catalog import TableName
from godwit.model.checking import Part
from godwit.model.problems import did_you_mean
from godwit.model.wildcards import matches


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text), WithJsonSchema({"type": ["string", "number"]})]
#: DMS writes numbers as text in some documents and as numbers in others.
Number = Annotated[int, Field(ge=0, le=2147483647), WithJsonSchema({"type": ["integer", "string"]})]

#: Operators of filter conditions; ``gt`` and ``lt`` are Godwit's own, the others DMS's.
OPERATORS = (
    "eq",
    "noteq",
    "lte",
    "ste",
    "gte",
    "gt",
    "lt",
    "between",
    "notbetween",
    "null",
    "notnull",
)
RENAMING = (
    "rename",
    "convert-lowercase",
    "convert-uppercase",
    "add-prefix",
    "remove-prefix",
    "replace-prefix",
    "add-suffix",
    "remove-suffix",
    "replace-suffix",
)
MASKING = {
    "data-masking-digits-mask": "digits-mask",
    "data-masking-digits-randomize": "digits-randomize",
    "data-masking-hash-mask": "hash-mask",
}
COLUMN_ACTIONS = ("remove-column", "include-column", "add-column", "change-data-type", *MASKING)
ACTIONS = (*RENAMING, *COLUMN_ACTIONS, "define-primary-key", "add-before-image-columns")
NEED_VALUE = (
    "rename",
    "add-prefix",
    "remove-prefix",
    "replace-prefix",
    "add-suffix",
    "remove-suffix",
    "replace-suffix",
    "add-column",
    "data-masking-digits-mask",
)
DATA_TYPES = (
    "bytes",
    "date",
    "time",
    "datetime",
    "int1",
    "int2",
    "int4",
    "int8",
    "numeric",
    "real4",
    "real8",
    "string",
    "uint1",
    "uint2",
    "uint4",
    "uint8",
    "wstring",
    "blob",
    "nclob",
    "clob",
    "boolean",
)


class Locator(Part):
    """What a rule is about; DMS wildcards, case matters."""

    schema_name: str = Field(
        default="%", alias="schema-name", description="a schema name, % and _ allowed"
    )
    table_name: str | None = Field(
        default=None, alias="table-name", description="a table name, % and _ allowed"
    )
    column_name: str | None = Field(default=None, alias="column-name", description="a column name")
    table_type: Literal["table", "view", "all"] | None = Field(default=None, alias="table-type")
    data_type: str | None = Field(default=None, alias="data-type", description="a DMS data type")
    table_tablespace_name: str | None = Field(default=None, alias="table-tablespace-name")
    index_tablespace_name: str | None = Field(default=None, alias="index-tablespace-name")

    def matches(self, table: TableName) -> bool:
        """True when schema and table fit (a locator without a table fits every table)."""
        return matches(self.schema_name, table.schema) and (
            self.table_name is None or matches(self.table_name, table.name)
        )

    def matches_column(self, name: str) -> bool:
        """True when the column fits (a locator without a column fits every column)."""
        return self.column_name is None or matches(self.column_name, name)

    def __str__(self) -> str:
        parts = (self.schema_name, self.table_name, self.column_name)
        return ".".join(p for p in parts if p is not None)


class FilterCondition(Part):
    """One comparison."""

    operator: str = Field(alias="filter-operator", description=f"one of {', '.join(OPERATORS)}")
    value: Text | None = None
    start_value: Text | None = Field(default=None, alias="start-value")
    end_value: Text | None = Field(default=None, alias="end-value")

    @model_validator(mode="after")
    def _complete(self) -> FilterCondition:
        if self.operator not in OPERATORS:
            hint = did_you_mean(self.operator, OPERATORS)
            raise ValueError(f"unknown filter-operator {self.operator!r} | {hint}")
        if self.operator in ("between", "notbetween"):
            if self.start_value is None or self.end_value is None:
                raise ValueError(
                    f"{self.operator} needs two values | give start-value and end-value"
                )
        elif self.operator not in ("null", "notnull") and self.value is None:
            raise ValueError(f"{self.operator} needs a value | give value")
        return self

    @property
    def values(self) -> tuple[str, ...]:
        """None, one or two texts."""
        if self.operator in ("null", "notnull"):
            return ()
        if self.operator in ("between", "notbetween"):
            return (self.start_value or "", self.end_value or "")
        return (self.value or "",)


class Filter(Part):
    """Conditions of which one must hold; several filters must all hold."""

    filter_type: Literal["source"] = Field(default="source", alias="filter-type")
    column: str = Field(alias="column-name", description="a column of the source table")
    conditions: tuple[FilterCondition, ...] = Field(alias="filter-conditions", min_length=1)


class Rule(Part):
    """What every rule has."""

    rule_type: str = Field(alias="rule-type")
    rule_id: Number = Field(alias="rule-id", description="a number, unique in the file")
    rule_name: Text | None = Field(default=None, alias="rule-name")
    locator: Locator = Field(alias="object-locator", description="schema-name and table-name")

    @property
    def label(self) -> str:
        """``rule 3 (rename public.orders)``."""
        return f"rule {self.rule_id} ({getattr(self, 'action', self.rule_type)} {self.locator})"


class SelectionRule(Rule):
    """Which tables migrate, in which order, which rows of them."""

    action: Literal["include", "exclude", "explicit"] = Field(
        alias="rule-action", description="include, exclude or explicit"
    )
    load_order: Number | None = Field(default=None, alias="load-order")
    filters: tuple[Filter, ...] | None = None

    @model_validator(mode="after")
    def _possible(self) -> SelectionRule:
        if self.locator.table_name is None:
            raise ValueError('a selection rule needs a table-name | use "%" for every table')
        if self.filters and self.action == "exclude":
            raise ValueError(
                "an exclude rule cannot filter rows | put the filter on an include rule"
            )
        names = self.locator.schema_name + self.locator.table_name
        if self.action == "explicit" and ("%" in names or re.search(r"\[(?!_\])", names)):
            raise ValueError(
                "explicit names one table | write its name without wildcards, or use include"
            )
        return self

    @property
    def of_tables(self) -> bool:
        """False for rules that only speak of views."""
        return self.locator.table_type != "view"

    def matches(self, table: TableName) -> bool:
        """True when the rule speaks of this table."""
        if not self.of_tables:
            return False
        if self.action == "explicit":
            named = (self.locator.schema_name, self.locator.table_name or "")
            return table == tuple(n.replace("[_]", "_") for n in named)
        return self.locator.matches(table)


class DataTypeSpec(Part):
    """A DMS data type."""

    type: str = Field(description=f"one of {', '.join(DATA_TYPES)}")
    precision: Number | None = None
    scale: Number | None = None
    length: Number | None = None

    @model_validator(mode="after")
    def _known(self) -> DataTypeSpec:
        if self.type in ("set", "list", "map", "tuple"):
            raise ValueError(f"no target has the type {self.type} | use clob or string")
        if self.type not in DATA_TYPES:
            raise ValueError(
                f"unknown data type {self.type!r} | {did_you_mean(self.type, DATA_TYPES)}"
            )
        if self.type == "numeric" and (self.scale or 0) > (self.precision or 10**9):
            raise ValueError("scale is larger than precision | precision counts all digits")
        return self


class PrimaryKeyDef(Part):
    """A row identity declared by hand."""

    name: str | None = None
    origin: Literal["primary-key", "unique-index"] = "primary-key"
    columns: tuple[str, ...] = Field(min_length=1)


class BeforeImageDef(Part):
    """Columns with the values before the change (streaming targets of DMS)."""

    column_prefix: str | None = Field(default=None, alias="column-prefix")
    column_suffix: str | None = Field(default=None, alias="column-suffix")
    column_filter: Literal["pk-only", "non-lob", "all"] | None = Field(
        default=None, alias="column-filter"
    )


class TransformationRule(Rule):
    """How schemas, tables and columns are named and shaped on the target."""

    target: Literal["schema", "table", "column", "table-tablespace", "index-tablespace"] = Field(
        alias="rule-target", description="schema, table or column"
    )
    action: str = Field(alias="rule-action", description="the transformation")
    value: Text | None = None
    old_value: Text | None = Field(default=None, alias="old-value")
    expression: str | None = None
    data_type: DataTypeSpec | None = Field(default=None, alias="data-type")
    primary_key: PrimaryKeyDef | None = Field(default=None, alias="primary-key-def")
    before_image: BeforeImageDef | None = Field(default=None, alias="before-image-def")

    @model_validator(mode="after")
    def _complete(self) -> TransformationRule:
        for holds, message in _transformation_checks(self):
            if not holds:
                raise ValueError(message)
        return self


def _transformation_checks(rule: TransformationRule) -> list[tuple[bool, str]]:
    action = rule.action
    by_expression = action == "rename" and rule.target in ("schema", "table") and rule.expression
    return [
        (action in ACTIONS, f"unknown rule-action {action!r} | {did_you_mean(action, ACTIONS)}"),
        (
            action not in NEED_VALUE or bool(rule.value) or bool(by_expression),
            f"{action} needs a value | add value",
        ),
        (
            not action.startswith("replace-") or bool(rule.old_value),
            f"{action} needs the text to replace | add old-value",
        ),
        (
            action not in COLUMN_ACTIONS or rule.target == "column",
            f"{action} is for columns | set rule-target to column",
        ),
        (
            action != "add-column" or (bool(rule.expression) and rule.data_type is not None),
            "add-column needs expression and data-type | add both",
        ),
        (
            action != "change-data-type" or rule.data_type is not None,
            "change-data-type needs the new type | add data-type",
        ),
        (
            action not in ("include-column", "change-data-type", "remove-column", *MASKING)
            or rule.locator.column_name is not None,
            f"{action} needs a column | add column-name to object-locator",
        ),
        (
            action != "define-primary-key"
            or (rule.primary_key is not None and rule.target == "table"),
            "define-primary-key needs primary-key-def and rule-target table | add them",
        ),
        (
            action != "data-masking-digits-mask" or bool(re.fullmatch(r"[ -~]", rule.value or "")),
            "digits-mask needs one printable ASCII character | set value, e.g. '#'",
        ),
    ]


class ParallelLoad(Part):
    """How a table is cut for loading."""

    type: str = Field(description="ranges or none; the planner cuts tables by itself")
    columns: tuple[str, ...] | None = None
    boundaries: tuple[tuple[Text, ...], ...] | None = None
    partitions: tuple[str, ...] | None = None
    subpartitions: tuple[str, ...] | None = None
    segment_names: tuple[str, ...] | None = Field(default=None, alias="segment-names")
    number_of_partitions: Number | None = Field(default=None, alias="number-of-partitions")
    collection_count: bool | None = Field(default=None, alias="collection-count-from-metadata")
    max_records_skip: Number | None = Field(default=None, alias="max-records-skip-per-page")
    batch_size: Number | None = Field(default=None, alias="batch-size")

    @model_validator(mode="after")
    def _complete(self) -> ParallelLoad:
        known = ("ranges", "none", "partitions-auto", "subpartitions-auto", "partitions-list")
        if self.type not in known:
            raise ValueError(f"unknown type {self.type!r} | {did_you_mean(self.type, known)}")
        if self.type == "ranges":
            if not self.columns or not self.boundaries:
                raise ValueError("ranges need columns and boundaries | add both")
            if any(len(b) != len(self.columns) for b in self.boundaries):
                raise ValueError(
                    "a boundary needs one value for each column | complete the boundaries"
                )
        return self


class LobSettings(Part):
    """DMS's modes for large values; here values of any size are always whole."""

    mode: Literal["limited", "unlimited", "none"] | None = None
    bulk_max_size: Text | None = Field(default=None, alias="bulk-max-size")


class TableSettingsRule(Rule):
    """How one table is loaded."""

    parallel_load: ParallelLoad | None = Field(default=None, alias="parallel-load")
    lob_settings: LobSettings | None = Field(default=None, alias="lob-settings")


class OtherRule(Rule):
    """A rule of a type that has no effect here; told as a finding."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


#: Something that a rule does to a name.
Renaming = Callable[[str], str]


def renamed(rule: TransformationRule, name: str) -> str:
    """The name after a renaming rule (``rename`` by expression is done by the caller)."""
    value, old = rule.value or "", rule.old_value or ""
    changed: dict[str, Renaming] = {
        "rename": lambda _: value,
        "convert-lowercase": str.lower,
        "convert-uppercase": str.upper,
        "add-prefix": lambda n: value + n,
        "add-suffix": lambda n: n + value,
        "remove-prefix": lambda n: n.removeprefix(value),
        "remove-suffix": lambda n: n.removesuffix(value),
        "replace-prefix": lambda n: value + n[len(old) :] if n.startswith(old) else n,
        "replace-suffix": lambda n: n[: -len(old)] + value if n.endswith(old) else n,
    }
    return changed[rule.action](name)

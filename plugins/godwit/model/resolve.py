"""Rules applied to a catalog: a mapping for every selected table, and what a person should know.

Rules match the names of the source. Where several rules say the same thing of one object (its
name, its type, its mask), the one with the lowest id wins, as with DMS, and the others are findings
when they name the object exactly. Rules that say different things of one object (a name *and* a
type) all count; DMS allows that only with masks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from godwit.model.catalog import Catalog, Table, TableName
from godwit.model.expressions import Value, evaluate, parse_expression
from godwit.model.mapping import Condition, DeclaredKey, RowFilter, TableMapping
from godwit.model.report import Finding, Severity
from godwit.model.resolve_checks import check_conditions, check_mapping
from godwit.model.resolve_columns import ColumnResolver
from godwit.model.rule_models import (
    RENAMING,
    Rule,
    SelectionRule,
    TableSettingsRule,
    TransformationRule,
    renamed,
)
from godwit.model.wildcards import has_wildcard, table_pattern

if TYPE_CHECKING:
    from godwit.model.definition import Definition


@dataclass(frozen=True)
class Resolution:
    """A mapping for every selected table, highest load order first, and findings."""

    mappings: tuple[TableMapping, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that stop the migration."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)


def resolve(
    definition: Definition, catalog: Catalog, known: Collection[TableName] = ()
) -> Resolution:
    """Apply the definition's rules to the tables of a catalog.

    `known`: names of all tables of the source, when the catalog was read with the selected ones
    only: a rule that excludes one of the others has its effect.

    Nothing is raised: what cannot be done is a finding with severity ERROR.
    """
    return _Resolver(definition).run(catalog, {*known, *(t.name for t in catalog)})


class _Resolver:
    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.rules = definition.table_mappings
        self.captures = definition.migration_type.captures
        self.used: set[int] = set()
        self.findings: list[Finding] = list(definition.findings)

    def run(self, catalog: Catalog, known: Collection[TableName]) -> Resolution:
        tables = [t for t in catalog if self.definition.selects(t.name)]
        for rule in self.rules.selections:
            self.used.update({rule.rule_id} if any(map(rule.matches, known)) else ())
        mappings = [self.mapping(t) for t in tables]
        mappings.sort(key=lambda m: (-m.load_order, m.source.name))
        self._collisions(mappings)
        self._unused(catalog, known)
        if not tables:
            severity = (
                Severity.ERROR
                if self.definition.task_settings.fail_without_tables
                else Severity.WARNING
            )
            self._find(
                "no-tables",
                severity,
                self.definition.name,
                "no table of the source is selected",
                "check schema and table names (case matters) and what the login may see",
            )
        return Resolution(tuple(mappings), tuple(dict.fromkeys(self.findings)))

    def mapping(self, table: Table) -> TableMapping:
        target = self._target_name(table.name)
        columns = ColumnResolver(
            table, target, self._transformations(table, "column"), self.findings, self.used
        )
        mapped = columns.resolve()
        selecting = self.rules.selecting(table.name)
        mapping = TableMapping(
            source=table,
            target=target,
            columns=mapped,
            row_filter=self._row_filter(table, selecting),
            load_order=max((r.load_order or 0 for r in selecting), default=0),
            boundaries=self._boundaries(table),
            identity=(),
        )
        mapping = self._declared_key(mapping)
        if mapping.declared_key is None:
            names = mapping.target_names
            kept = all(c in names for c in table.identity)
            identity = tuple(names[c] for c in table.identity) if kept else ()
            mapping = replace(mapping, identity=identity)
        self.findings += check_mapping(mapping, captures=self.captures)
        self._window(mapping)
        return mapping

    # Names

    def _target_name(self, name: TableName) -> TableName:
        schema_rules = self._naming(
            r for r in self._of("schema") if r.locator.matches(_only_schema(r, name))
        )
        table_rules = self._naming(r for r in self._of("table") if r.locator.matches(name))
        default = self.definition.task_settings.target_schema or name.schema
        schema = self._renamed(schema_rules, name, name.schema) if schema_rules else default
        table = self._renamed(table_rules, name, name.name) if table_rules else name.name
        for what, text in (("schema", schema), ("table", table)):
            if not text:
                self._find(
                    "empty-name",
                    Severity.ERROR,
                    str(name),
                    f"a rule leaves the {what} without a name",
                    "correct the rule that renames it",
                )
        return TableName(schema, table)

    def _naming(self, rules: Iterable[TransformationRule]) -> list[TransformationRule]:
        found = [r for r in rules if r.action in RENAMING]
        self.used.update(r.rule_id for r in found)
        for rule in found[1:]:
            exact = rule.locator.table_name is not None and not has_wildcard(str(rule.locator))
            if exact:
                self._find(
                    "rule-overruled",
                    Severity.WARNING,
                    rule.label,
                    f"{found[0].label} has the lower id and wins",
                    "give the rule that should win the lower rule-id, or remove one",
                )
        return found

    def _renamed(self, rules: list[TransformationRule], name: TableName, text: str) -> str:
        rule = rules[0]
        if rule.action != "rename" or not rule.expression or rule.value:
            return renamed(rule, text)
        expression = parse_expression(rule.expression)
        facts: dict[str, Value] = {
            "AR_M_SOURCE_SCHEMA": name.schema,
            "AR_M_SOURCE_TABLE_NAME": name.name,
        }
        try:
            (value,) = evaluate([expression], [()], (), facts, "I")[0]
        except (sqlite3.Error, ValueError) as cause:
            self._find(
                "expression",
                Severity.ERROR,
                rule.label,
                f"the expression cannot be evaluated: {cause}",
                "write SQLite over $AR_M_SOURCE_SCHEMA and $AR_M_SOURCE_TABLE_NAME",
            )
            return text
        return str(value) if value is not None else ""

    # Rows

    def _row_filter(self, table: Table, selecting: list[SelectionRule]) -> RowFilter | None:
        groups = []
        for rule in selecting:
            for item in rule.filters or ():
                conditions = tuple(
                    Condition(item.column, c.operator, c.values) for c in item.conditions
                )
                groups.append(conditions)
                self.findings += check_conditions(table, conditions, rule.label)
        return RowFilter(tuple(groups)) if groups else None

    def _boundaries(
        self, table: Table
    ) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]] | None:
        for rule in self._settings_of(table.name):
            load = rule.parallel_load
            if load is None or load.type != "ranges" or not load.columns or not load.boundaries:
                continue
            names = {c.name: c for c in table.stored_columns}
            missing = [c for c in load.columns if c not in names]
            if missing:
                self._find(
                    "unknown-column",
                    Severity.ERROR,
                    rule.label,
                    f"{table.name} has no column {missing[0]}",
                    "correct parallel-load.columns",
                )
                continue
            if not table.identity:
                self._find(
                    "boundary-column",
                    Severity.WARNING,
                    rule.label,
                    "the ranges are not used: without a row identity all rows of a table must be "
                    "seen at one moment",
                    "give the table a primary key, or remove the rule",
                )
                continue
            if self.captures and not set(load.columns) <= set(table.identity):
                self._find(
                    "boundary-column",
                    Severity.WARNING,
                    rule.label,
                    "the ranges are not used: a row whose boundary column changes during the load "
                    "would be read twice or not at all",
                    "cut by columns of the row identity, or leave the cutting to the planner",
                )
                continue
            return load.columns, load.boundaries
        return None

    def _settings_of(self, name: TableName) -> list[TableSettingsRule]:
        rules = [r for r in self.rules.table_settings if r.locator.matches(name)]
        self.used.update(r.rule_id for r in rules)
        return rules

    def _declared_key(self, mapping: TableMapping) -> TableMapping:
        """The mapping with the key that a rule defines, if one does."""
        rules = [
            r
            for r in self._transformations(mapping.source, "table")
            if r.action == "define-primary-key"
        ]
        self.used.update(r.rule_id for r in rules)
        if not rules or rules[0].primary_key is None:
            return mapping
        wanted = rules[0].primary_key
        targets = {c.target for c in mapping.columns}
        names = tuple(c if c in targets else mapping.target_names.get(c, c) for c in wanted.columns)
        missing = [c for c in names if c not in targets]
        if missing:
            self._find(
                "unknown-column",
                Severity.ERROR,
                rules[0].label,
                f"{mapping.target} will have no column {missing[0]}",
                "correct primary-key-def.columns",
            )
            return mapping
        key = DeclaredKey(wanted.name or "", primary=wanted.origin == "primary-key")
        return replace(mapping, identity=names, declared_key=key)

    def _window(self, mapping: TableMapping) -> None:
        window = self.definition.load_window
        if window is None:
            return
        column = next((c for c in mapping.source.columns if c.name == window.column), None)
        if column is None or column.type.kind not in ("date", "timestamp"):
            what = "no column" if column is None else "no date or timestamp column"
            self._find(
                "load-window",
                Severity.ERROR,
                str(mapping.source.name),
                f"there is {what} {window.column}",
                "leave the table out, or choose a date or timestamp column that every table has",
            )
        elif window.column not in mapping.target_names:
            self._find(
                "load-window",
                Severity.ERROR,
                str(mapping.source.name),
                f"{window.column} does not reach the target, where the window must be replaced",
                "keep the column",
            )

    # All tables

    def _of(self, target: str) -> list[TransformationRule]:
        return [r for r in self.rules.transformations if r.target == target]

    def _transformations(self, table: Table, target: str) -> list[TransformationRule]:
        return [r for r in self._of(target) if r.locator.matches(table.name)]

    def _collisions(self, mappings: list[TableMapping]) -> None:
        seen: dict[TableName, TableName] = {}
        for mapping in mappings:
            other = seen.setdefault(mapping.target, mapping.source.name)
            if other != mapping.source.name:
                self._find(
                    "name-collision",
                    Severity.ERROR,
                    str(mapping.target),
                    f"{other} and {mapping.source.name} would both become this table",
                    "rename one of them, or migrate them by two definitions into two schemas",
                )

    def _unused(self, catalog: Catalog, known: Collection[TableName]) -> None:
        silent = {"add-before-image-columns"}
        for rule in (
            *self.rules.selections,
            *self.rules.transformations,
            *self.rules.table_settings,
        ):
            of_views = isinstance(rule, SelectionRule) and not rule.of_tables
            other = isinstance(rule, TransformationRule) and (
                rule.action in silent or rule.target.endswith("tablespace")
            )
            if rule.rule_id not in self.used and not of_views and not other:
                self._find(
                    "rule-without-match",
                    Severity.WARNING,
                    rule.label,
                    "fits nothing that is migrated",
                    _near(rule, catalog),
                )
        patterns = self.definition.tables
        for pattern in (*patterns.include, *patterns.exclude) if patterns else ():
            if not any(map(table_pattern(pattern).matches, known)):
                self._find(
                    "rule-without-match",
                    Severity.WARNING,
                    f"tables: {pattern}",
                    "fits no table of the source",
                    "check schema and table name (case matters) and what the login may see",
                )

    def _find(
        self, code: str, severity: Severity, subject: str, reason: str, hint: str = ""
    ) -> None:
        self.findings.append(Finding(code, severity, subject, reason, hint))


def _only_schema(rule: TransformationRule, name: TableName) -> TableName:
    # A schema rule may carry a table-name ("%"); what it is about is the schema.
    return TableName(name.schema, name.name if rule.locator.table_name not in (None, "%") else "")


def _near(rule: Rule, catalog: Catalog) -> str:
    for table in catalog:
        lower = TableName(table.name.schema.lower(), table.name.name.lower())
        wanted = (rule.locator.schema_name.lower(), (rule.locator.table_name or "").lower())
        if tuple(lower) == wanted:
            return f"case matters: the table is called {table.name}"
    return "check its names (case matters), or remove it"

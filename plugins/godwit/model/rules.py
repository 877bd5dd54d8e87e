"""Table mappings: DMS's JSON rules, verbatim.

`read_rules` checks them; `godwit.model.resolve` applies them to a catalog. What a rule asks for and
cannot be done here is an error in the file or a finding (`RuleSet.findings`), never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from godwit.model.catalog import TableName
from godwit.model.checking import as_mapping, check
from godwit.model.problems import KeyPath, Problems, did_you_mean
from godwit.model.report import Finding, Severity
from godwit.model.rule_models import (
    OtherRule,
    Rule,
    SelectionRule,
    TableSettingsRule,
    TransformationRule,
)

RULE_TYPES: dict[str, type[Rule]] = {
    "selection": SelectionRule,
    "transformation": TransformationRule,
    "table-settings": TableSettingsRule,
    "validation": OtherRule,
    "post-processing": OtherRule,
}


@dataclass(frozen=True)
class RuleSet:
    """All rules of a definition, by kind in the order of their ids. `raw` is what was written."""

    raw: tuple[Mapping[str, Any], ...] = ()
    selections: tuple[SelectionRule, ...] = field(default=(), compare=False, repr=False)
    transformations: tuple[TransformationRule, ...] = field(default=(), compare=False, repr=False)
    table_settings: tuple[TableSettingsRule, ...] = field(default=(), compare=False, repr=False)
    others: tuple[OtherRule, ...] = field(default=(), compare=False, repr=False)

    def selects(self, table: TableName) -> bool:
        """Included or named explicitly, and not excluded; an exclude always wins."""
        matching = [r.action for r in self.selections if r.matches(table)]
        return bool(matching) and "exclude" not in matching

    def selecting(self, table: TableName) -> list[SelectionRule]:
        """The include and explicit rules that fit a table."""
        return [r for r in self.selections if r.action != "exclude" and r.matches(table)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as written."""
        return {"rules": [dict(r) for r in self.raw]}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What these rules ask for that has no effect here, and what takes its place."""
        return tuple(
            f
            for rule in (
                *self.selections,
                *self.transformations,
                *self.table_settings,
                *self.others,
            )
            if (f := _without_effect(rule))
        )


def _without_effect(rule: Rule) -> Finding | None:
    reason = hint = ""
    if isinstance(rule, OtherRule):
        reason, hint = _OTHER_EFFECTS[rule.rule_type]
    elif isinstance(rule, SelectionRule) and not rule.of_tables:
        reason = "views are converted with the schema; the rows they show are not copied"
        hint = "select the tables under the view"
    elif isinstance(rule, TransformationRule):
        if rule.target.endswith("tablespace"):
            reason, hint = (
                "tablespaces are not chosen here",
                "set the default tablespace of the target",
            )
        elif rule.action == "add-before-image-columns":
            reason = (
                "before-image columns are not added: a row on the target is the row on the source"
            )
            hint = "keep a history on the target with a trigger or a history table"
    elif isinstance(rule, TableSettingsRule):
        reason, hint = _table_settings_effect(rule)
    return (
        Finding("rule-without-effect", Severity.WARNING, rule.label, reason, hint)
        if reason
        else None
    )


def _table_settings_effect(rule: TableSettingsRule) -> tuple[str, str]:
    load, lobs = rule.parallel_load, rule.lob_settings
    if load and load.type not in ("ranges", "none"):
        return (
            f"parallel-load {load.type} is not needed: partitions are loaded leaf by leaf",
            "remove it",
        )
    if lobs and lobs.mode == "limited" and lobs.bulk_max_size:
        return "values are never truncated, whatever their size", "remove lob-settings"
    return "", ""


_OTHER_EFFECTS = {
    "validation": (
        "values are compared by their whole content; validation functions are not used",
        "filter or mask the column if both sides are meant to differ",
    ),
    "post-processing": (
        "tags are for files of an object store, which is not the target",
        "remove the rule",
    ),
}


def read_rules(value: Any, problems: Problems, path: KeyPath = ()) -> RuleSet:
    """Check ``{"rules": […]}``; problems are added to `problems`, and the good rules come back."""
    rules = value.get("rules") if isinstance(value, Mapping) else None
    if not isinstance(rules, list):
        problems.add(path, "must be DMS's table mappings", 'write {"rules": [ … ]}')
        return RuleSet()
    for key in as_mapping(value):
        if key != "rules":
            problems.unknown((*path, key), ["rules"])
    checked = [_read_rule(r, problems, (*path, "rules", n)) for n, r in enumerate(rules)]
    found = sorted((r for r in checked if r), key=lambda r: r.rule_id)
    _unique_ids(checked, problems, path)
    return RuleSet(
        tuple(r for r in rules if isinstance(r, Mapping)),
        _of(SelectionRule, found),
        _of(TransformationRule, found),
        _of(TableSettingsRule, found),
        _of(OtherRule, found),
    )


R = TypeVar("R", bound=Rule)


def _of(kind: type[R], rules: list[Rule]) -> tuple[R, ...]:
    return tuple(r for r in rules if isinstance(r, kind))


def _read_rule(value: Any, problems: Problems, path: KeyPath) -> Rule | None:
    kind = as_mapping(value).get("rule-type")
    if kind == "object-mapping":
        problems.add(
            (*path, "rule-type"), "object-mapping is for streaming targets", "remove the rule"
        )
    elif not isinstance(kind, str) or kind not in RULE_TYPES:
        reason = "is missing" if kind is None else f"unknown rule-type {kind!r}"
        problems.add((*path, "rule-type"), reason, did_you_mean(str(kind or ""), RULE_TYPES))
    else:
        return check(RULE_TYPES[kind], value, problems, path)
    return None


def _unique_ids(rules: list[Rule | None], problems: Problems, path: KeyPath) -> None:
    seen: dict[int, int] = {}
    for number, rule in enumerate(rules):
        if rule and rule.rule_id in seen:
            problems.add(
                (*path, "rules", number, "rule-id"),
                f"rule-id {rule.rule_id} is also that of rules[{seen[rule.rule_id]}]",
                "give every rule its own id: the lowest one wins where rules compete",
            )
        elif rule:
            seen[rule.rule_id] = number

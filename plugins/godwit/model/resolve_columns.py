"""Column rules applied to one table."""

from __future__ import annotations

from dataclasses import replace

from godwit.model.catalog import Column, Table, TableName
from godwit.model.datatypes import DataType, Kind
from godwit.model.dms_types import dms_names, logical
from godwit.model.expressions import parse_expression, problem_of
from godwit.model.mapping import ColumnMapping
from godwit.model.report import Finding, Severity
from godwit.model.rule_models import MASKING, RENAMING, TransformationRule, renamed
from godwit.model.wildcards import has_wildcard

_HASH_LENGTH = 64


class ColumnResolver:
    """Works out the target columns of one table.

    Args:
        table, target: the table and what it is called on the target.
        rules: column rules whose locator fits the table, lowest id first.
        findings: to be added to.
        used: ids of rules that had an effect; to be added to.
    """

    def __init__(
        self,
        table: Table,
        target: TableName,
        rules: list[TransformationRule],
        findings: list[Finding],
        used: set[int],
    ) -> None:
        self.table, self.target = table, target
        self.rules = rules
        self.findings, self.used = findings, used

    def resolve(self) -> tuple[ColumnMapping, ...]:
        """Kept columns in the order of the table, then added ones in the order of their rules."""
        listed = [r for r in self.rules if r.action == "include-column"]
        columns = []
        for column in self.table.columns:
            fitting = [r for r in self.rules if self._fits(r, column)]
            if column.generated is not None:
                self._generated(column, fitting)
            elif self._kept(fitting, only_listed=bool(listed)):
                columns.append(self._column(column, fitting))
        columns += [self._added(r, columns) for r in self.rules if r.action == "add-column"]
        self._collisions(columns)
        return tuple(columns)

    def _fits(self, rule: TransformationRule, column: Column) -> bool:
        if rule.action == "add-column" or not rule.locator.matches_column(column.name):
            return False
        return rule.locator.data_type is None or rule.locator.data_type in dms_names(column.type)

    def _kept(self, fitting: list[TransformationRule], *, only_listed: bool) -> bool:
        removing = [r for r in fitting if r.action == "remove-column"]
        including = [r for r in fitting if r.action == "include-column"]
        self.used.update(r.rule_id for r in (*removing, *including))
        if removing and including:
            return including[0].rule_id < removing[0].rule_id
        return not removing and (bool(including) or not only_listed)

    def _first(
        self, fitting: list[TransformationRule], actions: tuple[str, ...]
    ) -> TransformationRule | None:
        found = [r for r in fitting if r.action in actions]
        self.used.update(r.rule_id for r in found)
        for rule in found[1:]:
            if not has_wildcard(str(rule.locator)) and rule.locator.column_name is not None:
                self._find(
                    "rule-overruled",
                    Severity.WARNING,
                    rule.label,
                    f"{found[0].label} has the lower id and wins",
                    "give the rule that should win the lower rule-id, or remove one",
                )
        return found[0] if found else None

    def _column(self, column: Column, fitting: list[TransformationRule]) -> ColumnMapping:
        naming = self._first(fitting, RENAMING)
        typing = self._first(fitting, ("change-data-type",))
        masking = self._first(fitting, tuple(MASKING))
        name = renamed(naming, column.name) if naming else column.name
        if not name:
            self._find(
                "empty-name",
                Severity.ERROR,
                f"{self.table.name}.{column.name}",
                "a rule leaves the column without a name",
                "correct the rule that renames it",
            )
        changed = logical(typing.data_type) if typing and typing.data_type else None
        if changed == column.type:
            changed = None
        if typing and changed is not None:
            self._retyped(column, changed, typing)
        mapped = ColumnMapping(name, column.name, type=changed)
        return self._masked(mapped, changed or column.type, masking) if masking else mapped

    def _retyped(self, column: Column, to: DataType, rule: TransformationRule) -> None:
        reason = lossy(column.type, to)
        if reason:
            self._find(
                "narrower-type",
                Severity.WARNING,
                f"{self.table.name}.{column.name}",
                f"{rule.label}: {reason}",
                "a value that does not fit stops with an error; it is never cut",
            )

    def _masked(
        self, mapped: ColumnMapping, type_now: DataType, rule: TransformationRule
    ) -> ColumnMapping:
        mask = MASKING[rule.action]
        allowed = (
            {Kind.TEXT} if mask != "digits-randomize" else {Kind.TEXT, Kind.INTEGER, Kind.DECIMAL}
        )
        subject = f"{self.table.name}.{mapped.source or mapped.target}"
        if type_now.kind not in allowed:
            words = ", ".join(sorted(allowed))
            self._find(
                "mask-type",
                Severity.ERROR,
                subject,
                f"{mask} works on {words}, this is {type_now.kind}",
                "mask another way, remove the column, or change its data type first",
            )
            return mapped
        if mask == "digits-mask":
            mask = f"{mask}:{rule.value}"
        too_short = type_now.length is not None and type_now.length < _HASH_LENGTH
        if mask == "hash-mask" and (too_short or type_now.fixed):
            return replace(mapped, mask=mask, type=DataType(Kind.TEXT, length=_HASH_LENGTH))
        return replace(mapped, mask=mask)

    def _added(self, rule: TransformationRule, kept: list[ColumnMapping]) -> ColumnMapping:
        self.used.add(rule.rule_id)
        text, name = rule.expression or "", rule.value or ""
        expression = parse_expression(text)
        known = {c.name for c in self.table.columns}
        unknown = [c for c in expression.columns if c not in known]
        reason = ""
        if unknown and unknown[0].startswith("BI_") and unknown[0][3:] in known:
            reason = f"${unknown[0]}: before images are not available"
        elif unknown:
            reason = f"${unknown[0]}: {self.table.name} has no such column"
        else:
            reason = problem_of(text)
        if reason:
            self._find(
                "expression",
                Severity.ERROR,
                rule.label,
                f"the expression cannot be evaluated: {reason}",
                "write SQLite over $column of the source table",
            )
        self._added_warnings(rule, f"{self.table.name}: {name}")
        masks = [r for r in self.rules if r.action in MASKING and r.locator.column_name == name]
        mapped = ColumnMapping(
            name, expression=text, type=logical(rule.data_type) if rule.data_type else None
        )
        mask = self._first(masks, tuple(MASKING)) if name not in {c.source for c in kept} else None
        return self._masked(mapped, mapped.type or DataType(Kind.TEXT), mask) if mask else mapped

    def _added_warnings(self, rule: TransformationRule, subject: str) -> None:
        expression = parse_expression(rule.expression or "")
        if expression.marks_deletes:
            self._find(
                "soft-delete",
                Severity.WARNING,
                subject,
                "rows deleted on the source stay on the target, marked",
                "validation leaves marked rows out where the mark is the same for every row; a key "
                "used again overwrites the marked row",
            )
        elif expression.volatile:
            self._find(
                "volatile-expression",
                Severity.WARNING,
                subject,
                "the expression gives another value each time a row is written",
                "the column cannot be compared; use only columns of the row if it should",
            )

    def _generated(self, column: Column, fitting: list[TransformationRule]) -> None:
        for rule in fitting:
            touches = rule.action not in RENAMING or renamed(rule, column.name) != column.name
            if touches and rule.action != "include-column":
                self._find(
                    "generated-column",
                    Severity.WARNING,
                    f"{self.table.name}.{column.name}",
                    f"{rule.label} has no effect: the column is computed by the target itself",
                    "change its definition on the target",
                )
            self.used.add(rule.rule_id)

    def _collisions(self, columns: list[ColumnMapping]) -> None:
        seen: set[str] = set()
        for column in columns:
            if column.target in seen:
                self._find(
                    "name-collision",
                    Severity.ERROR,
                    f"{self.target}.{column.target}",
                    "two columns would have this name",
                    "rename one of them",
                )
            seen.add(column.target)

    def _find(self, code: str, severity: Severity, subject: str, reason: str, hint: str) -> None:
        self.findings.append(Finding(code, severity, subject, reason, hint))


def lossy(old: DataType, new: DataType) -> str:
    """How a value of `old` may not fit into `new`; "" when every one does."""
    if new.kind is Kind.TEXT:
        longer = new.length is not None and (
            old.kind is not Kind.TEXT or old.length is None or old.length > new.length
        )
        return f"text longer than {new.length} characters does not fit" if longer else ""
    if old.kind is new.kind is Kind.INTEGER:
        fits = new.bits > old.bits if old.unsigned != new.unsigned else new.bits >= old.bits
        fits = fits and not (new.unsigned and not old.unsigned)
        return "" if fits else "large or negative numbers may not fit"
    if old.kind is Kind.INTEGER and new.kind is Kind.DECIMAL:
        digits = (new.precision or 10**6) - (new.scale or 0)
        return (
            "" if digits >= {8: 3, 16: 5, 32: 10}.get(old.bits, 20) else "large numbers may not fit"
        )
    if old.kind is Kind.TIMESTAMP and new.kind is Kind.DATE:
        return "the time of day is dropped"
    if (
        old.kind is new.kind
        and _at_least(new.precision, old.precision)
        and _at_least(new.length, old.length)
    ):
        return "" if new.scale == old.scale and new.bits >= old.bits else "digits may not fit"
    return (
        f"not every {old.kind} is a {new.kind}"
        if old.kind is not new.kind
        else "values may not fit"
    )


def _at_least(new: int | None, old: int | None) -> bool:
    return new is None or (old is not None and new >= old)

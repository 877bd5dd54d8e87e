"""Values that the target cannot hold as they are: counted on the source, told as findings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from godwit.errors import EndpointError
from godwit.model.doubts import Test
from godwit.model.report import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from godwit.model.catalog import Catalog, TableName
    from godwit.model.doubts import Doubt
    from godwit.model.mapping import TableMapping
    from godwit.protocols import Source, Target

CODE = "doubt"

#: What is counted, with the doubt's limits.
_WORDS = {
    Test.NOT_FINITE: "not finite (NaN, infinity)",
    Test.INFINITE: "at infinity",
    Test.DIGITS: "with more than {0} digits before or {1} behind the point",
    Test.RANGE: "outside {0} to {1}",
    Test.YEARS: "outside the years {0} to {1}",
    Test.ZERO_DATE: "of the date 0000-00-00",
    Test.PARTIAL_DATE: "with a month or a day of zero",
    Test.NUL: "with the character U+0000",
    Test.LENGTH: "longer than {0}",
    Test.INVALID_TEXT: "not valid in the column's encoding",
    Test.EMPTY_LABEL: "of the empty label, which stands for a refused one",
    Test.DAY: "of 24 hours or more",
}


def doubted(
    source: Source, target: Target, catalog: Catalog, mappings: Sequence[TableMapping]
) -> list[Finding]:
    """A finding for each column with values that are lost, changed or refused on their way."""
    doubts = target.doubts(catalog, mappings)
    if not doubts:
        return []
    try:
        counts = source.count_doubts(doubts)
    except EndpointError as cause:
        reason = f"{len(doubts)} doubts were not counted: {cause.what}: {cause.why}"
        return [Finding(CODE, Severity.WARNING, cause.where, reason, cause.hint)]
    return [_finding(doubt, counts[doubt]) for doubt in doubts if counts.get(doubt)]


def _finding(doubt: Doubt, count: int) -> Finding:
    what = _WORDS[doubt.test].format(*doubt.limits)
    values = "1 value" if count == 1 else f"{count:,} values"
    severity = Severity.WARNING if doubt.lossy else Severity.ERROR
    reason = f"{values} {what}: {doubt.outcome}"
    return Finding(CODE, severity, f"{doubt.table}.{doubt.column}", reason, doubt.hint)


def with_empty_labels(
    source: Source, target: Target, catalog: Catalog, mappings: Sequence[TableMapping]
) -> tuple[tuple[TableMapping, ...], list[Finding]]:
    """The mappings with an empty label, the first, in enums whose columns hold it; where they do is
    a finding. Only the rows tell: it stands for values that a source once refused.
    """
    doubts = [d for d in target.doubts(catalog, mappings) if d.test is Test.EMPTY_LABEL]
    if not doubts:
        return tuple(mappings), []
    try:
        counts = source.count_doubts(doubts)
    except EndpointError as cause:
        reason = f"empty labels were not looked for: {cause.what}: {cause.why}"
        return tuple(mappings), [Finding(CODE, Severity.WARNING, cause.where, reason, cause.hint)]
    held = {(d.table, d.column): count for d, count in counts.items() if count}
    findings = [
        Finding(
            "enum-labels",
            Severity.INFO,
            f"{table}.{column}",
            f"{count:,} of its values are the empty label of refused ones: the target gets it too",
            "mend the rows on the source if the target shall not have that label",
        )
        for (table, column), count in held.items()
    ]
    return tuple(_labelled(m, held.keys()) for m in mappings), findings


def _labelled(mapping: TableMapping, held: Collection[tuple[TableName, str]]) -> TableMapping:
    table = mapping.source
    if not any((table.name, c.name) in held for c in table.columns):
        return mapping
    columns = tuple(
        replace(c, type=replace(c.type, labels=("", *c.type.labels)))
        if (table.name, c.name) in held
        else c
        for c in table.columns
    )
    return replace(mapping, source=replace(table, columns=columns))

"""What a migration would come to, without writing anything on either side."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from godwit.errors import EndpointError
from godwit.migrator.doubted import doubted, with_empty_labels
from godwit.migrator.outcome import Assessment, TableSize
from godwit.migrator.planning import grouped
from godwit.model.definition import resolve
from godwit.model.report import Finding, Severity
from godwit.protocols import SchemaPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from godwit.migrator.migration import Migrator
    from godwit.model.catalog import Catalog
    from godwit.model.mapping import TableMapping


def assess(migrator: Migrator) -> Assessment:
    """Findings of both endpoints, the mappings and the settings; the size of the work."""
    source, target = migrator.source, migrator.target
    catalog = migrator.catalog(objects=True)
    resolution = resolve(migrator.definition, catalog, migrator.names)
    fitted, names = target.fit(catalog, resolution.mappings)
    mappings, labels = with_empty_labels(source, target, catalog, fitted)
    schema = _schema(migrator, catalog, mappings)
    findings = [
        *resolution.findings,
        *names,
        *labels,
        *source.check(migrator.name, [m.source for m in mappings], capture=migrator.captures),
        *target.check(migrator.name, mappings),
        *schema.findings,
    ]
    # Counting and cutting read the tables: where something is wrong they would fail and hide the
    # findings.
    sound = all(f.severity != "error" for f in findings)
    if sound and migrator.loads:
        findings += doubted(source, target, catalog, mappings)
    for finding in findings:
        migrator.tell("finding", finding)
    bundles = migrator.plan(mappings) if migrator.loads and sound else []
    chunks = grouped(c for b in bundles for c in b.chunks)
    sizes = tuple(
        TableSize(
            table=str(m.source.name),
            target=str(m.target),
            rows=m.source.rows,
            bytes=m.source.bytes,
            chunks=len(chunks.get(m.source.name, ())),
            identity=m.source.identity,
            capture=m.source.capture,
        )
        for m in mappings
    )
    objects = Counter(step.kind for step in schema.steps)
    return Assessment(migrator.name, tuple(findings), sizes, dict(objects), len(bundles))


def _schema(migrator: Migrator, catalog: Catalog, mappings: Sequence[TableMapping]) -> SchemaPlan:
    """The DDL plan; a target that cannot even make one is a finding among the others."""
    try:
        return migrator.target.plan_schema(catalog, mappings)
    except EndpointError as cause:
        reason = f"{cause.what}: {cause.why}"
        finding = Finding("schema", Severity.ERROR, cause.where, reason, cause.hint)
        return SchemaPlan((), (finding,))

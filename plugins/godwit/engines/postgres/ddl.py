"""The DDL plan for a PostgreSQL target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import psycopg

from godwit.engines.postgres.catalog import ENGINE_NAME, Connection
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.ddl_foreign import converted, own_types
from godwit.engines.postgres.ddl_mapped import ForeignKeyRenaming, Mapped
from godwit.engines.postgres.ddl_run import parity, run_schema
from godwit.engines.postgres.ddl_schemas import settle_schemas
from godwit.engines.postgres.ddl_tables import defined_key, mapped_table
from godwit.engines.postgres.ddl_versions import refused
from godwit.engines.postgres.names import canonical, mentions, quoted
from godwit.engines.postgres.objects import PHASES
from godwit.engines.postgres.objects_graph import Unconverted
from godwit.engines.postgres.objects_keys import INVALID, IndexShape
from godwit.engines.postgres.objects_shapes import TableShape
from godwit.model.catalog import Catalog, NativeObject, TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity
from godwit.protocols import SchemaPlan, SchemaStep

__all__ = ["drop_tables", "parity", "plan_schema", "run_schema"]

#: Indexes of tables with more rows are built without a lock that the changes would wait for.
CONCURRENT_ROWS = 100_000
#: Kinds whose text may hold names in bodies or nested queries: not renamed, but reported.
_CODE = frozenset(
    {"view", "materialized view", "function", "procedure", "aggregate", "rule", "trigger"}
    | {"policy", "trigger state", "rule state"}
)
#: Act on rows that are written, unless the session's replication role keeps them still.
_ACTING = frozenset({"foreign key", "trigger", "rule"})
#: Not worth a warning when nobody brings them over.
_MINOR = frozenset({"cast", "operator", "operator class", "event trigger"})

Label = tuple[str, str, str]


def plan_schema(
    catalog: Catalog,
    mappings: Sequence[TableMapping],
    target_version: int,
    *,
    silent: bool = True,
) -> SchemaPlan:
    """DDL for PostgreSQL's own tables and their objects in dependency order.

    `target_version`: server_version_num of the target. Objects that the target cannot express, or
    that mention something with another name, are findings. `silent`: rows can be applied without
    firing triggers and foreign keys; otherwise those are made at cutover.
    """
    return _Planner(Mapped(catalog, mappings), target_version, silent).plan()


def plan_any_schema(
    connector: Connector, catalog: Catalog, mappings: Sequence[TableMapping]
) -> SchemaPlan:
    """`plan_schema` for this target; tables of another engine are made PostgreSQL's own first.

    Raises:
        EndpointError: the target lets no table of another engine be tried.
    """
    findings: list[Finding] = []
    if catalog.engine != ENGINE_NAME:
        catalog, mappings, findings = converted(connector, catalog, mappings)
    plan = plan_schema(catalog, mappings, connector.version, silent=connector.replica_role)
    return SchemaPlan(plan.steps, (*findings, *plan.findings))


def drop_tables(conn: Connection, mappings: Sequence[TableMapping]) -> list[str]:
    """Drop the mapped tables if they exist, and the enums made for them alone; returns what
    PostgreSQL says it dropped along with them (views and foreign keys that hang on them).
    """
    if not mappings:
        return []
    said: list[str] = []

    def note(notice: object) -> None:
        primary = getattr(notice, "message_primary", None) or ""
        said.extend(text for text in (primary, getattr(notice, "message_detail", None)) if text)

    names = ", ".join(quoted(*m.target) for m in mappings)
    conn.execute("SET client_min_messages = notice")
    conn.add_notice_handler(note)
    try:
        conn.execute(f"DROP TABLE IF EXISTS {names} CASCADE".encode())
        for name in own_types(mappings):
            # Something else uses it: then it stays.
            with suppress(psycopg.errors.DependentObjectsStillExist):
                conn.execute(f"DROP TYPE IF EXISTS {quoted(*name)}".encode())
    finally:
        conn.remove_notice_handler(note)
    return [line for text in said for line in text.split("\n") if line.startswith("drop cascades")]


@dataclass
class _Planner:
    """Turns native objects into steps under the names and shapes of the mappings."""

    mapped: Mapped
    version: int
    silent: bool
    findings: list[Finding] = field(default_factory=list)

    def plan(self) -> SchemaPlan:
        """Steps of every object, then ANALYZE of every table."""
        made: list[tuple[NativeObject, NativeObject]] = []
        left_out: set[Label] = set()
        for thing in self.mapped.catalog.objects:
            if not self._selected(thing):
                continue
            new = self._convert(thing, left_out)
            if new is None:
                left_out.add((thing.kind, thing.schema, thing.name))
            else:
                made.append((thing, new))
        labels = {(old.kind, old.schema, old.name): new.label for old, new in made}
        steps = settle_schemas(made, [self._step(old, new, labels) for old, new in made])
        steps = self._held_back(steps)
        steps += [defined_key(m) for m in self.mapped.mappings if self.mapped.lacks_key(m)]
        steps += [_analyze(m) for m in self.mapped.mappings]
        steps.sort(key=lambda s: PHASES.index(s.phase))
        return SchemaPlan(tuple(steps), tuple(self.findings))

    def _selected(self, thing: NativeObject) -> bool:
        """Not what hangs on a table that isn't mapped (views are no tables here)."""
        mapped = self.mapped
        unmapped = thing.table in mapped.shapes and thing.table not in mapped.root
        return isinstance(thing, TableShape) or not unmapped

    def _finding(
        self, thing: NativeObject, code: str, reason: str, hint: str = "", *, minor: bool = False
    ) -> None:
        severity = Severity.INFO if minor else Severity.WARNING
        self.findings.append(Finding(code, severity, thing.label, reason, hint))

    def _convert(self, thing: NativeObject, left_out: set[Label]) -> NativeObject | None:
        """The object as the target shall have it; None = a finding was written instead."""
        if isinstance(thing, Unconverted):
            minor = thing.kind in _MINOR
            self._finding(thing, "object-not-converted", thing.reason, thing.hint, minor=minor)
            return None
        lost = sorted(f"{k} {s}.{n}" for k, s, n in left_out.intersection(thing.depends))
        if lost:
            reason = f"it needs {', '.join(lost)}, which is not brought over"
            self._finding(thing, "object-not-converted", reason, minor=thing.kind == "comment")
            return None
        if isinstance(thing, TableShape):
            return self._table(thing)
        if reason := refused(thing, self.version):
            self._finding(thing, "target-version", reason, "make a replacement on the target")
            return None
        if thing.kind in _CODE and (names := self.mapped.uses_changed(thing)):
            reason = f"it uses {', '.join(names)}, which has another name or shape on the target"
            hint = "make it on the target by hand, with the new names"
            self._finding(thing, "mentions-renamed", reason, hint)
            return None
        return self._renamed(thing)

    def _table(self, shape: TableShape) -> TableShape | None:
        if TableName(shape.schema, shape.name) not in self.mapped.root:
            self._finding(shape, "object-not-converted", "the table is not mapped", minor=True)
            return None
        table, notes = mapped_table(shape, self.mapped, self.version)
        for code, reason in notes:
            self._finding(shape, code, reason)
        return table

    def _renamed(self, thing: NativeObject) -> NativeObject | None:
        removed = self.mapped.removed(thing.table)
        if removed and (gone := mentions("; ".join(thing.statements), removed.__contains__)):
            reason = f"it uses column {', '.join(sorted(gone))}, which is not on the target"
            self._finding(thing, "uses-removed-column", reason)
            return None
        renaming = self.mapped.renaming(thing.table)
        phase = self.mapped.phase(thing)
        if not renaming.relations and not renaming.columns:
            return replace(thing, phase=phase)
        change = self._foreign_key(thing) if thing.kind == "foreign key" else renaming.apply
        schema, name = self.mapped.label(thing, renaming)
        text = thing.definition
        return replace(
            thing,
            schema=schema,
            name=name,
            phase=phase,
            statements=tuple(change(s) for s in thing.statements),
            definition=text if thing.kind == "comment" else canonical(change(text)),
        )

    def _foreign_key(self, thing: NativeObject) -> ForeignKeyRenaming:
        referenced = [TableName(s, n) for k, s, n in thing.depends if k == "table"]
        other = next((t for t in referenced if t != thing.table), thing.table)
        return ForeignKeyRenaming(self.mapped.renaming(thing.table), self.mapped.renaming(other))

    def _held_back(self, steps: Sequence[SchemaStep]) -> list[SchemaStep]:
        """With `silent` off, what acts on applied rows waits for the cutover, and what needs it."""
        if self.silent:
            return list(steps)
        late: set[str] = set()
        out = []
        for step in steps:
            label = f"{step.kind} {step.name}"
            waits = step.kind in _ACTING or bool(late.intersection(step.depends))
            if waits:
                late.add(label)
            out.append(replace(step, phase="late") if waits else step)
        return out

    def _step(
        self, old: NativeObject, new: NativeObject, labels: Mapping[Label, str]
    ) -> SchemaStep:
        relations = self.mapped.relations
        statements = new.statements
        concurrent = (
            isinstance(old, IndexShape)
            and old.kind == "index"
            and new.phase == "post"
            and not old.partitioned
            and self._rows(old.table) > CONCURRENT_ROWS
        )
        if concurrent:
            first = statements[0].replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
            statements = (first, *statements[1:])
        return SchemaStep(
            kind=new.kind,
            name=f"{new.schema}.{new.name}" if new.schema else new.name,
            phase=new.phase,
            statements=statements,
            table=relations.get(old.table, old.table) if old.table else None,
            definition=new.definition.removesuffix(INVALID),
            depends=tuple(labels[d] for d in old.depends if d in labels),
            concurrent=concurrent,
        )

    def _rows(self, table: TableName | None) -> int:
        mapping = self.mapped.mapping(table)
        if mapping is None:
            return 0
        return next((p.rows for p in mapping.source.parts if p.name == table), mapping.source.rows)


def _analyze(mapping: TableMapping) -> SchemaStep:
    statement = f"ANALYZE {quoted(*mapping.target)}"
    depends = (f"table {mapping.target}",)
    return SchemaStep(
        "analyze", str(mapping.target), "post", (statement,), mapping.target, "", depends
    )

"""The DDL plan for a PostgreSQL target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from godwit.engines.postgres.catalog import ENGINE_NAME, Connection
from godwit.engines.postgres.ddl_generic import added_column, generic_steps
from godwit.engines.postgres.ddl_versions import fit_column, refused
from godwit.engines.postgres.names import Renaming, canonical, mentions, quoted
from godwit.engines.postgres.objects import PHASES
from godwit.engines.postgres.objects_graph import Unconverted
from godwit.engines.postgres.objects_keys import INVALID, IndexShape
from godwit.engines.postgres.objects_tables import ColumnShape, TableShape
from godwit.model.catalog import Catalog, NativeObject, TableName
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import Finding, Severity
from godwit.protocols import SchemaPlan, SchemaStep

#: Indexes of tables with more rows are built without a lock that the changes would wait for.
CONCURRENT_ROWS = 100_000
#: Kinds whose text may hold names in bodies or nested queries: not renamed, but reported.
_CODE = frozenset(
    {"view", "materialized view", "function", "procedure", "aggregate", "rule", "trigger"}
    | {"policy", "trigger state", "rule state"}
)
_ROUTINES = frozenset({"function", "procedure"})
#: Not worth a warning when nobody brings them over.
_MINOR = frozenset({"cast", "operator", "operator class", "event trigger"})


def plan_schema(
    catalog: Catalog, mappings: Sequence[TableMapping], target_version: int
) -> SchemaPlan:
    """DDL for the mapped tables and their objects in dependency order.

    `target_version`: server_version_num of the target. Objects that the target cannot express, or
    that mention something with another name, are findings.
    """
    if catalog.engine != ENGINE_NAME:
        return generic_steps(mappings)
    return _Planner(catalog, mappings, target_version).plan()


def drop_tables(conn: Connection, mappings: Sequence[TableMapping]) -> list[str]:
    """Drop the mapped tables if they exist; returns what PostgreSQL dropped along with them
    (views and foreign keys that hang on them)."""
    if not mappings:
        return []
    dropped: list[str] = []

    def note(notice: object) -> None:
        dropped.append(str(getattr(notice, "message_primary", "")))

    names = ", ".join(quoted(*m.target) for m in mappings)
    conn.add_notice_handler(note)
    try:
        conn.execute(f"DROP TABLE IF EXISTS {names} CASCADE".encode())
    finally:
        conn.remove_notice_handler(note)
    return [text for text in dropped if "cascades" in text]


@dataclass
class _Planner:
    """Turns native objects into steps under the names and shapes of the mappings."""

    catalog: Catalog
    mappings: Sequence[TableMapping]
    version: int
    findings: list[Finding] = field(default_factory=list)

    def plan(self) -> SchemaPlan:
        """Steps of every object, then ANALYZE of every table."""
        objects = [o for o in self.catalog.objects if self._selected(o)]
        made: list[tuple[NativeObject, NativeObject]] = []
        left_out: set[tuple[str, str, str]] = set()
        for thing in objects:
            new = self._convert(thing, left_out)
            if new is None:
                left_out.add((thing.kind, thing.schema, thing.name))
            else:
                made.append((thing, new))
        labels = {(old.kind, old.schema, old.name): new.label for old, new in made}
        steps = [self._step(old, new, labels) for old, new in made]
        steps += self._defined_keys()
        steps += [_analyze(m) for m in self.mappings]
        steps.sort(key=lambda s: PHASES.index(s.phase))
        return SchemaPlan(tuple(steps), tuple(self.findings))

    def _selected(self, thing: NativeObject) -> bool:
        return thing.table is None or thing.table in self._root or thing.kind in _CODE | {"comment"}

    @cached_property
    def _by_source(self) -> dict[TableName, TableMapping]:
        return {m.source.name: m for m in self.mappings}

    @cached_property
    def _root(self) -> dict[TableName, TableName]:
        """The mapped table that a table or partition belongs to."""
        roots: dict[TableName, TableName] = {}
        for thing in self.catalog.objects:
            if isinstance(thing, TableShape) and thing.root in self._by_source:
                roots[TableName(thing.schema, thing.name)] = thing.root
        return roots

    @cached_property
    def _relations(self) -> dict[TableName, TableName]:
        """New names of tables; partitions and sequences follow their table into its schema."""
        new: dict[TableName, TableName] = {}
        for thing in self.catalog.objects:
            if not isinstance(thing, TableShape):
                continue
            name = TableName(thing.schema, thing.name)
            mapping = self._by_source.get(self._root.get(name, name))
            if mapping is None or not mapping.renamed:
                continue
            moved = mapping.target.schema != mapping.source.name.schema
            new[name] = mapping.target
            if name != mapping.source.name:
                new[name] = TableName(mapping.target.schema if moved else name.schema, name.name)
            followers = [s for s, _ in thing.owned]
            followers += [c.sequence_name for c in thing.columns if c.sequence_name]
            if moved:
                new |= {s: TableName(new[name].schema, s.name) for s in followers}
        return new

    @cached_property
    def _changed(self) -> dict[TableName, set[str]]:
        """Tables that have another name or shape, with columns that are gone under their name."""
        changed: dict[TableName, set[str]] = {}
        for mapping in self.mappings:
            kept = {c.source for c in mapping.columns if c.source == c.target and c.plain}
            gone = {c.name for c in mapping.source.stored_columns} - {k for k in kept if k}
            if gone or mapping.target != mapping.source.name:
                changed[mapping.source.name] = gone
        return {t: changed[root] for t, root in self._root.items() if root in changed}

    def _renaming(self, table: TableName | None) -> Renaming:
        mapping = self._by_source.get(self._root.get(table, table)) if table else None
        names = mapping.target_names if mapping else {}
        columns = {old: new for old, new in names.items() if old != new}
        return Renaming(self._relations, columns)

    def _dropped(self, table: TableName | None) -> set[str]:
        mapping = self._by_source.get(self._root.get(table, table)) if table else None
        if mapping is None:
            return set()
        return {c.name for c in mapping.source.stored_columns} - set(mapping.target_names)

    def _finding(
        self, thing: NativeObject, code: str, reason: str, hint: str = "", *, minor: bool = False
    ) -> None:
        severity = Severity.INFO if minor else Severity.WARNING
        self.findings.append(Finding(code, severity, thing.label, reason, hint))

    def _convert(
        self, thing: NativeObject, left_out: set[tuple[str, str, str]]
    ) -> NativeObject | None:
        """The object as the target shall have it; None = a finding was written instead."""
        if isinstance(thing, Unconverted):
            minor = thing.kind in _MINOR
            self._finding(thing, "object-not-converted", thing.reason, thing.hint, minor=minor)
            return None
        lost = sorted(f"{k} {s}.{n}" for k, s, n in left_out.intersection(thing.depends))
        if lost:
            reason = f"it needs {', '.join(lost)}, which is not brought over"
            self._finding(thing, "object-not-converted", reason)
            return None
        if isinstance(thing, TableShape):
            return self._table(thing)
        if reason := refused(thing, self.version):
            self._finding(thing, "target-version", reason, "make a replacement on the target")
            return None
        if thing.kind in _CODE and (names := self._mentioned(thing)):
            reason = f"it uses {', '.join(names)}, which has another name or shape on the target"
            hint = "make it on the target by hand, with the new names"
            self._finding(thing, "mentions-renamed", reason, hint)
            return None
        return self._renamed(thing)

    def _mentioned(self, thing: NativeObject) -> list[str]:
        """Changed tables that a view, routine, trigger … uses, by pg_depend or in its body."""
        found = {t for t in self._changed if thing.table == t}
        found |= {TableName(s, n) for k, s, n in thing.depends if k == "table"} & set(self._changed)
        if thing.kind in _ROUTINES:
            old = {t.name: t for t in self._changed}
            text = " ".join(thing.statements)
            found |= {old[name] for name in mentions(text, old.__contains__)}
        return sorted(str(t) for t in found)

    def _renamed(self, thing: NativeObject) -> NativeObject | None:
        dropped = self._dropped(thing.table)
        if dropped and (gone := mentions("; ".join(thing.statements), dropped.__contains__)):
            reason = f"it uses column {', '.join(sorted(gone))}, which is not on the target"
            self._finding(thing, "uses-removed-column", reason)
            return None
        renaming = self._renaming(thing.table)
        phase = self._phase(thing)
        if not renaming.relations and not renaming.columns:
            return replace(thing, phase=phase)
        change = self._foreign_key(thing) if thing.kind == "foreign key" else renaming.apply
        statements = tuple(change(s) for s in thing.statements)
        schema, name = self._new_label(thing, renaming)
        return replace(
            thing,
            schema=schema,
            name=name,
            phase=phase,
            statements=statements,
            definition=canonical(change(thing.definition)) if thing.kind != "comment" else thing.definition,
        )

    def _foreign_key(self, thing: NativeObject) -> "_ForeignKey":
        referenced = [TableName(s, n) for k, s, n in thing.depends if k == "table"]
        other = next((t for t in referenced if t != thing.table), thing.table)
        return _ForeignKey(self._renaming(thing.table), self._renaming(other))

    def _new_label(self, thing: NativeObject, renaming: Renaming) -> tuple[str, str]:
        if thing.kind == "comment":
            return thing.schema, canonical(renaming.apply(thing.name))
        own = renaming.relations.get(TableName(thing.schema, thing.name))
        if own and thing.kind in {"sequence", "row security", "forced row security"} | {"replica identity"}:
            return own
        if thing.table is None:
            return thing.schema, thing.name
        new = renaming.relation(thing.table)
        rest = thing.name.removeprefix(thing.table.name)
        if rest.startswith(".") and rest != thing.name:
            return new.schema, f"{new.name}{rest}"
        # An index lives in its table's schema; extended statistics have one of their own.
        return (new.schema if thing.kind == "index" else thing.schema), thing.name

    def _phase(self, thing: NativeObject) -> str:
        """Row identities are made before catch-up, other unique keys after it: while changes are
        being replayed over rows of different ages, other keys may be violated for a moment."""
        if not isinstance(thing, IndexShape) or thing.table is None:
            return thing.phase
        mapping = self._by_source.get(self._root.get(thing.table, thing.table))
        if mapping is None:
            return thing.phase
        if not mapping.identity:
            return "key" if thing.kind == "primary key" else "post"
        chosen = self._identity_keys.get(mapping.source.name)
        return "key" if chosen is not None and _index_name(thing) == chosen else "post"

    @cached_property
    def _identity_keys(self) -> dict[TableName, TableName]:
        """By mapped table: the root's key or unique index over its row identity."""
        found: dict[TableName, TableName] = {}
        for thing in self.catalog.objects:
            if not isinstance(thing, IndexShape) or thing.table not in self._by_source:
                continue
            mapping = self._by_source[thing.table]
            columns = [mapping.target_names.get(c or "", "") for c in thing.columns]
            usable = thing.unique and thing.immediate and not thing.partial
            if usable and sorted(columns) == sorted(mapping.identity):
                found.setdefault(mapping.source.name, _index_name(thing))
        return found

    def _defined_keys(self) -> list[SchemaStep]:
        """Row identities that the mapping defines and the source has no key for."""
        steps = []
        for mapping in self.mappings:
            if not mapping.identity or mapping.source.name in self._identity_keys:
                continue
            has_primary = any(k.primary for k in mapping.source.keys)
            kind = "UNIQUE" if has_primary else "PRIMARY KEY"
            columns = ", ".join(quoted(c) for c in mapping.identity)
            name = f"{mapping.target.name[:50]}_identity"
            text = f"ALTER TABLE {quoted(*mapping.target)} ADD CONSTRAINT {quoted(name)} {kind} ({columns})"
            label = "unique constraint" if has_primary else "primary key"
            steps.append(
                SchemaStep(
                    label,
                    f"{mapping.target.schema}.{mapping.target.name}.{name}",
                    "key",
                    (text,),
                    mapping.target,
                    canonical(text),
                    (f"table {mapping.target}",),
                )
            )
        return steps

    def _table(self, shape: TableShape) -> TableShape | None:
        root = self._root.get(TableName(shape.schema, shape.name))
        if root is None:
            self._finding(shape, "object-not-converted", "the table is not mapped", minor=True)
            return None
        mapping = self._by_source[root]
        columns: list[ColumnShape] = []
        own = {c.name: c for c in shape.columns}
        placed = self._in_order(shape, mapping)
        renaming = self._renaming(root)
        for source, target in placed:
            if source is None and target is not None:
                columns.append(added_column(target))
            elif source is not None:
                columns += self._column(shape, own[source], target, renaming)
        names = {c.name for c in columns}
        if self._dropped(root) and shape.partition_by:
            gone = mentions(shape.partition_by, self._dropped(root).__contains__)
            if gone:
                reason = f"its partition key uses {', '.join(gone)}, which is not on the target"
                self._finding(shape, "uses-removed-column", reason)
                return None
        kept = replace(
            shape,
            columns=tuple(columns),
            partition_by=renaming.apply(shape.partition_by),
            owned=tuple(
                (s, renaming.columns.get(c, c))
                for s, c in shape.owned
                if renaming.columns.get(c, c) in names
            ),
        )
        return kept.rendered(renaming)

    def _in_order(
        self, shape: TableShape, mapping: TableMapping
    ) -> Iterable[tuple[str | None, ColumnMapping | None]]:
        """The table's columns in their own order with what becomes of them, then added ones."""
        by_source = {c.source: c for c in mapping.columns if c.source is not None}
        for column in shape.columns:
            if column.name in by_source:
                yield column.name, by_source[column.name]
            elif column.generated:
                yield column.name, None
        for added in mapping.columns:
            if added.source is None or added.source not in {c.name for c in shape.columns}:
                yield None, added

    def _column(
        self,
        shape: TableShape,
        column: ColumnShape,
        target: ColumnMapping | None,
        renaming: Renaming,
    ) -> list[ColumnShape]:
        if column.generated:
            gone = mentions(column.expression or "", self._dropped(shape.root).__contains__)
            if gone:
                reason = f"column {column.name} is computed from {', '.join(gone)}, which is not on the target"
                self._finding(shape, "uses-removed-column", reason)
                return []
        new = replace(
            column,
            name=target.target if target else column.name,
            expression=renaming.apply(column.expression) if column.expression else column.expression,
            sequence_name=renaming.relation(column.sequence_name) if column.sequence_name else None,
        )
        if target and target.type:
            new = retyped(new, target)
        fitted, notes = fit_column(new, self.version, partitioned=bool(shape.partition_by))
        for note in notes:
            self._finding(shape, "target-version", f"column {column.name}: {note}")
        return [fitted]

    def _step(
        self, old: NativeObject, new: NativeObject, labels: Mapping[tuple[str, str, str], str]
    ) -> SchemaStep:
        table = self._relations.get(old.table, old.table) if old.table else None
        concurrent = (
            isinstance(old, IndexShape)
            and old.kind == "index"
            and new.phase == "post"
            and not old.partitioned
            and self._rows(old.table) > CONCURRENT_ROWS
        )
        statements = new.statements
        if concurrent:
            first = statements[0].replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
            statements = (first, *statements[1:])
        return SchemaStep(
            kind=new.kind,
            name=f"{new.schema}.{new.name}" if new.schema else new.name,
            phase=new.phase,
            statements=statements,
            table=table,
            definition=new.definition.removesuffix(INVALID),
            depends=tuple(labels[d] for d in old.depends if d in labels),
            concurrent=concurrent,
        )

    def _rows(self, table: TableName | None) -> int:
        if table is None or table not in self._root:
            return 0
        source = self._by_source[self._root[table]].source
        return next((p.rows for p in source.parts if p.name == table), source.rows)


@dataclass(frozen=True)
class _ForeignKey:
    """Renames a foreign key: its own columns before REFERENCES, the other table's after."""

    own: Renaming
    other: Renaming

    def __call__(self, text: str) -> str:
        left, word, right = text.partition(" REFERENCES ")
        return self.own.apply(left) + word + (self.other.apply(right) if word else "")


def _index_name(thing: IndexShape) -> TableName:
    """The root index's name, as `IndexShape.root_index` writes it."""
    if thing.root_index:
        return thing.root_index
    table = thing.table.name if thing.table else ""
    name = thing.name if thing.kind != "index" else f"{table}.{thing.name}"
    return TableName(thing.schema, name)


def retyped(column: ColumnShape, target: ColumnMapping) -> ColumnShape:
    """The column under the mapping's data type; a default of the old type is not kept."""
    shape = added_column(target)
    return replace(
        column, type=shape.type, collation=None, expression=None, storage="", compression=""
    )


def _analyze(mapping: TableMapping) -> SchemaStep:
    statement = f"ANALYZE {quoted(*mapping.target)}"
    depends = (f"table {mapping.target}",)
    return SchemaStep(
        "analyze", str(mapping.target), "post", (statement,), mapping.target, "", depends
    )

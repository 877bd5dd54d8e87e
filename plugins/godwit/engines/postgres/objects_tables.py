"""Tables, sequences, keys, constraints and indexes as native objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

from godwit.engines.postgres.catalog import Connection, Row, fetch
from godwit.engines.postgres.names import Renaming, canonical, literal, quoted
from godwit.engines.postgres.objects_graph import Objects, Selection, Unconverted
from godwit.model.catalog import NativeObject, TableName

COMPRESSION_SINCE = 140000
NULLS_NOT_DISTINCT_SINCE = 150000
STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
COMPRESSION = {"p": "pglz", "l": "lz4"}
SEQUENCE_DEFAULT_CACHE = 1


@dataclass(frozen=True)
class ColumnShape:
    """A column as DDL sees it. `expression` is the default, or what a generated column computes."""

    name: str
    type: str
    nullable: bool = True
    collation: tuple[str, str] | None = None
    expression: str | None = None
    generated: str = ""
    identity: str = ""
    sequence: str = ""
    sequence_name: TableName | None = None
    storage: str = ""
    compression: str = ""
    statistics: int | None = None
    options: str = ""

    def line(self) -> str:
        """The column's line in CREATE TABLE."""
        words = [quoted(self.name), self.type]
        if self.collation:
            words.append(f"COLLATE {quoted(*self.collation)}")
        if self.compression:
            words.append(f"COMPRESSION {self.compression}")
        if self.generated:
            how = "STORED" if self.generated == "s" else "VIRTUAL"
            words.append(f"GENERATED ALWAYS AS ({self.expression}) {how}")
        elif self.identity:
            when = "ALWAYS" if self.identity == "a" else "BY DEFAULT"
            name = f"SEQUENCE NAME {quoted(*self.sequence_name)} " if self.sequence_name else ""
            words.append(f"GENERATED {when} AS IDENTITY ({name}{self.sequence})")
        elif self.expression is not None:
            words.append(f"DEFAULT {self.expression}")
        if not self.nullable:
            words.append("NOT NULL")
        return " ".join(words)

    def settings(self) -> list[str]:
        """Actions of ALTER TABLE for what CREATE TABLE of older versions cannot say."""
        prefix = f"ALTER COLUMN {quoted(self.name)}"
        actions = []
        if self.storage:
            actions.append(f"{prefix} SET STORAGE {self.storage}")
        if self.statistics is not None:
            actions.append(f"{prefix} SET STATISTICS {self.statistics}")
        if self.options:
            actions.append(f"{prefix} SET ({self.options})")
        return actions


@dataclass(frozen=True)
class TableShape(NativeObject):
    """A table with its parts kept apart, so that names, columns and types can be changed."""

    columns: tuple[ColumnShape, ...] = ()
    partition_by: str = ""
    bound: str = ""
    parents: tuple[TableName, ...] = ()
    options: str = ""
    unlogged: bool = False
    method: str = ""
    #: Sequences owned by a column: `(sequence, column)`.
    owned: tuple[tuple[TableName, str], ...] = ()
    #: The table that is selected by mappings: itself, or the root above a partition.
    root: TableName | None = None

    def rendered(self, renaming: Renaming | None = None) -> TableShape:
        """The same table with its statements and canonical definition written out."""
        new = renaming or Renaming()
        name = new.relation(TableName(self.schema, self.name))
        target = quoted(*name)
        create = self._create(target)
        statements = [create]
        actions = [a for c in self.columns for a in c.settings()]
        if actions:
            statements.append(f"ALTER TABLE {target} {', '.join(actions)}")
        for parent in self.parents:
            above = quoted(*new.relation(parent))
            statements.append(
                f"ALTER TABLE {above} ATTACH PARTITION {target} {self.bound}"
                if self.bound
                else f"ALTER TABLE {target} INHERIT {above}"
            )
        for sequence, column in self.owned:
            owner = quoted(*new.relation(sequence))
            statements.append(f"ALTER SEQUENCE {owner} OWNED BY {target}.{quoted(column)}")
        return replace(
            self,
            schema=name.schema,
            name=name.name,
            statements=tuple(statements),
            definition=canonical("; ".join(statements)),
        )

    def _create(self, target: str) -> str:
        lines = ",".join(f"\n    {c.line()}" for c in self.columns)
        text = f"CREATE {'UNLOGGED ' if self.unlogged else ''}TABLE {target} ({lines}\n)"
        if self.partition_by:
            text += f" PARTITION BY {self.partition_by}"
        if self.method:
            text += f" USING {quoted(self.method)}"
        if self.options:
            text += f" WITH ({self.options})"
        return text


_TREE: LiteralString = """
WITH RECURSIVE tree(root, oid) AS (
  SELECT r.oid, r.oid FROM unnest(%(oids)s::oid[]) AS r(oid)
  UNION
  SELECT t.root, i.inhrelid FROM tree t
  JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p'
  JOIN pg_inherits i ON i.inhparent = t.oid)
SELECT root::bigint AS root, oid::bigint AS oid FROM tree
"""

_TABLES: LiteralString = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relpersistence = 'u' AS unlogged, c.relispartition AS partition,
       array_to_string(c.reloptions, E'\\n') AS options,
       array_to_string(t.reloptions, E'\\n') AS toast_options,
       CASE WHEN m.amname <> 'heap' THEN m.amname END AS method,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_by,
       pg_get_expr(c.relpartbound, c.oid) AS bound
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_am m ON m.oid = c.relam
WHERE c.oid = ANY(%(oids)s::oid[])
ORDER BY 2, 3
"""

_PARENTS: LiteralString = """
SELECT i.inhrelid::bigint AS child, i.inhparent::bigint AS oid, n.nspname AS schema, c.relname AS name
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhrelid = ANY(%(oids)s::oid[]) ORDER BY i.inhrelid, i.inhseqno
"""

_COLUMNS: LiteralString = """
SELECT a.attrelid::bigint AS relation, a.attname AS name, a.attnum AS number,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull OR n.conname IS NOT NULL AS nullable,
       CASE WHEN a.attcollation <> t.typcollation THEN l.collname END AS collation,
       ln.nspname AS collation_schema, pg_get_expr(d.adbin, d.adrelid) AS expression,
       a.attgenerated::text AS generated, a.attidentity::text AS identity,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS statistics,
       array_to_string(a.attoptions, ', ') AS options,
       to_jsonb(a) ->> 'attcompression' AS compression
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
LEFT JOIN pg_constraint n ON n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
  AND n.conkey[1] = a.attnum
WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_SEQUENCES: LiteralString = """
SELECT c.oid::bigint AS oid, c.relnamespace::bigint AS namespace, n.nspname AS schema,
       c.relname AS name, format_type(s.seqtypid, NULL) AS type, s.seqstart AS start,
       s.seqincrement AS increment, s.seqmax AS maximum, s.seqmin AS minimum, s.seqcache AS cache,
       s.seqcycle AS cycle, d.refobjid::bigint AS owner, d.refobjsubid AS number,
       d.deptype::text AS owned, c.relpersistence = 'u' AS unlogged
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
WHERE c.relpersistence <> 't'
ORDER BY n.nspname, c.relname
"""


def partition_tree(conn: Connection, relations: Sequence[int]) -> dict[int, int]:
    """Every table of these tables' partition trees, and the root above it."""
    return {row["oid"]: row["root"] for row in fetch(conn, _TREE, oids=list(relations))}


def read_tables(conn: Connection, selection: Selection, objects: Objects) -> None:
    """Tables with their partitions, and sequences."""
    roots = partition_tree(conn, sorted(selection.relations))
    oids = list(roots)
    columns: dict[int, list[Row]] = defaultdict(list)
    for row in fetch(conn, _COLUMNS, oids=oids):
        columns[row["relation"]].append(row)
    parents: dict[int, list[Row]] = defaultdict(list)
    for row in fetch(conn, _PARENTS, oids=oids):
        parents[row["child"]].append(row)
    sequences = fetch(conn, _SEQUENCES)
    owned: dict[int, list[Row]] = defaultdict(list)
    for row in sequences:
        if row["owner"]:
            owned[row["owner"]].append(row)
    tables = {row["oid"]: row for row in fetch(conn, _TABLES, oids=oids)}
    _read_sequences(sequences, selection, roots, objects)
    for oid, row in tables.items():
        if row["kind"] not in {"r", "p"}:
            _foreign_partition(row, objects)
            continue
        above = tables[roots[oid]]
        shape = _shape(row, columns[oid], parents[oid], owned[oid])
        shape = replace(shape, root=TableName(above["schema"], above["name"])).rendered()
        needs = [("pg_class", p["oid"]) for p in parents[oid]]
        needs += [("pg_class", s["oid"]) for s in owned[oid] if s["owned"] == "a"]
        objects.add(("pg_class", oid), shape, *needs)


def _foreign_partition(row: Row, objects: Objects) -> None:
    objects.add(
        ("pg_class", row["oid"]),
        _unconverted("foreign table", row, "a foreign table holds no rows of its own"),
    )


def _unconverted(kind: str, row: Row, reason: str) -> NativeObject:
    hint = "make it on the target by hand, or load the remote server's table itself"
    return Unconverted(kind, row["schema"], row["name"], (), "pre", reason=reason, hint=hint)


def _shape(
    row: Row, columns: Sequence[Row], parents: Sequence[Row], owned: Sequence[Row]
) -> TableShape:
    names = {c["number"]: c["name"] for c in columns}
    identities = {s["number"]: s for s in owned if s["owned"] == "i"}
    return TableShape(
        kind="table",
        schema=row["schema"],
        name=row["name"],
        statements=(),
        phase="pre",
        table=TableName(row["schema"], row["name"]),
        columns=tuple(
            _column(c, identities.get(c["number"]), partition=row["partition"]) for c in columns
        ),
        partition_by=row["partition_by"] or "",
        bound=row["bound"] or "",
        parents=tuple(TableName(p["schema"], p["name"]) for p in parents),
        options=_options(row["options"], row["toast_options"]),
        unlogged=row["unlogged"],
        method=row["method"] or "",
        owned=tuple(
            (TableName(s["schema"], s["name"]), names[s["number"]])
            for s in owned
            if s["owned"] == "a"
        ),
    )


def _options(own: str | None, toast: str | None) -> str:
    lines = [*(own or "").split("\n"), *(f"toast.{o}" for o in (toast or "").split("\n") if o)]
    pairs = (line.split("=", 1) for line in lines if line)
    return ", ".join(f"{name}={literal(value)}" for name, value in pairs)


def _column(row: Row, identity: Row | None, *, partition: bool) -> ColumnShape:
    # Since 17 partitions have their root's identity; attaching gives it to them.
    kind = "" if partition else row["identity"]
    return ColumnShape(
        name=row["name"],
        type=row["type"],
        nullable=row["nullable"],
        collation=(row["collation_schema"], row["collation"]) if row["collation"] else None,
        expression=row["expression"],
        generated=row["generated"],
        identity=kind,
        sequence=_sequence_options(identity, typed=False) if kind and identity else "",
        sequence_name=TableName(identity["schema"], identity["name"])
        if kind and identity
        else None,
        storage=STORAGE.get(row["storage"] or "", ""),
        compression=COMPRESSION.get(row["compression"] or "", ""),
        statistics=row["statistics"],
        options=row["options"] or "",
    )


def _sequence_options(row: Row, *, typed: bool = True) -> str:
    words = [f"AS {row['type']}"] if typed else []
    words += [f"START WITH {row['start']}", f"INCREMENT BY {row['increment']}"]
    words += [f"MINVALUE {row['minimum']}", f"MAXVALUE {row['maximum']}"]
    if row["cache"] != SEQUENCE_DEFAULT_CACHE:
        words.append(f"CACHE {row['cache']}")
    if row["cycle"]:
        words.append("CYCLE")
    return " ".join(words)


def _read_sequences(
    rows: Iterable[Row], selection: Selection, roots: dict[int, int], objects: Objects
) -> None:
    for row in rows:
        key = ("pg_class", row["oid"])
        if row["owned"] == "i":
            objects.alias[key] = ("pg_class", row["owner"])
            continue
        chosen = row["owner"] in roots
        free = not row["owner"] and row["namespace"] in selection.schemas
        name = quoted(row["schema"], row["name"])
        options = _sequence_options(row)
        unlogged = "UNLOGGED " if row["unlogged"] else ""
        statement = f"CREATE {unlogged}SEQUENCE {name} {options}"
        objects.add(
            key,
            NativeObject(
                "sequence",
                row["schema"],
                row["name"],
                (statement,),
                "pre",
                definition=canonical(statement),
            ),
            on_demand=not (chosen or free),
        )

"""The state of sequences: read from the source, carried to the target at cutover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

import psycopg
from psycopg import sql

from godwit.engines.postgres.connection import Connector, Session
from godwit.errors import EndpointError
from godwit.model.catalog import Table, TableName
from godwit.model.mapping import TableMapping
from godwit.protocols import SequenceValue

#: Sequences that feed a column of the tables (owned, identity, or in a default), and those that
#: feed nothing and lie in the tables' schemas. One line per fed column.
_SEQUENCES = """
WITH wanted AS (
  SELECT c.oid, n.nspname, c.relname FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w(s, t)
  JOIN pg_namespace n ON n.nspname = w.s
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t),
fed AS (
  SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS attnum FROM pg_depend d
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
  WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.deptype = 'n')
SELECT n.nspname, c.relname, s.seqincrement, w.nspname, w.relname, a.attname
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN fed f ON f.sequence = c.oid
LEFT JOIN wanted w ON w.oid = f.relation
LEFT JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = f.attnum
WHERE c.relpersistence <> 't'
  AND (w.oid IS NOT NULL OR (f.sequence IS NULL AND n.nspname = ANY(%(schemas)s)
       AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                       AND e.objid = c.oid AND e.deptype = 'e')))
ORDER BY 1, 2, 4, 5, 6
"""


def read_sequences(connector: Connector, tables: Sequence[Table]) -> tuple[SequenceValue, ...]:
    """Counters that belong to these tables or stand alone in their schemas.

    A sequence that feeds several columns comes once for each of them.

    Raises:
        EndpointError: the login may not read one.
    """
    try:
        return _read(connector, tables)
    except psycopg.Error as cause:
        raise EndpointError(
            "the source's sequences cannot be read",
            where=connector.where,
            why=cause.diag.message_primary or type(cause).__name__,
            hint="GRANT SELECT ON ALL SEQUENCES IN SCHEMA … to the source's login",
        ) from None


def _read(connector: Connector, tables: Sequence[Table]) -> tuple[SequenceValue, ...]:
    with connector.connect() as session:
        found = session.execute(
            _SEQUENCES.encode(),
            {"schemas": [t.name.schema for t in tables], "names": [t.name.name for t in tables]},
        ).fetchall()
        values = []
        for (schema, name), lines in groupby(found, key=lambda line: (line[0], line[1])):
            state = _state(session, TableName(schema, name))
            for _, _, increment, *fed in lines:
                column = (TableName(fed[0], fed[1]), fed[2]) if fed[2] is not None else None
                values.append(SequenceValue(TableName(schema, name), *state, increment, column))
        return tuple(values)


def _state(session: Session, name: TableName) -> tuple[int, bool]:
    row = session.execute(
        sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(*name))
    ).fetchone()
    if row is None:
        raise AssertionError("a sequence has one row")
    return row[0], row[1]


@dataclass(frozen=True)
class _Counter:
    """A sequence of the target."""

    name: TableName
    low: int
    high: int
    cycles: bool


def advance_sequences(
    connector: Connector, values: Sequence[SequenceValue], mappings: Sequence[TableMapping]
) -> list[str]:
    """Set the target's sequences to the source's state and past the largest value present.

    A sequence never moves back. One that cycles gets the source's state alone: there the largest
    value present says nothing. Returns what was set, as ``schema.name = value``.
    """
    by_source = {m.source.name: m for m in mappings}
    lines: list[str] = []
    with connector.connect(role="target") as session:
        grouped: dict[TableName, tuple[_Counter, list[SequenceValue]]] = {}
        for value in values:
            counter = _counter(session, value, by_source)
            if counter is not None:
                grouped.setdefault(counter.name, (counter, []))[1].append(value)
        for counter, fed in grouped.values():
            wanted = _wanted(session, counter, fed, by_source)
            present = _state(session, counter.name)
            up = fed[0].increment > 0
            if _ahead(wanted, present, up=up):
                session.execute(
                    "SELECT setval(%s::regclass, %s, %s)",
                    [sql.Identifier(*counter.name).as_string(session), *wanted],
                )
                lines.append(f"{counter.name} = {wanted[0]}")
    return lines


def _ahead(wanted: tuple[int, bool], present: tuple[int, bool], *, up: bool) -> bool:
    """`wanted` hands out later values than `present`."""
    if wanted[0] != present[0]:
        return (wanted[0] > present[0]) is up
    return wanted[1] and not present[1]


def _wanted(
    session: Session,
    counter: _Counter,
    fed: Sequence[SequenceValue],
    by_source: Mapping[TableName, TableMapping],
) -> tuple[int, bool]:
    up = fed[0].increment > 0
    wanted = (min(max(fed[0].last, counter.low), counter.high), fed[0].called)
    if counter.cycles:
        return wanted
    for table, column in _fed_columns(fed, by_source):
        extreme = _extreme(session, table, column, up=up)
        # A value that the sequence can't reach was put in by hand.
        if extreme is not None and counter.low <= extreme <= counter.high:
            reached = (extreme, True)
            if _ahead(reached, wanted, up=up):
                wanted = reached
    return wanted


def _fed_columns(
    fed: Sequence[SequenceValue], by_source: Mapping[TableName, TableMapping]
) -> Iterator[tuple[TableName, str]]:
    for value in fed:
        if value.column is not None:
            mapping = by_source.get(value.column[0])
            name = mapping.target_names.get(value.column[1]) if mapping else None
            if mapping is not None and name is not None:
                yield mapping.target, name


def _extreme(session: Session, table: TableName, column: str, *, up: bool) -> int | None:
    """The largest (smallest) value of a column of whole numbers; None for others and for empty
    tables.
    """
    # A counter of 64 bits without a sign feeds a numeric column.
    kind = session.execute(
        "SELECT a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype,"
        " 'numeric'::regtype)"
        " FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attname = %s",
        [sql.Identifier(*table).as_string(session), column],
    ).fetchone()
    if kind is None or not kind[0]:
        return None
    row = session.execute(
        sql.SQL("SELECT {}({}) FROM {}").format(
            sql.SQL("max" if up else "min"), sql.Identifier(column), sql.Identifier(*table)
        )
    ).fetchone()
    value = Decimal(row[0]) if row and row[0] is not None else None
    return int(value) if value is not None and value.is_finite() else None


def _counter(
    session: Session, value: SequenceValue, by_source: Mapping[TableName, TableMapping]
) -> _Counter | None:
    """The target's sequence for this one: the one that the column owns there, else by its name."""
    owned = None
    for table, column in _fed_columns([value], by_source):
        row = session.execute(
            "SELECT to_regclass(pg_get_serial_sequence(t, c))::oid FROM (VALUES (%s, %s)) v(t, c)"
            " WHERE EXISTS (SELECT FROM pg_attribute"
            " WHERE attrelid = to_regclass(t) AND attname = c)",
            [sql.Identifier(*table).as_string(session), column],
        ).fetchone()
        owned = row[0] if row else None
    schemas = {m.source.name.schema: m.target.schema for m in by_source.values()}
    names = {
        TableName(schemas.get(value.name.schema, value.name.schema), value.name.name),
        value.name,
    }
    found = session.execute(
        "SELECT n.nspname, c.relname, s.seqmin, s.seqmax, s.seqcycle FROM pg_sequence s"
        " JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.oid = %(owned)s::oid OR (%(owned)s::oid IS NULL AND (n.nspname, c.relname) IN"
        " (SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[])))"
        " ORDER BY n.nspname = %(own)s LIMIT 1",
        {
            "owned": owned,
            "schemas": [name.schema for name in names],
            "names": [name.name for name in names],
            "own": value.name.schema,
        },
    ).fetchone()
    if found is None:
        return None
    schema, name, low, high, cycles = found
    return _Counter(TableName(schema, name), low, high, cycles)

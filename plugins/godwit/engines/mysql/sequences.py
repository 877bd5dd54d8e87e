"""The state of counters: AUTO_INCREMENT of tables, and MariaDB's sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pymysql

from godwit.engines.mysql.connection import Connector, Session
from godwit.engines.mysql.names import quoted
from godwit.errors import EndpointError
from godwit.model.catalog import Table, TableName
from godwit.model.mapping import TableMapping
from godwit.protocols import SequenceValue

SEQUENCES_SINCE = (10, 3, 0)
_BIGGEST = 2**64 - 1


def read_sequences(connector: Connector, tables: Sequence[Table]) -> tuple[SequenceValue, ...]:
    """Counters of these tables, and sequences in their databases.

    A table's counter bears the table's name. `last` is what was handed out last.

    Raises:
        EndpointError: the login may not read one.
    """
    found = []
    try:
        with connector.lease("source") as session:
            for table in tables:
                found += _counter_of(session, table)
            if connector.version.since(mariadb=SEQUENCES_SINCE):
                for schema in sorted({table.name.schema for table in tables}):
                    found += _sequences(session, schema)
    except pymysql.MySQLError as cause:
        raise EndpointError(
            "the source's counters cannot be read",
            where=connector.where,
            why=f"the source answers with error {cause.args[0]}",
            hint="GRANT SELECT ON the databases to the source's login",
        ) from None
    return tuple(found)


def _counter_of(session: Session, table: Table) -> list[SequenceValue]:
    column = next((c.name for c in table.columns if c.identity), None)
    if column is None:
        return []
    following = session.value(
        "SELECT AUTO_INCREMENT FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        tuple(table.name),
    )
    # Without statistics of its own the server shows none for a table never used.
    following = max(int(following or 1), (_largest(session, table.name, column) or 0) + 1)
    called = following > 1
    last = following - 1 if called else 1
    return [SequenceValue(table.name, last, called, 1, (table.name, column))]


def _sequences(session: Session, schema: str) -> list[SequenceValue]:
    names = session.rows(
        "SELECT TABLE_NAME FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'SEQUENCE' ORDER BY 1",
        (schema,),
    )
    values = []
    for (name,) in names:
        # The first value that is in nobody's cache: sessions may have taken all before it.
        row = session.row(
            f"SELECT next_not_cached_value, start_value, increment FROM {quoted(schema, name)}"
        )
        if row is None:
            continue
        following, start, increment = (int(v) for v in row)
        called = following != start
        last = following - increment if called else following
        values.append(SequenceValue(TableName(schema, name), last, called, increment))
    return values


def _largest(session: Session, table: TableName, column: str) -> int | None:
    """The largest value of a counted column; at the end of an index, so quick."""
    largest = session.value(f"SELECT MAX({quoted(column)}) FROM {quoted(*table)}")
    return None if largest is None else int(largest)


def advance_sequences(
    connector: Connector, values: Sequence[SequenceValue], mappings: Sequence[TableMapping]
) -> list[str]:
    """Set the target's counters to the source's state and past the largest value present.

    Counters of another engine come as they are: a value that feeds a column sets the
    AUTO_INCREMENT of that column's table, one that stands alone sets MariaDB's sequence of that
    name, if there is one. A counter never moves back. Returns what was set, as ``name = value``.
    """
    lines: list[str] = []
    with connector.connect(role="target") as session:
        fed = {v.column: v for v in values if v.column is not None}
        for mapping in mappings:
            lines += _advance_table(session, mapping, fed)
        if connector.version.since(mariadb=SEQUENCES_SINCE):
            schemas = {m.source.name.schema: m.target.schema for m in mappings}
            for value in values:
                if value.column is None:
                    lines += _advance_sequence(session, value, schemas)
    return lines


def _advance_table(
    session: Session,
    mapping: TableMapping,
    fed: Mapping[tuple[TableName, str], SequenceValue],
) -> list[str]:
    table = mapping.target
    row = session.row(
        "SELECT c.COLUMN_NAME, t.AUTO_INCREMENT FROM information_schema.COLUMNS c"
        " JOIN information_schema.TABLES t USING (TABLE_SCHEMA, TABLE_NAME)"
        " WHERE c.TABLE_SCHEMA = %s AND c.TABLE_NAME = %s AND c.EXTRA LIKE '%%auto_increment%%'",
        tuple(table),
    )
    if row is None:
        return []
    column, present = str(row[0]), int(row[1] or 1)
    wanted = (_largest(session, table, column) or 0) + 1
    source = {target: name for name, target in mapping.target_names.items()}.get(column)
    value = fed.get((mapping.source.name, source)) if source else None
    if value is not None and value.increment > 0:
        wanted = max(wanted, value.last + (1 if value.called else 0))
    wanted = min(max(wanted, 1), _BIGGEST)
    if wanted <= present:
        return []
    # The server itself stops at the largest value of the column's type.
    session.run(f"ALTER TABLE {quoted(*table)} AUTO_INCREMENT = {wanted:d}")
    return [f"{table} = {wanted}"]


def _advance_sequence(
    session: Session, value: SequenceValue, schemas: Mapping[str, str]
) -> list[str]:
    name = TableName(schemas.get(value.name.schema, value.name.schema), value.name.name)
    there = session.value(
        "SELECT COUNT(*) FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND TABLE_TYPE = 'SEQUENCE'",
        tuple(name),
    )
    if not there:
        return []
    # SETVAL answers NULL when that would move the sequence back.
    used = 1 if value.called else 0
    done = session.value(f"SELECT SETVAL({quoted(*name)}, {value.last:d}, {used:d})")
    return [f"{name} = {value.last}"] if done is not None else []

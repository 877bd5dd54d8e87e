"""Tables tried on the server, in temporary ones: what it refuses is left out and told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pymysql

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.ddl_flavours import split_default
from godwit.engines.mysql.ddl_steps import Findings
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import ColumnLine, KeyLine, TableShape
from godwit.model.catalog import TableName

_NAME = "godwit_trial"
_HINT = "make a replacement on the target by hand"
#: A temporary table of InnoDB has none of these.
_UNTRIED = frozenset({"FULLTEXT KEY", "SPATIAL KEY", "VECTOR KEY"})
#: Not for anybody's tables.
_CLOSED = ("information_schema", "performance_schema", "sys", "mysql")


def tried(session: Session, shapes: Sequence[TableShape], findings: Findings) -> list[TableShape]:
    """The tables without what the server refuses. Nothing is tried where no database is there to
    make a temporary table in.
    """
    database = _database(session, {s.schema for s in shapes})
    if database is None:
        return list(shapes)
    with suppress(pymysql.MySQLError):
        session.run("SET SESSION innodb_strict_mode = 0")
    return [_tried(session, TableName(database, _NAME), shape, findings) for shape in shapes]


def _database(session: Session, wanted: set[str]) -> str | None:
    there = [str(row[0]) for row in session.rows("SHOW DATABASES")]
    own = [d for d in there if d in wanted]
    others = [d for d in there if d not in wanted and d.lower() not in _CLOSED]
    for database in (*own, *others, *(d for d in there if d == "mysql")):
        name = quoted(database, _NAME)
        with suppress(pymysql.MySQLError):
            session.run(f"CREATE TEMPORARY TABLE {name} (a int) ENGINE=InnoDB")
            session.run(f"DROP TEMPORARY TABLE {name}")
            return database
    return None


def _tried(session: Session, place: TableName, shape: TableShape, findings: Findings) -> TableShape:
    if _makes(session, place, shape):
        return shape
    bare = replace(
        shape, checks=(), columns=tuple(_bare(c) for c in shape.columns if not _computed(c))
    )
    bare = replace(bare, keys=tuple(k for k in shape.keys if k.name in shape.inline))
    if _makes(session, place, bare, drop=False):
        shape = _piece_by_piece(session, place, shape, findings)
    _drop(session, place)
    return shape


def _makes(session: Session, place: TableName, shape: TableShape, *, drop: bool = True) -> bool:
    """Whether the server makes such a table, with its indexes."""
    shape = replace(shape, schema=place.schema)
    _drop(session, place)
    keys = [k for k in shape.keys if k.name not in shape.inline and k.word not in _UNTRIED]
    try:
        session.run(shape.create(temporary=place.name))
        if keys:
            added = ", ".join(f"ADD {k.sql()}" for k in keys)
            session.run(f"ALTER TABLE {quoted(*place)} {added}")
    except pymysql.MySQLError:
        return False
    finally:
        if drop:
            _drop(session, place)
    return True


def _drop(session: Session, place: TableName) -> None:
    with suppress(pymysql.MySQLError):
        session.run(f"DROP TEMPORARY TABLE IF EXISTS {quoted(*place)}")


def _piece_by_piece(
    session: Session, place: TableName, shape: TableShape, findings: Findings
) -> TableShape:
    table = quoted(*place)

    def takes(code: str, what: str, change: str) -> bool:
        try:
            session.run(f"ALTER TABLE {table} {change}")
        except pymysql.MySQLError as cause:
            reason = f"the target refuses it: {cause.args[-1]}"
            findings.warn(code, f"{what} of {shape.full_name}", reason, _HINT)
            return False
        return True

    columns = []
    for column in shape.columns:
        if _computed(column):
            if takes("column-left-out", f"column {column.name}", f"ADD COLUMN {column.sql()}"):
                columns.append(column)
            continue
        bare = _bare(column)
        what = f"the default of column {column.name}"
        if bare == column or takes("default-left-out", what, f"MODIFY COLUMN {column.sql()}"):
            columns.append(column)
        else:
            columns.append(bare)
    checks = [
        c for c in shape.checks if takes("check-left-out", f"check {c.name}", f"ADD {c.sql()}")
    ]
    made = {c.name for c in columns}
    keys = []
    for key in shape.keys:
        untried = key.name in shape.inline or key.word in _UNTRIED
        what = f"index {key.name}"
        if untried or (_over(key, made) and takes("index-left-out", what, f"ADD {key.sql()}")):
            keys.append(key)
    return replace(shape, columns=tuple(columns), checks=tuple(checks), keys=tuple(keys))


def _over(key: KeyLine, columns: set[str]) -> bool:
    return all(not c or c in columns for c in key.columns)


def _computed(column: ColumnLine) -> bool:
    return " GENERATED ALWAYS AS " in column.text


def _bare(column: ColumnLine) -> ColumnLine:
    """The column without a default that is more than NULL or the time."""
    head, default, tail = split_default(column.text)
    if default is None or default.upper() == "NULL":
        return column
    return ColumnLine(column.name, head + tail)

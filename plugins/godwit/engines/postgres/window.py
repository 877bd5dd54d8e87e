"""Replacing the rows of a window, for scheduled loads."""

from __future__ import annotations

from psycopg import sql

from godwit.engines.postgres.clear import fenced, without_heirs
from godwit.engines.postgres.connection import Connector
from godwit.engines.postgres.read import identifier
from godwit.engines.postgres.write import column_types, write_rows
from godwit.failpoints import failpoint
from godwit.model.catalog import TableName
from godwit.model.mapping import TableMapping
from godwit.protocols import Epoch, RowStream


def replace_window(
    connector: Connector,
    mapping: TableMapping,
    column: str,
    lower: str,
    upper: str,
    rows: RowStream,
    epoch: Epoch,
) -> int:
    """Replace the rows of a window in one commit; see `Target.replace_window`."""
    where = f"{mapping.target} {column} [{lower}, {upper})"
    columns = rows.columns if rows.format.columnar else tuple(c.target for c in mapping.columns)
    target = identifier(mapping.target)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    staged = TableName("pg_temp", "godwit_window")
    with fenced(connector, epoch, where) as session:
        kind = column_types(session, mapping.target)[column]
        only = without_heirs(session, mapping.target)
        session.execute(
            sql.SQL(
                "CREATE TEMP TABLE godwit_window ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0"
            ).format(names, target)
        )
        count, _size = write_rows(session, mapping, staged, rows, connector.settings)
        session.execute(
            sql.SQL("DELETE FROM {} WHERE {} >= {}::{type} AND {} < {}::{type}").format(
                only,
                sql.Identifier(column),
                sql.Literal(lower),
                sql.Identifier(column),
                sql.Literal(upper),
                type=sql.SQL(kind),
            )
        )
        if mapping.identity:
            same = (
                sql.SQL("t.{0} = w.{0}").format(sql.Identifier(name)) for name in mapping.identity
            )
            session.execute(
                sql.SQL("DELETE FROM {} t USING pg_temp.godwit_window w WHERE {}").format(
                    only, sql.SQL(" AND ").join(same)
                )
            )
        session.execute(
            sql.SQL(
                "INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE"
                " SELECT {names} FROM pg_temp.godwit_window"
            ).format(target, names=names)
        )
        failpoint("window.before_commit")
    failpoint("window.after_commit")
    return count

"""Replacing the rows of a window, for scheduled loads."""

from __future__ import annotations

from godwit.engines.mysql.apply_sql import TableSql
from godwit.engines.mysql.clear import refusing
from godwit.engines.mysql.connection import Connector
from godwit.engines.mysql.control import check_epoch, run, transaction
from godwit.engines.mysql.facts import read_facts
from godwit.engines.mysql.names import parameterless, quoted
from godwit.engines.mysql.write import copy_rows
from godwit.errors import LoadError
from godwit.failpoints import failpoint
from godwit.model.mapping import TableMapping
from godwit.protocols import Epoch, RowStream

_STAGE = "godwit_window"
_NUMBERS = ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal")
_MOMENTS = ("datetime", "timestamp")


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
    with refusing(where), connector.lease("target") as session:
        facts = read_facts(session, mapping.target, mapping.identity)
        if facts is None:
            raise LoadError("there is no such table", where=where, hint="convert the schema again")
        statements = TableSql(mapping.target, rows.columns, mapping.identity, _STAGE, facts)
        # Before the transaction: older servers with GTIDs make no temporary table inside one.
        session.run(statements.drop_stage)
        session.run(statements.create_stage)
        with transaction(session):
            count, _size = copy_rows(session, connector, mapping, statements.stage, rows)
            name = parameterless(quoted(column))
            native = facts.column(column).native
            bound = _bound(native)
            run(
                session,
                f"DELETE FROM {parameterless(quoted(*mapping.target))}"
                f" WHERE {name} >= {bound} AND {name} < {bound}",
                [_value(native, lower), _value(native, upper)],
            )
            if mapping.identity:
                session.run(statements.delete)
            session.run(statements.insert)
            check_epoch(session, epoch)
            failpoint("window.before_commit")
        failpoint("window.after_commit")
        session.run(statements.drop_stage)
    return count


def _bound(native: str) -> str:
    """A bound as a value of the column's kind: numbers as text would be compared as doubles."""
    return "CAST(%s AS DECIMAL(65, 20))" if native.lower().startswith(_NUMBERS) else "%s"


def _value(native: str, text: str) -> str:
    """Sessions are in UTC; a zone behind a moment isn't known everywhere."""
    if native.lower().startswith(_MOMENTS):
        return text.removesuffix("+00:00").removesuffix("+00")
    return text

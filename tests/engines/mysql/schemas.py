"""What the schema tests share: reading catalogs, plain mappings, running whole plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from godwit.engines.mysql import ddl
from godwit.engines.mysql.catalog import read_catalog
from godwit.engines.mysql.connection import Connector
from godwit.model.catalog import Catalog, Table, TableName
from godwit.model.endpoint import connection_from_text
from godwit.model.mapping import ColumnMapping, TableMapping
from godwit.model.report import ObjectParity
from godwit.protocols import SchemaPlan
from include.demo.mysql_servers import MySqlDatabase

PHASES = ("pre", "key", "post", "late")


def connector_of(database: MySqlDatabase, **settings: Any) -> Connector:
    return Connector(connection_from_text("endpoint", database.conn_uri), settings)


def catalog_of(
    database: MySqlDatabase,
    *,
    objects: bool = False,
    wanted: Callable[[TableName], bool] = lambda _: True,
) -> Catalog:
    connector = connector_of(database)
    with connector.connect(role="source") as session:
        return read_catalog(session, connector.version, wanted, objects, [database.name])


def table_of(database: MySqlDatabase, name: str) -> Table:
    return catalog_of(database).table(TableName(database.name, name))


def mapped(catalog: Catalog | Sequence[Table], schema: str) -> list[TableMapping]:
    """Every table as it is, into that database."""
    return [
        TableMapping(
            table,
            TableName(schema, table.name.name),
            tuple(ColumnMapping(c.name, c.name) for c in table.stored_columns),
            identity=table.identity,
        )
        for table in catalog
    ]


def planned(
    database: MySqlDatabase,
    catalog: Catalog,
    mappings: Sequence[TableMapping],
    **settings: Any,
) -> SchemaPlan:
    """The plan, with what is translated tried on the server."""
    connector = connector_of(database, **settings)
    with connector.connect(role="target") as session:
        return ddl.plan_schema(catalog, mappings, connector.version, settings, session)


def run(
    database: MySqlDatabase, plan: SchemaPlan, phases: Sequence[str] = PHASES
) -> list[ObjectParity]:
    connector = connector_of(database)
    try:
        return [
            outcome
            for phase in phases
            for outcome in ddl.run_schema(connector, plan.phase(phase), parallel=2)
        ]
    finally:
        connector.close()


def compared(database: MySqlDatabase, plan: SchemaPlan) -> dict[str, ObjectParity]:
    connector = connector_of(database)
    with connector.connect(role="target") as session:
        return {f"{o.kind} {o.name}": o for o in ddl.parity(session, plan)}


def codes(plan: SchemaPlan) -> list[str]:
    return sorted(f.code for f in plan.findings)

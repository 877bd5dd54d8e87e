"""The DDL plan for a MySQL or MariaDB target, and what else concerns the tables made there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from godwit.engines.mysql.catalog import ENGINE_NAME
from godwit.engines.mysql.connection import Session, Version
from godwit.engines.mysql.ddl_fit import fit
from godwit.engines.mysql.ddl_foreign import ForeignPlan
from godwit.engines.mysql.ddl_native import NativePlan
from godwit.engines.mysql.ddl_run import parity, run_schema
from godwit.engines.mysql.doubts_target import doubts
from godwit.engines.mysql.names import quoted
from godwit.model.catalog import Catalog
from godwit.model.mapping import TableMapping
from godwit.protocols import SchemaPlan

__all__ = ["doubts", "drop_tables", "fit", "parity", "plan_schema", "run_schema"]


def plan_schema(
    catalog: Catalog,
    mappings: Sequence[TableMapping],
    version: Version,
    settings: Mapping[str, Any] | None = None,
    session: Session | None = None,
) -> SchemaPlan:
    """DDL for the mapped tables and their objects in dependency order.

    A catalog of this engine must have been read with its objects: they are kept as they are. Tables
    of another engine are made from logical types. What cannot be brought over is a finding.
    `session`: of the target; what was put in other words is tried there, in temporary tables.
    """
    chosen = settings or {}
    if catalog.engine == ENGINE_NAME:
        return NativePlan(catalog, mappings, version, chosen, session).plan()
    return ForeignPlan(catalog, mappings, version, chosen, session).plan()


def drop_tables(session: Session, mappings: Sequence[TableMapping]) -> list[str]:
    """Drop the mapped tables if they exist. Nothing else goes with them: foreign keys of other
    tables stay, and views on them are invalid until the tables are there again.
    """
    if not mappings:
        return []
    session.run("SET SESSION foreign_key_checks = 0")
    databases = {str(row[0]) for row in session.rows("SHOW DATABASES")}
    there = [m for m in mappings if m.target.schema in databases]
    if there:
        names = ", ".join(quoted(*m.target) for m in there)
        session.run(f"DROP TABLE IF EXISTS {names}")
    return []

"""One Airflow asset per target table, so that other DAGs can be scheduled on a migration.

Explicit table names give static outlets. Patterns are known only at run time: their tables arrive
through the migration's asset alias ``godwit.<migration>``, which always exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Asset, AssetAlias

    from godwit.migrator import Migrator
    from godwit.model.catalog import TableName


def asset_uri(conn_id: str, table: TableName) -> str:
    """``godwit://<target connection>/<schema>/<table>``."""
    return f"godwit://{conn_id}/{quote(table.schema, safe='')}/{quote(table.name, safe='')}"


def table_asset(conn_id: str, table: TableName) -> Asset:
    """The asset of a target table; name and URI are the same."""
    from airflow.sdk import Asset

    uri = asset_uri(conn_id, table)
    return Asset(name=uri, uri=uri)


def migration_alias(migration: str) -> AssetAlias:
    """The alias through which every table of a migration arrives."""
    from airflow.sdk import AssetAlias

    return AssetAlias(name=f"godwit.{migration}")


def announce(context: Mapping[str, Any], migrator: Migrator) -> None:
    """Tell Airflow that the migration's target tables were written."""
    conn_id = migrator.definition.target.conn_id
    events = context["outlet_events"]
    static = {getattr(outlet, "uri", None) for outlet in context["task"].outlets}
    for mapping in migrator.mappings:
        extra = {"migration": migrator.name, "source": str(mapping.source.name)}
        asset = table_asset(conn_id, mapping.target)
        if asset.uri in static:
            events[asset].extra.update(extra)
        else:
            events[migration_alias(migrator.name)].add(asset, extra=extra)

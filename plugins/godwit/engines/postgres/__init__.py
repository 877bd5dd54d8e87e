"""PostgreSQL as source and target. The driver is imported when an endpoint is first made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from godwit.protocols import Abilities

if TYPE_CHECKING:
    from godwit.model.endpoint import Connection
    from godwit.protocols import Engine, Source, Target


class PostgresEngine:
    """The product; see `godwit.protocols.Engine`."""

    name = "postgres"
    title = "PostgreSQL"
    connection_types: tuple[str, ...] = ("postgres", "postgresql")
    abilities = Abilities()

    def source(self, connection: Connection, settings: Mapping[str, Any]) -> Source:
        """A source endpoint. Connects lazily."""
        from godwit.engines.postgres.source import PostgresSource

        return PostgresSource(connection, settings)

    def target(self, connection: Connection, settings: Mapping[str, Any]) -> Target:
        """A target endpoint. Connects lazily."""
        from godwit.engines.postgres.target import PostgresTarget

        return PostgresTarget(connection, settings)


ENGINE: Engine = PostgresEngine()

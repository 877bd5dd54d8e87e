"""MySQL and MariaDB as source and target. The driver is imported when an endpoint is first made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from godwit.protocols import Abilities

if TYPE_CHECKING:
    from godwit.model.endpoint import Connection
    from godwit.protocols import Engine, Source, Target


class MySqlEngine:
    """The product; see `godwit.protocols.Engine`. MariaDB is a flavour of it."""

    name = "mysql"
    title = "MySQL / MariaDB"
    connection_types: tuple[str, ...] = ("mysql", "mariadb")
    abilities = Abilities()

    def source(self, connection: Connection, settings: Mapping[str, Any]) -> Source:
        """A source endpoint. Connects lazily."""
        from godwit.engines.mysql.source import MySqlSource

        return MySqlSource(connection, settings)

    def target(self, connection: Connection, settings: Mapping[str, Any]) -> Target:
        """A target endpoint. Connects lazily."""
        from godwit.engines.mysql.target import MySqlTarget

        return MySqlTarget(connection, settings)


ENGINE: Engine = MySqlEngine()

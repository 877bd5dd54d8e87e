"""The two endpoints of a migration, opened when they are first used."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING

from godwit.engines import engine_of
from godwit.errors import EndpointError

if TYPE_CHECKING:
    from godwit.model.definition import Definition
    from godwit.model.endpoint import Connection, ConnectionSource
    from godwit.protocols import Control, Source, Target


class Endpoints:
    """Source, target and control tables of one definition."""

    def __init__(self, definition: Definition, connections: ConnectionSource) -> None:
        self._definition, self.connections = definition, connections
        self._executing: dict[str, Target] = {}

    @cached_property
    def source(self) -> Source:
        """The source endpoint.

        Raises:
            EndpointError: the connection isn't known, or its engine cannot be a source.
        """
        spec = self._definition.source
        connection = self.connections(spec.conn_id)
        engine = engine_of(connection)
        if not engine.abilities.source:
            raise _cannot(engine.title, spec.conn_id, "source")
        return engine.source(connection, spec.settings)

    @cached_property
    def target(self) -> Target:
        """The target endpoint.

        Raises:
            EndpointError: the connection isn't known, or its engine cannot be a target.
        """
        spec = self._definition.target
        connection = self.connections(spec.conn_id)
        engine = engine_of(connection)
        if not engine.abilities.target:
            raise _cannot(engine.title, spec.conn_id, "target")
        return engine.target(connection, spec.settings)

    @cached_property
    def control(self) -> Control:
        """The control tables of this migration on the target."""
        return self.target.control(self._definition.name)

    def connection(self, role: str) -> Connection:
        """The connection of the ``source`` or the ``target``."""
        spec = self._definition.source if role == "source" else self._definition.target
        return self.connections(spec.conn_id)

    def executing(self, role: str) -> Target:
        """An endpoint that runs statements of the definition, on either side."""
        if role == "target":
            return self.target
        if role not in self._executing:
            spec, connection = self._definition.source, self.connection(role)
            self._executing[role] = engine_of(connection).target(connection, spec.settings)
        return self._executing[role]

    def close(self) -> None:
        """Close what was opened."""
        opened = [self.__dict__.pop(name, None) for name in ("source", "target")]
        for endpoint in (*opened, *self._executing.values()):
            if endpoint is not None:
                # The others must be closed too, and the first error matters more.
                with contextlib.suppress(Exception):
                    endpoint.close()
        self._executing.clear()
        self.__dict__.pop("control", None)


def _cannot(title: str, conn_id: str, role: str) -> EndpointError:
    return EndpointError(
        f"{title} cannot be a {role}",
        where=f"connection {conn_id!r}",
        why="the engine does not offer it",
        hint=f"name a connection of another type as {role}",
    )

"""One folder per product. An engine is found by its name, or by the type of a connection.

Engines inside this package come first, then those other distributions offer in the entry-point
group ``godwit.engines``.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module, metadata

from godwit.errors import EndpointError
from godwit.model.endpoint import Connection
from godwit.protocols import Engine

GROUP = "godwit.engines"


@cache
def engines() -> dict[str, Engine]:
    """Every engine by name. Importing an engine's package doesn't import its driver."""
    found: dict[str, Engine] = {}
    for module in pkgutil.iter_modules(__path__):
        engine: Engine = import_module(f"{__name__}.{module.name}").ENGINE
        found[engine.name] = engine
    for entry in metadata.entry_points(group=GROUP):
        found.setdefault(entry.name, entry.load())
    return found


def engine_of(connection: Connection) -> Engine:
    """The engine that a connection's type belongs to.

    Raises:
        EndpointError: no engine knows the type.
    """
    for engine in engines().values():
        if connection.conn_type in engine.connection_types:
            return engine
    known = sorted(t for e in engines().values() for t in e.connection_types)
    raise EndpointError(
        f"no engine for connection type {connection.conn_type!r}",
        where=f"connection {connection.conn_id!r}",
        why=f"known types: {', '.join(known)}",
        hint="correct the connection's type or install the engine that offers it",
    )

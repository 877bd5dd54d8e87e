"""Airflow's connections as the engine takes them. Secrets stay in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from godwit.errors import EndpointError
from godwit.model.endpoint import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping


def airflow_connection(conn_id: str) -> Connection:
    """The Airflow connection of that id, from whichever backend holds it.

    Works in tasks, and in triggers when called from a thread.

    Raises:
        EndpointError: Airflow knows no such connection, or its extra is no JSON object.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(conn_id)
        extra: Mapping[str, Any] = found.extra_dejson
    except AirflowNotFoundException:
        raise EndpointError(
            f"connection {conn_id!r} is not known",
            where="Airflow connections",
            hint=f"add it under Admin > Connections, or set AIRFLOW_CONN_{conn_id.upper()}",
        ) from None
    return Connection(
        conn_id=conn_id,
        conn_type=found.conn_type or "",
        host=found.host or "",
        port=found.port,
        login=found.login or "",
        password=found.password or "",
        database=found.schema or "",
        extra=dict(extra),
    )


def to_wire(connection: Connection) -> dict[str, Any]:
    """Plain data **with the secret**: only for the pipe to the process that runs the session."""
    fields = ("conn_id", "conn_type", "host", "port", "login", "password", "database")
    return {name: getattr(connection, name) for name in fields} | {"extra": dict(connection.extra)}


def from_wire(data: dict[str, Any]) -> Connection:
    """The inverse of `to_wire`."""
    return Connection(**data)

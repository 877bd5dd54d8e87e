"""The cutover hook ``airflow_connection``: applications' connection is pointed elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from godwit.airflow.connections import airflow_connection
from godwit.airflow.rest import api_client, api_conn_id, check_answer
from godwit.errors import CutoverError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from godwit.model.endpoint import Connection


def check_switches(migration: str, conn_ids: Iterable[str]) -> None:
    """Look whether these connections can be changed, before anything is touched.

    Raises:
        CutoverError: one is not in Airflow's own database, or the API is not set up.
        EndpointError: the API cannot be reached, or refuses.
    """
    wanted = list(conn_ids)
    if not wanted:
        return
    where = f"{migration}, hook airflow_connection"
    if not api_conn_id():
        raise CutoverError(
            f"connection {wanted[0]!r} cannot be changed",
            where=where,
            why="tasks change connections through Airflow's API, and no connection to it is set",
            hint="set [godwit] airflow_api_conn_id to a connection of type http to the api-server "
            "whose user may edit connections",
        )
    with api_client(airflow_connection(api_conn_id())) as client:
        for conn_id in wanted:
            answer = client.get(f"/api/v2/connections/{conn_id}")
            if answer.status_code == 404:
                raise CutoverError(
                    f"Airflow's database has no connection {conn_id!r}",
                    where=where,
                    why="only connections kept there can be changed: not those of the environment "
                    "or of a secrets backend",
                    hint="add it under Admin > Connections, or use a sql or webhook hook",
                )
            check_answer(answer, f"connection {conn_id}")


def point_connection(conn_id: str, to: Connection) -> None:
    """Make the Airflow connection reach what `to` reaches. Safe to repeat.

    Raises:
        EndpointError: the API cannot be reached, or refuses.
    """
    import json

    body = {
        "connection_id": conn_id,
        "conn_type": to.conn_type,
        "host": to.host,
        "port": to.port,
        "login": to.login,
        "password": to.password,
        "schema": to.database,
        "extra": json.dumps(dict(to.extra)),
    }
    with api_client(airflow_connection(api_conn_id())) as client:
        answer = client.patch(f"/api/v2/connections/{conn_id}", json=body)
        check_answer(answer, f"connection {conn_id}")

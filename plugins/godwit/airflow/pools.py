"""A pool for the replication instance, made and removed through Airflow's public API (see `rest`).

While that is not set up, the streams of an instance are kept by ``max_active_tis_per_dag`` instead.
"""

from __future__ import annotations

from godwit.airflow.connections import airflow_connection
from godwit.airflow.rest import api_client, check_answer


def pool_name(instance: str) -> str:
    """The pool of a replication instance."""
    return f"godwit_{instance}"


def provide_pool(conn_id: str, name: str, slots: int, description: str) -> None:
    """Make the pool, or give it that size.

    Raises:
        EndpointError: the API cannot be reached or says no.
    """
    body = {
        "name": name,
        "slots": slots,
        "description": description,
        "include_deferred": False,
    }
    with api_client(airflow_connection(conn_id)) as client:
        if client.get(f"/api/v2/pools/{name}").status_code == 404:
            answer = client.post("/api/v2/pools", json=body)
            if answer.status_code != 409:
                check_answer(answer, name)
                return
        change = {"pool": name, **{k: v for k, v in body.items() if k != "name"}}
        check_answer(client.patch(f"/api/v2/pools/{name}", json=change), name)


def remove_pool(conn_id: str, name: str) -> bool:
    """Remove the pool; tells whether there was one.

    Raises:
        EndpointError: the API cannot be reached or says no.
    """
    with api_client(airflow_connection(conn_id)) as client:
        answer = client.delete(f"/api/v2/pools/{name}")
        if answer.status_code == 404:
            return False
        check_answer(answer, name)
        return True

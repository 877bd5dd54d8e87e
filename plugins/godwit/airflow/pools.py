"""A pool for the replication instance, made and removed through Airflow's public API.

Airflow 3 tasks cannot touch the metadata database, and the task API knows no pools. So the pool
needs a connection to the API: the option ``[godwit] airflow_api_conn_id`` (environment:
``AIRFLOW__GODWIT__AIRFLOW_API_CONN_ID``) names one of type ``http`` whose user may edit pools.
While it is not set, the streams of an instance are kept by ``max_active_tis_per_dag`` instead.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from godwit.airflow.connections import airflow_connection
from godwit.errors import EndpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from godwit.model.endpoint import Connection

TIMEOUT_SECONDS = 30.0


def api_conn_id() -> str:
    """The connection of the option, or an empty text."""
    from airflow.sdk.configuration import conf

    return str(conf.get("godwit", "airflow_api_conn_id", fallback="") or "")


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
    with _client(airflow_connection(conn_id)) as client:
        if client.get(f"/api/v2/pools/{name}").status_code == 404:
            answer = client.post("/api/v2/pools", json=body)
            if answer.status_code != 409:
                _check(answer, name)
                return
        change = {"pool": name, **{k: v for k, v in body.items() if k != "name"}}
        _check(client.patch(f"/api/v2/pools/{name}", json=change), name)


def remove_pool(conn_id: str, name: str) -> bool:
    """Remove the pool; tells whether there was one.

    Raises:
        EndpointError: the API cannot be reached or says no.
    """
    with _client(airflow_connection(conn_id)) as client:
        answer = client.delete(f"/api/v2/pools/{name}")
        if answer.status_code == 404:
            return False
        _check(answer, name)
        return True


@contextmanager
def _client(connection: Connection) -> Iterator[httpx.Client]:
    """A client of the API that may do what the connection's user may."""
    import httpx

    scheme = connection.database or ("https" if connection.port == 443 else "http")
    host = connection.host or "127.0.0.1"
    address = host if "://" in host else f"{scheme}://{host}"
    if connection.port:
        address = f"{address}:{connection.port}"
    transport = httpx.HTTPTransport(retries=2)
    # The environment's proxy is for the outside; the API is Airflow's own.
    with httpx.Client(
        base_url=address, timeout=TIMEOUT_SECONDS, transport=transport, trust_env=False
    ) as client:
        try:
            client.headers["Authorization"] = f"Bearer {_token(client, connection)}"
            yield client
        except httpx.HTTPError as cause:
            raise EndpointError(
                "Airflow's API cannot be reached",
                where=f"connection {connection.conn_id}",
                why=type(cause).__name__,
                hint="set host and port of the connection to the api-server's",
            ) from None


def _token(client: httpx.Client, connection: Connection) -> str:
    if token := connection.extra.get("token"):
        return str(token)
    if connection.login:
        credentials = {"username": connection.login, "password": connection.password}
        answer = client.post("/auth/token", json=credentials)
    else:
        # Only where every visitor is an administrator (the demo).
        answer = client.get("/auth/token")
    _check(answer, f"connection {connection.conn_id}")
    return str(answer.json()["access_token"])


def _check(answer: httpx.Response, where: str) -> None:
    if answer.is_success:
        return
    raise EndpointError(
        "Airflow's API refused",
        where=where,
        why=f"HTTP {answer.status_code} {_detail(answer)}".rstrip(),
        hint="the connection in [godwit] airflow_api_conn_id needs a user who may edit pools",
    )


def _detail(answer: httpx.Response) -> str:
    try:
        detail: Any = answer.json().get("detail", "")
    except ValueError:
        return ""
    return str(detail)[:200]

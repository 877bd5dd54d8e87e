"""Airflow's public API: what tasks cannot do by themselves is asked of it.

Airflow 3 tasks cannot touch the metadata database, and the task API knows neither pools nor how to
change a connection. The option ``[godwit] airflow_api_conn_id`` (environment:
``AIRFLOW__GODWIT__AIRFLOW_API_CONN_ID``) names a connection of type ``http`` to the api-server.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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


@contextmanager
def api_client(connection: Connection) -> Iterator[httpx.Client]:
    """A client of the API that may do what the connection's user may.

    Raises:
        EndpointError: the API cannot be reached, or refuses the user.
    """
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
    check_answer(answer, f"connection {connection.conn_id}")
    return str(answer.json()["access_token"])


def check_answer(answer: httpx.Response, where: str) -> None:
    """Go on only after success.

    Raises:
        EndpointError: the API says no.
    """
    if answer.is_success:
        return
    raise EndpointError(
        "Airflow's API refused",
        where=where,
        why=f"HTTP {answer.status_code} {_detail(answer)}".rstrip(),
        hint="the connection in [godwit] airflow_api_conn_id needs a user who may edit pools and "
        "connections",
    )


def _detail(answer: httpx.Response) -> str:
    try:
        detail: Any = answer.json().get("detail", "")
    except ValueError:
        return ""
    return str(detail)[:200]

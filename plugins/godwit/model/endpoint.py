"""How an endpoint is reached: the facts of one Airflow connection, whoever read them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from godwit.errors import EndpointError


@dataclass(frozen=True)
class Connection:
    """One Airflow connection. The password never shows in a ``repr``."""

    conn_id: str
    conn_type: str
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


#: Looks a connection up by its id; raises EndpointError when there is none.
ConnectionSource = Callable[[str], Connection]


def connection_from_environment(conn_id: str) -> Connection:
    """The connection Airflow would read from ``AIRFLOW_CONN_<ID>`` (URI or JSON).

    Raises:
        EndpointError: the variable is missing or cannot be read.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(variable, "").strip()
    if not text:
        raise EndpointError(
            f"connection {conn_id!r} is not known",
            where=variable,
            why="the environment variable is not set",
            hint=f"export {variable}='<type>://user:password@host:port/database'",
        )
    return connection_from_text(conn_id, text)


def connection_from_text(conn_id: str, text: str) -> Connection:
    """Parse Airflow's URI or JSON form of a connection.

    Raises:
        EndpointError: the text is neither.
    """
    try:
        return _from_json(conn_id, text) if text.startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError) as cause:
        # The text may hold a password: name only the kind of the problem.
        raise EndpointError(
            f"connection {conn_id!r} cannot be read",
            where=f"AIRFLOW_CONN_{conn_id.upper()}",
            why=f"it is neither a URI nor a JSON object ({type(cause).__name__})",
            hint="use Airflow's URI form <type>://user:password@host:port/database (special "
            "characters percent-encoded) or its JSON form",
        ) from None


def _from_uri(conn_id: str, text: str) -> Connection:
    parts = urlsplit(text)
    if not parts.scheme:
        raise ValueError("no scheme")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra: dict[str, Any] = query
    if set(query) == {"__extra__"}:
        extra = json.loads(query["__extra__"])
    # urlsplit lower-cases the host name; socket folders such as %2Ftmp%2FA must keep their case.
    location = parts.netloc.rpartition("@")[2]
    host = location[: -len(f":{parts.port}")] if parts.port is not None else location.rstrip(":")
    return Connection(
        conn_id=conn_id,
        conn_type=parts.scheme.replace("-", "_"),
        host=unquote(host).strip("[]"),
        port=parts.port,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.lstrip("/")),
        extra=extra,
    )


def _from_json(conn_id: str, text: str) -> Connection:
    data = json.loads(text)
    extra = data.get("extra") or {}
    return Connection(
        conn_id=conn_id,
        conn_type=str(data["conn_type"]),
        host=data.get("host") or "",
        port=int(data["port"]) if data.get("port") else None,
        login=data.get("login") or "",
        password=data.get("password") or "",
        database=data.get("schema") or "",
        extra=json.loads(extra) if isinstance(extra, str) else dict(extra),
    )

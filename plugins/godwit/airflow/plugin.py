"""Godwit's pages in Airflow's UI.

Airflow imports this module in every component and again in every task process, so it imports
nothing: the web application is built at the first request, in the api-server.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin


class LazyApp:
    """An ASGI application that imports the real one when it is first asked."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on."""
        if self._app is None:
            from godwit.airflow.ui.app import app

            self._app = app
        await self._app(scope, receive, send)


class GodwitPlugin(AirflowPlugin):
    """The pages below ``/godwit``: an entry in the navigation and a tab on every DAG."""

    name = "godwit"
    fastapi_apps: list[Any] = [  # noqa: RUF012 - as the base class declares it
        {"app": LazyApp(), "url_prefix": "/godwit", "name": "Godwit"}
    ]
    external_views: list[Any] = [  # noqa: RUF012 - as the base class declares it
        {
            "name": "Migrations",
            "href": "/godwit/",
            "destination": "nav",
            "url_route": "migrations",
            "category": "browse",
        },
        {
            "name": "Migration",
            "href": "/godwit/migrations/{DAG_ID}",
            "destination": "dag",
            "url_route": "migration",
        },
    ]

"""The web application below ``/godwit``. Airflow does not protect it: every route does so itself.

What it shows comes from the state store, which is a picture of the migration and never the truth.
"""

# No postponed annotations: FastAPI reads them when the routes are made.
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.responses import HTMLResponse

from godwit.state import StateStore

HEADERS = {
    "Cache-Control": "no-store",
    # Everything is in the page: nothing is fetched from elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
}

may_read_dag = Depends(requires_access_dag("GET"))

# Neither the schema nor its viewer: they would be open to everybody.
app = FastAPI(
    title="Godwit",
    dependencies=[may_read_dag],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)


@app.get("/", response_class=HTMLResponse)
def overview_page() -> HTMLResponse:
    """All migrations."""
    return HTMLResponse(_page(), headers=HEADERS)


@app.get("/migrations/{name}", response_class=HTMLResponse)
def migration_page(name: str) -> HTMLResponse:  # noqa: ARG001 - the page reads its address
    """One migration: the tab on its DAG."""
    return HTMLResponse(_page(), headers=HEADERS)


@app.get("/api/migrations")
def overview(user: GetUserDep) -> list[dict[str, Any]]:
    """The migrations whose DAGs this user may read."""
    readable = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    return [line for line in _store().overview() if _dag_of(line) in readable]


@app.get("/api/migrations/{name}")
def migration(
    name: str, user: GetUserDep, lag: Annotated[int, Query(ge=1, le=3600)] = 600
) -> dict[str, Any]:
    """Everything the page of one migration shows; `name` is the migration's or its DAG's."""
    store = _store()
    mine = [line for line in overview(user) if name in (line["migration"], _dag_of(line))]
    if not mine:
        raise HTTPException(404, "nothing is known of this migration yet: trigger its DAG")
    found = min(mine, key=lambda line: line["migration"] != name)
    known = found["migration"]
    return {
        "migration": found,
        "tables": store.tables(known),
        "lag": store.lag(known, lag),
        "findings": store.findings(known),
        "events": store.events(known, 50),
    }


def _dag_of(line: dict[str, Any]) -> str:
    """The DAG that decides who may see the migration."""
    return str(line["dag_id"] or line["migration"])


@cache
def _store() -> StateStore:
    return StateStore()


@cache
def _page() -> str:
    return (Path(__file__).parent / "page.html").read_text(encoding="utf-8")

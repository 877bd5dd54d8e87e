"""Godwit's pages in Airflow's UI, and how Airflow loads the plugin."""

from __future__ import annotations

import httpx
import pytest

from include.demo.airflow_components import ROOT, AirflowProject

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]
PATHS = (
    "/godwit/",
    "/godwit/migrations/live",
    "/godwit/api/migrations",
    "/godwit/api/migrations/live",
)
UNKNOWN = ("/godwit/docs", "/godwit/openapi.json", "/godwit/redoc")


@pytest.mark.parametrize("path", PATHS)
def test_anonymous_visitor_sees_nothing(airflow: AirflowProject, path: str) -> None:
    answer = httpx.get(airflow.url + path, trust_env=False)
    assert answer.status_code in (401, 403)


@pytest.mark.parametrize("path", UNKNOWN)
def test_there_is_no_open_description(airflow: AirflowProject, path: str) -> None:
    assert httpx.get(airflow.url + path, trust_env=False).status_code in (401, 403, 404)


def test_user_sees_the_pages(airflow: AirflowProject) -> None:
    page = airflow.request("GET", "/godwit/")
    assert "<title>Godwit</title>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert isinstance(airflow.request("GET", "/godwit/api/migrations").json(), list)


def test_unknown_migration_is_told(airflow: AirflowProject) -> None:
    answer = airflow.request("GET", "/godwit/api/migrations/nobody", check=False)
    assert answer.status_code == 404
    assert "trigger its DAG" in answer.json()["detail"]


def test_page_loads_nothing_from_elsewhere() -> None:
    page = (ROOT / "plugins/godwit/airflow/ui/page.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "src=" not in page


def test_plugin_loads_once_and_without_errors(airflow: AirflowProject) -> None:
    assert airflow.request("GET", "/api/v2/plugins/importErrors").json()["import_errors"] == []
    plugins = airflow.request("GET", "/api/v2/plugins").json()["plugins"]
    ours = [plugin for plugin in plugins if plugin["name"] == "godwit"]
    assert len(ours) == 1
    assert {view["url_route"] for view in ours[0]["external_views"]} == {"migrations", "migration"}


def test_plugins_folder_keeps_airflow_out_of_the_package() -> None:
    lines = (ROOT / "plugins" / ".airflowignore").read_text().splitlines()
    assert "godwit/" in lines


def test_dags_have_no_import_errors(airflow: AirflowProject) -> None:
    assert airflow.request("GET", "/api/v2/importErrors").json()["import_errors"] == []

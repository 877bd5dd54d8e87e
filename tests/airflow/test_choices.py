"""What a person or a DAG's author may choose: rejecting, dry runs, windows, embedding, hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from include.demo.airflow_components import AirflowProject
from include.demo.servers import Database
from tests.airflow.conftest import SECRET, Run, wait_for

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(300)]
Start = Callable[..., Run]
Databases = dict[str, Database]
APPLICATION = "/api/v2/connections/application"


def answer(airflow: AirflowProject, run: Run, choice: str, **inputs: Any) -> None:
    """Press a button of the question that is open now."""
    question = wait_for("the question", lambda: airflow.questions(run.dag_id, run.run_id))[0]
    airflow.answer(question, choice, **inputs)


def arrives(source: Database, target: Database, number: int) -> None:
    source.execute("INSERT INTO app.notes VALUES (%s, 'new')", [number])
    wait_for(
        f"note {number} arrives",
        lambda: target.fetch("SELECT 1 FROM app.notes WHERE id = %s", [number]),
    )


def test_rejected_then_tried_then_approved(
    airflow: AirflowProject, start: Start, databases: Databases
) -> None:
    """Neither a rejection nor a dry run touches anything: changes go on being applied."""
    source, target = databases["asked_source"], databases["asked_target"]
    run = start("asked")
    answer(airflow, run, "Reject", dry_run=False)
    run.wait_task("cutover", "skipped")
    arrives(source, target, 2001)

    run.clear("approve_cutover")
    answer(airflow, run, "Approve", dry_run=True)
    wait_for("the dry run", lambda: "Dry run" in run.log("cutover"))
    run.wait_task("cutover", "skipped")
    arrives(source, target, 2002)
    assert run.tasks("cdc_poll")[0]["state"] == "deferred"

    run.clear("approve_cutover")
    answer(airflow, run, "Approve", dry_run=False)
    run.wait()
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        source.execute("INSERT INTO app.notes VALUES (2003, 'late')")
    count = "SELECT count(*), max(id) FROM app.notes"
    assert source.fetch(count) == target.fetch(count) == [(1002, 2002)]


def test_migration_inside_another_dag(
    airflow: AirflowProject, start: Start, databases: Databases
) -> None:
    """Windows instead of a trigger, automatic cutover, a connection pointed at the target, and a
    DAG that is scheduled on the table.
    """
    source, target = databases["moved_source"], databases["moved_target"]
    old = {"connection_id": "application", "conn_type": "postgres", "host": "old", "port": 1}
    airflow.request("POST", "/api/v2/connections", old)
    run = start("host")
    run.wait()
    order = [run.tasks(name)[0] for name in ("before", "move.configure_endpoints", "after")]
    dates = [task["start_date"] for task in order]
    assert dates == sorted(dates)
    assert target.fetch("SELECT count(*) FROM app.notes") == [(1000,)]
    assert "DEFERRED" in run.log("move.cdc_poll"), "the slot is given back between windows"
    assert "move.approve_cutover" not in run.states()

    application = airflow.request("GET", APPLICATION).json()
    assert (application["host"], application["port"]) == ("127.0.0.1", target.server.port)
    assert application["schema"] == target.name

    overview = airflow.request("GET", "/godwit/api/migrations").json()
    assert ("moved", "host") in {(line["migration"], line["dag_id"]) for line in overview}
    page = airflow.request("GET", "/godwit/api/migrations/host").json()
    assert page["migration"]["migration"] == "moved"
    assert [table["table_name"] for table in page["tables"]] == ["notes"]
    assert (
        source.fetch(
            "SELECT slot_name FROM pg_replication_slots WHERE database = %s", [source.name]
        )
        == []
    )

    def reported() -> list[dict[str, Any]]:
        runs = airflow.request("GET", "/api/v2/dags/reports/dagRuns").json()["dag_runs"]
        return [one for one in runs if one["state"] == "success"]

    report = wait_for("the DAG that waits for the table", reported)[0]
    assert report["run_type"] == "asset_triggered"


def test_example_runs(airflow: AirflowProject, start: Start, databases: Databases) -> None:
    name = "example_embedded_migration"
    airflow.request("PATCH", f"/api/v2/dags/{name}", {"is_paused": False})
    start(name).wait()
    found = databases["shop_target"].fetch(
        "SELECT (SELECT count(*) FROM reporting.customers), (SELECT count(*) FROM reporting.orders)"
    )
    assert found == [(500, 2000)]


def test_secret_is_nowhere(airflow: AirflowProject) -> None:
    """Not in what these runs have left in the metadata database."""
    url = airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
    looked = 0
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            query = f"SELECT count(*), count(*) FILTER (WHERE t::text LIKE %s) FROM {table} t"
            rows, bad = connection.execute(query.encode(), [f"%{SECRET}%"]).fetchall()[0]
            assert not bad, table
            looked += rows
    assert looked > 100

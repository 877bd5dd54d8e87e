"""Migrations in a real Airflow: scheduler, triggerers, api-server, dag-processor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from include.demo.airflow_components import AirflowProject
from include.demo.servers import Database
from tests.airflow.conftest import SECRET, Run, found_in_files, wait_for

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(420)]
Start = Callable[..., Run]
Databases = dict[str, Database]
NUMBER = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {} t"
SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
COPYING = """
SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.relation = %s::regclass AND a.datname = current_database()"""


def content(database: Database, table: str) -> tuple[Any, ...]:
    return database.fetch(NUMBER.format(table))[0]


@contextmanager
def application(database: Database) -> Iterator[threading.Event]:
    """Keeps writing; the event is set while it may."""
    stop, refused = threading.Event(), threading.Event()

    def write() -> None:
        with database.connect() as connection:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    connection.execute(
                        "INSERT INTO app.orders (customer, amount) VALUES (%s, 1.5)",
                        [1 + number % 2000],
                    )
                    connection.execute(
                        "UPDATE app.customers SET name = %s WHERE id = %s",
                        [f"renamed {number}", 1 + number % 1000],
                    )
                    connection.execute("DELETE FROM app.orders WHERE id = %s", [number * 3])
                except (psycopg.errors.ReadOnlySqlTransaction, psycopg.OperationalError):
                    refused.set()
                    return
                stop.wait(0.02)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield refused
    finally:
        stop.set()
        writer.join(10)


def test_live_migration_with_a_killed_triggerer(
    airflow: AirflowProject, start: Start, databases: Databases
) -> None:
    """The whole road: load, follow, a triggerer dies, approval, cutover, nothing is left."""
    source, target = databases["live_source"], databases["live_target"]
    with application(source) as refused:
        run = start("live")
        run.wait_task("provision_instance", "success")
        pool = airflow.request("GET", "/api/v2/pools/godwit_live").json()
        assert pool["slots"] == 4
        run.wait_task("cdc_poll", "deferred")
        question = wait_for("the question", lambda: airflow.questions("live", run.run_id))[0]
        assert "equal by content" in question["body"]
        _follows(source, target)

        # A hot standby takes over what the killed one leaves, from the checkpoint.
        airflow.start("replication-instance#2")
        airflow.kill("replication-instance")
        _follows(source, target)
        assert run.tasks("cdc_poll")[0]["state"] == "deferred"

        # Clearing a chunk that is loaded already reads nothing again.
        run.clear(["full_load", 0], downstream=False)
        again = wait_for("the chunk's second try", lambda: _second_try(run))
        assert again["state"] == "success"

        airflow.answer(question, "Approve", dry_run=False)
        run.wait()
        assert refused.is_set(), "the fence keeps the application out"
    for table in ("app.customers", "app.orders"):
        assert content(source, table) == content(target, table)
    assert source.fetch(SLOTS) == []
    assert airflow.request("GET", "/api/v2/pools/godwit_live", check=False).status_code == 404
    labels = [task["rendered_map_index"] for task in run.tasks("full_load")]
    assert all("app." in label for label in labels)
    # Airflow soon calls assets inactive that no DAG names: these came through the alias.
    path = "/api/v2/assets?limit=100&only_active=false"
    assets = airflow.request("GET", path).json()["assets"]
    wanted = {f"godwit://live_target/app/{table}" for table in ("customers", "orders")}
    assert wanted <= {asset["uri"] for asset in assets}


def _second_try(run: Run) -> dict[str, Any] | None:
    task = run.tasks("full_load")[0]
    return task if task["try_number"] == 2 and task["state"] in ("success", "failed") else None


def _follows(source: Database, target: Database) -> None:
    """What is committed now arrives."""
    newest = source.fetch("SELECT max(id) FROM app.orders")[0][0]
    wait_for(
        f"order {newest} arrives",
        lambda: target.fetch("SELECT 1 FROM app.orders WHERE id >= %s LIMIT 1", [newest]),
    )


def test_failed_chunk_is_retried_and_then_cleared_alone(start: Start, databases: Databases) -> None:
    """Two tries of one chunk are cut off; the others are loaded once and never again."""
    source, target = databases["pieces_source"], databases["pieces_target"]
    run = start("pieces")
    wait_for("the table", lambda: target.fetch("SELECT to_regclass('app.second')")[0][0])
    with target.connect(autocommit=False) as blocker:
        blocker.execute("LOCK TABLE app.second IN SHARE MODE")
        for _ in range(2):
            _cut_off(target)
        run.wait("failed")
    tries = {task["rendered_map_index"]: task["try_number"] for task in run.tasks("full_load")}
    assert tries == {"app.first": 1, "app.second": 2, "app.third": 1}
    failed = next(t for t in run.tasks("full_load") if t["state"] == "failed")
    text = run.log("full_load", failed["try_number"], failed["map_index"])
    assert "app.second" in text
    assert "What to do:" in text

    run.clear(["full_load", failed["map_index"]])
    run.wait()
    tries = {task["rendered_map_index"]: task["try_number"] for task in run.tasks("full_load")}
    assert tries == {"app.first": 1, "app.second": 3, "app.third": 1}
    for table in ("app.first", "app.second", "app.third"):
        assert content(source, table) == content(target, table)


def _cut_off(target: Database) -> None:
    """End the session that waits to write into the locked table."""
    pid = wait_for("the waiting load", lambda: target.fetch(COPYING, ["app.second"]))[0][0]
    target.execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_for("it is gone", lambda: (pid,) not in target.fetch(COPYING, ["app.second"]))


def test_backfill_of_windows_and_a_cleared_day(
    airflow: AirflowProject, databases: Databases
) -> None:
    """Each run loads its day; clearing a day loads that day again, as it is now."""
    source, target = databases["windows_source"], databases["windows_target"]
    body = {
        "dag_id": "windows",
        "from_date": "2026-02-02T00:00:00Z",
        "to_date": "2026-02-04T00:00:00Z",
        "max_active_runs": 2,
        "reprocess_behavior": "none",
        "run_backwards": False,
        "dag_run_conf": {},
    }
    airflow.request("POST", "/api/v2/backfills", body)
    runs = wait_for("the backfill's runs end", lambda: _backfilled(airflow), 150)
    days_run = [run["data_interval_start"][:10] for run in runs]
    assert days_run == ["2026-02-02", "2026-02-03", "2026-02-04"]
    assert all(run["state"] == "success" for run in runs), [
        Run(airflow, "windows", run["dag_run_id"]).failures() for run in runs
    ]
    days = "SELECT updated_at::date::text, count(*) FROM app.readings GROUP BY 1 ORDER BY 1"
    loaded = {day: rows for day, rows in target.fetch(days) if day < "2026-03-01"}
    assert loaded == {"2026-02-02": 24, "2026-02-03": 24, "2026-02-04": 24}

    indexes = "SELECT indexname FROM pg_indexes WHERE schemaname = 'app' ORDER BY 1"
    assert target.fetch(indexes) == [("readings_pkey",), ("readings_updated",)]

    source.execute("UPDATE app.readings SET value = value + 1000 WHERE id < 72")
    source.execute("DELETE FROM app.readings WHERE updated_at = '2026-02-03T05:00:00Z'")
    day = Run(airflow, "windows", runs[1]["dag_run_id"])
    day.clear("full_load", downstream=False)
    wait_for("the day is loaded again", lambda: day.tasks("full_load")[0]["try_number"] == 2)
    day.wait()
    window = "(SELECT * FROM app.readings WHERE updated_at::date = '{0}')"
    cleared, untouched = window.format("2026-02-03"), window.format("2026-02-02")
    assert content(source, cleared) == content(target, cleared)
    assert content(source, untouched) != content(target, untouched)


def _backfilled(airflow: AirflowProject) -> list[dict[str, Any]] | None:
    runs = airflow.request("GET", "/api/v2/dags/windows/dagRuns?limit=100").json()["dag_runs"]
    ours = [run for run in runs if run["run_type"] == "backfill"]
    ended = len(ours) == 3 and all(run["state"] in ("success", "failed") for run in ours)
    return sorted(ours, key=lambda run: str(run["data_interval_start"])) if ended else None


def test_broken_file_is_a_failing_dag(start: Start) -> None:
    run = start("broken")
    run.wait("failed")
    text = run.log("read_definition")
    assert "broken.yaml" in text
    assert "tabels" in text
    documentation = run.airflow.request("GET", "/api/v2/dags/broken/details").json()["doc_md"]
    assert "tabels" in documentation


def test_secrets_are_nowhere(airflow: AirflowProject) -> None:
    """Runs last here: after all the others have left their logs and XComs."""
    assert found_in_files(airflow.home, SECRET) == []

"""A real Airflow for the session: every component, and migrations between real servers."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest

from include.demo.airflow_components import ROOT, AirflowProject
from include.demo.servers import Database, PostgresServer, free_port

T = TypeVar("T")
HERE = Path(__file__).parent
MIGRATIONS = HERE / "migrations"
#: Occurs in no log, no metadata, no state store.
SECRET = f"s3cret-{secrets.token_hex(8)}"
#: So that a triggerer that was killed is missed soon.
QUICK = {
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
}
NAMES = ("live", "pieces", "windows", "asked", "moved", "shop")
#: DAGs in files of their own: migrations inside them, and what waits for these.
DAGS = ("host", "reports", "example_embedded_migration")

DAG_FILE = """\
from datetime import timedelta
from pathlib import Path

from godwit.airflow.dag import migration_dags

QUICK = {{"retries": 1, "retry_delay": timedelta(seconds=1), "retry_exponential_backoff": False}}
globals().update(migration_dags(Path({folder!r}), default_args=QUICK))
"""


@pytest.fixture(scope="session")
def databases(pg16: PostgresServer, pg18: PostgresServer) -> Iterator[dict[str, Database]]:
    """``<migration>_source`` with rows and ``<migration>_target``, empty."""
    made: dict[str, Database] = {}
    try:
        for name in NAMES:
            made[f"{name}_source"] = pg16.create_database(f"airflow_{name}_source")
            made[f"{name}_target"] = pg18.create_database(f"airflow_{name}_target")
            made[f"{name}_source"].execute((MIGRATIONS / f"{name}.sql").read_text())
        yield made
    finally:
        for database in made.values():
            database.drop()


@pytest.fixture(scope="session")
def metadata(pg18: PostgresServer) -> Iterator[str]:
    """An empty metadata database, as in production: a file's locks would upset backfills."""
    with pg18.create_database() as database:
        yield database.url.replace("postgresql://", "postgresql+psycopg2://", 1)


@pytest.fixture(scope="session")
def airflow(databases: dict[str, Database], metadata: str) -> Iterator[AirflowProject]:
    """A running Airflow that knows the migrations of this folder."""
    folder = Path(tempfile.mkdtemp(prefix="godwit-airflow-"))
    dags = folder / "dags"
    dags.mkdir()
    (dags / "migrations.py").write_text(DAG_FILE.format(folder=str(MIGRATIONS)))
    for file in (HERE / "dags" / "host.py", ROOT / "dags" / "example_embedded_migration.py"):
        shutil.copy(file, dags)
    connections = {
        f"AIRFLOW_CONN_{name.upper()}": _uri(database) for name, database in databases.items()
    }
    project = AirflowProject(
        folder / "home",
        free_port(),
        {**QUICK, "AIRFLOW__CORE__DAGS_FOLDER": str(dags), **connections},
        metadata=metadata,
        password=secrets.token_hex(12),
    )
    try:
        project.prepare()
        project.migrate()
        project.start()
        for name in (*(file.stem for file in MIGRATIONS.glob("*.yaml")), *DAGS):
            project.wait_until_ready(name)
        yield project
    finally:
        project.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _uri(database: Database) -> str:
    return database.conn_uri.replace("postgres@", f"postgres:{quote(SECRET)}@", 1)


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 90.0) -> T:
    """What `look` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        pause.wait(0.2)


class Run:
    """One DAG run, as the API sees it."""

    def __init__(self, airflow: AirflowProject, dag_id: str, run_id: str) -> None:
        self.airflow, self.dag_id, self.run_id = airflow, dag_id, run_id

    def tasks(self, task_id: str) -> list[dict[str, Any]]:
        found = self.airflow.task_instances(self.dag_id, self.run_id)
        return sorted(
            (task for task in found if task["task_id"] == task_id), key=lambda t: t["map_index"]
        )

    def states(self) -> dict[str, list[str | None]]:
        states: dict[str, list[str | None]] = {}
        for task in self.airflow.task_instances(self.dag_id, self.run_id):
            states.setdefault(task["task_id"], []).append(task["state"])
        return states

    def wait(self, state: str = "success", seconds: float = 120.0) -> None:
        def ended() -> str | None:
            found = self.airflow.run_state(self.dag_id, self.run_id)
            return found if found in ("success", "failed") else None

        ended_as = wait_for(f"{self.dag_id} ends", ended, seconds)
        assert ended_as == state, f"{self.states()}\n{self.failures()}"

    def wait_task(self, task_id: str, *states: str, seconds: float = 90.0) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            self._no_surprise(states)
            return next((t for t in self.tasks(task_id) if t["state"] in states), None)

        return wait_for(f"{task_id} is {' or '.join(states)}", reached, seconds)

    def _no_surprise(self, wanted: tuple[str, ...]) -> None:
        if "failed" not in wanted and (text := self.failures()):
            raise AssertionError(text)

    def failures(self) -> str:
        texts = []
        for task in self.airflow.task_instances(self.dag_id, self.run_id):
            if task["state"] == "failed":
                log = self.log(task["task_id"], task["try_number"], task["map_index"])
                texts.append(f"{task['task_id']} failed:\n{log[-2500:]}")
        return "\n".join(texts)

    def log(self, task_id: str, number: int = 1, index: int = -1) -> str:
        return self.airflow.task_log(self.dag_id, self.run_id, task_id, number, index)

    def clear(self, *tasks: object, downstream: bool = True) -> None:
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": list(tasks),
            "only_failed": False,
            "include_downstream": downstream,
            "reset_dag_runs": True,
        }
        self.airflow.request("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)


@pytest.fixture
def start(airflow: AirflowProject) -> Callable[..., Run]:
    """Triggers a DAG."""

    def trigger(dag_id: str, **conf: Any) -> Run:
        return Run(airflow, dag_id, airflow.trigger(dag_id, conf))

    return trigger


def found_in_files(folder: Path, text: str) -> list[Path]:
    """Files below the folder that contain the text, whatever their format."""
    wanted = text.encode()
    files = [Path(base, name) for base, _, names in os.walk(folder) for name in names]
    return [file for file in files if file.is_file() and wanted in file.read_bytes()]

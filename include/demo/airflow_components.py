"""Airflow for the demo and the tests: its components as separate processes, and its REST API.

Everything lives in one folder and on one free port of 127.0.0.1. Each component runs below
`supervise.py`, so that none outlives the program that started it, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent.parent
SUPERVISE = Path(__file__).with_name("supervise.py")
START_SECONDS = 120.0
GRACE_SECONDS = 12.0
POLL_SECONDS = 0.1
#: States of a task that waits for an answer, in this and older versions of Airflow.
WAITING = ("awaiting_input", "deferred")
#: An answer that is quicker than the scheduler's look at the task's process counts as its failure,
#: and the question is asked again.
ANSWER_SECONDS = 2.5
#: The triggerer queue of the replication instance, as in include/migrations.
INSTANCE_QUEUE = "godwit"

COMPONENTS = {
    "api-server": ["api-server"],
    "dag-processor": ["dag-processor"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    # With queues, a deferred task's trigger carries the task's queue.
    "triggerer": ["triggerer", "--skip-serve-logs", "--queues", "default"],
    "replication-instance": ["triggerer", "--skip-serve-logs", "--queues", INSTANCE_QUEUE],
}

#: Task processes are forked from the scheduler: what it has imported they need not import again.
PRELOAD = """\
import contextlib
import importlib
import sys

MODULES = (
    "pandas",
    "psycopg",
    "pyarrow.csv",
    "pydantic",
    "pymysql",
    "sqlalchemy",
    "airflow.providers.standard.operators.hitl",
    "godwit.migrator",
)

if "scheduler" in sys.argv:
    for name in MODULES:
        # Whoever needs it tells better why it cannot be imported.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
"""


class AirflowError(Exception):
    """A component did not start or died; the text ends with what its log says."""


class AirflowProject:
    """This project in an Airflow of its own below `home`.

    Args:
        home: AIRFLOW_HOME; made when it is missing.
        port: of the api-server.
        environment: more variables, e.g. connections.
        metadata: SQLAlchemy URL of the metadata database.
        password: of the user `admin`; without one every visitor is an administrator.
    """

    def __init__(
        self,
        home: Path,
        port: int,
        environment: dict[str, str],
        *,
        metadata: str,
        password: str = "",
    ) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **_environment(home, self.url),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata,
            **_access(home, port, password),
            **environment,
        }
        self._password = password
        self._client: httpx.Client | None = None
        self._unwanted = threading.Event()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # -- before the start

    def prepare(self) -> None:
        """Write the files that the components read."""
        config = self.home / "config"
        config.mkdir(parents=True, exist_ok=True)
        (config / "airflow_local_settings.py").write_text(PRELOAD)
        if self._password:
            users = self.home / "passwords.json"
            users.touch(mode=0o600)
            users.write_text(json.dumps({"admin": self._password}))

    def migrate(self) -> None:
        """Make the metadata database's tables, where there are none. Raises AirflowError."""
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            text = done.stdout[-2000:] + done.stderr[-2000:]
            raise AirflowError(f"airflow db migrate failed:\n{text}")

    # -- components

    def start(self, *names: str) -> None:
        """Start components, all of them when none is named; returns at once."""
        logs = self.home / "component-logs"
        logs.mkdir(parents=True, exist_ok=True)
        for name in names or COMPONENTS:
            self._start(name, COMPONENTS[name.partition("#")[0]], logs / f"{name}.log")

    def _start(self, name: str, arguments: list[str], log: Path) -> None:
        command = [sys.executable, "-m", "airflow", *arguments]
        supervise = [sys.executable, "-I", str(SUPERVISE), str(os.getpid())]
        supervise += [str(int(signal.SIGTERM)), str(int(signal.SIGQUIT)), str(GRACE_SECONDS)]
        supervise += ["--", *command]
        with log.open("ab") as output:
            self._running[name] = subprocess.Popen(
                supervise,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.home,
                start_new_session=True,
            )

    def wait_until_ready(self, dag_id: str) -> None:
        """Wait until the API answers and knows the DAG."""
        deadline = time.monotonic() + START_SECONDS
        warm = False
        while True:
            self.check()
            with contextlib.suppress(httpx.HTTPError):
                if not warm:
                    # The first call of the tasks' API builds it: longer than a task waits.
                    httpx.get(f"{self.url}/execution/health", timeout=5, trust_env=False)
                    warm = True
                answer = self.request("GET", f"/api/v2/dags/{dag_id}", check=False)
                if answer.status_code == httpx.codes.OK:
                    return
            if time.monotonic() > deadline:
                text = f"Airflow did not come up in {START_SECONDS:.0f} s"
                raise AirflowError(f"{text}\n{self._logs()}")
            if self._unwanted.wait(POLL_SECONDS):
                raise AirflowError("Airflow is not wanted any more")

    def give_up(self) -> None:
        """End `wait_until_ready` in whichever thread."""
        self._unwanted.set()

    def check(self) -> None:
        """Raise AirflowError when a component has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise AirflowError(f"{name} ended with {process.returncode}\n{self.log(name)}")

    def log(self, name: str, lines: int = 25) -> str:
        """The end of a component's log."""
        path = self.home / "component-logs" / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _logs(self) -> str:
        return "\n".join(f"--- {name}\n{self.log(name, 8)}" for name in self._running)

    def pid(self, name: str) -> int:
        """The process of a component (below its supervisor)."""
        supervisor = self._running[name].pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        return int(children[0])

    def kill(self, name: str) -> None:
        """End a component as a crash does; returns when everything it had started is gone too."""
        pid = self.pid(name)
        process = self._running.pop(name)
        os.kill(pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + GRACE_SECONDS + 20
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(POLL_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)
            raise AirflowError(f"{name} was killed, but something that it started stayed")

    def stop(self) -> None:
        """End every component, and wait until they are gone."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS + 20)
            # Nothing that a component started may stay: they share its group, and only they.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._running.clear()

    # -- REST

    def request(
        self, method: str, path: str, body: Any = None, *, check: bool = True
    ) -> httpx.Response:
        """One call of the API, as an administrator."""
        if self._client is None:
            self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        if "Authorization" not in self._client.headers:
            token = self._token(self._client)
            if token.is_success:
                self._client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        answer = self._client.request(method, path, json=body)
        if check and not answer.is_success:
            raise AirflowError(f"{method} {path}: HTTP {answer.status_code} {answer.text[:500]}")
        return answer

    def _token(self, client: httpx.Client) -> httpx.Response:
        if not self._password:
            return client.get("/auth/token")
        credentials = {"username": "admin", "password": self._password}
        return client.post("/auth/token", json=credentials)

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Trigger a DAG; returns the run's id."""
        body = {"logical_date": None, "conf": conf or {}}
        answer = self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        return str(answer.json()["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The run's state."""
        return str(self.request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000"
        return list(self.request("GET", path).json()["task_instances"])

    def task_log(self, dag_id: str, run_id: str, task_id: str, number: int, index: int = -1) -> str:
        """A task's log as text: its lines, and what exceptions say."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{number}"
        answer = self.request("GET", f"{path}?map_index={index}&full_content=true", check=False)
        lines = []
        for line in answer.json().get("content", []) if answer.is_success else []:
            if isinstance(line, str):
                lines.append(line)
                continue
            lines.append(str(line.get("event", "")))
            lines += [str(error["exc_value"]) for error in line.get("error_detail") or []]
        return "\n".join(line for line in lines if not line.startswith("::"))

    def questions(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Open questions to a person."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/hitlDetails?response_received=false"
        found = self.request("GET", path).json()["hitl_details"]
        return [one for one in found if _settled(one["task_instance"])]

    def answer(self, question: dict[str, Any], choice: str, **inputs: Any) -> None:
        """Answer a question, as the button in the UI does."""
        task = question["task_instance"]
        path = (
            f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/"
            f"{task['task_id']}/{task['map_index']}/hitlDetails"
        )
        self.request("PATCH", path, {"chosen_options": [choice], "params_input": inputs})


def _environment(home: Path, url: str) -> dict[str, str]:
    """Variables of every component. Nothing of the user's own Airflow gets in."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AIRFLOW", "GODWIT_STATE"))}
    # Without compiled modules each of the processes compiles all of Airflow again.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    port = url.rpartition(":")[2]
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        # A finished task holds its slot until the next heartbeat.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "20",
        "AIRFLOW__TRIGGERER__QUEUES_ENABLED": "True",
        "AIRFLOW__GODWIT__AIRFLOW_API_CONN_ID": "godwit_airflow_api",
        "GODWIT_STATE_URL": f"sqlite:///{home}/godwit-state.db",
    }


def _access(home: Path, port: int, password: str) -> dict[str, str]:
    """Who may do what, and how provision_instance gets at the API to make its pool."""
    if not password:
        return {
            # It is the visitor's own machine, and nothing listens beyond it.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW_CONN_GODWIT_AIRFLOW_API": f"http://127.0.0.1:{port}",
        }
    return {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW_CONN_GODWIT_AIRFLOW_API": f"http://admin:{password}@127.0.0.1:{port}",
    }


def _settled(task: dict[str, Any]) -> bool:
    """The task waits for its answer, and the scheduler knows."""
    began = datetime.fromisoformat(task["start_date"]) if task["start_date"] else None
    if began is None or task["state"] not in WAITING:
        return False
    return (datetime.now(UTC) - began).total_seconds() > ANSWER_SECONDS

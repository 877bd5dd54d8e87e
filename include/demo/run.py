"""The demo: a shop moves to a newer server while its application keeps writing. `make demo`.

    python -m include.demo.run [--pair mysql-postgres] [--exit] [--rate 100] [--scale 1] [--keep]

Starts two servers (see `pairs.py`), a writer and Airflow, triggers the DAG, approves the cutover,
and says what came of it. Everything listens on 127.0.0.1 only and ends with this program, however
that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from godwit.state import StateStore
from include.demo.airflow_components import ROOT, AirflowError, AirflowProject
from include.demo.airflow_metadata import MetadataServer
from include.demo.display import Display, Progress
from include.demo.pairs import PAIRS, SHOP, Pair, Product, Server
from include.demo.supervised import free_port
from include.demo.verdict import Verdict, judge

if TYPE_CHECKING:
    from types import FrameType

    from include.demo.application import Application
    from include.demo.shop import ShopLoad

FOLDER = ROOT / ".demo"
DAG_ID = SHOP
#: Nothing here needs a triggerer beside the replication instance's.
COMPONENTS = ("api-server", "scheduler", "dag-processor", "replication-instance")
FOLLOW_SECONDS = 10.0
POLL_SECONDS = 0.4
RUN_SECONDS = 600.0


class Demo:
    """One demonstration, from nothing to the verdict."""

    def __init__(self, pair: Pair, folder: Path, rate: float, scale: float) -> None:
        self._pair, self._folder, self._rate, self._scale = pair, folder, rate, scale
        self._source_port, self._target_port = free_port(), free_port()
        self._metadata = MetadataServer(folder / "metadata", ROOT / ".cache")
        self.airflow = AirflowProject(
            folder / "airflow",
            free_port(),
            {
                "AIRFLOW_CONN_SHOP_SOURCE": pair.source.address(self._source_port),
                "AIRFLOW_CONN_SHOP_TARGET": pair.target.address(self._target_port),
                **_project(pair, folder / "project"),
            },
            metadata=self._metadata.url,
        )
        self._store = StateStore(self.airflow.environment["GODWIT_STATE_URL"])
        self._servers: dict[str, Server] = {}
        self._writer: Application | None = None
        self._began = time.monotonic()

    def run(self, console: Console) -> Verdict:
        """Everything, up to the verdict."""
        with Display(console) as display:
            shop = self._start(display)
            run_id = self.airflow.trigger(DAG_ID)
            state = self._watch(run_id, shop, display)
        assert self._writer is not None
        stats = self._writer.stop()
        seconds = time.monotonic() - self._began
        sides = zip(("source", "target"), self._pair.contents, strict=True)
        source, target = (contents(self._servers[side]) for side, contents in sides)
        return judge(
            state=state,
            seconds=seconds,
            source=source,
            target=target,
            picture=self._picture(),
            writer=stats,
            url=self.airflow.url,
        )

    def _start(self, display: Display) -> ShopLoad:
        """Servers, shop, writer and Airflow, side by side."""
        pool = ThreadPoolExecutor(3)
        source = pool.submit(self._start_source, display)
        target = pool.submit(self._start_server, self._pair.target, "target", self._target_port)
        airflow = pool.submit(self._start_airflow, display)
        try:
            target.result()
            shop = source.result()
            airflow.result()
        finally:
            # After Ctrl-C what is half started is finished first, so that it can be ended.
            self.airflow.give_up()
            pool.shutdown()
        return shop

    def _start_server(self, product: Product, name: str, port: int) -> Server:
        server = product.start(self._folder / name, port)
        self._servers[name] = server
        server.create_database(SHOP)
        return server

    def _start_source(self, display: Display) -> ShopLoad:
        source = self._pair.source
        server = self._start_server(source, "source", self._source_port)
        display.note(f"{source.title} runs; the shop is loaded into it")
        shop = self._pair.load(server, self._scale)
        self._writer = self._pair.writer(server, self._rate)
        self._writer.start()
        display.note(f"the shop is open: {shop.total_rows:,} rows, {self._rate:g} transactions/s")
        return shop

    def _start_airflow(self, display: Display) -> None:
        self.airflow.prepare()
        self._metadata.start(self.airflow.migrate)
        self.airflow.start(*COMPONENTS)
        display.note(f"Airflow starts: {', '.join(COMPONENTS)}")
        self.airflow.wait_until_ready(DAG_ID)
        display.note(f"Airflow is up: {self.airflow.url}/dags/{DAG_ID}")

    def _watch(self, run_id: str, shop: ShopLoad, display: Display) -> str:
        """Follow the run to its end; approves the cutover. Returns the run's state."""
        deadline = time.monotonic() + RUN_SECONDS
        followed_since: float | None = None
        while True:
            self.airflow.check()
            tasks = self.airflow.task_instances(DAG_ID, run_id)
            progress = Progress.of(tasks, self._picture(), shop.total_rows, self._writer)
            display.show(progress)
            state = "running" if progress.active else self.airflow.run_state(DAG_ID, run_id)
            if state in ("success", "failed"):
                return state
            if progress.failed:
                raise AirflowError(self._why(run_id, progress.failed))
            if progress.following and followed_since is None:
                followed_since = time.monotonic()
            followed = followed_since and time.monotonic() - followed_since > FOLLOW_SECONDS
            if followed and progress.states["approve_cutover"] == "active":
                self._approve(run_id, display)
            if time.monotonic() > deadline:
                raise AirflowError(f"the run did not end in {RUN_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _approve(self, run_id: str, display: Display) -> None:
        """What a person does with the button."""
        for question in self.airflow.questions(DAG_ID, run_id):
            self.airflow.answer(question, "Approve", dry_run=False)
            display.note("the cutover is approved (in the UI: the button of approve_cutover)")

    def _picture(self) -> dict[str, Any]:
        """What the state store knows; it may not be there yet."""
        with contextlib.suppress(Exception):
            return {
                "migration": self._store.migration(DAG_ID) or {},
                "tables": self._store.tables(DAG_ID),
                "lag": self._store.lag(DAG_ID, 3600),
            }
        return {"migration": {}, "tables": [], "lag": []}

    def _why(self, run_id: str, failed: list[dict[str, Any]]) -> str:
        task = failed[0]
        log = self.airflow.task_log(
            DAG_ID, run_id, task["task_id"], task["try_number"], task["map_index"]
        )
        return f"task {task['task_id']} failed\n{log[-3000:]}"

    def stop(self) -> None:
        """End everything that was started."""
        if self._writer is not None:
            self._writer.stop(5)
        self.airflow.stop()
        self._metadata.stop()
        for server in self._servers.values():
            server.stop()
        self._store.close()


def _project(pair: Pair, folder: Path) -> dict[str, str]:
    """Where Airflow finds the pair's migration: in a folder shaped as this project, with it alone.

    The default pair is the project's own migration.
    """
    if pair.definition is None:
        return {}
    migrations, dags = folder / "include" / "migrations", folder / "dags"
    for made in (migrations, dags):
        made.mkdir(parents=True)
    shutil.copy(pair.definition, migrations / f"{DAG_ID}.yaml")
    shutil.copy(ROOT / "dags" / "migrations.py", dags)
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(dags)}


def main() -> int:
    """Run the demo; exit code 0 when everything arrived."""
    options = _options()
    console = Console(highlight=False)
    FOLDER.mkdir(exist_ok=True)
    # Servers give up root, and must still get at their folder.
    FOLDER.chmod(0o755)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("[red]A demo is running in this folder already.[/]")
            return 2
        _clear(FOLDER)
        # A shell starts background jobs with SIGINT ignored.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        return _run(options, console)


def _run(options: argparse.Namespace, console: Console) -> int:
    demo = Demo(PAIRS[options.pair], FOLDER, options.rate, options.scale)
    code = 1
    try:
        verdict = demo.run(console)
        console.print(verdict)
        code = 0 if verdict.good else 1
        if not options.exit:
            address = f"{demo.airflow.url}/dags/{DAG_ID}"
            console.print(f"The UI stays up until Ctrl-C: [bold]{address}[/]")
            threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Stopping …")
    except Exception as problem:  # noqa: BLE001 - a person reads it, and everything must be ended
        console.print(f"[red bold]The demo failed:[/] {type(problem).__name__}", end=" ")
        console.print(str(problem), markup=False)
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        demo.stop()
        if code == 0 and not options.keep:
            _clear(FOLDER)
    return code


def _clear(folder: Path) -> None:
    for child in folder.iterdir():
        if child.name != "lock":
            shutil.rmtree(child, ignore_errors=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A live migration between two real servers.")
    parser.add_argument(
        "--pair", choices=PAIRS, default=next(iter(PAIRS)), help="from which server to which"
    )
    parser.add_argument("--exit", action="store_true", help="end with the verdict as exit code")
    parser.add_argument("--keep", action="store_true", help="keep .demo with databases and logs")
    parser.add_argument("--rate", type=float, default=100.0, help="transactions a second")
    parser.add_argument("--scale", type=float, default=1.0, help="1 is some 300,000 rows")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

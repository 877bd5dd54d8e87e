"""The demo: a shop moves to a newer server while its application keeps writing. `make demo`.

    python -m include.demo.run [--exit] [--rate 100] [--scale 1] [--keep]

Starts two PostgreSQL servers of different major versions, a writer and Airflow, triggers the DAG,
approves the cutover, and says what came of it. Everything listens on 127.0.0.1 only and ends with
this program, however that ends.
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
from include.demo.servers import PostgresServer, free_port
from include.demo.shop import ShopLoad, load_shop
from include.demo.verdict import Verdict, judge
from include.demo.writer import ShopWriter

if TYPE_CHECKING:
    from types import FrameType

FOLDER = ROOT / ".demo"
DAG_ID = "shop"
SOURCE_VERSION, TARGET_VERSION = 16, 18
#: Fsync is for data somebody wants to keep.
SETTINGS = {"fsync": "off", "max_connections": "100", "shared_buffers": "128MB"}
#: Nothing here needs a triggerer beside the replication instance's.
COMPONENTS = ("api-server", "scheduler", "dag-processor", "replication-instance")
FOLLOW_SECONDS = 10.0
POLL_SECONDS = 0.4
RUN_SECONDS = 600.0


class Demo:
    """One demonstration, from nothing to the verdict."""

    def __init__(self, folder: Path, rate: float, scale: float, console: Console) -> None:
        self._folder, self._rate, self._scale, self._console = folder, rate, scale, console
        self._source_port, self._target_port = free_port(), free_port()
        address = "postgres://postgres@127.0.0.1"
        self._metadata = MetadataServer(folder / "metadata", ROOT / ".cache")
        self.airflow = AirflowProject(
            folder / "airflow",
            free_port(),
            {
                "AIRFLOW_CONN_SHOP_SOURCE": f"{address}:{self._source_port}/shop",
                "AIRFLOW_CONN_SHOP_TARGET": f"{address}:{self._target_port}/shop",
            },
            metadata=self._metadata.url,
        )
        self._store = StateStore(self.airflow.environment["GODWIT_STATE_URL"])
        self._servers: dict[str, PostgresServer] = {}
        self._writer: ShopWriter | None = None
        self._began = time.monotonic()

    def run(self) -> Verdict:
        """Everything, up to the verdict."""
        with Display(self._console) as display:
            shop = self._start(display)
            run_id = self.airflow.trigger(DAG_ID)
            state = self._watch(run_id, shop, display)
        assert self._writer is not None
        stats = self._writer.stop()
        source, target = (self._servers[side].url("shop") for side in ("source", "target"))
        return judge(
            state=state,
            seconds=time.monotonic() - self._began,
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
        target = pool.submit(self._start_server, TARGET_VERSION, "target", self._target_port)
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

    def _start_server(self, version: int, name: str, port: int) -> PostgresServer:
        server = PostgresServer.start(version, self._folder / name, port=port, **SETTINGS)
        self._servers[name] = server
        server.create_database("shop")
        return server

    def _start_source(self, display: Display) -> ShopLoad:
        server = self._start_server(SOURCE_VERSION, "source", self._source_port)
        display.note(f"PostgreSQL {SOURCE_VERSION} runs; the shop is loaded into it")
        shop = load_shop(server.url("shop"), self._scale)
        self._writer = ShopWriter(server.url("shop"), self._rate)
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
    demo = Demo(FOLDER, options.rate, options.scale, console)
    code = 1
    try:
        verdict = demo.run()
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
    parser.add_argument("--exit", action="store_true", help="end with the verdict as exit code")
    parser.add_argument("--keep", action="store_true", help="keep .demo with databases and logs")
    parser.add_argument("--rate", type=float, default=100.0, help="transactions a second")
    parser.add_argument("--scale", type=float, default=1.0, help="1 is about 370,000 rows")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

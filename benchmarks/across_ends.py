"""The servers of the benchmarks between engines, started when they are first asked for."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import Run
from benchmarks.machine import tree_cpu
from benchmarks.pair import SETTINGS, VERSION
from include.demo.mysql_servers import MARIADB, MySqlServer
from include.demo.servers import PostgresServer

MYSQL = "mysql-9.7"
AnyServer = PostgresServer | MySqlServer
#: Durable as shipped; what is set keeps the size of a log file out of the figures.
_MYSQL_SETTINGS = {"innodb_buffer_pool_size": "1G", "max_allowed_packet": "256M"}
_BY_FLAVOUR = {
    "mariadb": {"innodb_log_file_size": "2G"},
    "mysql": {"innodb_redo_log_capacity": "2G", "cte_max_recursion_depth": "5000000"},
}


class Ends:
    """One server of each product and side."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._started: dict[str, AnyServer] = {}

    def mysql(self, side: str, product: str = MARIADB) -> MySqlServer:
        """A MySQL or MariaDB; raises ServerError with what to fetch."""
        name = f"{product}-{side}"
        if name not in self._started:
            settings = {**_MYSQL_SETTINGS, **_BY_FLAVOUR[product.partition("-")[0]]}
            settings["server_id"] = str(10 + len(self._started))
            if self._settings is not None:
                small = {"innodb_buffer_pool_size": "64M", "innodb_log_file_size": "64M"}
                settings = {k: small.get(k, v) for k, v in settings.items()}
                settings |= {"innodb_flush_log_at_trx_commit": "2", "sync_binlog": "0"}
            self._started[name] = MySqlServer.start(product, self._folder / name, **settings)
        found = self._started[name]
        assert isinstance(found, MySqlServer)
        return found

    def postgres(self, side: str) -> PostgresServer:
        """A PostgreSQL of the usual version."""
        name = f"postgres-{side}"
        if name not in self._started:
            wanted = {**SETTINGS, **(self._settings or {})}
            self._started[name] = PostgresServer.start(VERSION, self._folder / name, **wanted)
        found = self._started[name]
        assert isinstance(found, PostgresServer)
        return found

    def stop(self) -> None:
        """All of them."""
        for server in self._started.values():
            server.stop()


@contextmanager
def ends(settings: dict[str, str] | None = None) -> Iterator[Ends]:
    """Servers that are gone afterwards, with their data; `settings` make small PostgreSQLs."""
    with tempfile.TemporaryDirectory(prefix="godwit-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        started = Ends(Path(folder), settings)
        try:
            yield started
        finally:
            started.stop()


@contextmanager
def metered(source: AnyServer, target: AnyServer, run: Run) -> Iterator[None]:
    """Adds what the block took on the clock and on both servers to the run."""
    before = tree_cpu(source.pid), tree_cpu(target.pid)
    started = time.perf_counter()
    yield
    run.seconds = time.perf_counter() - started
    run.source = tree_cpu(source.pid) - before[0]
    run.target = tree_cpu(target.pid) - before[1]


def timed(source: AnyServer, target: AnyServer, run: Run, action: Callable[[], object]) -> None:
    """Time it; what it starts are our children, whose CPU is known when they have ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with metered(source, target, run):
        action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run.client = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

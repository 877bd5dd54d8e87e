"""The two servers of a benchmark, and what a run costs on them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Run, WrongContentError
from benchmarks.machine import tree_cpu
from include.demo.servers import Database, PostgresServer

VERSION = 18
#: Durable as shipped (fsync, full_page_writes on); what is set keeps chance out of the figures.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "track_commit_timestamp": "on",
    "max_connections": "60",
}

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('godwit', 'pg_catalog', 'information_schema') ORDER BY 1
"""


@dataclass
class Pair:
    """A source and a target server."""

    source: PostgresServer
    target: PostgresServer

    @contextmanager
    def metered(self, run: Run) -> Iterator[None]:
        """Adds what the block took on the clock and on both servers to the run."""
        source, target = tree_cpu(self.source.pid), tree_cpu(self.target.pid)
        started = time.perf_counter()
        yield
        run.seconds = time.perf_counter() - started
        run.source = tree_cpu(self.source.pid) - source
        run.target = tree_cpu(self.target.pid) - target

    def fresh_target(self, template: str = "") -> Database:
        """An empty database on the target, or a copy of another; its pages are on disk."""
        if not template:
            return self.target.create_database()
        name = f"{template}_copy"
        admin = Database(self.target, "postgres")
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        admin.execute("CHECKPOINT")
        return Database(self.target, name)


@contextmanager
def pair(settings: dict[str, str] | None = None) -> Iterator[Pair]:
    """Start both servers; they and their data are gone afterwards."""
    wanted = {**SETTINGS, **(settings or {})}
    with tempfile.TemporaryDirectory(prefix="godwit-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with (
            PostgresServer.start(VERSION, Path(folder, "source"), port=0, **wanted) as source,
            PostgresServer.start(VERSION, Path(folder, "target"), port=0, **wanted) as target,
        ):
            yield Pair(source, target)


def fingerprint(database: Database) -> dict[str, tuple[int, str]]:
    """Rows and a sum of hashes over whole rows, by table: equal means equal content."""
    found = {}
    for (table,) in database.fetch(_TABLES):
        query = (
            f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {table} t"
        )
        rows, total = database.fetch(query)[0]
        found[table] = (int(rows), str(total))
    return found


def check(wanted: dict[str, tuple[int, str]], database: Database) -> None:
    """Raise WrongContentError unless the database holds exactly that."""
    found = fingerprint(database)
    wrong = [t for t in sorted({*wanted, *found}) if wanted.get(t) != found.get(t)]
    if wrong:
        told = ", ".join(f"{t}: {wanted.get(t)} became {found.get(t)}" for t in wrong)
        raise WrongContentError(told)

"""Full load: our copy against `psql | psql`, the whole step against `pg_dump | pg_restore`."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import events
from benchmarks.contest import Run, contest
from benchmarks.ours import Worker
from benchmarks.pair import Pair, check, fingerprint
from include.demo.servers import ROOT, Database
from include.demo.shop import load_shop

DEFINITION = """\
name: {name}
migration_type: full-load
source: {{conn_id: bench_source}}
target: {{conn_id: bench_target}}
tables: {{include: ["*.*"]}}
"""


def copies(pair: Pair, *, rows: int, rounds: int) -> dict[str, Any]:
    """Only the rows, into a table without keys: pipes and we, one stream and two."""
    with pair.source.create_database("src_copy") as source:
        events.fill(source, rows)
        wanted = fingerprint(source)

        def moved(one: Callable[[Database, Run], None]) -> Callable[[], Run]:
            def run() -> Run:
                with pair.fresh_target() as target:
                    events.create(target)
                    result = Run(0)
                    one(target, result)
                    check(wanted, target)
                return result

            return run

        def pipes(number: int) -> Callable[[], Run]:
            return moved(lambda target, run: _pipes(pair, source, target, number, run))

        def godwit(streams: int) -> Callable[[], Run]:
            return moved(lambda target, run: _streams(pair, source, target, streams, run))

        contenders = {
            "psql | psql": pipes(1),
            "godwit, 1 stream": godwit(1),
            "psql | psql, two halves": pipes(2),
            "godwit, 2 streams": godwit(2),
        }
        return {"name": "copy", **contest("copy of one table", rows, rounds, contenders)}


def whole_steps(pair: Pair, *, rows: int, scale: float, rounds: int) -> list[dict[str, Any]]:
    """Schema, rows, keys and indexes: one big table, and the demo's whole shop."""
    found = []
    with pair.source.create_database("src_event") as source:
        events.fill(source, rows)
        found.append(_whole(pair, source, "event", "whole step, one table", rows, rounds))
    with pair.source.create_database("src_shop") as source:
        total = load_shop(source.url, scale).total_rows
        found.append(_whole(pair, source, "shop", "whole step, the shop", total, rounds))
    return found


def _whole(
    pair: Pair, source: Database, name: str, title: str, rows: int, rounds: int
) -> dict[str, Any]:
    wanted = fingerprint(source)

    def step(command: Callable[[Database], Callable[[], None]]) -> Callable[[], Run]:
        def run() -> Run:
            with pair.fresh_target() as target:
                result = Run(0)
                _timed(pair, result, command(target))
                check(wanted, target)
            return result

        return run

    def dump(target: Database) -> Callable[[], None]:
        programs = pair.source.programs
        one = [str(programs / "pg_dump"), "-Fc", "-Z0", source.url]
        two = [str(programs / "pg_restore"), "-d", target.url]
        return lambda: _shell([(one, two)])

    contenders = {
        "pg_dump -Fc -Z0 | pg_restore": step(dump),
        "godwit run --until loaded": step(lambda target: lambda: _godwit(source, target, name)),
    }
    return {"name": f"whole-{name}", **contest(title, rows, rounds, contenders)}


def _timed(pair: Pair, run: Run, action: Callable[[], None]) -> None:
    """Time it; what it starts are our children, whose CPU is known when they have ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pair.metered(run):
        action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run.client = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def _shell(pipes: list[tuple[list[str], list[str]]]) -> None:
    """Run pipes of two commands side by side; raises when any fails."""
    running = []
    for one, two in pipes:
        line = f"set -o pipefail; {shlex.join(one)} | {shlex.join(two)}"
        running.append(subprocess.Popen(["bash", "-c", line], stdout=subprocess.DEVNULL))
    if [code for process in running if (code := process.wait())]:
        raise RuntimeError("a pipe failed")


def _pipes(pair: Pair, source: Database, target: Database, number: int, run: Run) -> None:
    (blocks,) = source.fetch("SELECT pg_relation_size('event') / 8192")[0]
    psql = str(pair.source.programs / "psql")
    pairs = []
    for part in range(number):
        low, high = (blocks * p // number for p in (part, part + 1))
        what = "event"
        if number > 1:
            bounds = f"ctid >= '({low},0)' AND ctid < '({high + (part == number - 1)},0)'"
            what = f"(SELECT * FROM event WHERE {bounds})"
        read = [psql, "-qX", source.url, "-c", f"COPY {what} TO STDOUT (FORMAT binary)"]
        write = [psql, "-qX", target.url, "-c", "COPY event FROM STDIN (FORMAT binary)"]
        pairs.append((read, write))
    _timed(pair, run, lambda: _shell(pairs))


def _streams(pair: Pair, source: Database, target: Database, streams: int, run: Run) -> None:
    worker = Worker("load", source, target, migration="bench_copy", streams=streams)
    try:
        with pair.metered(run):
            worker.go()
            told = worker.result()
    except BaseException:
        worker.kill()
        raise
    run.client, run.memory, run.more = told["client"], told["memory"], {"chunks": told["chunks"]}


def _godwit(source: Database, target: Database, name: str) -> None:
    """The command a person would type, Python's start included."""
    with tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder:
        file = Path(folder, f"{name}.yaml")
        file.write_text(DEFINITION.format(name=name))
        done = subprocess.run(
            [sys.executable, "-m", "godwit", "run", str(file), "--until", "loaded", "--json", "-q"],
            env={
                **os.environ,
                "AIRFLOW_CONN_BENCH_SOURCE": source.conn_uri,
                "AIRFLOW_CONN_BENCH_TARGET": target.conn_uri,
                "GODWIT_STATE_URL": f"sqlite:///{folder}/state.db",
                "PYTHONPATH": str(ROOT / "plugins"),
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"godwit run: {done.stdout}{done.stderr}")
    json.loads(done.stdout)

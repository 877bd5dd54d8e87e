"""Commit on the source until visible on the target, at a steady rate of one-row transactions.

Both contenders are watched in the same way: a reader asks the target again and again for rows it
has not seen, and takes the time when the answer is there; the source tells when a row was
committed. Both clocks are this machine's. What the reader's questions take is in the figures.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cdc import NATIVE, OURS, publish, subscribe, unsubscribe
from benchmarks.contest import Run, contest
from benchmarks.ours import Worker, capture
from benchmarks.pair import Pair, check, fingerprint
from include.demo.servers import Database

SCRIPT = "INSERT INTO beat VALUES (nextval('beat_number'), 'a payload as small rows have it');\n"
TABLES = "CREATE TABLE beat (id bigint PRIMARY KEY, v text)"
#: Seconds before the samples count, between questions, and until stragglers must have come.
WARM = 1.0
PAUSE = 0.001
LATE = 30.0
#: Rows may become visible out of order by this much.
BEHIND = 200


def beats(pair: Pair, *, rate: int, seconds: float, rounds: int) -> dict[str, Any]:
    """p50 and p99 in milliseconds; `ratio` compares nothing here."""

    def natively() -> Run:
        with pair.source.create_database() as source, pair.target.create_database() as target:
            _tables(source, target)
            publish(source, ["native_beat"])
            name = subscribe(source, target, "native_beat")
            target.execute(f"ALTER SUBSCRIPTION {name} ENABLE")
            run = _watched(pair, source, target, rate, seconds)
            unsubscribe(target, name)
        return run

    def by_us() -> Run:
        with pair.source.create_database() as source, pair.target.create_database() as target:
            _tables(source, target)
            low = capture(source, "bench_beat")
            worker = Worker("follow", source, target, migration="bench_beat", low=low)
            try:
                worker.go()
                run = _watched(pair, source, target, rate, seconds)
                told = worker.stop()
            except BaseException:
                worker.kill()
                raise
            run.client, run.memory = told["client"], told["memory"]
            run.more["batches"] = told["batches"]
            # What the session itself reports to its users.
            run.more |= {f"lag_{p}": told[f"lag_{p}"] * 1000 for p in ("p50", "p99")}
        return run

    contenders: dict[str, Callable[[], Run]] = {NATIVE: natively, OURS: by_us}
    title = f"latency at {rate} tx/s"
    return {"name": "latency", **contest(title, int(rate * seconds), rounds, contenders)}


def _tables(source: Database, target: Database) -> None:
    for side in (source, target):
        side.execute(TABLES)
    source.execute("CREATE SEQUENCE beat_number")


def _watched(pair: Pair, source: Database, target: Database, rate: int, seconds: float) -> Run:
    run = Run(0)
    seen: dict[int, float] = {}
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(target, seen, done))
    watcher.start()
    try:
        with pair.metered(run):
            _write(pair, source, rate, seconds)
            (count,) = source.fetch("SELECT count(*) FROM beat")[0]
            deadline = time.monotonic() + LATE
            while len(seen) < count and time.monotonic() < deadline:
                time.sleep(PAUSE)
    finally:
        done.set()
        watcher.join()
    check(fingerprint(source), target)
    committed = dict(
        source.fetch(
            "SELECT id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float FROM beat"
        )
    )
    first = min(committed.values()) + WARM
    lags = sorted(seen[n] - at for n, at in committed.items() if at >= first)
    run.more = {
        "samples": len(lags),
        "rate": count / seconds,
        **{f"p{p}": lags[min(len(lags) - 1, len(lags) * p // 100)] * 1000 for p in (50, 90, 99)},
    }
    return run


def _watch(target: Database, seen: dict[int, float], done: threading.Event) -> None:
    newest = 0
    with target.connect() as reader:
        while not done.wait(PAUSE):
            rows = reader.execute(
                "SELECT id FROM beat WHERE id > %s", [newest - BEHIND], prepare=True
            ).fetchall()
            now = time.time()
            for (number,) in rows:
                seen.setdefault(number, now)
                newest = max(newest, number)


def _write(pair: Pair, source: Database, rate: int, seconds: float) -> None:
    """pgbench keeps the rate whatever the answers take, as users do."""
    with tempfile.TemporaryDirectory(prefix="godwit-bench-") as folder:
        script = Path(folder, "beat.sql")
        script.write_text(SCRIPT)
        program = str(pair.source.programs / "pgbench")
        command = [program, "-n", "-M", "prepared", "-c", "4", "-j", "1", "-R", str(rate)]
        command += ["-T", str(max(1, round(seconds))), "-f", str(script), source.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pgbench: {done.stderr}")

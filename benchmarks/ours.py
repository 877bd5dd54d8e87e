"""Our side of a contest, in a process of its own: `python -m benchmarks.ours '<json>'`.

It says ``ready`` once everything is imported, begins at ``go``, and tells what it cost as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.machine import peak_memory
from include.demo.mysql_servers import MySqlDatabase
from include.demo.servers import ROOT, Database

AnyDatabase = Database | MySqlDatabase


class Worker:
    """The parent's end."""

    def __init__(self, work: str, source: AnyDatabase, target: AnyDatabase, **more: Any) -> None:
        task = {"work": work, "source": source.conn_uri, "target": target.conn_uri, **more}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ours", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.pid = self._process.pid
        self._expect("ready")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if line != word:
            self._process.kill()
            raise RuntimeError(f"the worker said {line!r} instead of {word!r}")

    def go(self) -> None:
        """Begin."""
        self._say("go")

    def result(self) -> dict[str, Any]:
        """Wait for the end; what it did and cost."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if self._process.wait(60):
            raise RuntimeError("the worker failed")
        return dict(json.loads(line))

    def stop(self) -> dict[str, Any]:
        """Ask a session to end."""
        self._say("stop")
        return self.result()

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()

    @property
    def ended(self) -> bool:
        """It failed, or is done."""
        return self._process.poll() is not None

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()


class Silent:
    """A reporter that nobody listens to."""

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """See `godwit.protocols.Reporter`."""


def _endpoints(task: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Source, target, control and the mappings of all tables."""
    from godwit.engines import engine_of
    from godwit.model.definition import parse_definition, resolve
    from godwit.model.endpoint import connection_from_text

    data = {
        "name": task["migration"],
        "migration_type": task.get("migration_type", "cdc"),
        "source": {"conn_id": "bench_source"},
        "target": {"conn_id": "bench_target"},
        "tables": {"include": [task.get("include", "public.*")]},
    }
    definition = parse_definition(data, "benchmark")
    ends = [connection_from_text(f"bench_{end}", task[end]) for end in ("source", "target")]
    source = engine_of(ends[0]).source(ends[0], {})
    target = engine_of(ends[1]).target(ends[1], {})
    mappings = resolve(definition, source.catalog(definition.selects)).mappings
    control = target.control(task["migration"])
    control.install()
    return source, target, control, mappings


def capture(source: AnyDatabase, migration: str, schema: str = "public") -> str:
    """Open our capture of all tables; returns the position after which changes are streamed."""
    task = {"source": source.conn_uri, "target": source.conn_uri, "migration": migration}
    from godwit.engines import engine_of
    from godwit.model.endpoint import connection_from_text

    connection = connection_from_text("bench_source", task["source"])
    end = engine_of(connection).source(connection, {})
    tables = list(end.catalog(lambda name: name.schema == schema))
    return str(end.open_capture(migration, tables))


def drop_capture(source: Database, migration: str) -> None:
    """Remove what `capture` made."""
    from godwit.engines import engine_of
    from godwit.model.endpoint import connection_from_text

    connection = connection_from_text("bench_source", source.conn_uri)
    engine_of(connection).source(connection, {}).drop_capture(migration)


def _follow(task: Mapping[str, Any]) -> dict[str, Any]:
    """A CDC session from the capture's position until told to stop."""
    from godwit.protocols import ErrorPolicy
    from godwit.steps.apply import Session

    source, target, control, mappings = _endpoints(task)
    low = source.parse_position(task["low"])
    control.set_low(low)
    control.set_settled(low)
    stop = threading.Event()
    session = Session(
        source,
        target,
        control,
        task["migration"],
        mappings,
        ErrorPolicy(),
        Silent(),
        stop=stop.is_set,
    )
    if task.get("batch_bytes"):
        session.batch_bytes = task["batch_bytes"]
    _wait_for_go()

    def until_told() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=until_told, daemon=True).start()
    summary = session.run()
    return {
        "transactions": summary.transactions,
        "changes": summary.changes,
        "batches": summary.batches,
        "exceptions": summary.exceptions,
        "lag_p50": summary.lag_p50,
        "lag_p99": summary.lag_p99,
    }


def _load(task: Mapping[str, Any]) -> dict[str, Any]:
    """The full-load step into tables that are there."""
    from concurrent.futures import ThreadPoolExecutor

    from godwit.steps import load

    source, target, control, mappings = _endpoints({**task, "migration_type": "full-load"})
    streams = int(task["streams"])
    _wait_for_go()
    bundles = load.plan(source, mappings, migration=task["migration"], streams=streams)

    def one(bundle: Any) -> int:
        lines = load.load_bundle(
            source,
            target,
            control,
            bundle,
            mappings,
            report=Silent(),
            stop=lambda: False,
            streams=streams if bundle.shared_snapshot else 1,
        )
        return sum(line.rows for line in lines)

    rows = sum(one(b) for b in bundles if b.shared_snapshot)
    with ThreadPoolExecutor(streams) as pool:
        rows += sum(pool.map(one, [b for b in bundles if not b.shared_snapshot]))
    return {"rows": rows, "chunks": sum(len(b.chunks) for b in bundles)}


def _decode(task: Mapping[str, Any]) -> dict[str, Any]:
    """Read the log to the marker's change and throw the changes away."""
    from godwit.protocols import Wanted
    from godwit.steps.apply import DEFAULT_BATCH_BYTES

    source, target, _, mappings = _endpoints(task)
    form = next(f for f in source.change_formats(mappings) if f in target.change_formats(mappings))
    end = source.position()
    _wait_for_go()
    stream = source.stream(
        task["migration"],
        source.parse_position(task["low"]),
        mappings,
        form,
        {},
        batch_bytes=DEFAULT_BATCH_BYTES,
    )
    changes, wanted = 0, Wanted.FULL
    while True:
        batch = stream.read(lambda: wanted)  # noqa: B023 - it is asked at once
        if batch is None:
            # What is left fills no batch.
            wanted = Wanted.ANY
            continue
        changes += getattr(batch, "changes", 0)
        if batch.position.includes(end):
            break
    stream.close()
    return {"changes": changes}


_begun = 0.0


def _wait_for_go() -> None:
    global _begun  # noqa: PLW0603 - the clock starts here, wherever "here" is
    print("ready", flush=True)
    sys.stdin.readline()
    _begun = time.process_time()


def main() -> None:
    """Do the task of the command line."""
    task = json.loads(sys.argv[1])
    result = {"follow": _follow, "load": _load, "decode": _decode}[task["work"]](task)
    cost = {"client": time.process_time() - _begun, "memory": peak_memory()}
    print(json.dumps({**result, **cost}), flush=True)


if __name__ == "__main__":
    main()

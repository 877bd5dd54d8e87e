"""Draining a backlog: native logical replication against ours, from slots made at one point."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from benchmarks.changes import WORKLOADS, Workload
from benchmarks.contest import Run, contest
from benchmarks.ours import Worker, capture
from benchmarks.pair import Pair, check, fingerprint
from include.demo.servers import Database

NATIVE, OURS = "native logical replication", "godwit"
DEADLINE = 600.0
POLL = 0.005


def drain(
    pair: Pair, *, changes: int, rounds: int, names: Sequence[str] = (), native: bool = True
) -> list[dict[str, Any]]:
    """A contest for each workload."""
    wanted = [w for w in WORKLOADS if not names or w.name in names]
    return [_one(pair, w, changes, rounds, native=native) for w in wanted]


def _one(
    pair: Pair, workload: Workload, changes: int, rounds: int, *, native: bool
) -> dict[str, Any]:
    source = pair.source.create_database(f"src_{workload.name}")
    base = pair.target.create_database(f"base_{workload.name}")
    with source, base:
        for side in (source, base):
            workload.create(side, changes)
        slots = [f"native_{workload.name}_{n}" for n in range(rounds if native else 0)]
        publish(source, slots)
        migrations = {f"bench_{workload.name}_{n}": "" for n in range(rounds)}
        for name in migrations:
            migrations[name] = capture(source, name)
        workload.run(source, changes)
        source.execute("CHECKPOINT")
        content = fingerprint(source)

        def natively() -> Run:
            with pair.fresh_target(base.name) as target:
                run = _native(pair, source, target, slots.pop(0))
                check(content, target)
            return run

        def by_us() -> Run:
            with pair.fresh_target(base.name) as target:
                run = _ours(pair, source, target, *migrations.popitem())
                check(content, target)
            return run

        both: dict[str, Callable[[], Run]] = {NATIVE: natively, OURS: by_us}
        if not native:
            del both[NATIVE]
        found = contest(workload.title, changes, rounds, both)
        return {"name": workload.name, **found}


def publish(source: Database, slots: Sequence[str]) -> None:
    """Native replication's publication of all tables, and slots from this moment on."""
    source.execute("CREATE PUBLICATION native FOR TABLES IN SCHEMA public")
    for slot in slots:
        source.fetch("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])


def arrived(target: Database, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until the marker is visible on the target, which comes last."""
    deadline = time.monotonic() + DEADLINE
    with target.connect() as looker:
        while not looker.execute("SELECT 1 FROM marker", prepare=True).fetchone():
            if time.monotonic() > deadline or not alive():
                raise RuntimeError("the changes did not arrive")
            time.sleep(POLL)


def subscribe(source: Database, target: Database, slot: str) -> str:
    """Make a subscription that is not running yet, as fast as the server offers; its name."""
    name = f"sub_{slot}"
    where = psycopg.conninfo.make_conninfo(source.url)
    target.execute(
        f"CREATE SUBSCRIPTION {name} CONNECTION '{where}' PUBLICATION native WITH"
        f" (copy_data = false, create_slot = false, slot_name = '{slot}', binary = true,"
        " enabled = false)"
    )
    return name


def unsubscribe(target: Database, name: str) -> None:
    """End and remove a subscription; its slot is left to the source's database."""
    for action in ("DISABLE", "SET (slot_name = NONE)"):
        target.execute(f"ALTER SUBSCRIPTION {name} {action}")
    target.execute(f"DROP SUBSCRIPTION {name}")


def _native(pair: Pair, source: Database, target: Database, slot: str) -> Run:
    run = Run(0)
    name = subscribe(source, target, slot)
    with pair.metered(run):
        target.execute(f"ALTER SUBSCRIPTION {name} ENABLE")
        arrived(target)
    unsubscribe(target, name)
    _forget(source, slot)
    return run


def _forget(source: Database, slot: str) -> None:
    """Drop the slot as soon as its sender has noticed the end."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(psycopg.errors.ObjectInUse):
            source.fetch("SELECT pg_drop_replication_slot(%s)", [slot])
            return
        time.sleep(POLL)


def _ours(pair: Pair, source: Database, target: Database, migration: str, low: str) -> Run:
    run = Run(0)
    worker = Worker("follow", source, target, migration=migration, low=low)
    try:
        with pair.metered(run):
            worker.go()
            arrived(target, lambda: not worker.ended)
        told = worker.stop()
    except BaseException:
        worker.kill()
        raise
    run.client, run.memory = told["client"], told["memory"]
    run.more = {key: told[key] for key in ("transactions", "changes", "batches", "exceptions")}
    return run
